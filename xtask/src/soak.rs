//! Do transport, cluster and tbnet hold out? The long runs of what the suite does in seconds.
//!
//! | what | in the suite | here |
//! |---|---|---|
//! | `simulation` | 300 seeds | 10,000 seeds, optimised |
//! | `faults` | 6 faults between two namespaces | 100 |
//! | `cluster` | 2,000 seeds | 10,000 seeds |
//! | `survival` | 4 faults in a ring of three processes | 50, and in one of four as well |
//! | `churn` | a minute of nodes that come and go under load | `--minutes` |
//! | `parsers`, `session`, `answers` | a fixed number of inputs | as many as fit into `--minutes`, each |

use std::{
    process::Command,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{
    cargo::cargo,
    layout::Layout,
    mlx_linux, model,
    progress::{human, say, step},
    shell::hint,
    test,
};

/// Time between two lines that say how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// One of the long runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Two ends of a session in one thread, over sockets that break at random.
    Simulation,
    /// Two processes in two network namespaces, whose cable fails at random (needs root).
    Faults,
    /// Whole clusters in one thread, whose nodes crash, freeze, lose each other, come and leave.
    Cluster,
    /// Processes in network namespaces that are killed, frozen, cut off or leave while they answer
    /// (needs root).
    Survival,
    /// The same for `--minutes`, with an eye on memory and file descriptors (needs root).
    Churn,
    /// Fuzzers of all of the transport that reads bytes from outside.
    Parsers,
    /// The session's state machine, with a peer that was let in and means harm.
    Session,
    /// Fuzzers of all of tbnet that reads what the system's tools print, and of what it makes of it.
    Answers,
}

impl What {
    fn command(self, layout: &Layout, minutes: u64) -> Command {
        let mut cargo = cargo(layout);
        cargo.args(["test", "--locked"]);
        let words: &[&str] = match self {
            Self::Simulation => &["--release", "-p", "exo-transport", "--lib", "whatever_breaks"],
            Self::Faults => &["-p", "exo-tests", "--test", "link_faults"],
            Self::Cluster => &["-p", "exo-engine", "--lib", "cluster::simulation"],
            Self::Survival => &["-p", "exo-tests", "--test", "survive"],
            Self::Churn => &["-p", "exo-tests", "--test", "churn"],
            // Not optimised: so that a sum that overflows is seen.
            Self::Parsers => &["-p", "exo-transport", "--test", "fuzz"],
            Self::Session => &["-p", "exo-transport", "--lib", "hostile_peer"],
            Self::Answers => &["-p", "exo-netconfig", "--test", "fuzz"],
        };
        cargo.args(words).args(["--", "--nocapture"]);
        match self {
            Self::Simulation | Self::Cluster => cargo.env("EXO_SEEDS", "10000"),
            Self::Survival => cargo.env("EXO_RUNS", "50").env("EXO_NODES", "3,4"),
            Self::Churn => cargo.env("EXO_MINUTES", minutes.to_string()),
            Self::Faults => cargo.env("EXO_FAULTS", "100"),
            Self::Parsers | Self::Session | Self::Answers => {
                cargo.env("EXO_FUZZ_SECONDS", (minutes * 60).to_string())
            }
        };
        if self.needs_model() {
            cargo.env("EXO_TEST_MODEL_DIR", layout.model_dir());
        }
        cargo
    }

    /// Whether `exo-node` runs in it, with the demo's model.
    fn needs_model(self) -> bool {
        matches!(self, Self::Survival | Self::Churn)
    }
}

/// Runs what was asked for, or everything, also after a failure; fails if something did, or was
/// skipped.
pub(crate) fn run(layout: &Layout, what: &[What], minutes: u64) -> Result<()> {
    let what = if what.is_empty() { What::value_variants() } else { what };
    if what.iter().any(|one| one.needs_model()) {
        mlx_linux::ensure(layout)?;
        test::exo_node(layout)?;
        model::ensure(layout, false, || test::exo_node(layout))?;
    }
    let mut failed = Vec::new();
    for one in what {
        let name = format!("{one:?}").to_lowercase();
        let done = step(&name, || {
            let mut command = one.command(layout, minutes);
            watch(&name, || test::finish(&mut command, true))
        });
        if let Err(error) = done {
            say(&format!("{name} failed: {error:#}"));
            if let Some(hint) = hint(&error) {
                say(&format!("hint: {hint}"));
            }
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "did not hold out: {}", failed.join(", "));
    Ok(())
}

/// Does `work`, and says now and then that it still runs.
fn watch<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let (done, over) = sync_channel::<()>(0);
    thread::scope(|scope| {
        scope.spawn(move || {
            while over.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
                say(&format!("{name}: {} so far", human(start.elapsed())));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::shown;

    #[test]
    fn the_fuzzers_run_for_as_long_as_was_asked() {
        let layout = Layout::find().expect("xtask lies in the workspace");
        let command = What::Session.command(&layout, 3);
        assert!(shown(&command).ends_with("hostile_peer -- --nocapture"), "{}", shown(&command));
        let seconds = command.get_envs().find(|(name, _)| *name == "EXO_FUZZ_SECONDS");
        assert_eq!(seconds.and_then(|(_, value)| value), Some("180".as_ref()));
    }

    #[test]
    fn what_is_watched_gives_what_it_gave() {
        assert_eq!(watch("a test", || 7), 7);
    }
}
