//! An array whose memory nobody has written yet.
//!
//! MLX has no such operation: `zeros` writes every byte, which for weights is a pass over memory (and
//! a page fault for each page) for nothing. It does allocate without writing when it loads a file,
//! since the reader is to fill the memory. So it is given a reader of a file in NumPy's format
//! (`numpy.lib.format`, version 1.0) that has a header and no bytes.
#![allow(
    unsafe_code,
    reason = "MLX takes a reader as a table of C functions; see each SAFETY note"
)]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    sync::Once,
};

use mlx_rs::{Array, Dtype, Stream, error::Exception};

/// Bytes of a large page, where there are such.
pub(super) const LARGE_PAGE: usize = 2 << 20;

/// Bytes before the header's text: magic, version, length.
const PREAMBLE: usize = 10;

/// An evaluated, row-major array that is nobody else's. Its bytes are whatever was in that memory.
pub(super) fn unwritten(shape: &[i32], dtype: Dtype) -> Result<Array, Exception> {
    let descr = match bytes_of(dtype)? {
        4 => "<u4",
        2 => "<u2",
        _ => "|u1",
    };
    install_error_handler()?;
    let header = Box::new(Header { bytes: header(shape, descr), read: 0 });
    let stream = Stream::cpu();
    // SAFETY: the table's functions take the pointer that is given with it, and MLX calls them one
    // at a time until it calls `free`, once. The stream and the reader are valid handles; the reader
    // is shared with the array from then on. The array's handle is new and becomes ours.
    let array = unsafe {
        let reader = mlx_sys::mlx_io_reader_new(Box::into_raw(header).cast(), VTABLE);
        let mut array = mlx_sys::mlx_array_new();
        let status = mlx_sys::mlx_load_reader(&raw mut array, reader, stream.as_ptr());
        mlx_sys::mlx_io_reader_free(reader);
        let array = Array::from_ptr(array);
        if status != 0 {
            return Err(Exception::custom("MLX does not take the header of an array"));
        }
        array
    };
    // Of the same width: the same memory, once the first handle is gone.
    let array = array.view_dtype(dtype)?;
    array.eval()?;
    if array.shape() != shape {
        return Err(Exception::custom("MLX reads another shape from the header of an array"));
    }
    on_large_pages(&array);
    Ok(array)
}

/// Bytes of a number.
///
/// # Errors
/// A type that weights do not have.
pub(super) fn bytes_of(dtype: Dtype) -> Result<usize, Exception> {
    match dtype {
        Dtype::Float32 | Dtype::Uint32 => Ok(4),
        Dtype::Float16 | Dtype::Bfloat16 => Ok(2),
        Dtype::Uint8 => Ok(1),
        other => Err(Exception::custom(format!("no array of {other:?} is read into"))),
    }
}

/// A failure of MLX ends the process unless mlx-rs has said otherwise, which its first call does.
pub(super) fn install_error_handler() -> Result<(), Exception> {
    static INSTALLED: Once = Once::new();
    let mut result = Ok(());
    INSTALLED.call_once(|| result = Array::from_int(0).eval());
    result
}

/// A file of an array of `shape`, as far as its bytes.
fn header(shape: &[i32], descr: &str) -> Vec<u8> {
    let lengths: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (");
    // One length has a comma behind it, several only between them.
    text += if shape.len() == 1 { lengths.trim_end() } else { lengths.trim_end_matches(", ") };
    text += "), }";
    let padded = (PREAMBLE + text.len() + 1).next_multiple_of(64) - PREAMBLE;
    let text = format!("{text:<width$}\n", width = padded - 1);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// What MLX reads: a header, and behind it bytes that are left as they are.
struct Header {
    bytes: Vec<u8>,
    read: usize,
}

const VTABLE: mlx_sys::mlx_io_vtable = mlx_sys::mlx_io_vtable {
    is_open: Some(always),
    good: Some(always),
    tell: Some(tell),
    seek: Some(seek),
    read: Some(read),
    read_at_offset: Some(leave),
    write: None,
    label: Some(label),
    free: Some(free),
};

extern "C" fn always(_: *mut c_void) -> bool {
    true
}

extern "C" fn tell(header: *mut c_void) -> usize {
    // SAFETY: the pointer is that of `unwritten`, and MLX calls one function at a time.
    unsafe { (*header.cast::<Header>()).read }
}

extern "C" fn seek(_: *mut c_void, _: i64, _: c_int) -> c_int {
    -1
}

extern "C" fn read(header: *mut c_void, out: *mut c_char, count: usize) -> usize {
    // SAFETY: as in `tell`; MLX gives `count` bytes of its own to be written.
    let (header, out) = unsafe {
        let header = &mut *header.cast::<Header>();
        (header, std::slice::from_raw_parts_mut(out.cast::<u8>(), count))
    };
    let Some(bytes) = header.bytes.get(header.read..header.read + count) else { return 0 };
    out.copy_from_slice(bytes);
    header.read += count;
    count
}

/// The array's own bytes.
extern "C" fn leave(_: *mut c_void, _: *mut c_char, count: usize, _: usize) -> usize {
    count
}

extern "C" fn label(_: *mut c_void) -> *const c_char {
    const LABEL: &CStr = c"an array's header";
    LABEL.as_ptr()
}

extern "C" fn free(header: *mut c_void) {
    // SAFETY: the pointer is that of `unwritten`, which gave it up, and MLX frees it once.
    drop(unsafe { Box::from_raw(header.cast::<Header>()) });
}

/// Asks for large pages under an array that nobody has written, where the system gives them on
/// request: a weight is read from end to end for each token, and every page that is looked up costs
/// time (some 15 % of a product of one row, on 4 KiB pages).
#[cfg(target_os = "linux")]
fn on_large_pages(array: &Array) {
    use std::num::NonZero;

    use nix::sys::mman::{MmapAdvise, madvise};
    const SMALL_PAGE: usize = 4096;
    let data = super::memory::data(array);
    // What the allocators put before and behind it shares its first and last page.
    let start = data.addr().get() / SMALL_PAGE * SMALL_PAGE;
    let end = (data.addr().get() + array.nbytes()).next_multiple_of(SMALL_PAGE);
    let (start, end) = (start.next_multiple_of(LARGE_PAGE), end / LARGE_PAGE * LARGE_PAGE);
    let Some(first) = NonZero::new(start).filter(|_| start < end) else { return };
    // SAFETY: the pages hold the array, which is ours, and nothing but; the first and the last of them
    // perhaps an allocator's notes. The advice changes no byte of either. A system that does not take
    // it goes on with small pages.
    let _ =
        unsafe { madvise(data.with_addr(first).cast(), end - start, MmapAdvise::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn on_large_pages(_: &Array) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_types_come_out_as_asked() {
        for shape in [&[7][..], &[3, 5], &[2, 1, 9], &[1, 4096, 1024]] {
            for dtype in
                [Dtype::Float32, Dtype::Uint32, Dtype::Float16, Dtype::Bfloat16, Dtype::Uint8]
            {
                let array = unwritten(shape, dtype).unwrap();
                assert_eq!((array.shape(), array.dtype()), (shape, dtype));
                assert!(super::super::memory::is_row_major(&array));
            }
        }
        assert!(unwritten(&[3], Dtype::Complex64).is_err());
    }
}
