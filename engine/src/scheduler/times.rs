//! How long does a stage take for a step of so many rows? Measured, and from that foretold.
//!
//! A step's time goes by its rows and by whether they are of a prompt: sixteen rows of sixteen
//! sequences look at sixteen caches, sixteen of one prompt at one. So there are two curves for each
//! stage.

use std::{collections::BTreeMap, time::Duration};

use rkyv::{Archive, Deserialize, Serialize};

/// The weight of a new measurement in the mean of the recent ones.
const RECENT_WEIGHT: f64 = 0.2;
/// A prompt's parts take longer and longer, because each looks back at all before it. So what a part
/// takes more than foretold is taken to hold for parts of other lengths, too, with this weight.
const SHIFT_WEIGHT: f64 = 0.5;
/// A measurement counts for no more than so many times the mean: a machine that was busy with
/// something else says nothing of the step.
const OUTLIER: f64 = 2.0;
/// What is believed of a stage that was never seen at another size: this share of a step's time does
/// not depend on its rows. (Reading the weights is most of a small step.)
const FIXED_SHARE: f64 = 0.8;
/// Measured sizes of one curve that a message may carry.
pub const COUNTS_MAX: usize = 128;

/// What the rows of a step are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize,
)]
#[rkyv(derive(Debug))]
pub enum StepKind {
    /// One row of each sequence: their next tokens.
    Decode,
    /// A part of a prompt is among them.
    Prompt,
}

/// Steps of about one size on one stage, since its layers were loaded.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct StepCount {
    /// What their rows are.
    pub kind: StepKind,
    /// How many rows: exact up to 32, then to the next eighth of a power of two.
    pub rows: u32,
    /// How many such steps.
    pub count: u64,
    /// How long all of them took together.
    pub total_us: u64,
    /// How long one took lately.
    pub recent_us: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    count: u64,
    total: Duration,
    recent_us: f64,
}

/// What is known of one stage.
#[derive(Debug, Clone, Default)]
pub struct StepTimes {
    measured: BTreeMap<(StepKind, u32), Measured>,
}

/// Sizes that are told apart.
fn size(rows: u32) -> u32 {
    let unit = if rows <= 32 { 1 } else { (1 << rows.ilog2()) / 8 };
    rows.max(1).next_multiple_of(unit)
}

impl StepTimes {
    /// A step took so long.
    pub fn record(&mut self, kind: StepKind, rows: u32, took: Duration) {
        if kind == StepKind::Prompt
            && let Some(foretold) = self.step_us(kind, rows)
        {
            let off = took.as_secs_f64() * 1e6 / foretold.max(1.0);
            let shift = 1.0 + (off.clamp(1.0 / OUTLIER, OUTLIER) - 1.0) * SHIFT_WEIGHT;
            let curve = self.measured.range_mut((kind, 0)..=(kind, u32::MAX));
            curve.for_each(|(_, measured)| measured.recent_us *= shift);
        }
        let measured = self.measured.entry((kind, size(rows))).or_default();
        let us = took.as_secs_f64() * 1e6;
        let (weight, most) = match measured.count {
            0 => (1.0, f64::INFINITY),
            _ => (RECENT_WEIGHT, OUTLIER * measured.recent_us),
        };
        measured.recent_us += (us.min(most) - measured.recent_us) * weight;
        measured.count += 1;
        measured.total += took;
    }

    /// For other nodes and for people.
    #[must_use]
    pub fn counts(&self) -> Vec<StepCount> {
        let all = self.measured.iter().map(|(&(kind, rows), measured)| StepCount {
            kind,
            rows,
            count: measured.count,
            total_us: measured.total.as_micros() as u64,
            recent_us: measured.recent_us as u32,
        });
        all.take(2 * COUNTS_MAX).collect()
    }

    /// What another stage says of itself.
    #[must_use]
    pub fn of(counts: &[StepCount]) -> Self {
        let measured = counts.iter().take(2 * COUNTS_MAX).filter(|count| count.count > 0);
        let measured = measured.map(|count| {
            let of = Measured {
                count: count.count,
                total: Duration::from_micros(count.total_us),
                recent_us: f64::from(count.recent_us),
            };
            ((count.kind, count.rows.max(1)), of)
        });
        Self { measured: measured.collect() }
    }

    /// Whether nothing of this kind was measured.
    #[must_use]
    pub fn is_unknown(&self, kind: StepKind) -> bool {
        self.curve(kind).next().is_none()
    }

    fn curve(&self, kind: StepKind) -> impl Iterator<Item = (f64, f64)> + '_ {
        let range = (kind, 0)..=(kind, u32::MAX);
        self.measured.range(range).map(|(&(_, rows), of)| (f64::from(rows), of.recent_us))
    }

    /// Microseconds of a step of `rows` rows, between what was measured of its kind; `None` as long
    /// as nothing was. Never less than a smaller step's: noise must not make more look cheaper.
    #[must_use]
    pub fn step_us(&self, kind: StepKind, rows: u32) -> Option<f64> {
        let rows = f64::from(rows.max(1));
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (at, us) in self.curve(kind) {
            let at_least = points.last().map_or(0.0, |&(_, below)| below);
            points.push((at, us.max(at_least)));
        }
        let (first, last) = (*points.first()?, *points.last()?);
        if rows <= first.0 {
            return Some(first.1 * (FIXED_SHARE + (1.0 - FIXED_SHARE) * rows / first.0));
        }
        if rows >= last.0 {
            let per_row = match points.len() {
                1 => (1.0 - FIXED_SHARE) * last.1 / last.0,
                // From one end to the other: neighbours are too near to tell a slope from noise.
                _ => (last.1 - first.1) / (last.0 - first.0),
            };
            return Some(last.1 + per_row * (rows - last.0));
        }
        let above = points.iter().position(|point| point.0 >= rows)?;
        let ((x0, y0), (x1, y1)) = (points[above - 1], points[above]);
        Some(y0 + (y1 - y0) * (rows - x0) / (x1 - x0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    #[test]
    fn between_what_was_measured_it_is_a_line() {
        let mut times = StepTimes::default();
        assert_eq!(times.step_us(StepKind::Decode, 3), None);
        times.record(StepKind::Decode, 1, ms(10.0));
        times.record(StepKind::Decode, 9, ms(18.0));
        let us = |rows| times.step_us(StepKind::Decode, rows).unwrap();
        assert!((us(5) - 14_000.0).abs() < 1.0, "{}", us(5));
        assert!((us(17) - 26_000.0).abs() < 1.0, "{}", us(17));
        assert!(times.is_unknown(StepKind::Prompt));
    }

    #[test]
    fn sizes_are_exact_as_long_as_it_matters() {
        assert_eq!([1, 2, 17, 32].map(size), [1, 2, 17, 32]);
        assert_eq!(size(512), 512);
        assert!((500..=512).map(size).all(|size| (500..=512).contains(&size)));
    }

    proptest! {
        #[test]
        fn more_rows_never_look_cheaper(
            seen in prop::collection::vec((1u32..600, 0.1f64..500.0), 1..20),
        ) {
            let mut times = StepTimes::default();
            for (rows, took) in seen {
                times.record(StepKind::Prompt, rows, ms(took));
            }
            let again = StepTimes::of(&times.counts());
            let mut before = 0.0;
            for rows in 1..700 {
                let us = times.step_us(StepKind::Prompt, rows).unwrap();
                prop_assert!(us >= before - 1e-6, "{rows}: {us} after {before}");
                prop_assert!((again.step_us(StepKind::Prompt, rows).unwrap() - us).abs() < 2.0 + us / 100.0);
                before = us;
            }
        }

        #[test]
        fn a_size_is_near_its_rows(rows in 1u32..100_000) {
            let size = size(rows);
            prop_assert!(size >= rows && f64::from(size) <= f64::from(rows) * 1.13, "{size}");
        }
    }
}
