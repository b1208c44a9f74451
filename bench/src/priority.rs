//! Threads for whom a moment matters: the system lets nobody else before them.

use std::process::Command;

/// This thread goes before all that have no such priority. Where it may not be so it works all the
/// same, less evenly on a busy machine.
pub(crate) fn before_others() {
    real_time(10);
}

/// And before those.
#[cfg(feature = "engine")]
pub(crate) fn before_all() {
    real_time(20);
}

fn real_time(priority: u32) {
    let thread = nix::unistd::gettid().to_string();
    let _ = Command::new("chrt").args(["--rr", "--pid", &priority.to_string(), &thread]).output();
}
