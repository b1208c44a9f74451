//! Arguments of the commands that reach over the link or follow it.

use std::path::PathBuf;

use exo_netconfig::InterfaceChoice;

use super::{PeerAddress, number::number};

/// Where `exo-node serve` and `tbnet serve` listen.
const PORT: u16 = 52_416;

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  tbnet serve                       here, then on the other machine: tbnet check --peer 192.168.2.1
  tbnet serve --interface en5 --cluster-key-file cluster.key

An exo-node that serves answers too: then this is not needed.";

pub(super) const WATCH_EXAMPLES: &str = "\
Examples:
  tbnet watch                       every change of every link, until Ctrl-C
  tbnet watch --interface bridge0
  tbnet watch --json                one object a line";

pub(super) const PING_EXAMPLES: &str = "\
Examples:
  tbnet ping 192.168.2.2
  tbnet ping 192.168.2.2 --size 8192 --count 1000
  tbnet ping 192.168.2.2 --versus en0 --versus-peer 192.168.1.7   the cable beside Wi-Fi

Exit codes: 0 the peer answered, 1 it did not (over one of the interfaces), 2 could not measure.";

/// Whom to believe, and where a peer answers.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PeerArgs {
    /// The port on which the other machine answers, and this one
    #[arg(long, value_name = "PORT", default_value_t = PORT, value_parser = number(0..=u16::MAX))]
    pub(crate) port: u16,
    /// The cluster's key; needed on every link but a Thunderbolt cable
    #[arg(long, value_name = "FILE", env = "EXO_CLUSTER_KEY_FILE")]
    pub(crate) cluster_key_file: Option<PathBuf>,
    /// Folder of this machine's own key, shared with exo-node
    #[arg(long, value_name = "DIR", env = "EXO_DATA")]
    pub(crate) data: Option<PathBuf>,
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
    #[arg(long = "for", value_name = "SECONDS", value_parser = number(0..=u64::MAX))]
    pub(crate) seconds: Option<u64>,
    /// Print one JSON object a line (schema 1)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PingArgs {
    /// The peer's address
    #[arg(value_name = "PEER")]
    pub(crate) peer: PeerAddress,
    /// Keep the packets on this interface instead of the Thunderbolt link
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    /// Measure over this interface too, turn by turn
    #[arg(long, value_name = "NAME")]
    pub(crate) versus: Option<String>,
    /// The peer's address over the other interface, if it is another
    #[arg(long, value_name = "IP", requires = "versus")]
    pub(crate) versus_peer: Option<PeerAddress>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = number(1..=1_000_000_u32))]
    pub(crate) count: u32,
    /// Bytes that each carries
    #[arg(long, value_name = "BYTES", default_value_t = 56, value_parser = number(16..=65_000_u32))]
    pub(crate) size: u32,
    /// Milliseconds between two
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = number(0..=60_000_u64))]
    pub(crate) interval_ms: u64,
    /// Print JSON (schema 1)
    #[arg(long)]
    pub(crate) json: bool,
}
