//! Half round trips in the columns that all who measure them share.

use super::section::Values;

/// Half the round trip, in microseconds, at the median and at the 99th percentile.
pub(super) const METRICS: &[&str] = &["p50 µs", "p99 µs", "mean µs"];

/// Of whole round trips.
pub(super) fn halved(p50: f64, p99: Option<f64>) -> Values {
    half(p50 / 2.0, p99.map(|p99| p99 / 2.0))
}

/// Of figures that are halves already.
pub(super) fn half(p50: f64, p99: Option<f64>) -> Values {
    let mut values = Values::from([("p50 µs", p50)]);
    values.extend(p99.map(|p99| ("p99 µs", p99)));
    values
}

/// Of those who tell a mean alone.
pub(super) fn mean(mean: f64) -> Values {
    Values::from([("mean µs", mean)])
}
