//! Who is there, and who holds which layers? Pure: what was heard goes in, [`Action`]s come out.
//!
//! There is no master. Every node keeps what it has heard of the others, and the one with the lowest
//! number among those that want a model proposes its placement to all. A placement is known by its
//! epoch and its proposer: the highest pair holds. When a node of the ring is lost, whoever notices
//! abandons the placement for all; a new one follows as soon as the nodes suffice.

mod action;
pub mod clocks;
pub mod links;
pub mod membership;
mod placement;
mod proposal;
pub mod sightings;
mod state;
#[cfg(test)]
mod tests;

pub use action::{Action, KnownModel, Phase, PlacedModel, epoch_count};
pub use placement::{
    Assignment, ByHand, Chip, Estimate, Goal, LinkSpeed, Links, NodeSpeed, NodesWanted, Offer,
    ParseLayersError, Placement, PlacementError, Plan, StagePlan, Wish, cache_tokens, millis,
    needed_bytes, place, plan,
};
pub use state::Cluster;
