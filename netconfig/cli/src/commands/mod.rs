//! One file per command.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod man;
mod peer;
pub(crate) mod ping;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod show;
pub(crate) mod snapshot;
pub(crate) mod watch;

use std::{net::IpAddr, path::Path, process::ExitCode};

use exo_netconfig::{
    Snapshot,
    check::Verdict,
    system::{self, Request, recorded},
};

use crate::output::Mistake;

/// How it ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Good; warnings are allowed.
    Good,
    /// At least one problem.
    Problems,
    /// It could not be checked.
    CouldNotCheck,
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Good => Self::Good,
            Verdict::Problems => Self::Problems,
            Verdict::CouldNotCheck => Self::CouldNotCheck,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Problems => 1,
            Exit::CouldNotCheck => 2,
        })
    }
}

/// The running system's snapshot, or a recorded one.
fn snapshot_of(from: Option<&Path>, peers: &[IpAddr]) -> anyhow::Result<Snapshot> {
    let request = Request { peers: peers.to_vec() };
    match from {
        None => Ok(system::collect(&request)),
        Some(folder) => Ok(recorded::load(folder, &request).map_err(mistake)?),
    }
}

fn mistake(error: recorded::RecordError) -> Mistake {
    Mistake { text: error.text(), hint: error.hint() }
}
