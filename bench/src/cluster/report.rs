//! What is shown.

use serde::Serialize;

use super::{
    Found,
    concurrent::{self, Concurrent},
    long_prompt::{self, LongPrompt},
    measures::{Measured, Side},
    profile::{StageProfile, ceiling},
    synthetic,
    turn::Turn,
};
use crate::figures::{Figure, paired_ratio};

/// A control that is off by more voids the run.
const CONTROL_ERROR_MAX: f64 = 0.10;

/// The synthetic ring over the rounds.
#[derive(Default)]
pub(super) struct Control {
    alone: Vec<f64>,
    one: Vec<f64>,
    full: Vec<f64>,
    throttled: Vec<f64>,
    had: Vec<f64>,
}

impl Control {
    pub(super) fn push(&mut self, one: &synthetic::Control) {
        self.alone.push(one.alone);
        self.one.push(one.one);
        self.full.push(one.full);
        self.throttled.push(one.met.share());
        self.had.push(one.had);
    }

    /// Whether no round was kept.
    pub(super) fn is_empty(&self) -> bool {
        self.alone.is_empty()
    }
}

#[derive(Serialize)]
pub(super) struct Report {
    share: f64,
    period_us: u64,
    /// Gain of the synthetic ring with one token on it: 1 is right.
    control_one: f64,
    /// With as many tokens as stages: their number is right.
    control_full: f64,
    control_throttled_percent: f64,
    /// The share of a processor that one node with its quota really had.
    control_share: f64,
    /// Why the figures are worth nothing, if so.
    pub(super) void: Option<String>,
    answers: Vec<Answer>,
    turn: Option<Turn>,
    concurrent: Vec<Concurrent>,
    prompt: Vec<LongPrompt>,
}

/// One node against the ring, asked one thing.
#[derive(Serialize)]
pub(super) struct Answer {
    id: &'static str,
    what: String,
    /// At once, on one node and on the ring.
    requests: [usize; 2],
    alone: SideFigures,
    ring: SideFigures,
    /// Median of the rounds' ratios, ring over one node.
    gain: f64,
    wanted: f64,
    /// What this split could gain at most, by the ring's own step times: median of the rounds.
    ceiling: f64,
    /// Step times of one node over those of the ring's stages together, at their own batch sizes.
    stages_over_alone: f64,
    profile: Vec<StageProfile>,
}

#[derive(Serialize)]
struct SideFigures {
    tokens_per_s: Figure,
    first_token_s: Figure,
    /// Milliseconds from token to token: p50, p90, p99.
    gap_ms: [f64; 3],
    /// Percent of periods in which the quota held the node back; of the node it held back least.
    throttled_percent: f64,
}

impl SideFigures {
    fn of(side: &Side) -> Self {
        Self {
            tokens_per_s: Figure::of(side.rates.clone()),
            first_token_s: Figure::of(side.first_s.clone()),
            gap_ms: percentiles(side.gaps_ms.clone()),
            throttled_percent: 100.0 * Figure::of(side.throttled.clone()).median,
        }
    }
}

/// p50, p90, p99.
pub(super) fn percentiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [50, 90, 99].map(|percent| {
        let at = (values.len() * percent).div_ceil(100).max(1) - 1;
        values.get(at).copied().unwrap_or(f64::NAN)
    })
}

impl Report {
    pub(super) fn new(share: f64, period_us: u64, found: Found) -> Self {
        let Found { control, measured, turn, concurrent, prompt } = found;
        let control_one = paired_ratio(&control.one, &control.alone);
        let control_full = paired_ratio(&control.full, &control.alone);
        let throttled = 100.0 * Figure::of(control.throttled).median;
        let control_share = Figure::of(control.had).median;
        let off = (control_one - 1.0).abs();
        let void = if off > CONTROL_ERROR_MAX {
            Some(format!("the synthetic ring gains {control_one:.2} × where there is 1 to gain"))
        } else if throttled < 50.0 {
            Some(format!(
                "the quota bound in {throttled:.0} % of periods: something else was short"
            ))
        } else {
            None
        };
        let answers = measured.iter().filter(|one| one.is_something()).map(Answer::of).collect();
        let control_throttled_percent = throttled;
        Self {
            share,
            period_us,
            control_one,
            control_full,
            control_throttled_percent,
            control_share,
            void,
            answers,
            turn,
            concurrent,
            prompt,
        }
    }

    pub(super) fn print(&self) {
        println!(
            "each node: {} of a processor, in periods of {} µs; one BLAS thread",
            self.share, self.period_us
        );
        println!(
            "control: a synthetic ring gains {:.2} × with one token on it (1 is right), {:.2} × when \
             full; one node had {:.3} of a processor, and its quota bound in {:.0} % of periods\n",
            self.control_one, self.control_full, self.control_share, self.control_throttled_percent
        );
        for answer in &self.answers {
            answer.print();
        }
        if let Some(turn) = &self.turn {
            turn.print();
        }
        concurrent::print(&self.concurrent);
        long_prompt::print(&self.prompt);
    }
}

impl Answer {
    pub(super) fn of(measured: &Measured) -> Self {
        let (alone, ring) = (&measured.alone, &measured.ring);
        let ceilings: Vec<f64> = ring.profiles.iter().map(|stages| ceiling(stages)).collect();
        let sum =
            |stages: &Vec<StageProfile>| stages.iter().map(|stage| stage.step_ms).sum::<f64>();
        let rings: Vec<f64> = ring.profiles.iter().map(sum).collect();
        let alones: Vec<f64> = alone.profiles.iter().map(sum).collect();
        Self {
            id: measured.load.id,
            requests: measured.load.requests,
            what: measured.load.what.clone(),
            gain: paired_ratio(&ring.rates, &alone.rates),
            wanted: measured.load.wanted,
            ceiling: Figure::of(ceilings).median,
            stages_over_alone: paired_ratio(&alones, &rings),
            profile: average(&ring.profiles),
            alone: SideFigures::of(alone),
            ring: SideFigures::of(ring),
        }
    }

    /// Two lines of a table: on one node, and on the ring.
    pub(super) fn print_as_row(&self) {
        for (number, (name, side)) in
            [("one node", &self.alone), ("ring", &self.ring)].into_iter().enumerate()
        {
            let [p50, p90, p99] = side.gap_ms.map(|ms| format!("{ms:.0}"));
            let (mut gain, mut hops) = (String::new(), String::new());
            if number == 1 {
                // The last stage's way back carries tokens alone.
                let ways = self.profile.len().saturating_sub(1);
                let known: Vec<f64> = self.profile.iter().filter_map(|s| s.hop_ms).collect();
                let all = known.iter().sum::<f64>();
                let all = if known.len() == ways { format!("{all:.1}") } else { "–".into() };
                (gain, hops) = (format!("{:.2} ×", self.gain), all);
            }
            println!(
                "  {:<10}{name:<10}{:>10.1}{:>14.2}{:>26}{gain:>10}{hops:>10}",
                self.requests[number],
                side.tokens_per_s.median,
                side.first_token_s.median,
                format!("{p50}/{p90}/{p99}"),
            );
        }
    }

    fn print(&self) {
        println!("{}: {}", self.id, self.what);
        println!(
            "  gain {:.2} × (wanted {:.1}); the split's ceiling {:.2} ×, of which {:.0} %",
            self.gain,
            self.wanted,
            self.ceiling,
            100.0 * self.gain / self.ceiling
        );
        for (name, side) in [("one node", &self.alone), ("ring", &self.ring)] {
            let [p50, p90, p99] = side.gap_ms;
            println!(
                "  {name:<9} tokens/s {} · first token {:.2} s · token to token p50 {p50:.0} \
                 p90 {p90:.0} p99 {p99:.0} ms · quota bound in {:.0} % of periods",
                side.tokens_per_s, side.first_token_s.median, side.throttled_percent
            );
        }
        println!(
            "  {:<8}{:<10}{:>8}{:>8}{:>12}{:>10}{:>10}",
            "stage", "layers", "steps", "rows", "step ms", "busy %", "hop ms"
        );
        for stage in &self.profile {
            let hop = stage.hop_ms.map_or("–".into(), |ms| format!("{ms:.2}"));
            println!(
                "  {:<8}{:<10}{:>8}{:>8.1}{:>12.2}{:>10.0}{hop:>10}",
                stage.node,
                stage.layers,
                stage.steps,
                stage.rows,
                stage.step_ms,
                stage.busy_percent
            );
        }
        println!("  one node's step over all stages' together: {:.2}\n", self.stages_over_alone);
    }
}

fn average(runs: &[Vec<StageProfile>]) -> Vec<StageProfile> {
    let Some(first) = runs.first() else { return Vec::new() };
    let stages = first.iter().enumerate().map(|(number, stage)| {
        let all: Vec<&StageProfile> = runs.iter().filter_map(|run| run.get(number)).collect();
        let median = |of: fn(&StageProfile) -> f64| {
            Figure::of(all.iter().map(|stage| of(stage)).collect()).median
        };
        StageProfile {
            rows: median(|stage| stage.rows),
            step_ms: median(|stage| stage.step_ms),
            busy_percent: median(|stage| stage.busy_percent),
            ..stage.clone()
        }
    });
    stages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).rev().collect();
        assert_eq!(percentiles(values), [100.0, 180.0, 198.0]);
        assert_eq!(percentiles(vec![3.0]), [3.0; 3]);
    }

    #[test]
    fn a_control_that_gains_from_nothing_voids_the_run() {
        let control = |gain: f64| Control {
            alone: vec![1.0; 3],
            one: vec![gain; 3],
            full: vec![3.0; 3],
            throttled: vec![0.9; 3],
            had: vec![0.5; 3],
        };
        let report = |gain| {
            Report::new(0.5, 2000, Found { control: control(gain), ..Found::default() }).void
        };
        assert!(report(1.06).is_none());
        let void = report(2.2);
        assert!(void.is_some_and(|why| why.contains("2.20")));
    }
}
