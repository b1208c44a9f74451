//! Runs a plan, step by step, so that it can be undone wherever it ends.
//!
//! Before the first step the old state is written and synced; before and after each step a line goes
//! into the journal. A step counts as done when the system shows its effect. Undoing needs nothing
//! but the journal: it looks at what is now and does what leads back ([`restore`]).
//!
//! `turn` sees to it that nobody else does so meanwhile, `journal` is the file, `error` why it stops; the system is changed by [`system::change`](crate::system::change) alone.

mod error;
mod journal;
mod turn;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

pub use self::{
    error::{ApplyError, JournalError},
    journal::{Journal, Summary},
    turn::Turn,
};
use crate::{
    plan::{Action, CommandLine, Plan, State, Step, restore, restore_keepers},
    system::{Request, change},
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

/// Runs the plan. The journal is kept in the folder of `turn`.
///
/// # Errors
/// [`ApplyError`]: it stops at the first step that fails and says where.
pub fn apply(
    plan: &Plan,
    peer: Option<IpAddr>,
    turn: &Turn,
    mut watch: impl FnMut(Progress<'_>),
) -> Result<PathBuf, ApplyError> {
    let actions: Vec<Action> = plan.steps.iter().map(|step| step.action.clone()).collect();
    let saved = change::state(&plan.interfaces, &actions).map_err(ApplyError::State)?;
    let mut journal = Journal::create(turn.folder(), &plan.interfaces, &actions, &saved)?;
    watch(Progress::Saved { journal: journal.path() });
    let request = Request { peers: peer.into_iter().collect() };
    let of = plan.steps.len();
    for (number, step) in (1..).zip(&plan.steps) {
        watch(Progress::Begin { number, of, step });
        let record = |error| ApplyError::Record { number, of, error };
        journal.begin(number).map_err(record)?;
        let commands = step.action.commands();
        for command in &commands {
            watch(Progress::Run { command });
            change::run(command).map_err(|error| ApplyError::Command { number, of, error })?;
        }
        if !took_effect(&step.action, &request) {
            return Err(ApplyError::NoEffect {
                number,
                of,
                command: commands.last().map(ToString::to_string).unwrap_or_default(),
                waited_ms: EFFECT_LIMIT.as_millis() as u64,
            });
        }
        journal.done(number).map_err(record)?;
        watch(Progress::Done);
    }
    journal.finished().map_err(|error| ApplyError::Record { number: of, of, error })?;
    if actions.iter().any(Action::switches_a_link_on) {
        wait_for_carriers(&plan.interfaces);
    }
    Ok(journal.path().to_owned())
}

/// A link that was switched on is not there at once; whoever looks next should see it. A cable
/// without a peer has no carrier, and that is for the check to say.
fn wait_for_carriers(interfaces: &[String]) {
    let has_carrier = || {
        let snapshot = change::look(&Request::default());
        let carrier = |name: &String| snapshot.interface(name).and_then(|i| i.carrier);
        interfaces.iter().all(|name| carrier(name) != Some(false))
    };
    wait_until(has_carrier);
}

fn took_effect(action: &Action, request: &Request) -> bool {
    wait_until(|| action.holds(&change::look(request)) == Some(true))
}

/// Looks until it is so; whether it ever was.
fn wait_until(is_so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + EFFECT_LIMIT;
    loop {
        if is_so() {
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
pub fn undo(
    journal: Journal,
    _turn: &Turn,
    mut watch: impl FnMut(Progress<'_>),
) -> Result<(), ApplyError> {
    let begun = journal.begun();
    let look = || change::state(journal.interfaces(), &begun).map_err(ApplyError::State);
    let mut failed = None;
    // Putting one thing back can move another (an address its routes): look again until all is so.
    for _ in 0..UNDO_ROUNDS_MAX {
        let now = look()?;
        let first = restore_keepers(journal.saved(), &now, &begun);
        let is_kept = !first.is_empty();
        let commands = if is_kept { first } else { restore(journal.saved(), &now, &begun) };
        if commands.is_empty() {
            journal.set_aside()?;
            return Ok(());
        }
        failed = None;
        for command in &commands {
            watch(Progress::Run { command });
            if let Err(error) = change::run(command) {
                // Perhaps a network manager has been quicker: whether it is still to be done is to
                // be seen.
                failed = Some(error);
                // An IPv6 address is not usable at once, and its routes have to wait for it.
                thread::sleep(SETTLED);
                break;
            }
        }
        if is_kept {
            wait_until_settled(look)?;
        }
    }
    let left = restore(journal.saved(), &look()?, &begun);
    match failed {
        _ if left.is_empty() => Ok(journal.set_aside()?),
        Some(error) => Err(ApplyError::Undo(error)),
        None => {
            Err(ApplyError::NotRestored { left: left.iter().map(ToString::to_string).collect() })
        }
    }
}

/// A network manager that was told to let go answers before it has: waits until nothing changes any
/// more.
fn wait_until_settled(look: impl Fn() -> Result<State, ApplyError>) -> Result<(), ApplyError> {
    let deadline = Instant::now() + EFFECT_LIMIT;
    let mut before = look()?;
    loop {
        thread::sleep(SETTLED);
        let now = look()?;
        if now == before || Instant::now() >= deadline {
            return Ok(());
        }
        before = now;
    }
}

/// What has not changed for so long has settled.
const SETTLED: Duration = Duration::from_millis(500);
/// Rounds of looking and putting back: one is for whoever keeps the configuration, one does the rest,
/// another puts the kernel's own routes in their places, and one is for what those have moved.
const UNDO_ROUNDS_MAX: usize = 8;
