//! The only clock of this crate.

use nix::time::{ClockId, clock_gettime};

use crate::proto::Time;

/// The clock of `std`'s `Instant`, which does not go on while a Mac sleeps. It is asked itself because
/// that gives nanoseconds in a third of the instructions, and every message asks four times.
#[cfg(target_vendor = "apple")]
const CLOCK: ClockId = ClockId::from_raw(libc::CLOCK_UPTIME_RAW);
#[cfg(not(target_vendor = "apple"))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// Time since the endpoint opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: nanos() }
    }

    pub(crate) fn now(self) -> Time {
        Time::from_nanos(nanos() - self.start)
    }
}

/// Nanoseconds since the machine started.
#[inline(never)] // asked in many places, and what it takes to fail is larger than it
fn nanos() -> u64 {
    let now = clock_gettime(CLOCK).expect("every system has a clock that only goes on");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
