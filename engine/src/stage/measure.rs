//! How fast is this machine at what a step does: reading weights, and multiplying?
//!
//! A decode step reads every weight once: a vector times a matrix larger than any cache. A prompt's
//! chunk multiplies: many rows times a matrix. Both are measured once, for a fraction of a second,
//! in the type that this machine computes in.

use std::time::{Duration, Instant};

use mlx_rs::{Array, Dtype, error::Exception};

use crate::weights::is_cpu;

/// Rows and columns of the matrices: six of 16 MiB in f32, more than caches hold.
const SIDE: i32 = 2048;
const MATRICES: usize = 6;
/// Rows of a chunk.
const ROWS: i32 = 32;
/// How long each of the two is measured.
const TIME: Duration = Duration::from_millis(250);
/// Runs at least.
const RUNS_MIN: usize = 3;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Bytes of weights read in a second.
    pub bytes_per_s: u64,
    /// Multiplications, each with its addition, in a second.
    pub multiplies_per_s: u64,
}

/// Measures this machine. Takes about half a second, and as much memory as a small model.
///
/// # Errors
/// What MLX says.
pub fn measure() -> Result<Measured, Exception> {
    let dtype = if is_cpu() { Dtype::Float32 } else { Dtype::Float16 };
    let filled = |rows: i32| -> Result<Array, Exception> {
        let array = Array::full::<f32>(&[rows, SIDE], Array::from_f32(0.5))?.as_dtype(dtype)?;
        array.eval()?;
        Ok(array)
    };
    let matrices = (0..MATRICES).map(|_| filled(SIDE)).collect::<Result<Vec<_>, _>>()?;
    let number_bytes = if dtype == Dtype::Float32 { 4 } else { 2 };
    let elements = MATRICES as u64 * (SIDE as u64).pow(2);
    let (one, many) = (filled(1)?, filled(ROWS)?);
    let reading = fastest(|| step(&one, &matrices))?;
    let multiplying = fastest(|| step(&many, &matrices))?;
    let in_a_second =
        |amount: u64, time: Duration| (amount as f64 / time.as_secs_f64().max(1e-9)) as u64;
    Ok(Measured {
        bytes_per_s: in_a_second(elements * number_bytes, reading),
        multiplies_per_s: in_a_second(elements * ROWS as u64, multiplying),
    })
}

/// Rows times each matrix, evaluated.
fn step(rows: &Array, matrices: &[Array]) -> Result<(), Exception> {
    let products =
        matrices.iter().map(|matrix| rows.matmul(matrix)).collect::<Result<Vec<_>, _>>()?;
    mlx_rs::transforms::eval(&products)
}

/// The least time of a few runs: what else the machine does only ever adds to it.
fn fastest(mut run: impl FnMut() -> Result<(), Exception>) -> Result<Duration, Exception> {
    run()?;
    let (begun, mut least) = (Instant::now(), Duration::MAX);
    for runs in 0.. {
        if runs >= RUNS_MIN && begun.elapsed() >= TIME {
            break;
        }
        let began = Instant::now();
        run()?;
        least = least.min(began.elapsed());
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_reads_and_multiplies() {
        let measured = measure().unwrap();
        // No machine that runs this is slower than a tenth of a gigabyte, or faster than a
        // hundred terabytes, in a second.
        assert!((100_000_000..100_000_000_000_000).contains(&measured.bytes_per_s), "{measured:?}");
        assert!(measured.multiplies_per_s > 100_000_000, "{measured:?}");
    }
}
