//! Time as the state machines know it.

use std::time::Duration;

/// A length of time in nanoseconds: what is added for every message, without seconds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(u64);

impl Span {
    /// So many milliseconds. Saturates after five hundred years.
    pub(crate) const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// So many microseconds. Saturates likewise.
    pub(crate) const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// Half of it.
    pub(crate) const fn half(self) -> Self {
        Self(self.0 / 2)
    }

    /// So many times as long.
    pub(crate) const fn times(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_mul(1_000_000_000);
        Self(seconds.saturating_add(duration.subsec_nanos().into()))
    }
}

/// Nanoseconds since something that only the driver knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    /// Later than anything.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// So many nanoseconds.
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The nanoseconds.
    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time `wait` later. Saturates after five hundred years.
    #[must_use]
    pub(crate) fn after(self, wait: impl Into<Span>) -> Self {
        Self(self.0.saturating_add(wait.into().0))
    }
}
