//! Passes over rows of f32: a norm, a gate, and the softmax of attention's scores.
//!
//! On the CPU device MLX makes several operations of each, and on x86 it takes exponentials one number
//! at a time. On Linux `cargo xtask setup` adds one operation for each (`xtask/assets/mlx/passes.cpp`);
//! where MLX was built otherwise they are not there, and [`over`] says so.
#![allow(unsafe_code, reason = "operations that mlx-rs does not know; see each SAFETY note")]

use std::{
    ffi::{c_int, c_void},
    mem::transmute,
    ptr::NonNull,
    sync::OnceLock,
};

use mlx_rs::{Array, Dtype, Stream, error::Exception};
use mlx_sys::{mlx_array, mlx_stream};

use super::operation::{added, call};
use crate::weights;

type Norm = unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_array, f32, mlx_stream) -> c_int;
type Gate = unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_stream) -> c_int;
type Softmax =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, c_int, c_int, f32, mlx_stream) -> c_int;

/// The operations of an MLX that has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passes {
    norm: Norm,
    gate: Gate,
    softmax: Softmax,
}

/// The passes over rows of the type of `x`: those of f32, if this MLX has them and computes on the CPU.
#[must_use]
pub(crate) fn over(x: &Array) -> Option<Passes> {
    available().filter(|_| x.dtype() == Dtype::Float32)
}

fn available() -> Option<Passes> {
    static FOUND: OnceLock<Option<Passes>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if !weights::is_cpu() {
            return None;
        }
        let (norm, gate) = (added(c"exo_norm")?, added(c"exo_gate")?);
        let softmax = added(c"exo_causal_softmax")?;
        // SAFETY: symbols of these names are passes.cpp's functions, whose signatures the types repeat.
        Some(unsafe {
            Passes {
                norm: transmute::<NonNull<c_void>, Norm>(norm),
                gate: transmute::<NonNull<c_void>, Gate>(gate),
                softmax: transmute::<NonNull<c_void>, Softmax>(softmax),
            }
        })
    })
}

const REFUSED: &str = "MLX does not take a pass over these rows";

impl Passes {
    /// `x × weight / √(Σx² + eps)` of each row. `x`: `[…, width]` in f32; `weight`: `[width]`.
    ///
    /// # Errors
    /// Shapes or types that do not fit.
    pub(crate) fn norm(self, x: &Array, weight: &Array, eps: f32) -> Result<Array, Exception> {
        let stream = Stream::thread_local_or_default();
        call(REFUSED, |out, _| {
            // SAFETY: all handles are valid while their arrays are borrowed; MLX writes a handle to
            // `out`.
            unsafe { (self.norm)(out, x.as_ptr(), weight.as_ptr(), eps, stream.as_ptr()) }
        })
    }

    /// `gate × sigmoid(gate) × up`. `both`: `[…, 2 width]` in f32, the gate, then up. → `[…, width]`.
    ///
    /// # Errors
    /// As [`norm`](Self::norm).
    pub(crate) fn gate(self, both: &Array) -> Result<Array, Exception> {
        let stream = Stream::thread_local_or_default();
        call(REFUSED, |out, _| {
            // SAFETY: as in `norm`.
            unsafe { (self.gate)(out, both.as_ptr(), stream.as_ptr()) }
        })
    }

    /// The softmax of `scale × scores`. `scores`: `[…, rows, tokens]` in f32. Each `steps` rows are of
    /// one head: of consecutive tokens, the last of which is the scores' last. A row sees its own token
    /// and those before it, `window` of them.
    ///
    /// # Errors
    /// As [`norm`](Self::norm).
    pub(crate) fn softmax(
        self,
        scores: &Array,
        steps: i32,
        window: i32,
        scale: f32,
    ) -> Result<Array, Exception> {
        let stream = Stream::thread_local_or_default();
        call(REFUSED, |out, _| {
            // SAFETY: as in `norm`.
            unsafe { (self.softmax)(out, scores.as_ptr(), steps, window, scale, stream.as_ptr()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use mlx_rs::{fast, ops};

    use super::*;

    fn numbers(shape: &[i32], seed: f32) -> Array {
        let count: i32 = shape.iter().product();
        Array::from_iter((0..count).map(|n| (n as f32 * seed).sin() * 3.0), shape)
    }

    fn assert_close(ours: &Array, theirs: &Array) {
        assert_eq!((ours.shape(), ours.dtype()), (theirs.shape(), Dtype::Float32));
        let apart = ours.subtract(theirs).unwrap().abs().unwrap().max(None).unwrap();
        assert!(apart.item_exact::<f32>() < 1e-5, "{:?}", ours.shape());
    }

    fn passes() -> Option<Passes> {
        let passes = available();
        if passes.is_none() {
            // An MLX from before, or a system where there are none of them.
            eprintln!("skipped: needs the MLX that `cargo xtask setup` makes on Linux");
        }
        passes
    }

    /// Widths that no vector divides, and rows that do not lie behind each other.
    #[test]
    fn they_are_what_mlx_composes() {
        let Some(passes) = passes() else { return };
        for (rows, width) in [(1, 64), (3, 7), (5, 576), (2, 1), (4, 33)] {
            let x = numbers(&[rows, width], 0.37);
            let weight = numbers(&[width], 0.71);
            let expected = fast::rms_norm(&x, Some(&weight), 1e-3).unwrap();
            // The sum, where MLX takes the mean.
            let scaled = weight.multiply(Array::from_f32((width as f32).sqrt())).unwrap();
            let norm = |x: &Array| passes.norm(x, &scaled, 1e-3 * width as f32).unwrap();
            assert_close(&norm(&x), &expected);
            let turned = x.transpose().unwrap().contiguous().unwrap().transpose().unwrap();
            assert_close(&norm(&turned), &expected);
            let deep = x.reshape(&[rows, 1, width]).unwrap();
            assert_close(&norm(&deep), &expected.reshape(&[rows, 1, width]).unwrap());

            let both = numbers(&[rows, 2 * width], 0.53);
            let halves = both.split_equal(2, -1).unwrap();
            let sigmoid = ops::sigmoid(&halves[0]).unwrap();
            let expected = halves[0].multiply(sigmoid).unwrap().multiply(&halves[1]).unwrap();
            assert_close(&passes.gate(&both).unwrap(), &expected);
            let wider = ops::concatenate(&[&both, &both], 1).unwrap();
            let columns = wider.split_equal(2, 1).unwrap().remove(1);
            assert_close(&passes.gate(&columns).unwrap(), &expected);
        }
    }

    #[test]
    fn scores_become_shares_of_what_a_row_sees() {
        let Some(passes) = passes() else { return };
        for (heads, steps, tokens, window) in
            [(1, 1, 9, 100), (3, 4, 4, 100), (2, 3, 20, 100), (2, 5, 30, 4), (1, 1, 9, 1)]
        {
            let scores = numbers(&[1, 2, heads * steps, tokens], 0.41);
            let seen: Vec<bool> = (0..2 * heads * steps)
                .flat_map(|row| {
                    let own = tokens - steps + row % steps;
                    (0..tokens).map(move |token| token <= own && token > own - window)
                })
                .collect();
            let seen = Array::from_slice(&seen, &[1, 2, heads * steps, tokens]);
            let scaled = scores.multiply(Array::from_f32(0.3)).unwrap();
            let masked = ops::select(&seen, &scaled, Array::from_f32(f32::NEG_INFINITY)).unwrap();
            let expected = ops::softmax_axis(&masked, -1, true).unwrap();
            assert_close(&passes.softmax(&scores, steps, window, 0.3).unwrap(), &expected);
        }
    }

    #[test]
    fn what_is_not_a_number_stays_none_and_what_does_not_fit_is_refused() {
        let Some(passes) = passes() else { return };
        let both = Array::from_slice(&[f32::NAN, -1e30, 1e30, 1.0, 1.0, 1.0], &[1, 6]);
        let out = passes.gate(&both).unwrap();
        out.eval().unwrap();
        let [first, low, high] = out.as_slice::<f32>() else { panic!("three") };
        assert!(first.is_nan() && low.abs() < 1e-6 && *high == 1e30, "{out:?}");
        let scores = Array::from_slice(&[0.0, f32::NAN, 1.0], &[1, 3]);
        let shares = passes.softmax(&scores, 1, 3, 1.0).unwrap();
        shares.eval().unwrap();
        assert!(shares.as_slice::<f32>().iter().any(|share| share.is_nan()), "{shares:?}");
        let none = passes.gate(&ops::zeros::<f32>(&[0, 8]).unwrap()).unwrap();
        none.eval().unwrap();
        assert_eq!(none.shape(), [0, 4]);

        let x = numbers(&[2, 8], 0.1);
        assert!(passes.norm(&x, &numbers(&[7], 0.1), 1.0).is_err());
        assert!(
            passes.norm(&x.as_dtype(Dtype::Bfloat16).unwrap(), &numbers(&[8], 0.1), 1.0).is_err()
        );
        assert!(passes.gate(&numbers(&[2, 7], 0.1)).is_err());
        assert!(passes.softmax(&x, 3, 8, 1.0).is_err(), "rows that are no multiple");
        assert!(passes.softmax(&x, 1, 0, 1.0).is_err());
    }
}
