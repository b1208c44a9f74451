//! Where a region's bytes really lie: our own pages, a read-only file, or what a caller brings.
#![allow(unsafe_code)] // memory/ is where this crate turns addresses into slices

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::any::Any;
use std::ptr::NonNull;

/// Alignment of our own pages: the larger of the two page sizes in use (Apple silicon has 16 KiB),
/// so that Metal can import them without a copy.
pub const PAGE_BYTES: usize = 16 << 10;

/// Memory that a [`Region`](super::Region) can be made of.
///
/// # Safety
///
/// While the value lives, and wherever it is moved:
///
/// - [`ptr`](Backing::ptr) and [`len`](Backing::len) always give the same answers,
/// - the `len` bytes at `ptr` are initialised, and valid for reads and writes from any thread,
/// - nothing but the region writes them, and if the region is received into or written to, nothing
///   else reads them meanwhile. Memory that others only read (an evaluated array) may be made into
///   a region that is only frozen and sent.
pub unsafe trait Backing: Any + Send {
    /// The first byte.
    fn ptr(&self) -> NonNull<u8>;
    /// How many bytes.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The large pages of x86-64, and of ARM with pages of 4 KiB.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Zeroed memory of our own, aligned to [`PAGE_BYTES`]; from [`LARGE_PAGE_BYTES`] on aligned to those, and
/// on such pages where the system gives them on request: whoever copies megabytes from 4 KiB pages waits
/// for their addresses.
pub(super) struct Pages {
    ptr: NonNull<u8>,
    len: usize,
}

impl Pages {
    pub(super) fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        if layout.align() < LARGE_PAGE_BYTES {
            // SAFETY: the layout's size is at least one page, never zero.
            let ptr = unsafe { alloc_zeroed(layout) };
            let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(layout) };
            return Self { ptr, len };
        }
        // SAFETY: as above.
        let Some(ptr) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // Asked for before anything is written: what is there keeps the pages it has.
        ask_for_large_pages(ptr, layout.size());
        // SAFETY: the allocation has this many bytes, and nobody else knows of it.
        unsafe { ptr.write_bytes(0, layout.size()) };
        Self { ptr, len }
    }

    fn layout(len: usize) -> Layout {
        let align = if len < LARGE_PAGE_BYTES { PAGE_BYTES } else { LARGE_PAGE_BYTES };
        let size = len.max(1).checked_next_multiple_of(PAGE_BYTES).expect("a region fits memory");
        Layout::from_size_align(size, align).expect("a region fits memory")
    }
}

/// Asks for large pages under the whole ones of these bytes, which begin at one. Where there are none
/// to be had, others do as well.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(start: NonNull<u8>, len: usize) {
    use nix::sys::mman::{MmapAdvise, madvise};

    let whole = len - len % LARGE_PAGE_BYTES;
    // SAFETY: the advice changes no contents, and the bytes belong to the caller.
    if let Err(error) = unsafe { madvise(start.cast(), whole, MmapAdvise::MADV_HUGEPAGE) } {
        tracing::debug!(%error, "no large pages");
    }
}

/// Elsewhere nobody is asked: macOS gives the pages that it sees fit.
#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_start: NonNull<u8>, _len: usize) {}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `ptr` came from `alloc_zeroed` with this very layout and is freed only here.
        unsafe { dealloc(self.ptr.as_ptr(), Self::layout(self.len)) }
    }
}

// SAFETY: the allocation is owned by this value alone and has no ties to a thread.
unsafe impl Send for Pages {}

// SAFETY: one zeroed allocation, never moved or resized, that nobody else knows of.
unsafe impl Backing for Pages {
    fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }
    fn len(&self) -> usize {
        self.len
    }
}

/// A read-only mapping. It becomes slices only, never a writable region.
pub(super) struct File {
    map: memmap2::Mmap,
}

impl File {
    pub(super) fn map(file: &std::fs::File) -> std::io::Result<Self> {
        // SAFETY: the mapping is private and read-only, and `RegionSlice::map_file` makes its
        // caller promise that nobody shortens or rewrites the file while the slice lives.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self { map })
    }
}

// SAFETY: a mapping stays where it is; `RegionSlice` is the only user and never writes.
unsafe impl Backing for File {
    fn ptr(&self) -> NonNull<u8> {
        NonNull::from(&self.map[..]).cast()
    }
    fn len(&self) -> usize {
        self.map.len()
    }
}
