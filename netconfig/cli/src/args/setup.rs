//! Arguments of `tbnet setup`.

use std::path::PathBuf;

use exo_netconfig::InterfaceChoice;
use ipnet::Ipv4Net;

use super::{PeerAddress, PeerArgs, number::number};

pub(super) const EXAMPLES: &str = "\
Examples:
  tbnet setup --dry-run                  the exact commands, and what each changes
  tbnet setup                            asks, then runs them; sudo only where it is needed
  tbnet setup --peer 192.168.2.2 --yes   agrees with the peer if it answers; does not ask
  tbnet setup --per-port                 one /30 per cable, without a bridge
  tbnet setup --undo                     puts everything back as it was

Never touched: Wi-Fi, Internet Sharing, other locations, a bridge in a ring.
Exit codes: 0 good, 1 problems are left, 2 it stopped, could not begin or could not check.
With --dry-run: as it would be once every step is done.";

#[derive(Debug, clap::Args)]
pub(crate) struct SetupArgs {
    /// Print the commands and what each changes, and change nothing
    #[arg(long, conflicts_with_all = ["undo", "yes"])]
    pub(crate) dry_run: bool,
    /// Put everything back as it was before the last setup
    #[arg(long, conflicts_with_all = ["from", "peer", "interface", "address", "mtu", "per_port"])]
    pub(crate) undo: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Set up this interface instead of the Thunderbolt link
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    /// The peer's address: agree with it if it answers, and mend the way to it as well
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Option<PeerAddress>,
    /// This machine's address, instead of one that is chosen
    #[arg(long, value_name = "IP/PREFIX")]
    pub(crate) address: Option<Ipv4Net>,
    /// The largest packet, in bytes; both ends must have the same
    #[arg(long, value_name = "BYTES", value_parser = number(0..=u32::MAX))]
    pub(crate) mtu: Option<u32>,
    /// One /30 per cable, without a bridge
    #[arg(long, conflicts_with_all = ["address", "interface"])]
    pub(crate) per_port: bool,
    /// Plan for a recorded folder instead of this machine
    #[arg(long, value_name = "DIR", requires = "dry_run")]
    pub(crate) from: Option<PathBuf>,
    /// Where the old state is kept
    #[arg(long, value_name = "DIR", env = "TBNET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Print JSON (schema 1)
    #[arg(long, requires = "dry_run")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,
}
