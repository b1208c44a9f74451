//! A clock that runs while the machine sleeps.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the machine was started, sleep included; `None` if the system does not tell.
#[must_use]
pub fn since_boot() -> Option<Duration> {
    // macOS's CLOCK_MONOTONIC runs on in sleep, Linux's does not.
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    clock_gettime(clock).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs() {
        let before = since_boot().unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert!(since_boot().unwrap() > before);
    }
}
