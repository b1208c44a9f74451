//! Medians and ratios of repeated measurements.

use serde::Serialize;

/// What was measured, over the repeats.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Figure {
    /// The figure of at least one value.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a figure of no values");
        values.sort_by(f64::total_cmp);
        Self { min: values[0], median: median(&values), max: values[values.len() - 1] }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:8.2}  ({:.2}–{:.2})", self.median, self.min, self.max)
    }
}

/// Of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// The median of the ratios of pairs that were measured one after the other.
pub(crate) fn paired_ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    Figure::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()).median
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_pairs_is_not_moved_by_one_bad_run() {
        let figure = Figure::of(vec![3.0, 1.0, 2.0, 10.0]);
        assert_eq!((figure.min, figure.median, figure.max), (1.0, 2.5, 10.0));
        assert_eq!(paired_ratio(&[2.0, 4.0, 90.0], &[1.0, 2.0, 3.0]), 2.0);
    }
}
