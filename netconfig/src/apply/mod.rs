//! Runs a plan, step by step, so that it can be undone wherever it ends.
//!
//! Before the first step the old state is written and synced; before and after each step a line goes
//! into the journal. A step counts as done when the system shows its effect. Undoing needs nothing
//! but the journal: it looks at what is now and does what leads back ([`restore`]).
//!
//! `journal` is the file; the system is changed by [`system::change`](crate::system::change) alone.

mod journal;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

pub use self::journal::{Journal, JournalError, Summary};
use crate::{
    plan::{Action, CommandLine, Plan, State, Step, restore},
    system::{
        Request,
        change::{self, ChangeError},
    },
};

/// How long a step's effect may take to be seen: macOS answers before it has done it.
const EFFECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What happens, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The old state is safe.
    Saved {
        /// The journal.
        journal: &'a Path,
    },
    /// A step begins.
    Begin {
        /// Its number, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// The step.
        step: &'a Step,
    },
    /// A command is about to run.
    Run {
        /// The command.
        command: &'a CommandLine,
    },
    /// The step took effect.
    Done,
}

/// Why a plan or its undoing stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The old state cannot be kept: nothing was changed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The old state cannot be read: nothing was changed.
    #[error("the state to come back to cannot be read: {0}")]
    State(#[source] ChangeError),
    /// A command failed.
    #[error("stopped at step {number} of {of}: {source}")]
    Command {
        /// The step, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// What the command said.
        source: ChangeError,
    },
    /// The command ran, but its effect is not to be seen.
    #[error(
        "stopped at step {number} of {of}: `{command}` ran, but took no effect within {waited_ms} ms"
    )]
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
    #[error("undoing stopped: {0}")]
    Undo(#[source] ChangeError),
    /// Everything ran, and something is still not as it was.
    #[error("not everything is as it was: {} would still have to be run", .left.join("; "))]
    NotRestored {
        /// The commands that should have made it so.
        left: Vec<String>,
    },
}

impl ApplyError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Journal(error) => error.hint(),
            Self::State(error) | Self::Undo(error) => error.hint(),
            Self::Command { .. } | Self::NoEffect { .. } => {
                "what was done stays; `tbnet setup --undo` puts everything back as it was, and \
                 `tbnet check` says what is still wrong"
                    .into()
            }
            Self::NotRestored { .. } => {
                "a network manager may have put it back: stop it for this interface and run \
                 `tbnet setup --undo` again"
                    .into()
            }
        }
    }
}

/// Runs the plan. The journal is kept in `folder`.
///
/// # Errors
/// [`ApplyError`]: it stops at the first step that fails and says where.
pub fn apply(
    plan: &Plan,
    peer: Option<IpAddr>,
    folder: &Path,
    mut watch: impl FnMut(Progress<'_>),
) -> Result<PathBuf, ApplyError> {
    let actions: Vec<Action> = plan.steps.iter().map(|step| step.action.clone()).collect();
    let saved = change::state(&plan.interfaces, &actions).map_err(ApplyError::State)?;
    let mut journal = Journal::create(folder, &plan.interfaces, &actions, &saved)?;
    watch(Progress::Saved { journal: journal.path() });
    let request = Request { peers: peer.into_iter().collect() };
    let of = plan.steps.len();
    for (number, step) in (1..).zip(&plan.steps) {
        watch(Progress::Begin { number, of, step });
        journal.begin(number)?;
        let commands = step.action.commands();
        for command in &commands {
            watch(Progress::Run { command });
            change::run(command).map_err(|source| ApplyError::Command { number, of, source })?;
        }
        if !took_effect(&step.action, &request) {
            return Err(ApplyError::NoEffect {
                number,
                of,
                command: commands.last().map(ToString::to_string).unwrap_or_default(),
                waited_ms: EFFECT_LIMIT.as_millis() as u64,
            });
        }
        journal.done(number)?;
        watch(Progress::Done);
    }
    journal.finished()?;
    Ok(journal.path().to_owned())
}

fn took_effect(action: &Action, request: &Request) -> bool {
    let deadline = Instant::now() + EFFECT_LIMIT;
    loop {
        if action.holds(&change::look(request)) == Some(true) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// What undoing would do now: the commands, in order.
///
/// # Errors
/// [`ApplyError::State`].
pub fn undoing(journal: &Journal) -> Result<Vec<CommandLine>, ApplyError> {
    let begun = journal.begun();
    let now = change::state(journal.interfaces(), &begun).map_err(ApplyError::State)?;
    Ok(restore(journal.saved(), &now, &begun))
}

/// Puts everything back as it was before the setup that `journal` tells of, and sets the journal
/// aside. Run again after it was cut off, it does what is left.
///
/// # Errors
/// [`ApplyError`].
pub fn undo(journal: Journal, mut watch: impl FnMut(Progress<'_>)) -> Result<(), ApplyError> {
    // Putting one thing back can move another (an address its routes): look again until all is so.
    for _ in 0..UNDO_ROUNDS_MAX {
        let commands = undoing(&journal)?;
        if commands.is_empty() {
            journal.set_aside()?;
            return Ok(());
        }
        for command in &commands {
            watch(Progress::Run { command });
            change::run(command).map_err(ApplyError::Undo)?;
        }
    }
    let left: State =
        change::state(journal.interfaces(), &journal.begun()).map_err(ApplyError::State)?;
    let left = restore(journal.saved(), &left, &journal.begun());
    if left.is_empty() {
        journal.set_aside()?;
        return Ok(());
    }
    Err(ApplyError::NotRestored { left: left.iter().map(ToString::to_string).collect() })
}

/// Rounds of looking and putting back: one does it, another for what the first moved.
const UNDO_ROUNDS_MAX: usize = 3;
