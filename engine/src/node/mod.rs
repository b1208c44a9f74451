//! One running node: the loop that joins cluster, scheduler, stage and fabric.

mod handle;

pub use handle::{
    ClusterView, Command, HopView, LinkView, ModelChoice, NodeHandle, NodePort, NodeView, Shared,
};
