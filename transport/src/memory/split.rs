//! One region as several, each leased apart.
//!
//! Contract: the parts are the region, cut at fixed places and handed out as regions of their own;
//! the whole is out of everybody's hands until the last part is. So parts may be filled by several
//! connections at once, and no two of them can touch the same byte.
#![allow(unsafe_code)] // memory/ is where this crate turns addresses into slices

use std::ptr::NonNull;
use std::sync::Arc;

use super::backing::Backing;
use super::region::Region;

/// The region that was cut. Nobody looks at it while there are parts.
struct Whole {
    region: Region,
    ptr: NonNull<u8>,
}

// SAFETY: `region` is not touched while the whole is shared; `ptr` is an address, and the bytes
// behind it are reached only through parts, which do not overlap.
unsafe impl Send for Whole {}
// SAFETY: as above.
unsafe impl Sync for Whole {}

struct Part {
    whole: Arc<Whole>,
    start: usize,
    len: usize,
}

// SAFETY: `start..start + len` is within the whole, which lives as long as the part, stays where it
// is, and is reached by nobody but its parts; parts do not overlap.
unsafe impl Backing for Part {
    fn ptr(&self) -> NonNull<u8> {
        // SAFETY: `start` is within the memory that begins at `ptr`, or at its end.
        unsafe { self.whole.ptr.add(self.start) }
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// A region that is out in parts.
pub(crate) struct Split(Arc<Whole>);

impl Split {
    /// Cuts the first `len` bytes of a region into parts of `part_bytes`, the last of which may be
    /// shorter. No bytes are no parts.
    ///
    /// # Panics
    ///
    /// If `part_bytes` is 0, or the region has fewer than `len` bytes.
    pub(crate) fn cut(mut region: Region, len: usize, part_bytes: usize) -> (Self, Vec<Region>) {
        let bytes = &mut region.as_mut_slice()[..len];
        let ptr = NonNull::from(bytes).cast();
        let whole = Arc::new(Whole { region, ptr });
        let starts = (0..len).step_by(part_bytes);
        let parts = starts.map(|start| {
            let len = part_bytes.min(len - start);
            Region::from_backing(Box::new(Part { whole: whole.clone(), start, len }))
        });
        let parts = parts.collect();
        (Self(whole), parts)
    }

    /// The whole region again, if every part was dropped.
    ///
    /// # Errors
    ///
    /// Itself, while there is a part.
    pub(crate) fn join(self) -> Result<Region, Self> {
        Arc::try_unwrap(self.0).map(|whole| whole.region).map_err(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_filled_apart_and_the_whole_comes_back_with_the_last() {
        let (split, mut parts) = Split::cut(Region::pages(2600), 2500, 1000);
        assert_eq!(parts.iter().map(Region::len).collect::<Vec<_>>(), [1000, 1000, 500]);
        std::thread::scope(|scope| {
            for (number, part) in parts.iter_mut().enumerate() {
                // A region goes to one thread at a time, and may go to any.
                let bytes = part.as_mut_slice();
                scope.spawn(move || bytes.fill(number as u8 + 1));
            }
        });
        let last = parts.pop();
        drop(parts);
        let split = split.join().map(|_| ()).expect_err("a part is out");
        drop(last);
        let whole = split.join().map_err(|_| ()).expect("no part is out");
        let right = |at: usize| (at / 1000 + 1) as u8;
        assert!((0..2500).all(|at| whole.as_slice()[at] == right(at)));
        assert_eq!(whole.as_slice()[2500..], [0; 100]);
    }

    #[test]
    fn an_empty_region_has_no_parts() {
        let (split, parts) = Split::cut(Region::pages(0), 0, 10);
        assert!(parts.is_empty() && split.join().is_ok_and(|whole| whole.is_empty()));
    }
}
