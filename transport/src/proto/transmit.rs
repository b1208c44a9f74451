//! From frames to bytes: a queue of pieces that one vectored write takes.
//!
//! Headers, tags, small payloads and sealed payloads are staged in one buffer, so that neighbours
//! become one piece. Larger plain payloads stay where they lie; the queue holds their region until
//! the kernel has the bytes.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::limits::{HEADER_BYTES, STAGING_PLAIN_BYTES, TAG_BYTES, WRITE_SLICES_MAX};
use crate::memory::RegionSlice;

enum Piece {
    Staged { start: usize, end: usize },
    Region { slice: RegionSlice, written: usize },
}

pub(super) struct Transmit {
    staged: Vec<u8>,
    pieces: VecDeque<Piece>,
    /// Bytes of all pieces.
    queued: usize,
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
            queued: 0,
            batch: frame,
            // Sealed frames are staged whole. Only a session that seals ever grows so far.
            staging: frame + STAGING_PLAIN_BYTES,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether a frame of `staged` staged bytes and `outside` others in `parts` pieces may join.
    pub(super) fn has_room(&self, staged: usize, outside: usize, parts: usize) -> bool {
        let fits = self.staged.len() + staged <= self.staging
            && self.pieces.len() + parts + 2 <= WRITE_SLICES_MAX;
        fits && (self.queued == 0 || self.queued + staged + outside <= self.batch)
    }

    /// Whether `staged` bytes fit at all, batch or not: for what must not wait behind bulk.
    pub(super) fn has_staging(&self, staged: usize) -> bool {
        self.staged.len() + staged <= self.staging && self.pieces.len() < WRITE_SLICES_MAX
    }

    /// Stages bytes and gives them back to be worked on, such as sealed.
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
        self.queued += end - start;
        match self.pieces.back_mut() {
            Some(Piece::Staged { end: last, .. }) if *last == start => *last = end,
            _ => self.pieces.push_back(Piece::Staged { start, end }),
        }
    }

    /// Queues bytes where they lie.
    pub(super) fn gather(&mut self, slice: RegionSlice) {
        self.queued += slice.len();
        self.pieces.push_back(Piece::Region { slice, written: 0 });
    }

    /// Calls `write` with the queued bytes.
    pub(super) fn with_slices<T>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(match piece {
                Piece::Staged { start, end } => &self.staged[*start..*end],
                Piece::Region { slice, written } => &slice.as_slice()[*written..],
            });
            count += 1;
        }
        write(&slices[..count])
    }

    /// So many bytes are with the kernel.
    pub(super) fn handle_written(&mut self, mut len: usize) {
        self.queued -= len;
        while len > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            let left = match piece {
                Piece::Staged { start, end } => {
                    let step = len.min(*end - *start);
                    *start += step;
                    len -= step;
                    *end - *start
                }
                Piece::Region { slice, written } => {
                    let step = len.min(slice.len() - *written);
                    *written += step;
                    len -= step;
                    slice.len() - *written
                }
            };
            if left == 0 {
                self.pieces.pop_front();
            }
        }
        if self.pieces.is_empty() {
            self.staged.clear();
        }
    }

    /// Forgets everything: the socket is gone.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.staged.clear();
        self.queued = 0;
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
            transmit.stage(b"a");
            transmit.stage(b"b");
            transmit.gather(region.freeze());
            transmit.stage(b"gh");
            assert_eq!(transmit.pieces.len(), 3, "neighbours are one piece");
            let mut out = Vec::new();
            while transmit.queued() > 0 {
                let piece = transmit.with_slices(|slices| {
                    let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                    all[..cut.min(all.len())].to_vec()
                });
                transmit.handle_written(piece.len());
                out.extend(piece);
            }
            assert_eq!(out, b"abcdefgh");
            assert!(transmit.staged.is_empty());
        }
    }
}
