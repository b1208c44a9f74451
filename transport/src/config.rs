//! How an endpoint should behave.

use std::time::Duration;

use crate::limits::{CHUNK_BYTES_DEFAULT, CONNECTIONS_DEFAULT, HANDSHAKES_DEFAULT};
use crate::proto::{Span, Timers};
use crate::trust::Trust;

/// Whether frames are sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encrypt {
    /// On links chosen by hand, not on a Thunderbolt cable.
    #[default]
    Auto,
    /// Always.
    On,
    /// Only if the peer asks for it.
    Off,
}

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the first packet of a connection to the last of its handshake.
    pub handshake_ms: u64,
    /// A side that has said nothing for so long sends a ping.
    pub keepalive_ms: u64,
    /// A peer that has said nothing for so long is suspected.
    pub suspect_ms: u64,
    /// A peer that has said nothing for so long is lost. Until then the session can go on over
    /// another socket.
    pub resume_window_ms: u64,
    /// An acknowledgement waits so long, in microseconds, for a frame to ride on. It never waits
    /// when two messages of 4 KiB or more, 32 of any length, or 256 KiB have come, or when the peer
    /// may have run out of credit.
    pub ack_delay_us: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake_ms: 5_000,
            keepalive_ms: 250,
            suspect_ms: 1_000,
            resume_window_ms: 10_000,
            ack_delay_us: 500,
        }
    }
}

impl Timing {
    pub(crate) fn handshake(&self) -> Duration {
        Duration::from_millis(self.handshake_ms)
    }

    pub(crate) fn timers(&self) -> Timers {
        Timers {
            keepalive: Span::from_millis(self.keepalive_ms.max(1)),
            suspect: Span::from_millis(self.suspect_ms),
            resume_window: Span::from_millis(self.resume_window_ms),
            ack_delay: Span::from_micros(self.ack_delay_us),
        }
    }
}

/// Which thread moves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drive {
    /// The endpoint's own thread reads; whoever posts writes. Completions come by themselves.
    #[default]
    Background,
    /// Whoever waits reads: [`Endpoint::wait`](crate::Endpoint::wait) and
    /// [`Endpoint::progress`](crate::Endpoint::progress) move the bytes of all connections, and save
    /// a hop between threads. The endpoint's own thread still makes connections, keeps them alive,
    /// and looks after what nobody waits for, now and then: a program that does neither gets its
    /// completions late. A message is told before what it acknowledges, which is told when the
    /// program next posts, waits or calls `progress`.
    Inline,
}

/// Everything that an endpoint is told when it opens.
///
/// ```
/// # use exo_transport::{ClusterKey, EndpointConfig, Trust};
/// let key = ClusterKey::from_bytes([7; 32]);
/// let config =
///     EndpointConfig { listen: 52_414, ..EndpointConfig::new("studio", Trust::ClusterKey(key)) };
/// ```
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Port to listen on; 0 takes any that is free.
    pub listen: u16,
    /// What people call this node, at most 64 bytes; longer names are cut.
    pub name: String,
    /// Version of the program, at most 32 bytes, for people.
    pub software: String,
    /// Whom to believe.
    pub trust: Trust,
    /// Whether frames are sealed.
    pub encrypt: Encrypt,
    /// How long things may take.
    pub timing: Timing,
    /// Which thread moves the bytes.
    pub drive: Drive,
    /// How long whoever moves the bytes, or waits in `Endpoint::wait`, looks before it sleeps, in
    /// microseconds. It costs a core and saves a wake-up.
    pub spin_us: u64,
    /// A message is cut into frames of at most so many bytes.
    pub chunk_bytes: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Handshakes at once.
    pub handshakes_max: usize,
}

impl EndpointConfig {
    /// A node of this name that trusts so; the rest as it is by default.
    pub fn new(name: impl Into<String>, trust: Trust) -> Self {
        Self {
            listen: 0,
            name: name.into(),
            software: concat!("exo-transport/", env!("CARGO_PKG_VERSION")).into(),
            trust,
            encrypt: Encrypt::Auto,
            timing: Timing::default(),
            drive: Drive::default(),
            spin_us: 0,
            chunk_bytes: CHUNK_BYTES_DEFAULT,
            connections_max: CONNECTIONS_DEFAULT,
            handshakes_max: HANDSHAKES_DEFAULT,
        }
    }
}

impl Default for EndpointConfig {
    /// Trusts nobody: whoever uses it has to say whom to believe.
    fn default() -> Self {
        Self::new("", Trust::Pinned { store: std::path::PathBuf::new() })
    }
}
