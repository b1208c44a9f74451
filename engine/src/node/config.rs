//! What a node is started with.

use std::path::PathBuf;

use clap::ValueEnum;

use super::ModelChoice;
pub use crate::cluster::{ByHand, Goal};
use crate::fabric::InterfaceChoice;
pub use crate::{scheduler::Policy, weights::WeightsChoice};

/// The port that nodes listen on for each other, unless told otherwise.
pub const LISTEN_PORT: u16 = 52416;

/// All that starting a node needs to know; resolved, but nothing is opened yet.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// What people call this node. Never empty.
    pub name: String,
    /// The interface that every connection to other nodes is pinned to.
    pub interface: InterfaceChoice,
    /// TCP port for other nodes; 0 takes any free one.
    pub listen: u16,
    /// `host:port` of nodes to connect to, as the user gave them: the node resolves and retries.
    pub peers: Vec<String>,
    /// Whether to announce this node on the link and look for others there.
    pub discovery: bool,
    /// Memory offered for weights and caches, in bytes. At least 1.
    pub memory_bytes: u64,
    /// How quantised weights lie in memory.
    pub weights: WeightsChoice,
    /// The model to place, once `nodes` are there.
    pub model: Option<ModelChoice>,
    /// Over how many nodes it is placed.
    pub nodes: NodesWanted,
    /// What the placement should be good at.
    pub goal: Goal,
    /// Layers that the user gave to nodes by name; then `nodes` and `goal` count no more.
    pub layers: Option<ByHand>,
    /// Whether a node that comes takes its share of a model that runs.
    pub rebalance: bool,
    /// Folder of models, keys and pins. Need not exist yet.
    pub data: PathBuf,
    /// File with the cluster's key: 64 hexadecimal digits, readable by its owner alone.
    pub cluster_key_file: Option<PathBuf>,
    /// Whom to believe without, or beside, a cluster key.
    pub trust: TrustChoice,
    /// Whether frames are sealed.
    pub encrypt: EncryptChoice,
    /// How steps are made up, where this node holds layer 0.
    pub policy: Policy,
    /// `address:port` of this node's HTTP API, as shown to peers.
    pub api: String,
}

/// Over how many nodes a model is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodesWanted {
    /// The fewest whose memory holds it.
    #[default]
    Smallest,
    /// Exactly so many, waiting until they are there. At least 1.
    Exactly(u32),
    /// All that are there.
    All,
}

/// Whom a node believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TrustChoice {
    /// On a Thunderbolt link of two stations the first peer is believed and pinned.
    #[default]
    FirstUse,
    /// Only peers that are pinned already, or hold the cluster's key.
    Pinned,
    /// Only peers that hold the cluster's key; nothing is pinned.
    None,
}

/// Whether frames between nodes are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum EncryptChoice {
    /// Everywhere but on a Thunderbolt cable.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never: frames are authenticated at the handshake only.
    Off,
}
