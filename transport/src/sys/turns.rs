//! How soon the calling thread makes way for others on its processor.
//!
//! Linux's scheduler lets a thread that wakes up run at once where its turns are shorter than those of
//! the thread that is at it (6.12 and later; before, turns are all alike and nothing changes). macOS
//! has nothing like it.

/// The calling thread takes long turns, or ordinary ones again: in a long one whoever wakes up goes
/// first.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // no crate of ours has these two system calls
pub(crate) fn take_long_turns(long: bool) {
    /// The longest that the kernel takes.
    const LONG_NS: u64 = 100_000_000;
    /// As the system sees fit.
    const ORDINARY: u64 = 0;

    let size = size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: all its fields are integers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes `size` bytes at most, which is how long `attributes` is.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    // Of other policies this number means something else.
    if got != 0 || attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return;
    }
    attributes.sched_runtime = if long { LONG_NS } else { ORDINARY };
    // SAFETY: the kernel reads as many bytes as `attributes` says it has.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, long, "the scheduler keeps its turns");
    }
}

/// Nothing can be asked for.
#[cfg(not(target_os = "linux"))]
pub(crate) fn take_long_turns(_long: bool) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Nanoseconds of a turn, as the kernel has them.
    fn turn_ns() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
        let slice = stat.lines().find_map(|line| line.strip_prefix("se.slice")?.split(':').nth(1));
        slice.and_then(|slice| slice.trim().parse().ok()).unwrap_or(0)
    }

    #[test]
    fn turns_are_long_while_they_should_be() {
        let ordinary = turn_ns();
        take_long_turns(true);
        let long = turn_ns();
        take_long_turns(false);
        assert_eq!(turn_ns(), ordinary);
        // Kernels that do not say, or have only one length, have nothing to be seen.
        assert!(ordinary == 0 || long == ordinary || long == 100_000_000, "{ordinary}, {long}");
    }
}
