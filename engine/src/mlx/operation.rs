//! How is an operation called that `mlx-rs` does not wrap?
#![allow(unsafe_code, reason = "handles of arrays come and go as pointers; see the SAFETY note")]

use std::ffi::c_int;

use mlx_rs::{Array, error::Exception};
use mlx_sys::mlx_array;

use super::unwritten::install_error_handler;

/// Runs an operation that writes its result to the first argument; the second is an argument that is
/// left out. `refused` says what is wrong if MLX does not take it.
///
/// # Errors
/// `refused`.
pub(super) fn call(
    refused: &'static str,
    operation: impl FnOnce(*mut mlx_array, mlx_array) -> c_int,
) -> Result<Array, Exception> {
    install_error_handler()?;
    // SAFETY: a new handle is empty, and an array made of it frees it; so `none` lives until the
    // operation is over, and what is in `out` then is ours.
    let (status, out) = unsafe {
        let none = Array::from_ptr(mlx_sys::mlx_array_new());
        let mut out = mlx_sys::mlx_array_new();
        let status = operation(&raw mut out, none.as_ptr());
        (status, Array::from_ptr(out))
    };
    if status == 0 { Ok(out) } else { Err(Exception::custom(refused)) }
}
