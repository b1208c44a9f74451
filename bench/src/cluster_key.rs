//! A cluster key for processes that live as long as one run.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Writes a new key to a file that only this user reads.
///
/// # Errors
/// The file is there already, or cannot be written; the system gives no random numbers.
pub(crate) fn write(path: &Path) -> io::Result<()> {
    let bytes: [u8; 32] = ring::rand::generate(&ring::rand::SystemRandom::new())
        .map_err(|_| io::Error::other("the system gives no random numbers"))?
        .expose();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{digits}")
}
