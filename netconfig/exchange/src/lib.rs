//! Two ends of a link tell each other what they are, over the authenticated transport.
//!
//! - [`message`]: what is said, as bytes (PROTOCOL.md §6); [`reply`] is the answering side, for whoever
//!   has a connection already
//! - [`Reporter`]: what this end is like, asked of the system anew when it has to be
//! - [`serve()`]: an endpoint that does nothing but answer
//! - [`ask()`]: asks a peer, and measures the way to it
//! - [`hold()`]: whether another program of this machine speaks in its name already
//!
//! A crate of its own because both `tbnet` and `exo-node` answer: it stands on `exo-netconfig` (what
//! there is to say) and `exo-transport` (how it gets across).

mod ask;
mod hold;
pub mod message;
mod report;
mod serve;

pub use ask::{Answer, AskError, AskOptions, ask};
pub use hold::{Hold, hold};
pub use message::{IMMEDIATE, Malformed, ROOM, reply};
pub use report::Reporter;
pub use serve::{Served, serve};

/// What both sides of a connection need to send and hear messages of the exchange.
pub mod post {
    use std::time::Duration;

    use exo_transport::{
        CompletionQueue, Lane, Payload, PostError, QueuePair, Region, Send, WorkId,
    };

    use crate::message::{IMMEDIATE, ROOM};

    /// The exchange is on the lane of the cluster's own messages.
    pub const LANE: Lane = Lane::Cluster;

    /// Makes room for one message: in `region`, or in a new one.
    ///
    /// # Errors
    /// [`PostError`]: the connection is over, or has as much room as it may.
    pub fn receive(
        pair: &QueuePair,
        region: Option<Region>,
        queue: &CompletionQueue,
    ) -> Result<(), PostError> {
        let region = region.unwrap_or_else(|| Region::pages(ROOM));
        pair.post_recv(LANE, region, queue).map(|_| ()).map_err(|(error, _)| error)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`PostError`].
    pub fn send(
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
