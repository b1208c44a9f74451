//! What can go wrong between two nodes, by who is at fault.

use std::fmt;

use thiserror::Error;

use crate::NodeId;
use crate::limits::{NOISE_MESSAGE_BYTES_MAX, READS_MAX};
use crate::wire::header::{HeaderError, Kind, Lane};
use crate::wire::hello::HelloError;
use crate::wire::preamble::PreambleError;

/// The code of a `CLOSE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing more to say.
    Done = 0,
    /// The other side broke the protocol.
    Protocol = 1,
    /// There is another connection between the two.
    Duplicate = 2,
    /// Something was asked that this version does not do.
    Unsupported = 3,
    /// The node is going away.
    ShuttingDown = 4,
    /// A bound was reached.
    Limit = 5,
    /// The other side is not trusted.
    Refused = 6,
    /// The session that was to go on is not known.
    NoSession = 7,
}

impl CloseCode {
    pub(crate) fn parse(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Done,
            1 => Self::Protocol,
            2 => Self::Duplicate,
            3 => Self::Unsupported,
            4 => Self::ShuttingDown,
            5 => Self::Limit,
            6 => Self::Refused,
            7 => Self::NoSession,
            _ => return None,
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Protocol => "protocol error",
            Self::Duplicate => "duplicate connection",
            Self::Unsupported => "not supported",
            Self::ShuttingDown => "shutting down",
            Self::Limit => "limit reached",
            Self::Refused => "refused",
            Self::NoSession => "it does not know this session any more",
        })
    }
}

/// How a peer broke the protocol of frames.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The header is none.
    #[error("it sent a malformed frame: {0}")]
    Header(HeaderError),
    /// Another session.
    #[error("it sent a frame of session {found:016x} on session {expected:016x}")]
    Session {
        /// The frame's.
        found: u64,
        /// The connection's.
        expected: u64,
    },
    /// Another epoch.
    #[error("it sent a frame of epoch {found} in epoch {expected}")]
    Epoch {
        /// The frame's.
        found: u32,
        /// The connection's.
        expected: u32,
    },
    /// A payload that is too long, or too short, for its kind.
    #[error("it sent a {kind:?} frame of {found} bytes where at most {max} may be")]
    Length {
        /// The frame's kind.
        kind: Kind,
        /// Its length, in bytes.
        found: u32,
        /// What may be.
        max: u32,
    },
    /// A payload of no bytes that does not end a message, which would never end.
    #[error("it sent an empty frame in the middle of a message")]
    Empty,
    /// A number is missing or repeated.
    #[error("it sent frame {found} where frame {expected} was due")]
    Sequence {
        /// The frame's.
        found: u64,
        /// What was due.
        expected: u64,
    },
    /// A message that nobody made room for.
    #[error("it began a message on lane {lane} without credit")]
    CreditExceeded {
        /// The lane.
        lane: Lane,
    },
    /// Credit was taken back.
    #[error("it took credit back on lane {lane}")]
    CreditBackwards {
        /// The lane.
        lane: Lane,
    },
    /// Not where the message goes on.
    #[error("it sent bytes for offset {found} of a message where offset {expected} was due")]
    Offset {
        /// The frame's.
        found: u64,
        /// What was due.
        expected: u64,
    },
    /// A message longer than the region it is for.
    #[error("it sent a message of at least {needed} bytes for a region of {room} on lane {lane}")]
    RoomExceeded {
        /// The lane.
        lane: Lane,
        /// Bytes that would be needed.
        needed: u64,
        /// Bytes that are there.
        room: u64,
    },
    /// It acknowledged what was not sent, or took an acknowledgement back.
    #[error("it acknowledged frame {found} of lane {lane}, where {low} to {high} may be")]
    Acknowledged {
        /// The lane.
        lane: Lane,
        /// What it acknowledged.
        found: u64,
        /// What it had acknowledged before.
        low: u64,
        /// What was sent.
        high: u64,
    },
    /// A frame is sealed and should not be, or the reverse.
    #[error("it sent a frame that is {}", if *sealed { "sealed, which was not agreed" } else { "not sealed, as was agreed" })]
    Sealing {
        /// Whether the frame says it is sealed.
        sealed: bool,
    },
    /// The tag is wrong.
    #[error("it sent a frame whose seal is broken")]
    Tag,
    /// A frame of another message in the middle of one.
    #[error("it sent a {kind:?} frame in the middle of another message of the lane")]
    Interleaved {
        /// The frame's kind.
        kind: Kind,
    },
    /// A region that it was never granted, or not for this.
    #[error("it wrote to a region ({key:016x}) that it was not granted to write")]
    Access {
        /// The key.
        key: u64,
    },
    /// An answer that nobody asked for.
    #[error("it answered the read {found} where the answer to {expected} was due")]
    Reply {
        /// The request that it answers.
        found: u64,
        /// The request that is due.
        expected: u64,
    },
    /// An answer that ends before all is there.
    #[error("it answered a read of {needed} bytes with {found}")]
    ReplyShort {
        /// Bytes asked for.
        needed: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The code of an answer is none.
    #[error("it refused a read with the unknown code {found}")]
    ReplyCode {
        /// The code.
        found: u32,
    },
    /// More reads at once than may be.
    #[error("it asked for more than {READS_MAX} reads at once on lane {lane}")]
    ReadFlood {
        /// The lane.
        lane: Lane,
    },
    /// A frame that says what has arrived must be the first of a socket that goes on with a
    /// session, and only that.
    #[error("it sent a {kind:?} frame where the session's state {}", if *due { "was due" } else { "had been said" })]
    Resume {
        /// The frame's kind.
        kind: Kind,
        /// Whether a `RESUME` was due.
        due: bool,
    },
    /// It asks for echoes faster than it reads them.
    #[error("it sends pings and does not read the answers")]
    PingFlood,
    /// The code of a close is none.
    #[error("it closed with the unknown code {found}")]
    CloseCode {
        /// The code.
        found: u32,
    },
}

// Written by hand to be cold: what leads here is laid out apart from what every frame runs through.
impl From<HeaderError> for ProtocolError {
    #[cold]
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LossCause {
    /// Not a byte for too long.
    #[error("it was silent for {:.1} s", *silent_ms as f64 / 1000.0)]
    Silent {
        /// How long, in milliseconds.
        silent_ms: u64,
    },
    /// The peer said why.
    #[error("it closed the connection ({code}{})", words(reason))]
    ClosedByPeer {
        /// The code.
        code: CloseCode,
        /// The peer's words.
        reason: String,
    },
    /// The peer's end of the socket went away.
    #[error("its end of the connection went away")]
    SocketEnded,
    /// The peer's machine is there, and nobody listens where the peer did.
    #[error("its program has ended")]
    ProgramEnded,
    /// The system ended the connection.
    #[error("the connection broke: {words}")]
    Io {
        /// What sort of error.
        kind: std::io::ErrorKind,
        /// The system's words.
        words: String,
    },
    /// It broke the protocol.
    #[error("it broke the protocol: {0}")]
    Protocol(ProtocolError),
    /// It connected anew, so it has given this connection up.
    #[error("it connected anew")]
    Replaced,
    /// There was a second connection between the two, which goes on.
    #[error("another connection to it goes on")]
    Duplicate,
    /// This side closed.
    #[error("this node closed the connection")]
    ClosedHere,
}

impl From<ProtocolError> for LossCause {
    #[cold]
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

fn words(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// A peer is not there any more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("lost {name} ({}) on {link}: {cause}", peer.short())]
pub struct PeerLost {
    /// Who.
    pub peer: NodeId,
    /// What people call it.
    pub name: String,
    /// The interface it was connected over.
    pub link: String,
    /// Why.
    pub cause: LossCause,
}

/// Why one side does not go on with a handshake: said without proof, so it decides nothing but the
/// words of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// A message could not be read: the cluster keys differ.
    ClusterKey = 1,
    /// There is a connection already.
    Duplicate = 2,
    /// The key is not the one that is remembered.
    Untrusted = 3,
    /// Malformed or out of bounds.
    Malformed = 4,
}

impl Refusal {
    pub(crate) fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::ClusterKey,
            2 => Self::Duplicate,
            3 => Self::Untrusted,
            4 => Self::Malformed,
            _ => return None,
        })
    }
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The two cannot talk.
    #[error("{0}")]
    Preamble(#[from] PreambleError),
    /// The cluster keys differ.
    #[error(
        "the peer has another cluster key; hint: copy one node's key file to the other, then restart it"
    )]
    OtherClusterKey,
    /// A message that no node of this version sends.
    #[error(
        "it sent a handshake message of {found} bytes; at most {NOISE_MESSAGE_BYTES_MAX} may be"
    )]
    MessageLength {
        /// Its length, in bytes.
        found: usize,
    },
    /// A message that does not fit the ones before.
    #[error("its handshake message does not prove what it must")]
    Proof,
    /// What it says of itself is malformed.
    #[error("{0}")]
    Hello(#[from] HelloError),
    /// It takes the name of another node.
    #[error("it claims to be node {claimed}, and its key says {proven}")]
    NodeMismatch {
        /// What it claims.
        claimed: NodeId,
        /// What its key proves.
        proven: NodeId,
    },
    /// This node talks to itself.
    #[error("this is this node itself")]
    Oneself,
    /// The peer's key is not the one that is remembered.
    #[error(
        "node {node} is not the one remembered in {store}; hint: if the peer was set up anew, remove that file on this node"
    )]
    Untrusted {
        /// Who it is.
        node: NodeId,
        /// Where the remembered key lies.
        store: String,
    },
    /// The store of remembered keys cannot be used.
    #[error("cannot use the remembered keys in {store}: {words}")]
    TrustStore {
        /// The file.
        store: String,
        /// What is wrong.
        words: String,
    },
    /// The peer does not trust this node.
    #[error(
        "the peer remembers another node's key; hint: on the peer, remove its store of remembered keys if this node was set up anew"
    )]
    NotTrustedByPeer,
    /// There is a connection already.
    #[error("the two nodes are connected already")]
    Duplicate,
    /// The peer found our messages malformed.
    #[error("the peer could not read this node's messages")]
    RefusedAsMalformed,
    /// The connection ended in the middle.
    #[error(
        "it closed the connection during the handshake; hint: is it an exo-node, and does it have the same cluster key?"
    )]
    Ended,
    /// It took too long.
    #[error("it did not finish the handshake within {waited_ms} ms")]
    Timeout {
        /// How long was waited.
        waited_ms: u64,
    },
}
