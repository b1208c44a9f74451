//! Durations, collected without allocating and told in microseconds.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest that is told apart: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Durations of one run, to three significant digits.
pub(crate) struct Durations(Histogram<u64>);

/// How long something took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Durations {
    /// Room for everything from a nanosecond to a minute, allocated now.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Histogram::new_with_bounds(1, LONGEST_NS, 3).map(Self).context("a histogram")
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(LONGEST_NS);
        self.0.saturating_record(nanos.max(1));
    }

    /// Durations in microseconds with the share, from 0 to 1, that took no longer: as many steps as
    /// make a smooth picture, finer towards the slowest.
    pub(crate) fn shares(&self) -> Vec<(f64, f64)> {
        let steps = self.0.iter_quantiles(8).filter(|step| step.count_since_last_iteration() > 0);
        steps.map(|step| (step.value_iterated_to() as f64 / 1000.0, step.quantile())).collect()
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles {
            min: self.0.min() as f64 / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_microseconds() {
        let mut durations = Durations::new().unwrap();
        (1..=1000).for_each(|us| durations.record(Duration::from_micros(us)));
        let told = durations.percentiles();
        for (value, wanted) in
            [(told.min, 1.0), (told.p50, 500.0), (told.p99, 990.0), (told.max, 1000.0)]
        {
            assert!((value / wanted - 1.0).abs() < 0.002, "{value} instead of {wanted}");
        }
        let shares = durations.shares();
        assert!(shares.is_sorted() && shares.len() > 20, "{shares:?}");
        let half = shares.iter().find(|(_, share)| *share >= 0.5).unwrap();
        assert!((half.0 / 500.0 - 1.0).abs() < 0.1, "{half:?}");
        assert!((shares.last().unwrap().1 - 1.0).abs() < 1e-9);
    }
}
