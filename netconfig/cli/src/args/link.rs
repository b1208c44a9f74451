//! Arguments of the commands that reach over the link or change it.

use std::{net::IpAddr, path::PathBuf};

use exo_netconfig::InterfaceChoice;
use ipnet::Ipv4Net;

/// Where `exo-node serve` and `tbnet serve` listen.
pub(crate) const PORT: u16 = 52_416;

pub(crate) const SETUP_EXAMPLES: &str = "\
Examples:
  tbnet setup --dry-run                    the exact commands, and what each changes
  tbnet setup                              asks, then runs them; sudo only where it is needed
  tbnet setup --peer 192.168.2.2 --yes     agree with the peer if it answers
  tbnet setup --per-port                   one /30 per cable, without a bridge
  tbnet setup --undo                       put everything back as it was

Never touched: Wi-Fi, Internet Sharing, other locations, a bridge in a ring.
Exit codes: 0 good, 1 problems are left, 2 it stopped or could not begin.";

pub(crate) const SERVE_EXAMPLES: &str = "\
Examples:
  tbnet serve                                        on the other machine, for `tbnet check --peer`
  tbnet serve --interface en5 --cluster-key-file cluster.key

An exo-node that serves answers too: then this is not needed.";

pub(crate) const WATCH_EXAMPLES: &str = "\
Examples:
  tbnet watch                    every change of every link, until Ctrl-C
  tbnet watch --interface bridge0
  tbnet watch --json             one object a line";

pub(crate) const PING_EXAMPLES: &str = "\
Examples:
  tbnet ping 192.168.2.2
  tbnet ping 192.168.2.2 --size 8192 --count 1000
  tbnet ping 192.168.2.2 --versus en0 --versus-peer 192.168.1.7   the cable beside Wi-Fi";

/// Whom to believe, and where a peer listens.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PeerArgs {
    /// The port on which the peer answers
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    pub(crate) port: u16,
    /// The cluster's key; needed on every link but a Thunderbolt cable
    #[arg(long, value_name = "FILE", env = "EXO_CLUSTER_KEY_FILE")]
    pub(crate) cluster_key_file: Option<PathBuf>,
    /// Folder of this machine's own key, shared with exo-node
    #[arg(long, value_name = "DIR", env = "EXO_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetupArgs {
    /// Print the commands and what each changes, and change nothing
    #[arg(long, conflicts_with_all = ["undo", "yes"])]
    pub(crate) dry_run: bool,
    /// Put everything back as it was before the last setup
    #[arg(long, conflicts_with_all = ["from", "peer", "address", "mtu", "per_port"])]
    pub(crate) undo: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Set up this interface instead of the Thunderbolt link
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    /// The peer's address: agree with it if it answers
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Option<IpAddr>,
    /// This machine's address, instead of one that is chosen
    #[arg(long, value_name = "IP/PREFIX")]
    pub(crate) address: Option<Ipv4Net>,
    /// The largest packet, in bytes; both ends must have the same
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,
    /// One /30 per cable, without a bridge
    #[arg(long, conflicts_with = "address")]
    pub(crate) per_port: bool,
    /// Plan for a recorded folder instead of this machine
    #[arg(long, value_name = "DIR", requires = "dry_run")]
    pub(crate) from: Option<PathBuf>,
    /// Where the old state is kept
    #[arg(long, value_name = "DIR", env = "TBNET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Print JSON (schema 1); with --dry-run
    #[arg(long, requires = "dry_run")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Answer on this interface instead of the Thunderbolt link
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// Follow this interface alone
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) seconds: Option<u64>,
    /// Print one JSON object a line (schema 1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PingArgs {
    /// The peer's address
    #[arg(value_name = "PEER")]
    pub(crate) peer: IpAddr,
    /// Keep the packets on this interface instead of the Thunderbolt link
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    /// Measure over this interface too, turn by turn
    #[arg(long, value_name = "NAME")]
    pub(crate) versus: Option<String>,
    /// The peer's address over the other interface, if it is another
    #[arg(long, value_name = "IP", requires = "versus")]
    pub(crate) versus_peer: Option<IpAddr>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Bytes that each carries
    #[arg(long, value_name = "BYTES", default_value_t = 56)]
    pub(crate) size: u32,
    /// Milliseconds between two
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub(crate) interval_ms: u64,
    /// Print JSON (schema 1)
    #[arg(long)]
    pub(crate) json: bool,
}
