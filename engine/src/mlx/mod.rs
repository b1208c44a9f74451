//! What `mlx-rs` does not wrap: the memory of arrays; and files mapped to be sent. The only unsafe
//! code of this crate.
//!
//! Three facts hold everything here up (measured on MLX 0.32 and read in its source):
//!
//! - the memory of an *evaluated* array does not move and lives as long as any handle to it;
//! - an array made by `zeros` or read from a file, and evaluated, is row-major, contiguous, and nobody
//!   else's;
//! - a lazy array belongs to the thread that built it, an evaluated one may go anywhere.

mod files;
mod memory;
pub(crate) mod mxfp4;
pub(crate) mod narrow;
mod operation;
pub(crate) mod passes;
mod slabs;
mod unwritten;

pub(crate) use files::mapped;
pub(crate) use memory::{ArrayRegion, filled};
pub(crate) use slabs::Slabs;

use mlx_rs::{Array, error::Exception};

/// Evaluates `array` and makes it row-major if it is not.
///
/// # Errors
/// What MLX says.
pub(crate) fn evaluated(array: Array) -> Result<Array, Exception> {
    array.eval()?;
    if memory::is_row_major(&array) {
        return Ok(array);
    }
    let array = array.contiguous()?;
    array.eval()?;
    Ok(array)
}
