//! Why a setup or its undoing stopped.

use std::{fmt, io, path::PathBuf};

use super::journal::NUMBER_MAX;
use crate::{
    system::change::ChangeError,
    text::{Lang, Text, apply as say},
};

/// Why a plan or its undoing stopped.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApplyError {
    /// The old state cannot be kept: nothing was changed.
    Journal(JournalError),
    /// The old state cannot be read: nothing was changed.
    State(ChangeError),
    /// How far it came cannot be kept: what was done before stays.
    Record {
        /// The step, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// Why not.
        error: JournalError,
    },
    /// A command failed.
    Command {
        /// The step, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// What the command said.
        error: ChangeError,
    },
    /// The command ran, but its effect is not to be seen.
    NoEffect {
        /// The step, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// The last command of the step.
        command: String,
        /// How long was waited.
        waited_ms: u64,
    },
    /// A command of the undoing failed.
    Undo(ChangeError),
    /// Everything ran, and something is still not as it was.
    NotRestored {
        /// The commands that should have made it so.
        left: Vec<String>,
    },
}

impl ApplyError {
    /// What went wrong, and where.
    pub fn text(&self) -> Text {
        match self {
            Self::Journal(error) => error.text(),
            Self::State(error) => say::state_unreadable(error.text()),
            Self::Record { number, of, error } => say::command_failed(number, of, error.text()),
            Self::Command { number, of, error } => say::command_failed(number, of, error.text()),
            Self::NoEffect { number, of, command, waited_ms } => {
                say::no_effect(number, of, command, waited_ms)
            }
            Self::Undo(error) => say::undo_failed(error.text()),
            Self::NotRestored { left } => say::not_restored(left.join("; ")),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Text {
        match self {
            Self::Journal(error) => error.hint(),
            Self::State(error) | Self::Undo(error) => error.hint(),
            Self::Record { .. } | Self::Command { .. } | Self::NoEffect { .. } => {
                say::stopped_hint()
            }
            Self::NotRestored { .. } => say::not_restored_hint(),
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

impl std::error::Error for ApplyError {}

impl From<JournalError> for ApplyError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// Why a journal cannot be written or read.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalError {
    /// The file or folder.
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// It is not what this program writes.
    Malformed {
        /// Which.
        path: PathBuf,
        /// What was stumbled over.
        detail: String,
    },
    /// Another setup, or undoing, is at work.
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// There are as many as there may be.
    Full {
        /// The folder.
        folder: PathBuf,
    },
}

impl JournalError {
    /// What went wrong.
    pub fn text(&self) -> Text {
        match self {
            Self::Io { path, error } => say::journal_io(path.display(), error),
            Self::Malformed { path, detail } => say::journal_malformed(path.display(), detail),
            Self::Busy { folder } => say::busy(folder.display()),
            Self::Full { folder } => say::journals_full(folder.display(), NUMBER_MAX),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Text {
        match self {
            Self::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                say::journal_permission_hint()
            }
            Self::Io { .. } => say::journal_io_hint(),
            Self::Malformed { path, .. } => say::journal_malformed_hint(path.display()),
            Self::Busy { .. } => say::busy_hint(),
            Self::Full { folder } => say::journals_full_hint(folder.display()),
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

impl std::error::Error for JournalError {}
