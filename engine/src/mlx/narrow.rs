//! Products of f32 with a matrix that lies in memory in bf16.
//!
//! The numbers are those of a matrix widened to f32, at half the memory, and half as much is read for
//! each token. MLX's own product of the two types would widen the whole matrix each time. On Linux
//! `cargo xtask setup` adds the operation to MLX (`xtask/assets/mlx/narrow.cpp`); where MLX was built
//! otherwise it is not there, and matrices are widened when they are read.
#![allow(unsafe_code, reason = "an operation that mlx-rs does not know; see each SAFETY note")]

use mlx_rs::{Array, error::Exception};

#[cfg(target_os = "linux")]
use self::linux::multiply;

/// Whether this MLX has the operation. It is one for the CPU device.
#[must_use]
pub(crate) fn is_available() -> bool {
    #[cfg(target_os = "linux")]
    return linux::operation().is_some();
    #[cfg(not(target_os = "linux"))]
    false
}

/// `x Wᵀ`, plus `added` if there is one. `x`: `[…, inputs]` in f32; `weight`: `[outputs, inputs]` in
/// bf16, evaluated and row-major; `added`: the shape of what comes out.
///
/// # Errors
/// Shapes or types that do not fit; an MLX without the operation.
pub(crate) fn matmul(x: &Array, weight: &Array, added: Option<&Array>) -> Result<Array, Exception> {
    if x.ndim() == 2 {
        return multiply(x, weight, added);
    }
    let (inputs, outputs) = (weight.dim(1), weight.dim(0));
    let added = added.map(|added| added.reshape(&[-1, outputs])).transpose()?;
    let out = multiply(&x.reshape(&[-1, inputs])?, weight, added.as_ref())?;
    let mut shape = x.shape().to_vec();
    shape.last_mut().into_iter().for_each(|last| *last = outputs);
    out.reshape(&shape)
}

#[cfg(not(target_os = "linux"))]
fn multiply(_: &Array, _: &Array, _: Option<&Array>) -> Result<Array, Exception> {
    Err(Exception::custom(REFUSED))
}

const REFUSED: &str = "MLX does not take a product with a matrix in bf16";

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        ffi::{c_int, c_void},
        ptr::NonNull,
        sync::OnceLock,
    };

    use mlx_rs::{Array, Stream, error::Exception};
    use mlx_sys::{mlx_array, mlx_stream};

    use super::{
        super::operation::{added, call},
        REFUSED,
    };

    type Operation =
        unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_array, mlx_array, mlx_stream) -> c_int;

    pub(super) fn operation() -> Option<Operation> {
        static FOUND: OnceLock<Option<Operation>> = OnceLock::new();
        *FOUND.get_or_init(|| {
            // SAFETY: a symbol of that name is narrow.cpp's function, whose signature the type repeats.
            added(c"exo_narrow_matmul")
                .map(|symbol| unsafe { std::mem::transmute::<NonNull<c_void>, Operation>(symbol) })
        })
    }

    pub(super) fn multiply(
        x: &Array,
        weight: &Array,
        added: Option<&Array>,
    ) -> Result<Array, Exception> {
        let operation = operation().ok_or_else(|| Exception::custom(REFUSED))?;
        let stream = Stream::thread_local_or_default();
        call(REFUSED, |out, none| {
            let added = added.map_or(none, Array::as_ptr);
            // SAFETY: all handles are valid while their arrays are borrowed; `none` stands for an
            // argument that is left out; MLX writes a handle to `out`.
            unsafe { operation(out, x.as_ptr(), weight.as_ptr(), added, stream.as_ptr()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use mlx_rs::{Dtype, ops};

    use super::*;

    fn numbers(shape: &[i32], seed: f32) -> Array {
        let count: i32 = shape.iter().product();
        Array::from_iter((0..count).map(|n| (n as f32 * seed).sin()), shape)
    }

    fn assert_close(ours: &Array, theirs: &Array) {
        assert_eq!((ours.shape(), ours.dtype()), (theirs.shape(), Dtype::Float32));
        let apart = ours.subtract(theirs).unwrap().abs().unwrap().max(None).unwrap();
        assert!(apart.item_exact::<f32>() < 1e-4, "{:?}", ours.shape());
    }

    /// One row, few and many; widths that no vector divides; rows that do not lie in a row.
    #[test]
    fn products_are_those_of_the_widened_matrix() {
        if !is_available() {
            // An MLX from before, or a system where there is none of it.
            eprintln!("skipped: needs the MLX that `cargo xtask setup` makes on Linux");
            return;
        }
        for (rows, inputs, outputs) in [
            (1, 64, 48),
            (1, 7, 5),
            (2, 33, 9),
            (5, 129, 14),
            (8, 64, 3),
            (17, 40, 70),
            (40, 4096, 101),
        ] {
            let weight = numbers(&[outputs, inputs], 0.37).as_dtype(Dtype::Bfloat16).unwrap();
            weight.eval().unwrap();
            let wide = weight.as_dtype(Dtype::Float32).unwrap().transpose().unwrap();
            let x = numbers(&[rows, inputs], 0.53);
            let expected = x.matmul(&wide).unwrap();
            assert_close(&matmul(&x, &weight, None).unwrap(), &expected);
            let residual = numbers(&[rows, outputs], 0.71);
            let more = expected.add(&residual).unwrap();
            assert_close(&matmul(&x, &weight, Some(&residual)).unwrap(), &more);
            // Columns of a wider array; and a transposed one.
            let wider = ops::concatenate(&[&x, &x], 1).unwrap();
            let columns = wider.split_equal(2, 1).unwrap().remove(1);
            assert_close(&matmul(&columns, &weight, None).unwrap(), &expected);
            let turned = x.transpose().unwrap().contiguous().unwrap().transpose().unwrap();
            let added = residual.transpose().unwrap().contiguous().unwrap().transpose().unwrap();
            assert_close(&matmul(&turned, &weight, Some(&added)).unwrap(), &more);
            let deep = x.reshape(&[1, rows, 1, inputs]).unwrap();
            let deep = matmul(&deep, &weight, None).unwrap();
            assert_close(&deep, &expected.reshape(&[1, rows, 1, outputs]).unwrap());
        }
        let weight = numbers(&[3, 8], 0.1).as_dtype(Dtype::Bfloat16).unwrap();
        weight.eval().unwrap();
        // One row that stands for many, and none at all.
        let one = numbers(&[1, 8], 0.3);
        for rows in [2, 40] {
            let many = ops::broadcast_to(&one, &[rows, 8]).unwrap();
            let expected = ops::concatenate(&vec![&one; rows as usize], 0).unwrap();
            let wide = weight.as_dtype(Dtype::Float32).unwrap().transpose().unwrap();
            let expected = expected.matmul(&wide).unwrap();
            assert_close(&matmul(&many, &weight, None).unwrap(), &expected);
        }
        let none = matmul(&ops::zeros::<f32>(&[0, 8]).unwrap(), &weight, None).unwrap();
        none.eval().unwrap();
        assert_eq!(none.shape(), [0, 3]);
        assert!(matmul(&numbers(&[2, 7], 0.1), &weight, None).is_err());
        assert!(matmul(&weight, &weight, None).is_err());
    }
}
