//! Products with matrices in MXFP4, which MLX has and `mlx-rs` does not ask it for.
//!
//! MXFP4 (OCP Microscaling Formats 1.0): 32 numbers share a scale, a power of two in a byte; each is a
//! float of 4 bits. MLX holds them as codes in u32 words, eight a word, and scales in u8.
#![allow(unsafe_code, reason = "mlx-rs leaves the mode out; see each SAFETY note")]

use std::ffi::CStr;

use mlx_rs::{Array, Dtype, Stream, error::Exception};
use mlx_sys::{mlx_optional_dtype, mlx_optional_int};

use super::operation::call;

const REFUSED: &str = "MLX does not take the shapes of a matrix in MXFP4";
const MODE: &CStr = c"mxfp4";
const GROUP_SIZE: mlx_optional_int = mlx_optional_int { value: 32, has_value: true };
const BITS: mlx_optional_int = mlx_optional_int { value: 4, has_value: true };

/// `x Wᵀ`, or `x W`.
///
/// # Errors
/// What MLX says.
pub(crate) fn matmul(
    x: &Array,
    weight: &Array,
    scales: &Array,
    transposed: bool,
) -> Result<Array, Exception> {
    let stream = Stream::thread_local_or_default();
    call(REFUSED, |out, none| {
        // SAFETY: all handles are valid while their arrays are borrowed; `none` stands for an
        // argument that is left out; the mode is a C string; MLX writes a handle to `out`.
        unsafe {
            mlx_sys::mlx_quantized_matmul(
                out,
                x.as_ptr(),
                weight.as_ptr(),
                scales.as_ptr(),
                none,
                transposed,
                GROUP_SIZE,
                BITS,
                MODE.as_ptr(),
                stream.as_ptr(),
            )
        }
    })
}

/// `x Wᵀ` by the matrix that `experts` names for each row of `x` (`[…, 1, inputs]`).
///
/// # Errors
/// What MLX says.
pub(crate) fn gather(
    x: &Array,
    weight: &Array,
    scales: &Array,
    experts: &Array,
    sorted: bool,
) -> Result<Array, Exception> {
    let stream = Stream::thread_local_or_default();
    call(REFUSED, |out, none| {
        // SAFETY: as in `matmul`.
        unsafe {
            mlx_sys::mlx_gather_qmm(
                out,
                x.as_ptr(),
                weight.as_ptr(),
                scales.as_ptr(),
                none,
                none,
                experts.as_ptr(),
                true,
                GROUP_SIZE,
                BITS,
                MODE.as_ptr(),
                sorted,
                stream.as_ptr(),
            )
        }
    })
}

/// The numbers. They fit any type of floats, but for scales beyond the range of halves.
///
/// # Errors
/// What MLX says.
pub(crate) fn dequantise(weight: &Array, scales: &Array, dtype: Dtype) -> Result<Array, Exception> {
    let stream = Stream::thread_local_or_default();
    let bf16 = mlx_sys::mlx_dtype__MLX_BFLOAT16;
    let exact = mlx_optional_dtype { value: bf16, has_value: true };
    call(REFUSED, |out, none| {
        // SAFETY: as in `matmul`.
        unsafe {
            mlx_sys::mlx_dequantize(
                out,
                weight.as_ptr(),
                scales.as_ptr(),
                none,
                GROUP_SIZE,
                BITS,
                MODE.as_ptr(),
                none,
                exact,
                stream.as_ptr(),
            )
        }
    })?
    .as_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the 16 codes stand for, by the standard.
    const NUMBERS: [f32; 16] =
        [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

    #[test]
    fn numbers_and_products_are_those_of_the_standard() {
        // Two rows of 32: all codes twice, then the same from the last on; scales 2^-1 and 2^3.
        let codes: Vec<usize> =
            (0..64).map(|n| if n < 32 { n % 16 } else { 15 - n % 16 }).collect();
        let word =
            |codes: &[usize]| codes.iter().rev().fold(0, |word, code| word << 4 | *code as u32);
        let words: Vec<u32> = codes.chunks(8).map(word).collect();
        let expected: Vec<f32> = codes
            .iter()
            .enumerate()
            .map(|(n, code)| NUMBERS[*code] * if n < 32 { 0.5 } else { 8.0 })
            .collect();
        let weight = Array::from_slice(&words, &[2, 4]);
        let scales = Array::from_slice(&[126_u8, 130], &[2, 1]);
        let numbers = dequantise(&weight, &scales, Dtype::Float32).unwrap();
        numbers.eval().unwrap();
        assert_eq!(numbers.as_slice::<f32>(), expected);

        let x: Vec<f32> = (0..32).map(|n| (n as f32 * 0.7).sin()).collect();
        let row = |n: usize| -> f32 {
            x.iter().zip(&expected[32 * n..]).map(|(x, number)| x * number).sum()
        };
        let x = Array::from_slice(&x, &[1, 32]);
        let product = matmul(&x, &weight, &scales, true).unwrap();
        product.eval().unwrap();
        for (n, ours) in product.as_slice::<f32>().iter().enumerate() {
            assert!((ours - row(n)).abs() < 1e-4, "{ours} for {}", row(n));
        }
        // Of two matrices of one row each the second, then the first.
        let (weight, scales) =
            (weight.reshape(&[2, 1, 4]).unwrap(), scales.reshape(&[2, 1, 1]).unwrap());
        let experts = Array::from_slice(&[1_u32, 0], &[1, 2]);
        let rows = x.reshape(&[1, 1, 1, 32]).unwrap();
        let gathered = gather(&rows, &weight, &scales, &experts, false).unwrap();
        gathered.eval().unwrap();
        let [second, first] = gathered.as_slice::<f32>() else { panic!("{:?}", gathered.shape()) };
        assert!((second - row(1)).abs() < 1e-4 && (first - row(0)).abs() < 1e-4);

        let narrow = Array::from_slice(&[1.0_f32; 8], &[1, 8]);
        assert!(matmul(&narrow, &weight, &scales, true).is_err());
    }
}
