//! What is posted, and what the transport keeps of it until it completes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;

use super::completion::{Completion, CompletionQueue, Opcode, WorkError};
use super::payload::Payload;
use crate::NodeId;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::memory::{Region, RemoteRegion};
use crate::proto::Time;
use crate::wire::header::Lane;

/// Names a work request; unique within a program, so that sessions of several endpoints can complete
/// into one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkId(pub(crate) u64);

impl WorkId {
    /// One that nobody has.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl std::fmt::Display for WorkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A message to send: it goes into the region that the peer posted next on this lane.
#[derive(Clone, Debug)]
pub struct Send {
    /// The lane it travels on.
    pub lane: Lane,
    /// Its bytes, where they lie. They are held, and cannot be written, until the completion.
    pub payload: Payload,
    /// 32 bits that the receiver gets with its completion.
    pub immediate: u32,
    /// How long after posting the sender stops waiting. `None` waits until the session ends.
    pub deadline: Option<Duration>,
}

/// Bytes to put into a region that the peer granted, without its doing anything.
#[derive(Clone, Debug)]
pub struct Write {
    /// The lane it travels on.
    pub lane: Lane,
    /// Its bytes, where they lie. They are held, and cannot be written, until the completion.
    pub payload: Payload,
    /// The region, as the peer told of it.
    pub to: RemoteRegion,
    /// Where in it the bytes go.
    pub offset: u64,
    /// With a number the peer hears of the write once it is whole: it completes one of its posted
    /// receives with [`Opcode::RecvWrite`]. Without, the peer is told nothing.
    pub immediate: Option<u32>,
    /// How long after posting the writer stops waiting. `None` waits until the session ends.
    pub deadline: Option<Duration>,
}

/// Bytes to fetch out of a region that the peer granted, without its doing anything.
#[derive(Debug)]
pub struct Read {
    /// The lane that the request and the reply travel on.
    pub lane: Lane,
    /// The region, as the peer told of it.
    pub from: RemoteRegion,
    /// Where in it the bytes begin.
    pub offset: u64,
    /// How many; at most as many as `into` has.
    pub len: usize,
    /// Where they go: the first `len` bytes. The completion gives it back.
    pub into: Region,
    /// How long after posting the reader stops waiting. `None` waits until the session ends. What of
    /// the reply comes later is thrown away and counted (`discarded_bytes`).
    pub deadline: Option<Duration>,
}

/// Why a work request was not accepted. It was given back unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PostError {
    /// The queue pair has as many work requests as it may have, or the completion queue has no
    /// place left. Wait for a completion and post again.
    #[error("the queue is full: wait for a completion")]
    QueueFull,
    /// The session is over.
    #[error("the connection is over")]
    Disconnected,
    /// The message is longer than any may be.
    #[error("a message of {len} bytes is longer than {MESSAGE_BYTES_MAX}")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// A write or a read that would go past the end of the peer's region.
    #[error("{len} bytes at {offset} do not lie in the peer's region of {room}")]
    OutOfRegion {
        /// Where it would begin.
        offset: u64,
        /// Its length, in bytes.
        len: usize,
        /// Bytes of the peer's region.
        room: u64,
    },
    /// A read of more bytes than the region it goes to has.
    #[error("a read of {len} bytes does not fit a region of {room}")]
    RegionTooSmall {
        /// Its length, in bytes.
        len: usize,
        /// Bytes of the region.
        room: usize,
    },
}

/// Whether `len` bytes at `offset` may be asked of a peer's region.
pub(crate) fn check_range(region: &RemoteRegion, offset: u64, len: usize) -> Result<(), PostError> {
    if len > MESSAGE_BYTES_MAX {
        return Err(PostError::TooLong { len });
    }
    let room = region.len();
    match offset.checked_add(len as u64) {
        Some(end) if end <= room => Ok(()),
        _ => Err(PostError::OutOfRegion { offset, len, room }),
    }
}

/// What a message on its way out is for.
#[derive(Debug)]
pub(crate) enum Verb {
    /// Into the region that the peer posted next.
    Send,
    /// Into a region of the peer's.
    Write { key: u64, offset: u64 },
    /// Asks for `len` bytes of a region of the peer's. `into` is where they will go, until it is
    /// asked.
    ReadRequest { key: u64, offset: u64, len: u32, into: Option<Region> },
    /// Answers the request with that sequence. `refused` says why there are no bytes.
    ReadReply { request: u64, refused: Option<ReadRefusal> },
}

/// Why a reply has no bytes; 0 on the wire says that it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ReadRefusal {
    /// There is no region of that key, or no more.
    NoRegion = 1,
    /// It is not for reading.
    NotReadable = 2,
    /// It has not so many bytes.
    OutOfRegion = 3,
}

impl ReadRefusal {
    pub(crate) fn parse(code: u32) -> Option<Self> {
        [Self::NoRegion, Self::NotReadable, Self::OutOfRegion]
            .into_iter()
            .find(|refusal| *refusal as u32 == code)
    }
}

impl std::fmt::Display for ReadRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoRegion => "it has no such region, or has taken it back",
            Self::NotReadable => "the region is not for reading",
            Self::OutOfRegion => "the region has not so many bytes",
        })
    }
}

/// A message on its way out, or to be.
#[derive(Debug)]
pub(crate) struct OutWork {
    pub(crate) id: WorkId,
    pub(crate) lane: Lane,
    pub(crate) verb: Verb,
    pub(crate) payload: Payload,
    pub(crate) immediate: Option<u32>,
    pub(crate) posted: Time,
    pub(crate) deadline: Option<Time>,
    /// `None` once the completion was given, while the memory is still held, and of replies.
    pub(crate) queue: Option<CompletionQueue>,
}

/// A receive that was accepted.
#[derive(Debug)]
pub(crate) struct RecvWork {
    pub(crate) id: WorkId,
    pub(crate) lane: Lane,
    pub(crate) region: Region,
    pub(crate) posted: Time,
    pub(crate) queue: CompletionQueue,
}

/// A read whose request is on its way: what its reply is for.
#[derive(Debug)]
pub(crate) struct ReadWork {
    pub(crate) id: WorkId,
    pub(crate) lane: Lane,
    /// Sequence of the request.
    pub(crate) request: u64,
    /// `None` once the reader has it back: what of the reply comes then is thrown away.
    pub(crate) region: Option<Region>,
    pub(crate) len: usize,
    pub(crate) received: usize,
    pub(crate) posted: Time,
    pub(crate) deadline: Option<Time>,
    /// `None` once the completion was given.
    pub(crate) queue: Option<CompletionQueue>,
}

/// A completion on its way into its queue.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) queue: CompletionQueue,
    pub(crate) completion: Completion,
}

impl OutWork {
    /// Whether it uses up one of the receives that the peer has posted.
    pub(crate) fn needs_credit(&self) -> bool {
        match self.verb {
            Verb::Send => true,
            Verb::Write { .. } => self.immediate.is_some(),
            Verb::ReadRequest { .. } | Verb::ReadReply { .. } => false,
        }
    }

    /// The completion, unless it was given before. A read that was not asked for yet gives its
    /// region back.
    pub(crate) fn outcome(
        &mut self,
        status: Result<(), WorkError>,
        peer: NodeId,
        now: Time,
    ) -> Option<Outcome> {
        let queue = self.queue.take()?;
        let (opcode, region) = match &mut self.verb {
            Verb::Send | Verb::ReadReply { .. } => (Opcode::Send, None),
            Verb::Write { .. } => (Opcode::Write, None),
            Verb::ReadRequest { into, .. } => (Opcode::Read, into.take()),
        };
        let completion = Completion {
            id: self.id,
            opcode,
            status,
            lane: self.lane,
            bytes: self.payload.len(),
            immediate: None,
            region,
            written: None,
            peer,
            elapsed: now.since(self.posted),
        };
        Some(Outcome { queue, completion })
    }

    /// The read that begins when this request for one goes out.
    pub(crate) fn begin_read(&mut self, request: u64) -> Option<ReadWork> {
        let Verb::ReadRequest { len, into, .. } = &mut self.verb else { return None };
        Some(ReadWork {
            id: self.id,
            lane: self.lane,
            request,
            region: Some(into.take()?),
            len: *len as usize,
            received: 0,
            posted: self.posted,
            deadline: self.deadline,
            queue: self.queue.take(),
        })
    }
}

/// What arrived for a posted receive.
pub(crate) struct Arrived {
    pub(crate) opcode: Opcode,
    pub(crate) bytes: usize,
    pub(crate) immediate: Option<u32>,
    /// Key of the region that was written.
    pub(crate) written: Option<u64>,
}

impl RecvWork {
    pub(crate) fn outcome(
        self,
        status: Result<Arrived, WorkError>,
        peer: NodeId,
        now: Time,
    ) -> Outcome {
        let (status, arrived) = match status {
            Ok(arrived) => (Ok(()), arrived),
            Err(error) => {
                let opcode = Opcode::Recv;
                (Err(error), Arrived { opcode, bytes: 0, immediate: None, written: None })
            }
        };
        let completion = Completion {
            id: self.id,
            opcode: arrived.opcode,
            status,
            lane: self.lane,
            bytes: arrived.bytes,
            immediate: arrived.immediate,
            region: Some(self.region),
            written: arrived.written,
            peer,
            elapsed: now.since(self.posted),
        };
        Outcome { queue: self.queue, completion }
    }
}

impl ReadWork {
    /// The completion, unless it was given before. It takes the region along: what of the reply comes
    /// afterwards has nowhere to go.
    pub(crate) fn finish(
        &mut self,
        status: Result<(), WorkError>,
        peer: NodeId,
        now: Time,
    ) -> Option<Outcome> {
        let queue = self.queue.take()?;
        let bytes = if status.is_ok() { self.len } else { 0 };
        let completion = Completion {
            id: self.id,
            opcode: Opcode::Read,
            status,
            lane: self.lane,
            bytes,
            immediate: None,
            region: self.region.take(),
            written: None,
            peer,
            elapsed: now.since(self.posted),
        };
        Some(Outcome { queue, completion })
    }
}

/// Hands a completion to whoever waits for it.
pub(crate) fn complete(outcome: Outcome) {
    outcome.queue.push(outcome.completion);
}
