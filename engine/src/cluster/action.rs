//! What is placed, what has to be done about it, and where a node stands.

use super::{Assignment, Placement, Wish};
use crate::{
    fabric::{
        NodeId,
        messages::{ClusterMessage, Place},
    },
    model::ModelShape,
};

/// A model on this node's disk that it wants placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownModel {
    /// Its name.
    pub name: String,
    /// Its files' fingerprint.
    pub fingerprint: [u8; 32],
    /// Its size.
    pub shape: ModelShape,
}

/// A model over nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedModel {
    /// Its epoch.
    pub epoch: u64,
    /// Its proposer.
    pub proposer: NodeId,
    /// The model's name.
    pub name: String,
    /// Its files' fingerprint.
    pub fingerprint: [u8; 32],
    /// Who holds what.
    pub placement: Placement,
    /// Its size.
    pub shape: ModelShape,
}

impl PlacedModel {
    /// As it is told to other nodes.
    pub(super) fn message(&self, wish: &Wish) -> Place {
        let range = |a: &Assignment| (*a.node.as_bytes(), a.range.start(), a.range.end());
        Place {
            placement_epoch: self.epoch,
            proposer: *self.proposer.as_bytes(),
            model: self.name.clone(),
            fingerprint: self.fingerprint,
            layers: self.placement.layers(),
            ranges: self.placement.assignments().iter().map(range).collect(),
            shape: self.shape.clone(),
            wish: wish.clone(),
        }
    }
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Tell one node.
    Send(NodeId, ClusterMessage),
    /// Tell all.
    Broadcast(ClusterMessage),
    /// Load this node's layers of the placement (or drop what is held, if it has none in it).
    Load(PlacedModel),
    /// Load what this node lacks for this placement, beside what runs.
    Prepare(PlacedModel),
    /// All layers are loaded: requests may run.
    Ready,
}

/// Where this node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is placed; why.
    Waiting(String),
    /// Layers are being loaded; by whom still.
    Loading(String),
    /// Requests run.
    Ready,
    /// The model cannot be loaded; why.
    Failed(String),
}

/// The count in an epoch. The lower half names the proposer, so that no two placements share one.
#[must_use]
pub fn epoch_count(epoch: u64) -> u64 {
    epoch >> 32
}
