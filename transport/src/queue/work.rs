//! What is posted, and what the transport keeps of it until it completes.

use std::time::Duration;

use thiserror::Error;

use super::completion::{Completion, CompletionQueue, Opcode, WorkError};
use super::payload::Payload;
use crate::NodeId;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::memory::Region;
use crate::proto::Time;
use crate::wire::header::Lane;

/// Names a work request; unique within an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkId(pub(crate) u64);

impl std::fmt::Display for WorkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Send {
    /// The lane it travels on.
    pub lane: Lane,
    /// Its bytes, where they lie. They are held, and cannot be written, until the completion.
    pub payload: Payload,
    /// 32 bits that the receiver gets with its completion.
    pub immediate: u32,
    /// How long after posting the sender stops waiting. `None` waits until the connection ends.
    pub deadline: Option<Duration>,
}

/// Why a work request was not accepted. It was given back unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PostError {
    /// The queue pair has as many work requests as it may have, or the completion queue has no
    /// place left. Wait for a completion and post again.
    #[error("the queue is full: wait for a completion")]
    QueueFull,
    /// The connection is over.
    #[error("the connection is over")]
    Disconnected,
    /// The message is longer than any may be.
    #[error("a message of {len} bytes is longer than {MESSAGE_BYTES_MAX}")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
    },
}

/// A send that was accepted.
#[derive(Debug)]
pub(crate) struct SendWork {
    pub(crate) id: WorkId,
    pub(crate) lane: Lane,
    pub(crate) payload: Payload,
    pub(crate) immediate: u32,
    pub(crate) posted: Time,
    pub(crate) deadline: Option<Time>,
    /// `None` once the completion was given, while the memory is still held.
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

/// A completion on its way into its queue.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) queue: CompletionQueue,
    pub(crate) completion: Completion,
}

impl SendWork {
    /// The completion, unless it was given before.
    pub(crate) fn outcome(
        &mut self,
        status: Result<(), WorkError>,
        peer: NodeId,
        now: Time,
    ) -> Option<Outcome> {
        let completion = Completion {
            id: self.id,
            opcode: Opcode::Send,
            status,
            lane: self.lane,
            bytes: self.payload.len(),
            immediate: None,
            region: None,
            peer,
            elapsed: now.since(self.posted),
        };
        Some(Outcome { queue: self.queue.take()?, completion })
    }
}

impl RecvWork {
    pub(crate) fn outcome(
        self,
        status: Result<(usize, Option<u32>), WorkError>,
        peer: NodeId,
        now: Time,
    ) -> Outcome {
        let (status, bytes, immediate) = match status {
            Ok((bytes, immediate)) => (Ok(()), bytes, immediate),
            Err(error) => (Err(error), 0, None),
        };
        let completion = Completion {
            id: self.id,
            opcode: Opcode::Recv,
            status,
            lane: self.lane,
            bytes,
            immediate,
            region: Some(self.region),
            peer,
            elapsed: now.since(self.posted),
        };
        Outcome { queue: self.queue, completion }
    }
}

/// Hands a completion to whoever waits for it.
pub(crate) fn complete(outcome: Outcome) {
    outcome.queue.push(outcome.completion);
}
