//! The endpoint that is measured: on which link, whom it believes, how it waits.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::ValueEnum;
use exo_netconfig::{InterfaceChoice, Link};
use exo_transport::{
    ClusterKey, Drive, Encrypt, Endpoint, EndpointConfig, Event, Identity, QueuePair, Trust,
};
use serde::{Deserialize, Serialize};

/// Where `tbbench serve` listens unless told otherwise.
pub(crate) const LISTEN_PORT: u16 = 52_417;
/// The budget of `spin` mode.
const SPIN_US: u64 = 20_000;
/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How a side waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// It looks again and again: costs a core, saves the wake-up.
    Spin,
    /// It sleeps until the system wakes it.
    Wait,
}

/// Which thread does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrangement {
    /// As the engine has it: a worker posts and hears, the transport's own thread reads.
    Engine,
    /// The thread that posts also drives the connection.
    Inline,
}

/// Whether frames are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EncryptChoice {
    /// On links chosen by hand, not on a Thunderbolt cable.
    Auto,
    /// Always.
    On,
    /// Only if the other side asks for it.
    Off,
}

/// What every command that opens a link is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LinkArgs {
    /// The link; `auto` takes the validated Thunderbolt link and nothing else.
    #[arg(long, value_name = "NAME|auto", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    /// The cluster's key, which any link but a Thunderbolt cable needs. On a cable without a key
    /// the first peer is believed for as long as this program runs.
    #[arg(long, value_name = "FILE", env = "EXO_CLUSTER_KEY_FILE")]
    pub(crate) cluster_key_file: Option<PathBuf>,
    /// Whether frames are sealed; one side that wants it is enough.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) encrypt: EncryptChoice,
    /// How this side waits.
    #[arg(long, value_enum, default_value = "wait")]
    pub(crate) mode: Mode,
    /// In `spin` mode: how long the transport looks for work before it sleeps, in microseconds.
    #[arg(long, value_name = "N", default_value_t = SPIN_US)]
    pub(crate) spin_us: u64,
    /// Which thread does what on this side.
    #[arg(long, value_enum, default_value = "engine")]
    pub(crate) arrangement: Arrangement,
}

impl LinkArgs {
    /// As the engine has it, with this key. Which link, and how it waits, is set by whoever opens it.
    pub(crate) fn plain(cluster_key_file: Option<PathBuf>) -> Self {
        Self {
            interface: InterfaceChoice::Auto,
            cluster_key_file,
            encrypt: EncryptChoice::Auto,
            mode: Mode::Wait,
            spin_us: SPIN_US,
            arrangement: Arrangement::Engine,
        }
    }
}

/// An open endpoint.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    /// Holds the one key that a cable without a cluster key remembers.
    _store: tempfile::TempDir,
}

impl Node {
    pub(crate) fn open(args: &LinkArgs, listen: u16) -> anyhow::Result<Self> {
        Self::open_as(args, listen, Identity::generate())
    }

    /// One of several endpoints of the same node.
    pub(crate) fn open_as(
        args: &LinkArgs,
        listen: u16,
        identity: Identity,
    ) -> anyhow::Result<Self> {
        let link = Link::open(&args.interface)?;
        let store = tempfile::tempdir().context("a folder for the peer's key")?;
        let trust = match &args.cluster_key_file {
            Some(file) => Trust::ClusterKey(ClusterKey::from_file(file)?),
            None => Trust::FirstUse { store: store.path().join("peers") },
        };
        let config = EndpointConfig {
            listen,
            encrypt: match args.encrypt {
                EncryptChoice::Auto => Encrypt::Auto,
                EncryptChoice::On => Encrypt::On,
                EncryptChoice::Off => Encrypt::Off,
            },
            drive: match args.arrangement {
                Arrangement::Engine => Drive::Background,
                Arrangement::Inline => Drive::Inline,
            },
            spin_us: if args.mode == Mode::Spin { args.spin_us } else { 0 },
            software: concat!("tbbench/", env!("CARGO_PKG_VERSION")).into(),
            ..EndpointConfig::new("tbbench", trust)
        };
        let endpoint = Endpoint::open(link, identity, config)?;
        Ok(Self { endpoint, _store: store })
    }

    /// Connects to `tbbench serve`.
    pub(crate) fn connect(&self, peer: Peer) -> anyhow::Result<QueuePair> {
        self.endpoint.connect(peer.0)?;
        let deadline = Instant::now() + CONNECT_PATIENCE;
        loop {
            let event = self.endpoint.events().recv_deadline(deadline);
            match event.with_context(|| format!("no connection with {} in time", peer.0))? {
                Event::Connected { queue_pair } => return Ok(queue_pair),
                Event::ConnectFailed { error, .. } => {
                    return Err(error)
                        .context("hint: `tbbench serve` has to run there, with the same key");
                }
                _ => {}
            }
        }
    }
}

/// The other end: an address, with the port of `tbbench serve` if none is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl std::str::FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alone = |_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, LISTEN_PORT));
        text.parse().or_else(alone).map(Self).map_err(|_| {
            format!("{text} is no address; hint: 192.168.2.2 or 192.168.2.2:{LISTEN_PORT}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_needs_no_port() {
        let peer: Peer = "192.168.2.2".parse().unwrap();
        assert_eq!(peer.0, SocketAddr::from(([192, 168, 2, 2], LISTEN_PORT)));
        let peer: Peer = "[fe80::1%3]:9".parse().unwrap();
        assert_eq!(peer.0.port(), 9);
        assert!("mini".parse::<Peer>().unwrap_err().contains("hint"));
    }
}
