//! From bytes to frames: where the next bytes of the socket go, and what they were.
//!
//! A payload goes from the socket straight into its region. Only what stands between payloads
//! (headers, tags) passes through the staging buffer, so the buffer must never swallow payload:
//! normally a read asks for exactly the rest of the payload and the next header. When small messages
//! come in a burst, one read ahead saves many. If a large one follows in the same breath, the part
//! of it that was swallowed is copied once, and counted.

use std::io::IoSliceMut;

use crate::limits::{
    BURST_FRAMES, CLOSE_REASON_BYTES_MAX, HEADER_BYTES, INLINE_BYTES_BELOW, READ_AHEAD_BYTES,
    TAG_BYTES,
};
use crate::wire::header::Header;

/// What the next bytes are.
#[derive(Clone, Copy)]
pub(super) enum State {
    Header,
    Payload { left: usize },
    Tag,
}

pub(super) struct Receive {
    pub(super) state: State,
    /// The header of the frame in hand, parsed and as it came.
    pub(super) header: Option<Header>,
    pub(super) encoded: [u8; HEADER_BYTES],
    pub(super) tag: [u8; TAG_BYTES],
    /// The payload of frames that belong to no region.
    pub(super) control: [u8; CLOSE_REASON_BYTES_MAX],
    staging: Box<[u8; READ_AHEAD_BYTES]>,
    start: usize,
    end: usize,
    /// Frames of small messages in a row since the socket last ran dry.
    small_run: u32,
}

impl Receive {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            header: None,
            encoded: [0; HEADER_BYTES],
            tag: [0; TAG_BYTES],
            control: [0; CLOSE_REASON_BYTES_MAX],
            staging: Box::new([0; READ_AHEAD_BYTES]),
            start: 0,
            end: 0,
            small_run: 0,
        }
    }

    /// Counts a frame of a message for the decision whether this is a burst. Acknowledgements come
    /// in rows between large frames too, and say nothing.
    pub(super) fn count_frame(&mut self, payload: usize) {
        self.small_run = if payload < INLINE_BYTES_BELOW { self.small_run + 1 } else { 0 };
    }

    /// The socket has no more bytes now: a burst is over.
    pub(super) fn handle_dry(&mut self) {
        self.small_run = 0;
    }

    /// Where the staging part of the next read goes.
    pub(super) fn staging_space(&mut self, sealed: bool) -> IoSliceMut<'_> {
        if self.start > 0 {
            self.staging.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let tag = if sealed { TAG_BYTES } else { 0 };
        let wanted = match self.state {
            _ if self.small_run >= BURST_FRAMES => READ_AHEAD_BYTES,
            State::Header => HEADER_BYTES,
            State::Payload { .. } | State::Tag => tag + HEADER_BYTES,
        };
        // Whole frames are taken out before the next read, so what is left is less than wanted.
        IoSliceMut::new(&mut self.staging[self.end..wanted])
    }

    /// Where the rest of a control frame's payload goes.
    pub(super) fn staging_space_for(&mut self, left: usize) -> IoSliceMut<'_> {
        // The staging buffer is empty: what was in it has been taken for this payload.
        self.start = 0;
        self.end = 0;
        IoSliceMut::new(&mut self.staging[..left])
    }

    pub(super) fn handle_staged(&mut self, len: usize) {
        self.end += len;
    }

    /// Takes up to `len` bytes out of the staging buffer.
    pub(super) fn take(&mut self, len: usize) -> &[u8] {
        let len = len.min(self.end - self.start);
        let from = self.start;
        self.start += len;
        &self.staging[from..from + len]
    }

    /// Takes exactly `N` bytes, if they are there.
    pub(super) fn take_exactly<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.end - self.start < N {
            return None;
        }
        self.take(N).try_into().ok()
    }
}
