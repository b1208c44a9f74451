//! A section of a snapshot: known together with its source, or not known together with the reason.

use std::fmt;

use serde::Serialize;

use crate::text::{Lang, Text, words};

const CONNECTION: &str = "connection to ";
const END_REPORT: &str = "end report of ";
const END_REPORTS: &str = "end reports of ";
const ICMP_ECHO: &str = "ICMP echo";

/// The command or file a fact was read from, as a person would type it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Source(String);

impl Source {
    /// Names a source: a command line (`networksetup -listallhardwareports`) or a path.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// What talking to the peer showed.
    pub(crate) fn connection(peer: impl fmt::Display) -> Self {
        Self(format!("{CONNECTION}{peer}"))
    }

    /// What a machine says of its end of the link.
    pub(crate) fn end_report(machine: &str) -> Self {
        Self(format!("{END_REPORT}{machine}"))
    }

    /// What two machines say of their ends.
    pub(crate) fn end_reports(one: &str, other: &str) -> Self {
        Self(format!("{END_REPORTS}{one}, {other}"))
    }

    /// What an echo showed.
    pub(crate) fn icmp_echo() -> Self {
        Self(ICMP_ECHO.to_owned())
    }

    /// For people: a command or a file is in no language, what was learned by talking is.
    pub fn text(&self) -> Text {
        let after = |prefix: &str| self.0.strip_prefix(prefix);
        if let Some(peer) = after(CONNECTION) {
            words::source_connection(peer)
        } else if let Some(machine) = after(END_REPORT) {
            words::source_end_report(machine)
        } else if let Some(machines) = after(END_REPORTS) {
            words::source_end_reports(machines)
        } else if self.0 == ICMP_ECHO {
            words::source_icmp_echo()
        } else {
            Text::verbatim(&self.0)
        }
    }

    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Unknown {
    /// A recorded set has no such file, or the machine has no such command or file.
    Missing {
        /// The file or command that is not there.
        what: String,
    },
    /// The source was there but its words could not be understood.
    Unreadable {
        /// What the parser stumbled over.
        detail: String,
    },
    /// The source did not answer within its bound.
    TimedOut {
        /// The bound that was set.
        limit_ms: u64,
    },
    /// The system refused.
    Permission {
        /// What the system said.
        detail: String,
    },
    /// The command ran and failed, or the file could not be read.
    Failed {
        /// What the system said.
        detail: String,
    },
    /// Nobody asked: quick snapshots leave out the slow sources.
    NotAsked,
}

impl Unknown {
    /// The reason in words.
    pub fn text(&self) -> Text {
        match self {
            Self::Missing { what } => words::there_is_no(what),
            Self::Unreadable { detail } => words::not_understood(detail),
            Self::TimedOut { limit_ms } => words::no_answer_within(limit_ms),
            Self::Permission { detail } => words::permission_denied(detail),
            Self::Failed { detail } => words::failed(detail),
            Self::NotAsked => words::not_asked(),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

impl std::error::Error for Unknown {}

/// A section of a snapshot: what a source said, why it said nothing, or that there is no such thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Reading<T> {
    /// The source answered.
    Known {
        /// What it said.
        value: T,
        /// Who said it.
        source: Source,
    },
    /// Nothing is known, for a stated reason. Never to be treated as "fine".
    Unknown {
        /// Who was (or would have been) asked.
        source: Source,
        /// Why there is no answer.
        why: Unknown,
    },
    /// This platform has no such thing.
    NotApplicable,
}

impl<T> Reading<T> {
    /// An answer and its source.
    pub fn known(value: T, source: Source) -> Self {
        Self::Known { value, source }
    }

    /// The answer, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The source that was asked, whether it answered or not.
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::Known { source, .. } | Self::Unknown { source, .. } => Some(source),
            Self::NotApplicable => None,
        }
    }

    /// Whether the answer is missing although the platform has one.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

impl<T> Reading<Vec<T>> {
    /// The items, none if they are not known. Only for lists where absence is judged elsewhere.
    pub fn items(&self) -> &[T] {
        self.value().map_or(&[], Vec::as_slice)
    }
}
