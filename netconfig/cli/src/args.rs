//! What was typed, and nothing else: no file is opened and nothing is asked here.

mod live;
mod number;
mod setup;

use std::{
    net::{AddrParseError, IpAddr},
    path::PathBuf,
    str::FromStr,
};

use clap::{Parser, Subcommand};
use exo_netconfig::{InterfaceChoice, text::Lang};
use ipnet::Ipv4Net;

use self::live::{PING_EXAMPLES, SERVE_EXAMPLES, WATCH_EXAMPLES};
pub(crate) use self::live::{PeerArgs, PingArgs, ServeArgs, WatchArgs};
pub(crate) use self::number::NoNumber;
pub(crate) use self::setup::SetupArgs;

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tbnet completions zsh > ~/.zfunc/_tbnet     a folder of $fpath
  tbnet completions fish > ~/.config/fish/completions/tbnet.fish
  eval \"$(tbnet completions bash)\"            for this shell";

const MAN_EXAMPLES: &str = "\
Examples:
  tbnet man | man -l -                        to read it (on Linux)
  tbnet man ~/.local/share/man/man1           a page for each command";

const EXAMPLES: &str = "\
Examples:
  tbnet check                          is this machine's Thunderbolt link right?
  tbnet check --peer 192.168.2.2       and the other end, which runs `tbnet serve` or exo-node?
  tbnet setup --dry-run                the exact commands that would mend it
  tbnet show                           what is plugged in where, and which link is which
  tbnet watch                          what changes, as it changes
  tbnet ping 192.168.2.2               how long packets take over the link
  tbnet snapshot ./report              record what the system says, to be looked at elsewhere
  tbnet check --from ./report --json   judge a recording, on any system";

const CHECK_EXAMPLES: &str = "\
Examples:
  tbnet check
  tbnet check --peer 192.168.2.2                        compares both ends, measures the way
  tbnet check --peer 192.168.2.2 --peer 192.168.2.3     three machines: do their cables form a ring?
  tbnet check --interface bridge0 --json
  tbnet check --from ./report

Exit codes: 0 good (warnings allowed), 1 problems, 2 could not check.
What is not known is reported as not known, never as good.";

const SHOW_EXAMPLES: &str = "\
Examples:
  tbnet show
  tbnet show --json
  tbnet show --peer 192.168.2.2          and which way packets to it would go
  tbnet show --from ./report";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  tbnet snapshot ./report
  tbnet snapshot ./report --mask --peer 192.168.2.2

One file per source, named after its command. Without --mask the answers hold hardware addresses
and the names of your network services: look at them before you pass them on.";

/// Checks, mends and shows the Thunderbolt bridge between machines
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Language of what is said: en or ko; else that of the locale (JSON: English)
    #[arg(long, global = true, value_name = "LANG")]
    pub(crate) lang: Option<Lang>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// Whether a script is to read the answer.
    pub(crate) fn wants_json(&self) -> bool {
        match &self.command {
            Command::Check(args) => args.json,
            Command::Setup(args) => args.json,
            Command::Show(args) => args.json,
            Command::Watch(args) => args.json,
            Command::Ping(args) => args.json,
            _ => false,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judge the Thunderbolt link: what is wrong, why it matters, how to mend it
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Mend what may be mended: plan, ask, run, verify; and put back
    #[command(after_help = setup::EXAMPLES)]
    Setup(SetupArgs),
    /// Show the machine's links: who is at the end of which cable, in which order
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Record what the system says into a folder, for `--from`
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(SnapshotArgs),
    /// Answer `tbnet check --peer` from the other machine
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Follow hot-plug and every other change of the links, live
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// Measure how long packets take to a peer and back, kept on the link
    #[command(after_help = PING_EXAMPLES)]
    Ping(PingArgs),
    /// Print shell completions
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write all of them into a folder
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The peer's address: ask its end and compare; once for each further machine, to see rings
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Vec<PeerAddress>,
    /// The address that this machine is to have on the link
    #[arg(long, value_name = "IP/PREFIX")]
    pub(crate) address: Option<Ipv4Net>,
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
    /// Also show which way packets to this peer would go
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Vec<PeerAddress>,
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
    /// Also record which way packets to this peer would go, and what it says of its end
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Vec<PeerAddress>,
    /// Replace names, serial numbers, hardware addresses and UUIDs, the same by the same
    #[arg(long)]
    pub(crate) mask: bool,
    /// Find the peer over this interface instead of the Thunderbolt link
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to print them for
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
}

/// An address, with the interface that a link-local one needs: `fe80::2%bridge0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerAddress {
    pub(crate) ip: IpAddr,
    pub(crate) scope: Option<String>,
}

impl PeerAddress {
    /// The interface to use: the one named with the address if none was chosen otherwise.
    pub(crate) fn narrow(&self, choice: &InterfaceChoice) -> InterfaceChoice {
        match (choice, &self.scope) {
            (InterfaceChoice::Auto, Some(scope)) => InterfaceChoice::Named(scope.clone()),
            _ => choice.clone(),
        }
    }
}

impl FromStr for PeerAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ip, scope) = match text.split_once('%') {
            Some((ip, scope)) if !scope.is_empty() => (ip, Some(scope.to_owned())),
            _ => (text, None),
        };
        Ok(Self { ip: ip.parse()?, scope })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_peer_may_name_its_interface() {
        let peer: PeerAddress = "fe80::2%bridge0".parse().unwrap();
        assert_eq!(peer.scope.as_deref(), Some("bridge0"));
        assert_eq!("10.0.0.2".parse::<PeerAddress>().unwrap().scope, None);
        assert!("fe80::2%".parse::<PeerAddress>().is_err());
        assert!("the-other-mac".parse::<PeerAddress>().is_err());
    }
}
