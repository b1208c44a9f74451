//! The bytes of arrays: read in place, filled in place, lent to the transport.
#![allow(
    unsafe_code,
    reason = "MLX's memory is reached through raw pointers; see each SAFETY note"
)]

use std::ptr::NonNull;

use mlx_rs::{Array, Dtype, error::Exception, ops};

use super::unwritten::unwritten;
use crate::fabric::Backing;

/// Whether the elements lie in row-major order without gaps. The array must be evaluated.
pub(super) fn is_row_major(array: &Array) -> bool {
    let mut expected = 1;
    for (&length, &stride) in array.shape().iter().zip(array.strides()).rev() {
        if length != 1 && stride != expected {
            return false;
        }
        expected *= length as usize;
    }
    true
}

/// The bytes of a row-major array, where they lie. Evaluates it if it is not.
///
/// # Panics
/// If the array cannot be evaluated or is not row-major: a mistake in this crate.
fn bytes(array: &Array) -> &[u8] {
    array.eval().expect("the array was evaluated by the caller");
    assert!(is_row_major(array), "bytes of an array that is not row-major");
    // SAFETY: the pointer is that of the array's buffer, which the borrow keeps alive; the array is
    // row-major, so nbytes() bytes follow; nothing writes an array that has a handle (MLX arrays
    // are immutable; a donated buffer has no other handle).
    unsafe { std::slice::from_raw_parts(data(array).as_ptr(), array.nbytes()) }
}

/// A new array of `shape` and `dtype` whose bytes `fill` writes, all of them, straight into MLX's
/// memory. What it finds there is left over from something else.
///
/// # Errors
/// The outer error is MLX's, the inner one that of `fill`.
pub(crate) fn filled<E>(
    shape: &[i32],
    dtype: Dtype,
    fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<Result<Array, E>, Exception> {
    let array = unwritten(shape, dtype)?;
    // SAFETY: the array is new, and its buffer nobody else's.
    Ok(unsafe { self::fill(array, fill) })
}

/// Has `fill` write the bytes of `array`.
///
/// # Safety
/// The array is evaluated and row-major, and nobody else reads or writes its bytes meanwhile.
pub(super) unsafe fn fill<E>(
    array: Array,
    fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<Array, E> {
    debug_assert!(is_row_major(&array));
    // SAFETY: the caller says that this is the only reference, and that so many bytes follow. The
    // allocation comes from foreign code, which may have written it, so its bytes are some bytes.
    let memory = unsafe { std::slice::from_raw_parts_mut(data(&array).as_ptr(), array.nbytes()) };
    fill(memory).map(|()| array)
}

/// Where the bytes of an evaluated array are.
pub(super) fn data(array: &Array) -> NonNull<u8> {
    // SAFETY: the handle is valid; the call only reads the pointer.
    let pointer = unsafe { mlx_sys::mlx_array_data_uint8(array.as_ptr()) };
    NonNull::new(pointer.cast_mut()).expect("the array was evaluated by the caller")
}

/// An array lent to the transport: sent from, or received into, where it lies.
pub(crate) struct ArrayRegion {
    array: Array,
    memory: NonNull<u8>,
    len: usize,
}

// SAFETY: an evaluated array may go to any thread (`Array` is Send); the pointer is into its buffer.
unsafe impl Send for ArrayRegion {}

impl ArrayRegion {
    /// Lends out an evaluated, row-major array to be *sent*.
    ///
    /// # Panics
    /// As [`bytes`].
    pub(crate) fn to_send(array: Array) -> Self {
        let (memory, len) = (data(&array), bytes(&array).len());
        Self { array, memory, len }
    }

    /// Memory for `numbers` numbers of `dtype`, to be *received into*.
    ///
    /// # Errors
    /// What MLX says.
    pub(crate) fn to_receive(numbers: usize, dtype: Dtype) -> Result<Self, Exception> {
        let numbers = i32::try_from(numbers)
            .map_err(|_| Exception::custom("a region of more than 2^31 numbers"))?;
        let array = ops::zeros_dtype(&[numbers], dtype)?;
        array.eval()?;
        Ok(Self::to_send(array))
    }

    /// The array over the region's memory. While a step that reads it is not evaluated the region
    /// must not be posted again: hold the region until then.
    pub(crate) fn array(&self) -> &Array {
        &self.array
    }
}

// SAFETY: the buffer of an evaluated array stays where it is while a handle lives, and `array` is
// one. Nobody else writes it: a sent array is immutable, and a receiving one was made here and is
// read only by steps that are evaluated before the region is posted again.
unsafe impl Backing for ArrayRegion {
    fn ptr(&self) -> NonNull<u8> {
        self.memory
    }

    fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_filled_and_read_where_it_lies() {
        let array = filled::<()>(&[2, 3], Dtype::Float32, |out| {
            out.copy_from_slice(bytemuck::cast_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]));
            Ok(())
        })
        .unwrap()
        .unwrap();
        assert_eq!(array.as_slice::<f32>(), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(&bytes(&array)[4..8], &2.0f32.to_le_bytes());
        let transposed = array.transpose().unwrap();
        transposed.eval().unwrap();
        assert!(!is_row_major(&transposed));
    }

    #[test]
    fn a_received_region_is_the_array_it_shows() {
        let region = ArrayRegion::to_receive(8, Dtype::Float32).unwrap();
        assert_eq!(region.ptr().as_ptr().cast_const(), bytes(region.array()).as_ptr());
        assert_eq!(region.len(), 32);
    }
}
