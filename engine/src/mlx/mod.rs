//! What `mlx-rs` does not wrap: the memory of arrays. The only unsafe code of this crate.
//!
//! Three facts hold everything here up (measured on MLX 0.32 and read in its source):
//!
//! - the memory of an *evaluated* array does not move and lives as long as any handle to it;
//! - an array made by `zeros` and evaluated is row-major, contiguous, and nobody else's;
//! - a lazy array belongs to the thread that built it, an evaluated one may go anywhere.

mod memory;

pub use memory::{ArrayRegion, bytes, filled_f32, is_row_major};

use mlx_rs::{Array, Dtype, error::Exception};

/// Uses one BLAS thread unless the user said otherwise: MLX computes on one thread per stream, and
/// a second BLAS thread on a small machine only takes the core that the transport runs on.
///
/// Must run before the first array is made, while the process has one thread.
pub fn limit_blas_threads() {
    memory::default_environment("OPENBLAS_NUM_THREADS", "1");
}

/// The device MLX computes on here, in words.
#[must_use]
pub fn device() -> &'static str {
    if cfg!(target_os = "macos") { "metal" } else { "cpu" }
}

/// Evaluates `array` and makes it row-major if it is not.
///
/// # Errors
/// What MLX says.
pub fn evaluated(array: Array) -> Result<Array, Exception> {
    array.eval()?;
    if is_row_major(&array) {
        return Ok(array);
    }
    let array = array.contiguous()?;
    array.eval()?;
    Ok(array)
}

/// Bytes of one number of `dtype`.
#[must_use]
pub fn dtype_bytes(dtype: Dtype) -> usize {
    match dtype {
        Dtype::Float16 | Dtype::Bfloat16 | Dtype::Int16 | Dtype::Uint16 => 2,
        Dtype::Float64 | Dtype::Int64 | Dtype::Uint64 | Dtype::Complex64 => 8,
        Dtype::Bool | Dtype::Int8 | Dtype::Uint8 => 1,
        Dtype::Float32 | Dtype::Int32 | Dtype::Uint32 => 4,
    }
}
