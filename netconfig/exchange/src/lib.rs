//! Two ends of a link tell each other what they are, over the authenticated transport.
//!
//! - [`message`]: what is said, as bytes (PROTOCOL.md, "tbnet exchange"); [`reply`] is the answering
//!   side, for whoever has a connection already
//! - [`serve`]: an endpoint that does nothing but answer
//! - [`ask()`]: asks a peer, and measures the way to it
//!
//! A crate of its own because both `tbnet` and `exo-node` answer: it stands on `exo-netconfig` (what
//! there is to say) and `exo-transport` (how it gets across).

mod ask;
pub mod message;
mod serve;

pub use ask::{Answer, AskError, AskOptions, ask};
pub use message::{IMMEDIATE, Malformed, ROOM, reply};
pub use serve::{Served, serve};

/// What both sides of a connection need to send and hear messages of the exchange.
mod post {
    use std::time::Duration;

    use exo_transport::{
        CompletionQueue, Lane, Payload, PostError, QueuePair, Region, Send, WorkId,
    };

    use crate::message::{IMMEDIATE, ROOM};

    /// The exchange is on the lane of the cluster's own messages.
    pub(crate) const LANE: Lane = Lane::Cluster;

    pub(crate) fn receive(
        pair: &QueuePair,
        region: Option<Region>,
        queue: &CompletionQueue,
    ) -> Result<(), PostError> {
        let region = region.unwrap_or_else(|| Region::pages(ROOM));
        pair.post_recv(LANE, region, queue).map(|_| ()).map_err(|(error, _)| error)
    }

    pub(crate) fn send(
        pair: &QueuePair,
        bytes: &[u8],
        deadline: Duration,
        queue: &CompletionQueue,
    ) -> Result<WorkId, PostError> {
        let mut region = Region::pages(bytes.len());
        region.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        let payload = Payload::from_slice(region.freeze().slice(..bytes.len()));
        let send = Send { lane: LANE, payload, immediate: IMMEDIATE, deadline: Some(deadline) };
        pair.post_send(send, queue).map_err(|(error, _)| error)
    }
}
