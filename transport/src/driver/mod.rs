//! The sockets: what the connection's state machine decides becomes vectored reads and writes.
//!
//! One thread per endpoint reads all its sockets and keeps all its timers. A thread that posts
//! writes its frames itself if nobody else is at the connection just then, so a message costs one
//! hop between threads, not two; what does not fit the socket at once is left to the driver.
//!
//! An endpoint that is driven inline leaves its sockets to whoever waits for completions (`inline`).
//!
//! Layout: `endpoint` is the handle, `event_loop` the thread, `dialling` a socket before it is a
//! connection, `pair` a session, `io` its socket, `post` what is posted on it, `queue_pair` the verbs,
//! `goodbye` a socket after, `stats` what is told of them, `clock` the only clock of this crate.
#![allow(clippy::disallowed_types)] // driver/ and sys/ own the sockets

mod clock;
mod dialling;
mod endpoint;
mod event_loop;
mod goodbye;
mod inline;
mod io;
mod pair;
mod post;
mod queue_pair;
mod stats;

/// A thread that spins looks at what else may have happened (the clock, events of other sockets) once in
/// so many looks at the sockets of sessions.
const LOOK_EVERY: u32 = 8;

/// Sockets are watched no more after so many messages in a row that came before anybody would have
/// slept: to watch and unwatch one costs as much as a message.
const UNWATCH_AFTER: u32 = 1024;

pub(crate) use clock::Clock;
pub use endpoint::Endpoint;
pub use queue_pair::{Batch, QueuePair, ReadableRegion, WritableRegion};
pub use stats::{ConnectionStats, EndpointStats, LaneStats, Measured, Percentiles};
