//! Weights behind each other in one piece of memory, so that all of it lies on large pages.
//!
//! A weight is read from end to end for each token, and every page that is looked up costs time. A
//! large page needs 2 MiB that begin where a page does, and of a small model's matrices most are
//! smaller, or begin in the middle of one.
#![allow(unsafe_code, reason = "parts of one array are filled one by one; see the SAFETY note")]

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use mlx_rs::{Array, Dtype, error::Exception, ops::indexing::TryIndexOp};

use super::{
    memory::{data, fill},
    unwritten::{LARGE_PAGE, bytes_of, unwritten},
};

/// Bytes of an array that lies in a slab. A larger one has large pages of its own; smaller ones are
/// read in no time.
const SHARED: RangeInclusive<usize> = 512 << 10..=Slabs::BYTES / 4;
/// Where arrays begin: at a line of the cache, so that no vector lies in two.
const ALIGN: usize = 64;
/// Where there are no large pages to be asked for, each array has memory of its own.
const WORTH_IT: bool = cfg!(target_os = "linux");

/// Memory for arrays that stay. A slab goes when the last of its arrays does: of what was read in one
/// go, who keeps some layers that follow each other may keep a slab more than they need at either end.
#[derive(Clone, Default)]
pub(crate) struct Slabs {
    latest: Arc<Mutex<Option<Slab>>>,
}

struct Slab {
    bytes: Array,
    used: usize,
}

impl Slabs {
    /// Bytes of a slab. A little less than whole large pages: what the allocators put before it makes
    /// it whole, and Linux lets whole ones begin where a large page does.
    pub(crate) const BYTES: usize = 32 * LARGE_PAGE - 4096;

    /// As [`filled`](super::filled), in the latest slab if there is room, or in a new one.
    ///
    /// # Errors
    /// The outer error is MLX's, the inner one that of `fill`.
    pub(crate) fn filled<E>(
        &self,
        shape: &[i32],
        dtype: Dtype,
        write: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Result<Array, E>, Exception> {
        let numbers: usize = shape.iter().map(|&length| length as usize).product();
        let len = numbers * bytes_of(dtype)?;
        if !WORTH_IT || !SHARED.contains(&len) {
            return super::filled(shape, dtype, write);
        }
        let part = self.part(len)?;
        // Its bytes as numbers, and those in rows: the same memory.
        let array = part.view_dtype(dtype)?.reshape(shape)?;
        array.eval()?;
        // SAFETY: the part begins behind all that were given away, so nobody reads it; nobody but
        // this call can, until the array is given back.
        Ok(unsafe { fill(array, write) })
    }

    /// `len` bytes that nobody else has.
    fn part(&self, len: usize) -> Result<Array, Exception> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let slab = match &mut *latest {
            Some(slab) if slab.begin() + len <= Self::BYTES => slab,
            latest => latest.insert(Slab::new()?),
        };
        let begin = slab.begin();
        slab.used = begin + len;
        slab.bytes.try_index(begin as i32..slab.used as i32)
    }
}

impl Slab {
    fn new() -> Result<Self, Exception> {
        Ok(Self { bytes: unwritten(&[Slabs::BYTES as i32], Dtype::Uint8)?, used: 0 })
    }

    /// Where the next array begins.
    fn begin(&self) -> usize {
        let start = data(&self.bytes).addr().get();
        (start + self.used).next_multiple_of(ALIGN) - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(slabs: &Slabs, shape: &[i32], dtype: Dtype, byte: u8) -> Array {
        let write = |out: &mut [u8]| {
            out.fill(byte);
            Ok::<_, ()>(())
        };
        slabs.filled(shape, dtype, write).unwrap().unwrap()
    }

    #[test]
    fn arrays_lie_behind_each_other_and_keep_their_bytes() {
        let slabs = Slabs::default();
        let shapes = [&[3, 180_000][..], &[540_001], &[2, 1, 300_000], &[1000, 1000]];
        let dtypes = [Dtype::Float32, Dtype::Uint8, Dtype::Bfloat16, Dtype::Uint32];
        let arrays: Vec<Array> =
            (1..=40).map(|n| written(&slabs, shapes[n % 4], dtypes[n / 4 % 4], n as u8)).collect();
        drop(slabs);
        for (n, array) in (1..=40).zip(&arrays) {
            assert_eq!((array.shape(), array.dtype()), (shapes[n % 4], dtypes[n / 4 % 4]));
            let bytes = array.view_dtype(Dtype::Uint8).unwrap();
            assert!(bytes.as_slice::<u8>().iter().all(|&byte| byte == n as u8), "array {n}");
        }
        if WORTH_IT {
            let behind = data(&arrays[1]).addr().get() - data(&arrays[0]).addr().get();
            assert_eq!(behind, arrays[0].nbytes().next_multiple_of(ALIGN));
            assert_eq!(data(&arrays[0]).addr().get() % ALIGN, 0);
        }
    }

    #[test]
    fn what_cannot_be_written_takes_no_array_with_it() {
        let slabs = Slabs::default();
        let first = written(&slabs, &[600_000], Dtype::Uint8, 1);
        let failed = slabs.filled(&[600_000], Dtype::Uint8, |_| Err("no more bytes")).unwrap();
        assert_eq!(failed.unwrap_err(), "no more bytes");
        let second = written(&slabs, &[600_000], Dtype::Uint8, 2);
        assert_eq!((first.as_slice::<u8>()[99], second.as_slice::<u8>()[0]), (1, 2));
    }

    #[test]
    fn an_array_that_is_large_small_or_empty_has_memory_of_its_own() {
        let slabs = Slabs::default();
        let large = written(&slabs, &[*SHARED.end() as i32 + 1], Dtype::Uint8, 1);
        let small = written(&slabs, &[*SHARED.start() as i32 - 1], Dtype::Uint8, 1);
        let empty = written(&slabs, &[0, 4], Dtype::Float32, 1);
        assert!(slabs.latest.lock().unwrap().is_none());
        assert_eq!((large.size(), empty.size()), (SHARED.end() + 1, 0));
        assert_eq!(small.size(), SHARED.start() - 1);
    }
}
