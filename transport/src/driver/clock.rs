//! The only clock of this crate.
#![allow(clippy::disallowed_methods)] // somebody has to read it

use std::time::Instant;

use crate::proto::Time;

/// Time since the endpoint opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Time {
        Time::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
