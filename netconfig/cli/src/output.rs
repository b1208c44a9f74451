//! How it looks: lines, wrapped paragraphs, tables, JSON; colour only on a terminal.
//!
//! Every JSON object begins with `"schema"` and `"command"`. Within a schema number keys are only
//! added, never renamed or removed.

use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
};

use exo_netconfig::snapshot::{Address, Interface};
use serde::Serialize;

/// The version of the JSON.
pub(crate) const SCHEMA: u32 = 1;

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
}

impl Output {
    pub(crate) fn to_stdout() -> Self {
        let stdout = io::stdout();
        // https://no-color.org: set to anything but nothing.
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = stdout.is_terminal() && !refused;
        Self { writer: Box::new(stdout), colour }
    }

    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.writer.write_all(bytes)?)
    }

    pub(crate) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.writer, "{}", text.trim_end())?)
    }

    /// A paragraph behind `label`; further lines are indented as far as the label reaches.
    pub(crate) fn wrapped(&mut self, label: &str, text: &str) -> anyhow::Result<()> {
        let indent = " ".repeat(label.chars().count());
        let mut line = label.to_owned();
        let mut used = indent.len();
        let mut is_first = true;
        for word in text.split_whitespace() {
            let length = word.chars().count();
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
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
        for row in &rows {
            let mut line = String::from(" ");
            for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
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

/// The state of an interface in a few words.
pub(crate) fn state(interface: &Interface) -> String {
    match (interface.up, interface.carrier) {
        (Some(false), _) => "down",
        (Some(true), Some(true)) => "active",
        (Some(true), Some(false)) => "no link",
        (Some(true), None) => "up",
        (None, _) => "state not known",
    }
    .to_owned()
}

/// Addresses as text, IPv4 first.
pub(crate) fn addresses(addresses: &[Address]) -> Vec<String> {
    let mut nets: Vec<_> = addresses.iter().map(|a| a.net).collect();
    nets.sort_by_key(|net| net.addr().is_ipv6());
    nets.iter().map(ToString::to_string).collect()
}

/// What to do next; carried as the context of an error.
#[derive(Debug)]
pub(crate) struct Hint(pub(crate) String);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells the user what went wrong and what to do next.
pub(crate) fn complain(error: &anyhow::Error) {
    let hint = error.downcast_ref::<Hint>().map(ToString::to_string);
    let words: Vec<String> = error
        .chain()
        .map(ToString::to_string)
        .filter(|words| Some(words) != hint.as_ref())
        .collect();
    let mut stderr = io::stderr().lock();
    // There is nowhere left to complain to.
    let _ = writeln!(stderr, "error: {}", words.join(": "));
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
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
