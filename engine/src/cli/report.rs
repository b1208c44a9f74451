//! What a person sees.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

/// `error: what: why`, then a `hint:` line for each hint along the way.
///
/// An error carries its hint at the end of its message, after a line break or a semicolon.
pub(super) fn failure(error: &anyhow::Error) -> String {
    let mut text = String::from("error");
    let mut hints = String::new();
    let mut before = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let parted = cause.split_once("\nhint: ").or_else(|| cause.split_once("; hint: "));
        let (what, hint) = parted.map_or((cause.as_str(), None), |(what, hint)| (what, Some(hint)));
        // Some errors tell their source themselves.
        if !before.contains(what) {
            let _ = write!(text, ": {what}");
        }
        if let Some(hint) = hint
            && !hints.contains(hint)
        {
            let _ = writeln!(hints, "hint: {hint}");
        }
        before = cause;
    }
    format!("{text}\n{hints}")
}

/// Whether a command only failed to write because nobody reads any more, as in `… | head`.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Names, chips and reasons are other machines' words: nothing in them may steer a terminal.
fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// Writes to standard output at once.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(printable(text).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Columns as wide as their widest cell, two spaces apart, a line each.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |text: &str| text.chars().count();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| width(&row[column]));
        cells.chain([width(head[column])]).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(rows) {
        let mut line = String::new();
        for (cell, column_width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:column_width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_tells_what_why_and_what_to_do() {
        let error = anyhow!("no such file\nhint: look for it").context("cannot import x.gguf");
        let expected = "error: cannot import x.gguf: no such file\nhint: look for it\n";
        assert_eq!(failure(&error), expected);
        assert_eq!(failure(&anyhow!("no key; hint: make one")), "error: no key\nhint: make one\n");
        let told = anyhow!("disk full").context("cannot write: disk full");
        assert_eq!(failure(&told), "error: cannot write: disk full\n");
    }

    #[test]
    fn no_word_of_another_machine_steers_the_terminal() {
        assert_eq!(printable("a\tb\n"), "a\tb\n");
        assert_eq!(printable("\u{1b}[2Jair\r\u{9b}1m"), "\u{fffd}[2Jair\u{fffd}\u{fffd}1m");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "größer".to_owned()], ["bcd".to_owned(), "é".to_owned()]];
        assert_eq!(table(["N", "SIZE"], &rows), "N    SIZE\na    größer\nbcd  é\n");
    }
}
