//! How many groups of sequences travel round the ring at once, and how many rows may a step have?
//!
//! With `groups` groups of `rows` sequences each, every sequence gets its next token once in
//! `max(sum over the stages of a step's time, groups × the slowest stage's)`: either a group comes
//! round before the first stage is free for it again, or it has to wait its turn. More groups keep
//! more stages busy, but each makes a stage read its weights once more. Which is better the measured
//! times say.

use super::times::{StepKind, StepTimes};

/// What a message between two stages is taken to need.
const HOP_US: f64 = 300.0;
/// Another number of groups has to be better by this share to be worth the change.
const WORTH_A_CHANGE: f64 = 0.03;
/// Of the delay that is allowed to a step with a part of a prompt, so much is planned for: the rest
/// is for what cannot be foretold.
const PLANNED_SHARE: f64 = 0.8;
/// A prompt that nobody's tokens wait for goes in steps of about this length, so that whoever comes
/// next need not wait longer.
const PROMPT_STEP_US: f64 = 200_000.0;
/// Tokens of a prompt in a step at least, unless fewer are left.
pub(super) const PROMPT_TOKENS_MIN: usize = 2;
/// The same where nobody's tokens wait.
const PROMPT_TOKENS_ALONE_MIN: usize = 64;
/// As long as nothing was measured.
const PROMPT_TOKENS_UNKNOWN: usize = 16;
const PROMPT_TOKENS_ALONE_UNKNOWN: usize = 128;

/// How sequences decode together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Groups {
    /// At least 1.
    pub(super) groups: usize,
    /// Sequences of a group at most: at least 1.
    pub(super) rows: usize,
    /// Microseconds from one token of a sequence to the next; `None` as long as nothing was measured.
    pub(super) cycle_us: Option<f64>,
}

/// What is known of all stages.
#[derive(Debug)]
pub(super) struct Stages {
    times: Vec<StepTimes>,
}

impl Stages {
    pub(super) fn new(stages: usize) -> Self {
        Self { times: vec![StepTimes::default(); stages.max(1)] }
    }

    pub(super) fn count(&self) -> usize {
        self.times.len()
    }

    pub(super) fn set(&mut self, stage: usize, times: StepTimes) {
        if let Some(known) = self.times.get_mut(stage) {
            *known = times;
        }
    }

    /// Of one step: the sum over all stages, and the slowest stage's.
    fn step_us(&self, kind: StepKind, rows: usize) -> Option<(f64, f64)> {
        let mut both = (0.0, 0.0f64);
        for times in &self.times {
            let us = times.step_us(kind, rows as u32)?;
            both = (both.0 + us, both.1.max(us));
        }
        Some(both)
    }

    fn cycle_us(&self, sequences: usize, groups: usize) -> Option<f64> {
        let (sum, slowest) = self.step_us(StepKind::Decode, sequences.div_ceil(groups))?;
        let hops = if self.count() > 1 { HOP_US * self.count() as f64 } else { 0.0 };
        Some((sum + hops).max(groups as f64 * slowest))
    }

    /// The best number of groups for so many sequences, of at most `rows_max` each; `now` is the
    /// number until now.
    pub(super) fn groups(&self, sequences: usize, rows_max: usize, now: usize) -> Groups {
        let sequences = sequences.max(1);
        let fewest = sequences.div_ceil(rows_max.max(1));
        let most = fewest.max(sequences.min(2 * self.count()));
        let of = |groups: usize| Groups {
            groups,
            rows: sequences.div_ceil(groups),
            cycle_us: self.cycle_us(sequences, groups),
        };
        let mut best = of(self.count().clamp(fewest, most));
        let Some(mut best_us) = best.cycle_us else { return best };
        for groups in fewest..=most {
            let other = of(groups);
            if let Some(us) = other.cycle_us.filter(|&us| us < best_us) {
                (best, best_us) = (other, us);
            }
        }
        match of(now.clamp(fewest, most)) {
            keeps if keeps.cycle_us.is_some_and(|us| us * (1.0 - WORTH_A_CHANGE) <= best_us) => {
                keeps
            }
            _ => best,
        }
    }

    /// How many tokens of prompts may go with `decoding` rows in one of `steps` steps that are on
    /// the ring at once, where `delay` is how many times as long as usual the tokens of others may
    /// take. `usual` is how those decode by themselves.
    pub(super) fn prompt_tokens(
        &self,
        decoding: usize,
        steps: usize,
        delay: f64,
        usual: Option<Groups>,
        most: usize,
    ) -> usize {
        let Some(usual) = usual else {
            if self.times.iter().any(|times| times.is_unknown(StepKind::Prompt)) {
                return PROMPT_TOKENS_ALONE_UNKNOWN.min(most);
            }
            return self.fit(decoding, PROMPT_STEP_US, PROMPT_TOKENS_ALONE_MIN, most);
        };
        let known = self.times.iter().all(|times| !times.is_unknown(StepKind::Prompt));
        match usual.cycle_us.filter(|_| known) {
            Some(cycle_us) => {
                let planned = 1.0 + (delay - 1.0).max(0.0) * PLANNED_SHARE;
                let each = cycle_us * planned / steps.max(1) as f64;
                self.fit(decoding, each, PROMPT_TOKENS_MIN, most)
            }
            None => PROMPT_TOKENS_UNKNOWN.min(most),
        }
    }

    /// The most tokens beside `decoding` rows with which no stage takes longer than `us`.
    fn fit(&self, decoding: usize, us: f64, least: usize, most: usize) -> usize {
        let fits = |tokens: usize| {
            let step = self.step_us(StepKind::Prompt, decoding + tokens);
            step.is_some_and(|(_, slowest)| slowest <= us)
        };
        let (mut low, mut high) = (least.min(most), most);
        while low < high {
            let middle = usize::midpoint(low, high) + 1;
            let middle = middle.min(high);
            if fits(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Stages whose step takes `fixed + per_row × rows` milliseconds.
    fn stages(curves: &[(f64, f64)]) -> Stages {
        let mut stages = Stages::new(curves.len());
        for (stage, &(fixed, per_row)) in curves.iter().enumerate() {
            let mut times = StepTimes::default();
            // Prompts' times follow each other: after some rounds they have all come to rest.
            for rows in [1u32, 2, 4, 8, 16, 32, 64, 128, 512].repeat(40) {
                let took = Duration::from_secs_f64((fixed + per_row * f64::from(rows)) / 1e3);
                if rows <= 64 {
                    times.record(StepKind::Decode, rows, took);
                }
                times.record(StepKind::Prompt, rows, took);
            }
            stages.set(stage, times);
        }
        stages
    }

    #[test]
    fn one_stage_takes_all_at_once() {
        let alone = stages(&[(50.0, 1.0)]);
        assert_eq!(alone.groups(16, 64, 1).groups, 1);
        assert_eq!(alone.groups(100, 64, 1).groups, 2, "no more than fit in a step");
    }

    #[test]
    fn a_ring_gets_as_many_groups_as_stages_where_weights_are_most_of_a_step() {
        let ring = stages(&[(16.0, 0.3), (16.0, 0.3), (17.0, 0.3)]);
        let groups = ring.groups(16, 64, 1);
        assert_eq!((groups.groups, groups.rows), (3, 6));
        assert_eq!(ring.groups(2, 64, 3).groups, 2);
        assert_eq!(ring.groups(1, 64, 1).groups, 1);
    }

    #[test]
    fn where_rows_are_all_that_counts_smaller_groups_cost_nothing() {
        // Unequal stages, no fixed part: with more groups the slowest one never waits.
        let ring = stages(&[(0.0, 2.0), (0.0, 1.0), (0.0, 1.0)]);
        let groups = ring.groups(12, 64, 1);
        let cycle = groups.cycle_us.unwrap();
        assert!(cycle < 26_000.0, "{groups:?}: the slowest stage alone needs 24 ms");
    }

    #[test]
    fn noise_does_not_change_the_number() {
        let ring = stages(&[(10.0, 0.1), (10.0, 0.1)]);
        let (two, three) = (ring.cycle_us(6, 2).unwrap(), ring.cycle_us(6, 3).unwrap());
        assert!(two < three);
        assert_eq!(ring.groups(6, 64, 3).groups, 2, "worth it");
        let level = stages(&[(0.0, 2.0), (0.0, 2.0)]);
        assert_eq!(level.groups(12, 64, 3).groups, 3, "not worth it");
    }

    #[test]
    fn a_prompt_s_part_fits_the_delay() {
        let ring = stages(&[(20.0, 1.0), (20.0, 1.0)]);
        let usual = ring.groups(4, 64, 1);
        let tokens = |delay| ring.prompt_tokens(2, 2, delay, Some(usual), 512);
        // A step of two rows takes 22 ms; with a delay of 2 it may take 1.8 times that.
        assert!((15..=18).contains(&tokens(2.0)), "{}", tokens(2.0));
        assert!(tokens(5.0) > 3 * tokens(2.0));
        assert_eq!(tokens(1.0), PROMPT_TOKENS_MIN);
        assert_eq!(tokens(1e6), 512);
        let alone = ring.prompt_tokens(0, 3, 2.0, None, 512);
        assert!((160..=190).contains(&alone), "{alone}");
    }
}
