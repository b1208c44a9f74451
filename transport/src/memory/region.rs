//! The exclusive lease and the shared slice.
//!
//! Both hold one [`Block`] (see [`Hold`]), which counts them. It is no `Arc`, because the last of them
//! sends the block home to its pool, and with an `Arc`'s count two slices dropped at once could each
//! take the other for the last.
#![allow(unsafe_code)] // memory/ is where this crate turns addresses into slices

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, Deref, RangeBounds};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::backing::{Backing, File, Pages};
use super::pool::Home;

/// One piece of memory and what is known of it.
pub(super) struct Block {
    ptr: NonNull<u8>,
    len: usize,
    /// Regions (one at most) and slices that may still look at the bytes.
    holders: AtomicUsize,
    /// Emptied only by `into_backing`, by an exclusive holder.
    backing: UnsafeCell<Option<Box<dyn Backing>>>,
    home: Option<Home>,
}

// SAFETY: the bytes are reached only through `Region` (one holder) and `RegionSlice` (reads only);
// `backing` is touched only by the one holder of a `Region`, which is not `Sync`, and by drop.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn new(backing: Box<dyn Backing>, home: Option<Home>) -> Box<Self> {
        Box::new(Self {
            ptr: backing.ptr(),
            len: backing.len(),
            holders: AtomicUsize::new(0),
            backing: UnsafeCell::new(Some(backing)),
            home,
        })
    }

    pub(super) fn pooled(len: usize, home: Home) -> Box<Self> {
        Self::new(Box::new(Pages::new(len)), Some(home))
    }

    /// Back to the pool, if it has one that still stands.
    #[inline(never)] // so that letting go of a slice that others hold is a few instructions
    fn go_home(self: Box<Self>) {
        if let Some(pool) = self.home.as_ref().and_then(Home::standing) {
            pool.take_back(self);
        }
    }
}

/// One holder of a block. The last one sends the block home, if it has one that still stands, and
/// frees it otherwise.
struct Hold(NonNull<Block>);

// SAFETY: a hold is a shared reference to a block, which is `Send` and `Sync`.
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    /// The first hold of a block that nobody holds.
    fn first(block: Box<Block>) -> Self {
        block.holders.store(1, Ordering::Relaxed);
        Self(NonNull::from(Box::leak(block)))
    }
}

impl Deref for Hold {
    type Target = Block;

    fn deref(&self) -> &Block {
        // SAFETY: the block lives as long as anybody holds it.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        // Relaxed is enough to add a holder while one is at hand, as for an `Arc`.
        self.holders.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Release: this holder's reads and writes come before whatever the next owner does.
        // Acquire: the last holder has seen them all.
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: it came out of a box in `first`, and this was its only hold.
            unsafe { Box::from_raw(self.0.as_ptr()) }.go_home();
        }
    }
}

/// An exclusive lease of memory: only its holder can read or write it.
///
/// [`post_recv`](crate::QueuePair::post_recv) takes a region and the completion gives it back.
/// A region that came from a [`RegionPool`](super::RegionPool) returns there when it, or the last
/// slice of it, is dropped.
///
/// A region is not `Sync`, because its backing need not be.
pub struct Region {
    block: Hold,
    not_sync: PhantomData<Cell<()>>,
}

impl Region {
    /// `len` zeroed bytes of our own, aligned to [`PAGE_BYTES`](super::PAGE_BYTES).
    ///
    /// Aborts as any allocation does when there is no memory.
    pub fn pages(len: usize) -> Self {
        Self::from_backing(Box::new(Pages::new(len)))
    }

    /// A region over memory that the caller brings. [`backing`](Self::backing) and
    /// [`into_backing`](Self::into_backing) give it back.
    pub fn from_backing(backing: Box<dyn Backing>) -> Self {
        Self::of(Hold::first(Block::new(backing, None)))
    }

    /// The lease on a block that nobody holds.
    pub(super) fn lease(block: Box<Block>) -> Self {
        Self::of(Hold::first(block))
    }

    /// Of the only hold of a block.
    fn of(block: Hold) -> Self {
        Self { block, not_sync: PhantomData }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.block.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All its bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the backing promised `len` valid bytes, and nobody writes while `self` is lent.
        unsafe { std::slice::from_raw_parts(self.block.ptr.as_ptr(), self.block.len) }
    }

    /// All its bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: a region is the only holder of its block, and `self` is lent exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.block.ptr.as_ptr(), self.block.len) }
    }

    /// Shares the region and gives up writing to it.
    pub fn freeze(self) -> RegionSlice {
        RegionSlice { start: 0, len: self.block.len, block: self.block }
    }

    /// What the region was made of, if it was made of a `T`.
    pub fn backing<T: Backing>(&self) -> Option<&T> {
        // SAFETY: only an exclusive holder takes the backing out, and that is `self`, lent here.
        let backing = unsafe { &*self.block.backing.get() };
        let any: &dyn Any = backing.as_deref()?;
        any.downcast_ref()
    }

    /// Takes the region apart into what it was made of.
    ///
    /// # Errors
    ///
    /// The region itself, if it was not made of a `T` or belongs to a pool.
    pub fn into_backing<T: Backing>(self) -> Result<Box<T>, Self> {
        if self.block.home.is_some() || self.backing::<T>().is_none() {
            return Err(self);
        }
        // SAFETY: a region is the only holder of its block, and this one ends here.
        let backing = unsafe { (*self.block.backing.get()).take() };
        let any: Box<dyn Any> = backing.expect("the type was just seen");
        Ok(any.downcast().expect("the type was just seen"))
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A part of a region that is shared and immutable. Cloning it copies no bytes.
#[derive(Clone)]
pub struct RegionSlice {
    block: Hold,
    start: usize,
    len: usize,
}

impl RegionSlice {
    /// All of a file, mapped read-only: how shards are served without reading them first.
    ///
    /// # Safety
    ///
    /// Nobody may shorten or rewrite the file while the slice, or a slice of it, lives. Files that
    /// are written under another name and then renamed keep this by themselves.
    ///
    /// # Errors
    ///
    /// What `mmap` says.
    pub unsafe fn map_file(file: &std::fs::File) -> std::io::Result<Self> {
        let block = Hold::first(Block::new(Box::new(File::map(file)?), None));
        Ok(Self { start: 0, len: block.len, block })
    }

    /// A part of this slice.
    ///
    /// # Panics
    ///
    /// If the range is not within it.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&at) => at + 1,
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len,
        };
        assert!(
            start <= end && end <= self.len,
            "slice {start}..{end} of a slice of {} bytes",
            self.len
        );
        let mut part = self.clone();
        part.start += start;
        part.len = end - start;
        part
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start + len` is within the block, whose bytes nobody writes while a slice
        // holds it.
        unsafe { std::slice::from_raw_parts(self.block.ptr.as_ptr().add(self.start), self.len) }
    }

    /// The whole region again, writable, if this is the last slice of it.
    ///
    /// # Errors
    ///
    /// The slice itself, if others hold the region too or it is a file's.
    pub fn try_into_region(self) -> Result<Region, Self> {
        // Acquire: what former holders did comes before what the new owner will do. Nobody can
        // clone in between: the one holder left is `self`.
        if self.block.holders.load(Ordering::Acquire) != 1 || self.is_read_only() {
            return Err(self);
        }
        Ok(Region::of(self.block))
    }

    fn is_read_only(&self) -> bool {
        // SAFETY: only a `Region` takes the backing out, and there is none while a slice lives.
        let backing = unsafe { &*self.block.backing.get() };
        backing.as_deref().is_some_and(|backing| (backing as &dyn Any).is::<File>())
    }
}

impl fmt::Debug for RegionSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionSlice").field("len", &self.len).finish_non_exhaustive()
    }
}

impl From<Region> for RegionSlice {
    fn from(region: Region) -> Self {
        region.freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Foreign(Box<[u8]>, Arc<AtomicUsize>);

    // SAFETY: the box owns its bytes; nothing else in these tests looks at them.
    unsafe impl Backing for Foreign {
        fn ptr(&self) -> NonNull<u8> {
            NonNull::from(&self.0[..]).cast()
        }
        fn len(&self) -> usize {
            self.0.len()
        }
    }

    impl Drop for Foreign {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_large_region_is_zeroed_and_begins_at_a_large_page() {
        for len in [(2 << 20) - 1, 2 << 20, (5 << 20) + 1] {
            // Memory that was used before.
            Region::pages(len).as_mut_slice().fill(7);
            let region = Region::pages(len);
            assert_eq!(region.len(), len);
            assert!(region.as_slice().iter().all(|&byte| byte == 0));
            let page = if len < 2 << 20 { PAGE } else { 2 << 20 };
            assert!((region.as_slice().as_ptr() as usize).is_multiple_of(page));
        }
    }

    #[test]
    fn pages_are_aligned_zeroed_and_writable() {
        let mut region = Region::pages(5000);
        assert_eq!(region.as_slice().as_ptr() as usize % PAGE, 0);
        assert!(region.as_slice().iter().all(|&byte| byte == 0));
        region.as_mut_slice()[4999] = 7;
        assert_eq!(region.freeze().slice(4999..).as_slice(), [7]);
    }
    const PAGE: usize = super::super::PAGE_BYTES;

    #[test]
    fn an_empty_region_is_a_region() {
        assert!(Region::pages(0).freeze().as_slice().is_empty());
    }

    #[test]
    fn a_slice_becomes_writable_again_only_when_alone() {
        let slice = Region::pages(10).freeze();
        let other = slice.slice(2..4);
        let slice = slice.try_into_region().unwrap_err();
        drop(other);
        assert_eq!(slice.try_into_region().unwrap().len(), 10);
    }

    #[test]
    fn a_backing_is_lent_given_back_and_dropped_once() {
        let drops = Arc::new(AtomicUsize::new(0));
        let region = Region::from_backing(Box::new(Foreign(vec![1, 2, 3].into(), drops.clone())));
        assert_eq!(region.backing::<Foreign>().unwrap().0[1], 2);
        let region = region.into_backing::<Pages>().map(|_| ()).unwrap_err();
        let slice = region.freeze();
        let region = slice.try_into_region().unwrap();
        let foreign = region.into_backing::<Foreign>().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        drop(foreign);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        drop(Region::from_backing(Box::new(Foreign(vec![1].into(), drops.clone()))).freeze());
        assert_eq!(drops.load(Ordering::SeqCst), 2);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no files")]
    fn a_file_is_never_writable() {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"weights").unwrap();
        // SAFETY: the file is this test's own.
        let slice = unsafe { RegionSlice::map_file(&file) }.unwrap();
        assert_eq!(slice.slice(..3).as_slice(), b"wei");
        assert!(slice.try_into_region().is_err());
    }

    #[test]
    #[should_panic(expected = "slice 3..11 of a slice of 10 bytes")]
    fn a_slice_beyond_the_end_is_refused() {
        Region::pages(10).freeze().slice(3..11);
    }
}
