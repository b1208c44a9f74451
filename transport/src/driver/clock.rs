//! The only clock of this crate.
#![allow(clippy::disallowed_methods)] // somebody has to read it

use std::time::Instant;

use crate::proto::{Time, nanos_of};

/// Time since the endpoint opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Time {
        Time::from_nanos(nanos_of(self.0.elapsed()))
    }
}
