//! One running node: the loop that joins cluster, scheduler, stage and fabric.

mod condition;
mod config;
mod facts;
mod handle;
mod layers;
mod models;
mod parts;
mod peers;
mod requests;
mod run;
mod shards;
mod society;
mod stage;
mod start;
mod view;
mod ways;

use std::path::PathBuf;

pub use config::{
    ByHand, EncryptChoice, Goal, LISTEN_PORT, NodeConfig, NodesWanted, Policy, TrustChoice,
    WeightsChoice,
};
pub use handle::{
    BytesView, ClusterView, Command, HopView, LinkView, MachineView, ModelChoice, NodeHandle,
    NodePort, NodeView, RateView, Shared, StepView,
};
pub use start::start;

use crate::{
    fabric::FabricError,
    model::ConfigError,
    weights::{ShardError, WeightsError},
};

/// Why a node was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The link, the keys, the port.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// The model's settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model's files.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// How its weights are stored.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The data folder.
    #[error("{}: {source} (hint: choose another folder with --data)", .dir.display())]
    Data {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No thread.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
}
