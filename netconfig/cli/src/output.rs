//! How it looks: lines, wrapped paragraphs, tables; in one language; colour only on a terminal.

use std::{
    borrow::Cow,
    env, fmt,
    io::{self, IsTerminal, Write},
};

use exo_netconfig::{
    link::LinkError,
    snapshot::Address,
    system::icmp::EchoError,
    text::{Lang, Say, Text, tool},
};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

/// Paragraphs are wrapped here whatever the terminal's width: the same words in every report.
const WIDTH: usize = 100;

/// What a piece of text is, not what it looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Good,
    Error,
    Warning,
    Unknown,
    Info,
    Strong,
    Command,
}

impl Style {
    const ALL: [Self; 7] = [
        Self::Good,
        Self::Error,
        Self::Warning,
        Self::Unknown,
        Self::Info,
        Self::Strong,
        Self::Command,
    ];

    /// The SGR parameters for it.
    fn code(self) -> &'static str {
        match self {
            Self::Good => "1;32",
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Unknown => "1;35",
            Self::Info => "1;34",
            Self::Strong => "1",
            Self::Command => "36",
        }
    }
}

/// Where text goes.
pub(crate) struct Output {
    writer: Box<dyn Write>,
    colour: bool,
    lang: Lang,
}

impl Output {
    pub(crate) fn to_stdout(lang: Lang) -> Self {
        let stdout = io::stdout();
        let colour = wants_colour(&stdout);
        Self { writer: Box::new(stdout), colour, lang }
    }

    /// The language that everything is said in.
    pub(crate) fn lang(&self) -> Lang {
        self.lang
    }

    /// The words of a text in that language.
    pub(crate) fn words(&self, text: impl Say) -> String {
        text.say(self.lang)
    }

    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.writer.write_all(bytes)?)
    }

    pub(crate) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        let text = harmless(text.trim_end(), self.colour).replace('\n', "\u{fffd}");
        Ok(writeln!(self.writer, "{text}")?)
    }

    /// A line of the catalogue.
    pub(crate) fn say(&mut self, text: Text) -> anyhow::Result<()> {
        let words = self.words(text);
        self.line(&words)
    }

    /// The head of a line below a finding: all are as wide as the widest of the language.
    pub(crate) fn label(&self, word: &str) -> String {
        let heads = [tool::seen(), tool::why(), tool::do_this(), tool::run_this()];
        let widest = heads.iter().map(|head| head.words(self.lang).width()).max().unwrap_or(0);
        format!("  {word}{} ", " ".repeat(widest.saturating_sub(word.width())))
    }

    /// A paragraph behind `label`; further lines are indented as far as the label reaches.
    pub(crate) fn wrapped(&mut self, label: &str, text: &str) -> anyhow::Result<()> {
        let indent = " ".repeat(label.width());
        let mut line = label.to_owned();
        let mut used = indent.len();
        let mut is_first = true;
        for word in text.split_whitespace() {
            let length = word.width();
            if !is_first && used + 1 + length > WIDTH {
                self.line(&line)?;
                line.clone_from(&indent);
                used = indent.len();
                is_first = true;
            }
            if !is_first {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
            is_first = false;
        }
        self.line(&line)
    }

    /// Rows whose columns are as wide as their widest cell.
    pub(crate) fn table(&mut self, rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.width()).max();
        let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
        for row in &rows {
            let mut line = String::from(" ");
            for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
                let padding = " ".repeat(width.saturating_sub(cell.width()));
                line.push(' ');
                line.push_str(cell);
                line.push_str(&padding);
                line.push(' ');
            }
            self.line(&line)?;
        }
        Ok(())
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(&mut self.writer, value)?;
        self.line("")
    }
}

/// Whether there is somebody to see colours, and who has nothing against them.
pub(crate) fn wants_colour(stream: &impl IsTerminal) -> bool {
    // https://no-color.org: set to anything but nothing.
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    // What a terminal without any control sequences calls itself.
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !refused && !dumb
}

/// The text without what could steer a terminal: names come from cables, peers and recordings of
/// strangers. Of escape sequences only those of our own [`Style`]s are left, and these only where
/// there is colour.
pub(crate) fn harmless(text: &str, colour: bool) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let own = |rest: &str| {
        let code = rest.strip_prefix("\x1b[")?.split_once('m')?.0;
        let is_own = code == "0" || Style::ALL.iter().any(|style| style.code() == code);
        (colour && is_own).then_some("\x1b[m".len() + code.len())
    };
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let kept = own(rest);
        let length = kept.unwrap_or(c.len_utf8());
        match kept.is_none() && is_harmful(c) {
            true => out.push(char::REPLACEMENT_CHARACTER),
            false => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    Cow::Owned(out)
}

/// Control characters (a tab and the ends of lines are none), and those that turn the direction of
/// writing around.
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\t' && c != '\n')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Addresses as text, IPv4 first.
pub(crate) fn addresses(addresses: &[Address]) -> Vec<String> {
    let mut nets: Vec<_> = addresses.iter().map(|a| a.net).collect();
    nets.sort_by_key(|net| net.addr().is_ipv6());
    nets.iter().map(ToString::to_string).collect()
}

/// A mistake that has words in every language, and what to do next.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) text: Text,
    pub(crate) hint: Text,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.words(Lang::En))
    }
}

impl std::error::Error for Mistake {}

impl From<LinkError> for Mistake {
    fn from(error: LinkError) -> Self {
        Self { text: error.text(), hint: error.advice() }
    }
}

impl From<EchoError> for Mistake {
    fn from(error: EchoError) -> Self {
        Self { text: error.text(), hint: error.advice() }
    }
}

/// Tells the user what went wrong and what to do next.
pub(crate) fn complain(error: &anyhow::Error, lang: Lang) {
    let words: Vec<String> = error
        .chain()
        .map(|cause| match cause.downcast_ref::<Mistake>() {
            Some(mistake) => mistake.text.words(lang).to_owned(),
            None => cause.to_string(),
        })
        .collect();
    let hint = error.chain().find_map(|cause| cause.downcast_ref::<Mistake>());
    let mut stderr = io::stderr().lock();
    // There is nowhere left to complain to.
    let words = words.join(": ");
    let words = harmless(&words, false);
    let _ = writeln!(stderr, "{} {words}", tool::error_head().words(lang));
    if let Some(mistake) = hint {
        let head = tool::hint_head();
        let hint = harmless(mistake.hint.words(lang), false);
        let _ = writeln!(stderr, "{} {hint}", head.words(lang));
    }
}

pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        kind.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        for (name, shown) in [
            ("Mac\x1b[2J\x1b]0;x\x07 mini", "Mac\u{fffd}[2J\u{fffd}]0;x\u{fffd} mini"),
            ("Mac\u{202e}inim", "Mac\u{fffd}inim"),
            ("a\u{9b}8m\r", "a\u{fffd}8m\u{fffd}"),
            ("브리지 \u{1f5a7}\tx", "브리지 \u{1f5a7}\tx"),
        ] {
            assert_eq!(harmless(name, true), shown);
            assert_eq!(harmless(name, false), shown);
        }
        let ours = "\x1b[1;31merror\x1b[0m \x1b[8m\x1b[";
        assert_eq!(harmless(ours, true), "\x1b[1;31merror\x1b[0m \u{fffd}[8m\u{fffd}[");
        assert_eq!(harmless(ours, false).matches('\x1b').count(), 0);
    }
}
