//! For tests: regions with bytes around them that nobody may touch.
#![allow(unsafe_code)] // memory/ is where this crate turns addresses into slices

use std::ptr::NonNull;

use super::{Backing, Region};

const FENCE_BYTES: usize = 256;
const FENCE: u8 = 0xc5;

/// Memory between two fences, which are looked at when it is dropped.
struct Fenced {
    all: NonNull<u8>,
    len: usize,
}

/// A region of `len` bytes `fill`. Panics when it is let go if a byte beside it was written.
pub(crate) fn region(len: usize, fill: u8) -> Region {
    let mut all = vec![FENCE; len + 2 * FENCE_BYTES].into_boxed_slice();
    all[FENCE_BYTES..FENCE_BYTES + len].fill(fill);
    let all = NonNull::from(Box::leak(all)).cast();
    Region::from_backing(Box::new(Fenced { all, len }))
}

impl Drop for Fenced {
    fn drop(&mut self) {
        let slice =
            std::ptr::slice_from_raw_parts_mut(self.all.as_ptr(), self.len + 2 * FENCE_BYTES);
        // SAFETY: this is the box that `region` leaked, with its length, and nobody else frees it.
        let all = unsafe { Box::from_raw(slice) };
        let (before, rest) = all.split_at(FENCE_BYTES);
        let intact = before.iter().chain(&rest[self.len..]).all(|&byte| byte == FENCE);
        assert!(intact || std::thread::panicking(), "bytes beside a region were written");
    }
}

// SAFETY: the allocation is owned by this value alone and has no ties to a thread.
unsafe impl Send for Fenced {}

// SAFETY: initialised memory in the middle of one allocation, never moved or resized, that nobody
// else knows of while this lives.
unsafe impl Backing for Fenced {
    fn ptr(&self) -> NonNull<u8> {
        // SAFETY: the allocation is longer than the fence.
        unsafe { self.all.add(FENCE_BYTES) }
    }
    fn len(&self) -> usize {
        self.len
    }
}
