//! Which node holds which layers? Pure: offers, a model's shape and a [`Wish`] in, ranges out.
//!
//! | file | question |
//! |---|---|
//! | `wish` | how many nodes, chosen by what? |
//! | `cost` | what do some layers cost on a node: memory, time, the way to it? |
//! | `search` | which cut of the model over which ring costs least? |
//! | `plan` | which ring is taken, what does it give, what was left out, and why? |
//! | `words` | the same for a person |
//! | `chips` | what may be expected of a machine that is only described? |

mod chips;
mod cost;
mod plan;
mod search;
#[cfg(test)]
mod tests;
mod wish;
mod words;

pub use chips::Chip;
pub use cost::{LinkSpeed, Links, NodeSpeed, cache_tokens, needed_bytes};
pub use plan::{Estimate, Plan, StagePlan, place, plan};
pub use wish::{ByHand, Goal, NodesWanted, ParseLayersError, Wish};
pub use words::millis;

use crate::{fabric::NodeId, layers::LayerRange};

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Who.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Bytes.
    pub memory: u64,
    /// How fast it is, if that was measured.
    pub speed: Option<NodeSpeed>,
}

/// One node's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Who.
    pub node: NodeId,
    /// Which layers.
    pub range: LayerRange,
}

/// Ranges in ring order that tile a model exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    assignments: Vec<Assignment>,
    layers: u32,
}

/// Why there is no placement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Fewer nodes than were asked for.
    #[error("{there} of {wanted} nodes are there")]
    TooFewNodes {
        /// How many are there.
        there: usize,
        /// How many were asked for.
        wanted: usize,
    },
    /// More nodes than layers.
    #[error("{nodes} nodes for {layers} layers: each must hold one at least")]
    TooManyNodes {
        /// Nodes asked for.
        nodes: usize,
        /// Layers of the model.
        layers: u32,
    },
    /// The model does not fit.
    #[error(
        "the model needs {} but {} offered{}", gib(*.needed), gib(*.offered),
        .tightest.as_ref().map(|what| format!(": {what}")).unwrap_or_default()
    )]
    DoesNotFit {
        /// Bytes needed, headroom of each node included.
        needed: u64,
        /// Bytes offered by all.
        offered: u64,
        /// Which node is short.
        tightest: Option<String>,
    },
    /// Placing by speed, and a node's is not known.
    #[error("placing by speed needs every node's speed, and that of {node} is not known")]
    SpeedNotKnown {
        /// Its name.
        node: String,
    },
    /// Layers were given to a node that is not there.
    #[error("{node} is to hold layers {range} and is not there{}", there(.names))]
    NotThere {
        /// Its name, as the user gave it.
        node: String,
        /// Its layers.
        range: LayerRange,
        /// The names of those that are there.
        names: Vec<String>,
    },
    /// Several nodes have the name that layers were given to.
    #[error("{count} nodes are called {node}: say which by its id")]
    SeveralOfThatName {
        /// The name.
        node: String,
        /// How many.
        count: usize,
    },
    /// Ranges that do not tile the model, or name a node twice: from a peer that errs, or a user.
    #[error("the ranges do not tile {layers} layers, one range for each node")]
    NotTiled {
        /// Layers of the model.
        layers: u32,
    },
}

/// Bytes for people.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1u32 << 30))
}

fn there(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
}

impl Placement {
    /// The only constructor: ranges in ring order.
    ///
    /// # Errors
    /// [`PlacementError::NotTiled`] unless they tile `0..layers` exactly, each on a node of its own.
    pub fn checked(assignments: Vec<Assignment>, layers: u32) -> Result<Self, PlacementError> {
        let mut next = 0;
        let tiled = assignments.iter().enumerate().all(|(position, assignment)| {
            let begins = std::mem::replace(&mut next, assignment.range.end());
            let again = assignments[..position].iter().any(|other| other.node == assignment.node);
            assignment.range.start() == begins && !again
        });
        if tiled && next == layers && layers > 0 {
            Ok(Self { assignments, layers })
        } else {
            Err(PlacementError::NotTiled { layers })
        }
    }

    /// In ring order.
    #[must_use]
    pub fn assignments(&self) -> &[Assignment] {
        &self.assignments
    }

    /// Layers of the model.
    #[must_use]
    pub fn layers(&self) -> u32 {
        self.layers
    }

    /// Position of a node in the ring.
    #[must_use]
    pub fn position(&self, node: NodeId) -> Option<usize> {
        self.assignments.iter().position(|assignment| assignment.node == node)
    }

    /// The node that embeds.
    #[must_use]
    pub fn first(&self) -> NodeId {
        self.assignments[0].node
    }

    /// The node that samples.
    #[must_use]
    pub fn last(&self) -> NodeId {
        self.assignments[self.assignments.len() - 1].node
    }

    /// The node whose activations `node` receives, unless it is the first.
    #[must_use]
    pub fn before(&self, node: NodeId) -> Option<NodeId> {
        let position = self.position(node)?.checked_sub(1)?;
        Some(self.assignments[position].node)
    }

    /// The node to which `node` sends its activations, unless it is the last.
    #[must_use]
    pub fn after(&self, node: NodeId) -> Option<NodeId> {
        self.assignments.get(self.position(node)? + 1).map(|assignment| assignment.node)
    }
}
