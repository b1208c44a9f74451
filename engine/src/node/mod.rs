//! One running node: the loop that joins cluster, scheduler, stage and fabric.

mod config;
mod handle;

pub use config::{EncryptChoice, LISTEN_PORT, NodeConfig, NodesWanted, TrustChoice};
pub use handle::{
    ClusterView, Command, HopView, LinkView, ModelChoice, NodeHandle, NodePort, NodeView, Shared,
};
