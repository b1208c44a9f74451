//! From frames to bytes: a queue of pieces that one vectored write takes.
//!
//! Headers, tags, small payloads and sealed payloads are staged in one buffer, so that neighbours
//! become one piece. Larger plain payloads stay where they lie; the queue holds their region until
//! the kernel has the bytes.
//!
//! Several frames of bulk are queued at once, so that one write takes them all. A frame that is served
//! before them goes in front of those of which nothing is written yet: it waits for the frame that is
//! under way and no other (small frames of one lane lie together, up to [`RUN_BYTES_MAX`]).

use std::collections::VecDeque;
use std::hint::cold_path;
use std::io::IoSlice;

use crate::limits::{
    BATCH_FRAMES, BATCH_SEALED_FRAMES, HEADER_BYTES, LANES, RUN_BYTES_MAX, STAGING_PLAIN_BYTES,
    STAGING_RESERVED_BYTES, TAG_BYTES, WRITE_SLICES_MAX,
};
use crate::memory::RegionSlice;

/// Which frames a frame may pass: those with a greater rank than its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(usize);

impl Rank {
    /// The connection's own frames, acknowledgements among them: they share a counter, so they stay
    /// in order, and nothing passes them.
    pub(super) const CONTROL: Self = Self(0);

    /// A lane's own frame. Those of the best lane stay in order with the connection's own.
    pub(super) fn of_lane(index: usize) -> Self {
        Self(index)
    }
}

/// Up to so many slices are put together without making room for as many as there can be.
const FEW_SLICES: usize = 6;

enum Bytes {
    Staged { start: usize, end: usize },
    Region { slice: RegionSlice, written: usize },
}

struct Piece {
    bytes: Bytes,
    rank: Rank,
    /// A frame begins with it.
    begins: bool,
}

/// Where the next piece goes.
#[derive(Clone, Copy)]
struct Next {
    at: usize,
    /// Of its frame.
    rank: Rank,
    /// Its frame begins with it.
    begins: bool,
}

pub(super) struct Transmit {
    staged: Vec<u8>,
    pieces: VecDeque<Piece>,
    /// Bytes of the pieces of each rank.
    queued_at: [usize; LANES],
    /// Something of the first piece is with the kernel.
    is_under_way: bool,
    next: Next,
    /// No further frame begins while this many bytes, or more, would be queued.
    batch: usize,
    staging: usize,
}

impl Transmit {
    pub(super) fn new(chunk: usize) -> Self {
        let frame = chunk + HEADER_BYTES + TAG_BYTES;
        Self {
            staged: Vec::with_capacity(STAGING_PLAIN_BYTES),
            pieces: VecDeque::with_capacity(WRITE_SLICES_MAX),
            queued_at: [0; LANES],
            is_under_way: false,
            next: Next { at: 0, rank: Rank::CONTROL, begins: true },
            batch: frame * BATCH_FRAMES,
            // Sealed frames are staged whole. Of others only headers and small payloads are.
            staging: frame * BATCH_SEALED_FRAMES + STAGING_PLAIN_BYTES,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queued_at.iter().sum()
    }

    /// Bytes of a lane's frames that are not with the kernel (of the best lane's with the
    /// connection's own).
    pub(super) fn queued_of(&self, lane: usize) -> usize {
        self.queued_at[lane]
    }

    /// Whether a lane's frame of `staged` staged bytes and `outside` others in `parts` pieces may
    /// join. What it would pass does not count.
    pub(super) fn has_room(
        &self,
        lane: usize,
        staged: usize,
        outside: usize,
        parts: usize,
    ) -> bool {
        // Some is kept for what nothing else may hold up.
        let reserved = if lane == 0 { 0 } else { STAGING_RESERVED_BYTES };
        let fits = self.staged.len() + staged + reserved <= self.staging
            && self.pieces.len() + parts + 2 <= WRITE_SLICES_MAX;
        let before: usize = self.queued_at[..=lane].iter().sum();
        fits && (before == 0 || before + staged + outside <= self.batch)
    }

    /// The pieces to come are a frame's. It goes in front of those that it may pass.
    pub(super) fn begin(&mut self, rank: Rank) {
        let mut at = self.pieces.len();
        for (index, piece) in self.pieces.iter().enumerate().rev() {
            if piece.rank <= rank {
                break;
            }
            if piece.begins && (index > 0 || !self.is_under_way) {
                at = index;
            }
        }
        self.next = Next { at, rank, begins: true };
    }

    /// Forgets the frames behind the last one that was queued: nothing follows it.
    pub(super) fn drop_rest(&mut self) {
        for piece in self.pieces.drain(self.next.at..) {
            let len = match piece.bytes {
                Bytes::Staged { start, end } => end - start,
                Bytes::Region { slice, written } => slice.len() - written,
            };
            self.queued_at[piece.rank.0] -= len;
        }
    }

    fn insert(&mut self, bytes: Bytes) {
        let Next { at, rank, begins } = self.next;
        let piece = Piece { bytes, rank, begins };
        if at == self.pieces.len() {
            self.pieces.push_back(piece);
        } else {
            cold_path();
            self.pieces.insert(at, piece);
        }
        self.next = Next { at: at + 1, rank, begins: false };
    }

    /// Whether `staged` bytes fit at all, batch or not: for what must not wait behind bulk.
    pub(super) fn has_staging(&self, staged: usize) -> bool {
        self.staged.len() + staged <= self.staging && self.pieces.len() < WRITE_SLICES_MAX
    }

    /// Stages bytes. [`staged_tail`](Self::staged_tail) gives them to be worked on, such as sealed.
    pub(super) fn stage(&mut self, bytes: &[u8]) {
        let start = self.staged.len();
        self.staged.extend_from_slice(bytes);
        self.note_staged(start);
    }

    /// The last `len` staged bytes.
    pub(super) fn staged_tail(&mut self, len: usize) -> &mut [u8] {
        let start = self.staged.len() - len;
        &mut self.staged[start..]
    }

    fn note_staged(&mut self, start: usize) {
        let end = self.staged.len();
        if start == end {
            return;
        }
        let Next { at, rank, begins } = self.next;
        self.queued_at[rank.0] += end - start;
        let before = at.checked_sub(1).map(|before| &mut self.pieces[before]);
        match before {
            Some(Piece {
                bytes: Bytes::Staged { start: first, end: last }, rank: same, ..
            }) if *last == start
                && *same == rank
                && (!begins || *last - *first < RUN_BYTES_MAX) =>
            {
                *last = end;
                self.next.begins = false;
            }
            _ => self.insert(Bytes::Staged { start, end }),
        }
    }

    /// Queues bytes where they lie.
    pub(super) fn gather(&mut self, slice: RegionSlice) {
        self.queued_at[self.next.rank.0] += slice.len();
        self.insert(Bytes::Region { slice, written: 0 });
    }

    /// Calls `write` with the queued bytes, or the first `limit` of them.
    pub(super) fn with_slices<T>(
        &self,
        limit: usize,
        write: impl FnOnce(&[IoSlice<'_>]) -> T,
    ) -> T {
        // One message's worth, most of the time.
        if self.pieces.len() <= FEW_SLICES {
            self.with_slices_of::<FEW_SLICES, T>(limit, write)
        } else {
            self.with_slices_of::<WRITE_SLICES_MAX, T>(limit, write)
        }
    }

    fn with_slices_of<const MAX: usize, T>(
        &self,
        limit: usize,
        write: impl FnOnce(&[IoSlice<'_>]) -> T,
    ) -> T {
        let mut slices = [IoSlice::new(&[]); MAX];
        let (mut count, mut left) = (0, limit);
        for (slot, piece) in slices.iter_mut().zip(&self.pieces) {
            if left == 0 {
                break;
            }
            let bytes = match &piece.bytes {
                Bytes::Staged { start, end } => &self.staged[*start..*end],
                Bytes::Region { slice, written } => &slice.as_slice()[*written..],
            };
            let bytes = &bytes[..bytes.len().min(left)];
            *slot = IoSlice::new(bytes);
            left -= bytes.len();
            count += 1;
        }
        write(&slices[..count])
    }

    /// So many bytes are with the kernel.
    pub(super) fn handle_written(&mut self, mut len: usize) {
        if len == self.queued() {
            return self.clear();
        }
        while len > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            let (step, left) = match &mut piece.bytes {
                Bytes::Staged { start, end } => {
                    let step = len.min(*end - *start);
                    *start += step;
                    (step, *end - *start)
                }
                Bytes::Region { slice, written } => {
                    let step = len.min(slice.len() - *written);
                    *written += step;
                    (step, slice.len() - *written)
                }
            };
            len -= step;
            self.queued_at[piece.rank.0] -= step;
            self.is_under_way = left > 0;
            if left == 0 {
                self.pieces.pop_front();
            }
        }
    }

    /// Forgets everything: it is with the kernel, or the socket is gone.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.staged.clear();
        self.queued_at = [0; LANES];
        self.is_under_way = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Region;

    #[test]
    fn pieces_come_out_in_order_however_they_are_cut() {
        for cut in 1..9 {
            let mut transmit = Transmit::new(8192);
            let mut region = Region::pages(4);
            region.as_mut_slice().copy_from_slice(b"cdef");
            transmit.begin(Rank::of_lane(0));
            transmit.stage(b"a");
            transmit.stage(b"b");
            transmit.gather(region.freeze());
            transmit.stage(b"gh");
            assert_eq!(transmit.pieces.len(), 3, "neighbours are one piece");
            assert_eq!(written(&mut transmit, cut), b"abcdefgh");
            assert!(transmit.staged.is_empty());
            assert_eq!(transmit.queued_at, [0; LANES]);
        }
    }

    /// All that is queued, written `cut` bytes at a time.
    fn written(transmit: &mut Transmit, cut: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while transmit.queued() > 0 {
            out.extend(write(transmit, cut));
        }
        out
    }

    fn write(transmit: &mut Transmit, cut: usize) -> Vec<u8> {
        let piece = transmit.with_slices(cut, |slices| {
            slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>()
        });
        transmit.handle_written(piece.len());
        piece
    }

    /// A frame of `text`, its first byte staged as a header is, the rest where it lies.
    fn frame(transmit: &mut Transmit, rank: Rank, text: &[u8]) {
        transmit.begin(rank);
        transmit.stage(&text[..1]);
        if text.len() > 1 {
            let mut region = Region::pages(text.len() - 1);
            region.as_mut_slice().copy_from_slice(&text[1..]);
            transmit.gather(region.freeze());
        }
    }

    #[test]
    fn a_better_frame_passes_those_that_are_not_under_way() {
        let (urgent, bulk) = (Rank::of_lane(0), Rank::of_lane(2));
        for (already, expected) in [
            (0, "U1U2Aaaa Bbbb Cccc "),
            (1, "Aaaa U1U2Bbbb Cccc "),
            (4, "Aaaa U1U2Bbbb Cccc "),
            (5, "Aaaa U1U2Bbbb Cccc "),
            (6, "Aaaa Bbbb U1U2Cccc "),
            (12, "Aaaa Bbbb Cccc U1U2"),
        ] {
            let mut transmit = Transmit::new(8192);
            for text in [b"Aaaa ", b"Bbbb ", b"Cccc "] {
                frame(&mut transmit, bulk, text);
            }
            let mut out = write(&mut transmit, already);
            for text in [b"U1", b"U2"] {
                frame(&mut transmit, urgent, text);
            }
            assert_eq!(transmit.queued_at[0], 4);
            out.extend(written(&mut transmit, 3));
            assert_eq!(String::from_utf8_lossy(&out), expected, "{already} written");
        }
    }

    #[test]
    fn what_is_numbered_together_stays_in_order() {
        let mut transmit = Transmit::new(8192);
        frame(&mut transmit, Rank::of_lane(2), b"bulk ");
        frame(&mut transmit, Rank::CONTROL, b"ack3 ");
        frame(&mut transmit, Rank::of_lane(0), b"urgent ");
        frame(&mut transmit, Rank::CONTROL, b"ping ");
        frame(&mut transmit, Rank::of_lane(1), b"activation ");
        assert_eq!(transmit.queued_of(2), 5);
        let out = String::from_utf8(written(&mut transmit, 7)).unwrap();
        assert_eq!(out, "ack3 urgent ping activation bulk ");
    }

    #[test]
    fn nothing_follows_the_last() {
        for (already, expected) in [(0, "close"), (2, "Aaaa close")] {
            let mut transmit = Transmit::new(8192);
            frame(&mut transmit, Rank::of_lane(2), b"Aaaa ");
            frame(&mut transmit, Rank::of_lane(2), b"Bbbb ");
            let mut out = write(&mut transmit, already);
            frame(&mut transmit, Rank::CONTROL, b"close");
            transmit.drop_rest();
            out.extend(written(&mut transmit, 4));
            assert_eq!(String::from_utf8_lossy(&out), expected);
            assert_eq!(transmit.queued_at, [0; LANES]);
        }
    }

    #[test]
    fn a_run_of_small_frames_is_passed_as_well() {
        let mut transmit = Transmit::new(8192);
        let small = vec![b'b'; 1000];
        for _ in 0..40 {
            transmit.begin(Rank::of_lane(2));
            transmit.stage(&small);
        }
        let mut out = write(&mut transmit, 1);
        frame(&mut transmit, Rank::of_lane(0), b"U");
        out.extend(written(&mut transmit, usize::MAX));
        let at = out.iter().position(|&byte| byte == b'U').unwrap();
        assert!(at <= RUN_BYTES_MAX + small.len(), "behind {at} bytes");
    }

    #[test]
    fn what_is_passed_takes_no_room() {
        let mut transmit = Transmit::new(8192);
        let mut frames = 0;
        while transmit.has_room(2, HEADER_BYTES, 8192, 1) {
            frame(&mut transmit, Rank::of_lane(2), &vec![0; HEADER_BYTES + 8192 - 1]);
            frames += 1;
        }
        assert_eq!(frames, BATCH_FRAMES);
        assert!(transmit.has_room(0, HEADER_BYTES, 8192, 1));
        assert!(!transmit.has_room(3, HEADER_BYTES, 8192, 1));
    }
}
