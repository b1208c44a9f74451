//! Which way a branch mostly goes: the rare side is laid out apart, so that what every message runs
//! through lies together and is fetched without a jump.

use std::hint::cold_path;

/// `condition`, which mostly holds.
#[inline(always)]
pub(crate) fn likely(condition: bool) -> bool {
    if !condition {
        cold_path();
    }
    condition
}

/// `condition`, which mostly does not hold.
#[inline(always)]
pub(crate) fn unlikely(condition: bool) -> bool {
    if condition {
        cold_path();
    }
    condition
}
