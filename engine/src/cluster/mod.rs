//! Who is there, and who holds which layers? Pure: what was heard goes in, [`Action`]s come out.
//!
//! There is no master. Every node keeps what it has heard of the others, and the one with the lowest
//! number among those that know the model proposes its placement to all. A placement is known by its
//! epoch and its proposer: the highest pair holds. When a node of the ring is lost, or falls silent,
//! a new one is proposed as soon as the nodes that are left suffice.
//!
//! | file | question |
//! |---|---|
//! | `core` | what does a node decide, about placements and requests together? |
//! | `state` | what does it know of the others, and of the placement in force? |
//! | `company` | on whom can layers be placed? |
//! | `proposal` | which placement holds? |
//! | `handover` | how does a model move while requests go on? |
//! | `placement` | which node holds which layers? |
//! | `membership`, `sightings`, `clocks` | who is there, and is it who it was? |
//! | `links` | what do the ways between nodes carry? |

mod action;
pub mod clocks;
mod company;
pub mod core;
mod handover;
pub mod links;
pub mod membership;
mod placement;
mod proposal;
pub mod sightings;
#[cfg(test)]
mod simulation;
mod state;
#[cfg(test)]
mod tests;

pub use action::{Action, KnownModel, Phase, PlacedModel, epoch_count};
pub use placement::{
    Assignment, ByHand, Chip, Estimate, Goal, LinkSpeed, Links, NodeSpeed, NodesWanted, Offer,
    ParseLayersError, Placement, PlacementError, Plan, StagePlan, Wish, cache_tokens, millis,
    needed_bytes, place, plan,
};
pub use state::{Cluster, Loss};
