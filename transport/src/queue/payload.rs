//! What a message is gathered from.

use crate::limits::PAYLOAD_PARTS_MAX;
use crate::memory::RegionSlice;

/// Up to four slices that go out as one message, in order, without being put together first.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    parts: [Option<RegionSlice>; PAYLOAD_PARTS_MAX],
    len: usize,
}

impl Payload {
    /// No bytes.
    pub fn empty() -> Self {
        Self::default()
    }

    /// One slice.
    pub fn from_slice(slice: RegionSlice) -> Self {
        let mut payload = Self::default();
        payload.push(slice);
        payload
    }

    /// Several slices, in order.
    ///
    /// # Panics
    ///
    /// If there are more than [`PAYLOAD_PARTS_MAX`].
    pub fn from_slices(slices: impl IntoIterator<Item = RegionSlice>) -> Self {
        let mut payload = Self::default();
        slices.into_iter().for_each(|slice| payload.push(slice));
        payload
    }

    /// One more slice, behind the others.
    ///
    /// # Panics
    ///
    /// If there are [`PAYLOAD_PARTS_MAX`] already.
    pub fn push(&mut self, slice: RegionSlice) {
        let free = self.parts.iter_mut().find(|part| part.is_none());
        let free = free.expect("a payload has at most PAYLOAD_PARTS_MAX parts");
        self.len += slice.len();
        *free = Some(slice);
    }

    /// Bytes of all slices.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Calls `each` with the pieces that make up bytes `start..start + len`, in order.
    pub(crate) fn each_piece(
        &self,
        start: usize,
        len: usize,
        mut each: impl FnMut(&RegionSlice, std::ops::Range<usize>),
    ) {
        let end = start + len;
        let mut at = 0;
        for part in self.parts.iter().flatten() {
            let from = start.max(at);
            let to = end.min(at + part.len());
            if from < to {
                each(part, from - at..to - at);
            }
            at += part.len();
        }
    }
}

impl From<RegionSlice> for Payload {
    fn from(slice: RegionSlice) -> Self {
        Self::from_slice(slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Region;

    fn slice(bytes: &[u8]) -> RegionSlice {
        let mut region = Region::pages(bytes.len());
        region.as_mut_slice().copy_from_slice(bytes);
        region.freeze()
    }

    #[test]
    fn pieces_of_every_range_add_up() {
        let payload = Payload::from_slices([slice(b"abc"), slice(b""), slice(b"d"), slice(b"efg")]);
        assert_eq!(payload.len(), 7);
        for start in 0..=7 {
            for len in 0..=7 - start {
                let mut out = Vec::new();
                payload.each_piece(start, len, |part, range| {
                    out.extend_from_slice(&part.as_slice()[range]);
                });
                assert_eq!(out, b"abcdefg"[start..start + len]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "at most")]
    fn a_fifth_part_is_too_many() {
        Payload::from_slices((0..5).map(|_| slice(b"x")));
    }
}
