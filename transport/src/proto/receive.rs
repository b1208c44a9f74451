//! From bytes to frames: where the next bytes of the socket go, and what they were.
//!
//! A payload goes from the socket straight into its region. Only what stands between payloads
//! (headers, tags) passes through the staging buffer, so the buffer must not swallow payload:
//!
//! - in the middle of a payload a read asks for exactly its rest and the next header;
//! - before a header it asks for the header and, right behind, for a payload of the last length or a
//!   little more, to where a message of the last lane would go. If that is what comes, one read took
//!   it all. Where it was something else once, nothing is foreseen until many alike have come;
//! - when small messages come in a burst, one read ahead saves many.
//!
//! If something else comes, the part of a large payload that lies in the wrong place is copied once,
//! and counted.

use std::hint::cold_path;
use std::io::IoSliceMut;

use super::arrival::Arrivals;
use crate::limits::{
    ALIKE_AFTER_SURPRISE, BURST_FRAMES, CLOSE_REASON_BYTES_MAX, EXPECTED_BYTES_MAX, HEADER_BYTES,
    INLINE_BYTES_BELOW, READ_AHEAD_BYTES, TAG_BYTES,
};
use crate::queue::ReadWork;
use crate::wire::header::{Header, Kind};

/// Room for what is read ahead, and for an expected payload that turns out to be something else.
const STAGING_BYTES: usize = READ_AHEAD_BYTES + EXPECTED_BYTES_MAX;

/// What the next bytes are.
#[derive(Clone, Copy)]
pub(super) enum State {
    Header,
    Payload { left: usize },
    Tag,
}

/// A message that would be no surprise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Place of its lane among the lanes.
    pub(super) lane: usize,
    /// Its bytes.
    pub(super) length: usize,
}

pub(super) struct Receive {
    pub(super) state: State,
    /// The header of the frame in hand, parsed and as it came.
    pub(super) header: Option<Header>,
    pub(super) encoded: [u8; HEADER_BYTES],
    pub(super) tag: [u8; TAG_BYTES],
    /// The payload of frames that belong to no region.
    pub(super) control: [u8; CLOSE_REASON_BYTES_MAX],
    /// The payload of a frame whose region its owner has taken back.
    pub(super) discard: Vec<u8>,
    expected: Option<Expected>,
    /// Large frames of one lane that still have to come in a row before another is expected.
    strangers: u32,
    /// The lane of the last one.
    last_lane: usize,
    /// What the last read was given room for.
    pub(super) offered: Option<Expected>,
    staging: Box<[u8; STAGING_BYTES]>,
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
            discard: Vec::new(),
            expected: None,
            strangers: 0,
            last_lane: 0,
            offered: None,
            staging: Box::new([0; STAGING_BYTES]),
            start: 0,
            end: 0,
            small_run: 0,
        }
    }

    /// The region of the frame in hand goes back to its owner. What of the frame has come into it is
    /// kept apart, so that the seal of the whole can still be checked.
    pub(super) fn set_aside(&mut self, frame: &[u8]) {
        self.discard.clear();
        self.discard.extend_from_slice(frame);
    }

    /// The same for the reply in hand, if it is of this lane and answers a read that is `over`.
    pub(super) fn set_aside_reply(
        &mut self,
        arrivals: &Arrivals,
        over: impl Fn(&ReadWork) -> bool,
    ) {
        let Some(header) = self.header.filter(|header| header.kind == Kind::ReadReply) else {
            return;
        };
        if header.lane == Some(arrivals.lane())
            && let Some(read) = arrivals.reads.front().filter(|read| over(read))
            && let Some(region) = &read.region
        {
            let at = header.offset as usize..header.offset as usize + header.length as usize;
            self.set_aside(&region.as_slice()[at]);
        }
    }

    /// Forgets what was not a whole frame: the socket is gone.
    pub(super) fn reset(&mut self) {
        self.state = State::Header;
        self.header = None;
        self.expected = None;
        self.offered = None;
        self.start = 0;
        self.end = 0;
        self.small_run = 0;
    }

    /// Notes a frame of a message: whether this is a burst, and what to expect. Acknowledgements
    /// come in rows between large frames too, and say nothing. `whole` says that the frame is a
    /// whole message that a receive was posted for.
    pub(super) fn note_frame(&mut self, lane: usize, length: usize, whole: bool) {
        if length < INLINE_BYTES_BELOW {
            self.small_run += 1;
            return;
        }
        self.small_run = 0;
        if std::mem::replace(&mut self.last_lane, lane) == lane {
            self.strangers = self.strangers.saturating_sub(1);
        } else if self.strangers > 0 {
            self.strangers = ALIKE_AFTER_SURPRISE;
        }
        if whole && length <= EXPECTED_BYTES_MAX && self.strangers == 0 {
            self.expected = Some(Expected { lane, length });
        }
    }

    /// The socket has no more bytes now: a burst is over.
    pub(super) fn handle_dry(&mut self) {
        self.small_run = 0;
    }

    /// What to make room for beside the next header, when nothing is known of it.
    pub(super) fn expected(&self) -> Option<Expected> {
        let idle = matches!(self.state, State::Header) && self.start == self.end;
        self.expected.filter(|_| idle && self.small_run < BURST_FRAMES)
    }

    /// Room for a header, and for `after` bytes behind the payload.
    pub(super) fn space_around(&mut self, after: usize) -> [IoSliceMut<'_>; 2] {
        self.start = 0;
        self.end = 0;
        let (header, rest) = self.staging.split_at_mut(HEADER_BYTES);
        [IoSliceMut::new(header), IoSliceMut::new(&mut rest[..after])]
    }

    /// The header of an expected read, which is whole.
    pub(super) fn peek_header(&self) -> &[u8; HEADER_BYTES] {
        self.staging.first_chunk().expect("the buffer is longer than a header")
    }

    /// Settles an expected read: the header, then `between`, then `after` bytes behind it are what
    /// came, in this order, save what lies where it should.
    pub(super) fn settle(&mut self, between: &[u8], after: usize) {
        let from = HEADER_BYTES;
        if !between.is_empty() {
            cold_path();
            self.staging.copy_within(from..from + after, from + between.len());
            self.staging[from..from + between.len()].copy_from_slice(between);
        }
        self.start = 0;
        self.end = from + between.len() + after;
    }

    /// Something else came than what was expected.
    pub(super) fn forget_expected(&mut self) {
        self.expected = None;
    }

    /// Something else came, and much of it or of what follows lies in the wrong place.
    pub(super) fn note_surprise(&mut self) {
        self.expected = None;
        self.strangers = ALIKE_AFTER_SURPRISE;
    }

    /// Where the staging part of the next read goes, and the buffer for what goes nowhere.
    pub(super) fn staging_space(&mut self, sealed: bool) -> (IoSliceMut<'_>, &mut Vec<u8>) {
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
        (IoSliceMut::new(&mut self.staging[self.end..wanted]), &mut self.discard)
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

    /// Bytes that were read and not looked at.
    pub(super) fn staged(&self) -> usize {
        self.end - self.start
    }

    /// Takes up to `len` bytes out of the staging buffer.
    pub(super) fn take(&mut self, len: usize) -> (&[u8], &mut Vec<u8>) {
        let len = len.min(self.end - self.start);
        let from = self.start;
        self.start += len;
        (&self.staging[from..from + len], &mut self.discard)
    }

    /// Takes exactly `N` bytes, if they are there.
    pub(super) fn take_exactly<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.end - self.start < N {
            return None;
        }
        self.take(N).0.try_into().ok()
    }
}
