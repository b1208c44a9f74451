//! How is an operation called that `mlx-rs` does not wrap, or that only `cargo xtask setup` adds?
#![allow(unsafe_code, reason = "handles of arrays come and go as pointers; see the SAFETY note")]

use std::{
    ffi::{CStr, c_int, c_void},
    ptr::NonNull,
};

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

/// The function of that name, if the MLX that this program runs with has it. It is looked up when the
/// program runs, so that it runs with an MLX without it too.
#[cfg(target_os = "linux")]
pub(super) fn added(name: &CStr) -> Option<NonNull<c_void>> {
    use nix::libc;

    // SAFETY: the name is a C string; libraries that a program is linked to stay loaded.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

/// Nothing is added to MLX elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn added(_: &CStr) -> Option<NonNull<c_void>> {
    None
}
