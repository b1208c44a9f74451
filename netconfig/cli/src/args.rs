//! What was typed, and nothing else: no file is opened and nothing is asked here.

mod link;

use std::{net::IpAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use exo_netconfig::InterfaceChoice;

pub(crate) use self::link::{PeerArgs, PingArgs, ServeArgs, SetupArgs, WatchArgs};

const EXAMPLES: &str = "\
Examples:
  tbnet check                          is this machine's Thunderbolt link right?
  tbnet check --peer 192.168.2.2       and would packets to the peer take it?
  tbnet setup --dry-run                the exact commands that would mend it
  tbnet show                           what is plugged in where, and which link is which
  tbnet snapshot ./report              record what the system says, to be looked at elsewhere
  tbnet check --from ./report --json   judge a recording, on any system";

const CHECK_EXAMPLES: &str = "\
Examples:
  tbnet check
  tbnet check --peer 192.168.2.2
  tbnet check --interface bridge0 --json
  tbnet check --from ./report

Exit codes: 0 good (warnings allowed), 1 problems, 2 could not check.
What is not known is reported as not known, never as good.";

const SHOW_EXAMPLES: &str = "\
Examples:
  tbnet show
  tbnet show --json
  tbnet show --from ./report";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  tbnet snapshot ./report
  tbnet snapshot ./report --peer 192.168.2.2

One file per source, named after its command. The answers hold addresses and the names of your
network services: look at them before you pass them on.";

/// Checks and shows the Thunderbolt bridge between machines.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judge the Thunderbolt link: what is wrong, why it matters, how to mend it
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Show the machine's links: who is at the end of which cable, in which order
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Mend what may be mended: plan, ask, run, verify; and put back
    #[command(after_help = link::SETUP_EXAMPLES)]
    Setup(SetupArgs),
    /// Follow the links live: plugged, pulled, renumbered, another address
    #[command(after_help = link::WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// Measure round trips over one interface, and beside another
    #[command(after_help = link::PING_EXAMPLES)]
    Ping(PingArgs),
    /// Tell peers what this end of the link is like
    #[command(after_help = link::SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Record what the system says into a folder, for `--from`
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(SnapshotArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The peer's address: check that its packets would take the link, and compare both ends
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Option<IpAddr>,
    /// Judge this interface instead of finding the Thunderbolt link
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    /// Judge a recorded folder instead of this machine
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Print JSON (schema 1)
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Show a recorded folder instead of this machine
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Print JSON (schema 1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotArgs {
    /// The folder to write to; it is created
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Also record which way packets to this peer would go
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Vec<IpAddr>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to print them for
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
