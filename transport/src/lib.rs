//! Bytes from my memory into yours, over the validated link only.
//!
//! An [`Endpoint`] is one node's end of its connections, opened with a
//! [`Link`](exo_netconfig::Link) and pinned to it. A [`QueuePair`] is one connection: post a
//! [`Send`] of [`RegionSlice`]s or a receive into a [`Region`], and hear of it by a [`Completion`]
//! in a [`CompletionQueue`]. Posting never waits and completions are never dropped. A plain payload of
//! 4 KiB or more goes from where it lies into the socket, and from the socket into the region, without
//! a copy in user space; the exceptions are counted (`payload_copies`): up to 16 KiB of a message
//! that follows a burst of small ones in the same read, and one that comes where another message was
//! foreseen.
//!
//! Map, each on what stands above it:
//!
//! - [`limits`]: every bound
//! - [`memory`]: regions, and who may touch them when
//! - [`wire`]: what goes over the cable, as data
//! - `queue`: work requests and completions
//! - `proto`: the connection as a state machine without I/O
//! - `sys`: keeping sockets on the link, per platform
//! - `driver`: sockets, timers, the one thread
//! - `rails`: several sessions with one peer, used as one for large messages
//!
//! The bytes are specified in `docs/PROTOCOL.md`.

pub mod limits;
pub mod memory;
pub mod wire;

mod config;
mod driver;
mod event;
mod hint;
mod identity;
mod proof;
mod proto;
mod queue;
mod rails;
mod sys;
mod trust;

pub use config::{Drive, Encrypt, EndpointConfig, Timing};
pub use driver::{
    Batch, ConnectionStats, Endpoint, EndpointStats, LaneStats, Measured, Percentiles, QueuePair,
    ReadableRegion, WritableRegion,
};
pub use event::{ConnectError, Event, OpenError, PeerInfo};
pub use identity::{ClusterKey, Identity, KeyFileError, NodeId, ParseNodeIdError};
pub use memory::{Backing, GrantError, Region, RegionPool, RegionSlice, RemoteRegion};
pub use proof::Proof;
pub use proto::{CloseCode, HandshakeError, LossCause, PeerLost, ProtocolError};
pub use queue::{
    Completion, CompletionQueue, NextCompletion, Opcode, Payload, PostError, Read, ReadRefusal,
    Send, WaitTimeout, WorkError, WorkId, Write,
};
pub use rails::{RailStats, Rails, RailsCompletion, RailsConfig, RailsError, RailsMisuse};
pub use sys::{MDNS_PORT, MulticastError, MulticastSocket, PinError};
pub use trust::Trust;
pub use wire::header::Lane;
