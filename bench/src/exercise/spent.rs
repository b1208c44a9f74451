//! What a side has spent: allocations, processor time, system calls, copies.

use std::ops::Sub;

use exo_transport::Endpoint;
use serde::{Deserialize, Serialize};

use crate::process;

/// Counts of one process and its one connection, since they began or between two looks.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// Allocations of every thread.
    pub(crate) allocations: u64,
    /// Processor time of every thread, user and system, in seconds.
    pub(crate) cpu_s: f64,
    /// Frames received and sent, the connection's own among them.
    pub(crate) frames_in: u64,
    pub(crate) frames_out: u64,
    /// System calls that moved bytes.
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// System calls on the socket that moved none.
    pub(crate) dry_calls: u64,
    /// Bytes of plain payloads of 4 KiB and more that were copied in user space.
    pub(crate) payload_copies: u64,
    /// Bytes of smaller payloads that were copied once.
    pub(crate) inlined_bytes: u64,
}

impl Spent {
    pub(super) fn now(endpoint: &Endpoint) -> Self {
        let stats = endpoint.stats();
        let mut spent = Self::default();
        for connection in &stats.connections {
            spent.frames_in += connection.frames_in;
            spent.frames_out += connection.frames_out;
            spent.reads += connection.reads;
            spent.writes += connection.writes;
            spent.dry_calls += connection.dry_calls;
            spent.payload_copies += connection.payload_copies;
            spent.inlined_bytes += connection.inlined_bytes;
        }
        drop(stats);
        // Last, so that looking is not counted.
        Self { allocations: process::allocations(), cpu_s: process::cpu_s(), ..spent }
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            allocations: self.allocations - earlier.allocations,
            cpu_s: self.cpu_s - earlier.cpu_s,
            frames_in: self.frames_in - earlier.frames_in,
            frames_out: self.frames_out - earlier.frames_out,
            reads: self.reads - earlier.reads,
            writes: self.writes - earlier.writes,
            dry_calls: self.dry_calls - earlier.dry_calls,
            payload_copies: self.payload_copies - earlier.payload_copies,
            inlined_bytes: self.inlined_bytes - earlier.inlined_bytes,
        }
    }
}
