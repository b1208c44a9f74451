//! What this process has allocated and how long it has computed.

use std::alloc::System;

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts what every thread allocates.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations so far, growing ones among them.
pub(crate) fn allocations() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Processor time so far, user and system, in seconds.
pub(crate) fn cpu_s() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(f64::NAN, |usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        micros as f64 / 1e6
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_allocation_is_counted() {
        let before = super::allocations();
        let kept = std::hint::black_box(vec![1_u8; 100]);
        assert!(super::allocations() > before, "{}", kept.len());
    }
}
