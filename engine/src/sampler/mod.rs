//! Which token do these logits mean?
//!
//! A choice is a function of the logits, the [`Sampling`], the tokens before it and the token's
//! index alone: a request that is resumed elsewhere draws the same tokens again.
//!
//! | file | question |
//! |---|---|
//! | `penalty` | how do bias and the tokens so far change the logits? |
//! | `draw` | which tokens are drawn from, and which one is drawn? |
//! | `logprobs` | how likely were the likeliest? |

mod draw;
mod logprobs;
mod penalty;

use self::{draw::Candidate, penalty::Seen};
use crate::request::{Sampling, TokenLogprobs};

/// Most alternatives whose log-probabilities a request may ask for (OpenAI's limit).
pub const TOP_LOGPROBS_MAX: usize = 20;

/// The chosen token.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Its id.
    pub token: u32,
    /// Present if the request asked for it.
    pub logprobs: Option<TokenLogprobs>,
}

/// Logits from which no token can be chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the model's logits are not numbers (hint: damaged weights?)")]
pub struct NotNumbers;

/// Memory that all choices share, one after the other: some 36 bytes per token of the vocabulary.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
    order: Vec<Candidate>,
}

/// Chooses the tokens of one sequence.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    seen: Seen,
    index: u32,
}

impl Sampler {
    /// A sampler for a sequence whose prompt has [`prompt_tokens`] and whose answer begins with
    /// `emitted` (nothing, unless it is resumed).
    #[must_use]
    pub fn new(sampling: Sampling, prompt_tokens: &[u32], emitted: &[u32]) -> Self {
        let mut seen = Seen::new(&sampling, prompt_tokens);
        emitted.iter().for_each(|&token| seen.add(token));
        Self { sampling, seen, index: emitted.len() as u32 }
    }

    /// How many tokens the answer has.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Chooses the next token by `logits`, one per token of the vocabulary.
    ///
    /// # Errors
    /// [`NotNumbers`] if no logit is a number, or one is NaN or +∞; then nothing is chosen.
    pub fn choose(&mut self, logits: &[f32], scratch: &mut Scratch) -> Result<Chosen, NotNumbers> {
        let raw = argmax(logits).ok_or(NotNumbers)?;
        let (changed, (best, highest)) = if self.seen.changes_nothing() {
            (logits, raw)
        } else {
            scratch.logits.clear();
            scratch.logits.extend_from_slice(logits);
            self.seen.apply(&self.sampling, &mut scratch.logits);
            let changed: &[f32] = &scratch.logits;
            (changed, argmax(changed).ok_or(NotNumbers)?)
        };
        let token = if self.sampling.temperature <= 0.0 {
            best
        } else {
            let (candidates, order) = (&mut scratch.candidates, &mut scratch.order);
            draw::candidates(changed, highest, &self.sampling, candidates, order);
            draw::draw(candidates, self.sampling.seed, self.index)
        };
        self.seen.add(token);
        self.index += 1;
        let top = self.sampling.logprobs;
        let logprobs = top.map(|top| logprobs::logprobs(logits, raw.1, token, top));
        Ok(Chosen { token, logprobs })
    }
}

/// What a sampler must know of a prompt: each of its tokens once, or nothing if it does not matter.
#[must_use]
pub fn prompt_tokens(sampling: &Sampling, prompt: &[u32]) -> Vec<u32> {
    if sampling.repetition_penalty == 1.0 {
        return Vec::new();
    }
    let mut tokens = prompt.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// The first of the largest logits.
fn argmax(logits: &[f32]) -> Option<(u32, f32)> {
    let mut best = None;
    let mut highest = f32::NEG_INFINITY;
    for (token, &logit) in logits.iter().enumerate() {
        if logit.is_nan() || logit == f32::INFINITY {
            return None;
        }
        if logit > highest {
            (best, highest) = (Some(token as u32), logit);
        }
    }
    best.map(|token| (token, highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    fn tokens(sampling: &Sampling, prompt: &[u32], logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling.clone(), &prompt_tokens(sampling, prompt), &[]);
        let mut scratch = Scratch::default();
        (0..count).map(|_| sampler.choose(logits, &mut scratch).unwrap().token).collect()
    }

    #[test]
    fn zero_temperature_takes_the_first_of_the_likeliest() {
        for seed in 0..20 {
            let sampling = Sampling { seed, ..greedy() };
            assert_eq!(tokens(&sampling, &[], &[0.0, 3.0, 3.0, -1.0], 2), [1, 1]);
        }
    }

    #[test]
    fn draws_follow_the_probabilities_and_repeat_by_seed() {
        let logits = [0.0f32, (2.0f32).ln(), f32::NEG_INFINITY];
        let draws = |seed| tokens(&Sampling { seed, ..Sampling::default() }, &[], &logits, 6000);
        let ones = draws(7).iter().filter(|&&token| token == 1).count();
        assert!((3850..=4150).contains(&ones), "two thirds of 6000, got {ones}");
        assert!(!draws(7).contains(&2));
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn a_resumed_answer_goes_on_as_it_would_have() {
        let logits: Vec<f32> = (0..50).map(|n| (n as f32 * 0.7).sin()).collect();
        let sampling = Sampling {
            seed: 3,
            top_p: 0.9,
            repetition_penalty: 1.3,
            frequency_penalty: 0.2,
            presence_penalty: 0.1,
            ..Sampling::default()
        };
        let prompt = prompt_tokens(&sampling, &[4, 4, 9]);
        let whole = tokens(&sampling, &[4, 4, 9], &logits, 40);
        let mut resumed = Sampler::new(sampling, &prompt, &whole[..17]);
        let mut scratch = Scratch::default();
        let rest: Vec<u32> =
            (17..40).map(|_| resumed.choose(&logits, &mut scratch).unwrap().token).collect();
        assert_eq!(rest, whole[17..]);
        assert_eq!(resumed.index(), 40);
    }

    #[test]
    fn penalties_and_bias_move_the_choice() {
        let logits = [2.0, 1.9, 1.0, -1.0];
        let one = |sampling: Sampling, prompt: &[u32]| tokens(&sampling, prompt, &logits, 3);
        assert_eq!(one(greedy(), &[0]), [0, 0, 0]);
        // 2 / 1.5 is less than 1.9; then 1.9 / 1.5 is less than 2 / 1.5, which is taken again.
        let repetition = Sampling { repetition_penalty: 1.5, ..greedy() };
        assert_eq!(one(repetition.clone(), &[0]), [1, 0, 0]);
        assert_eq!(one(repetition, &[0, 1]), [0, 0, 0]);
        // The prompt is no part of the answer.
        assert_eq!(one(Sampling { presence_penalty: 0.5, ..greedy() }, &[0]), [0, 1, 0]);
        assert_eq!(one(Sampling { frequency_penalty: 0.8, ..greedy() }, &[0]), [0, 1, 0]);
        assert_eq!(
            tokens(&Sampling { frequency_penalty: 0.8, ..greedy() }, &[], &logits, 4),
            [0, 1, 0, 1]
        );
        let bias = Sampling { logit_bias: vec![(3, 100.0), (999, 1.0)], ..greedy() };
        assert_eq!(one(bias, &[]), [3, 3, 3]);
    }

    #[test]
    fn log_probabilities_are_of_what_the_model_said() {
        let logits = [2.0, 0.0];
        let sampling = Sampling { logit_bias: vec![(1, 50.0)], logprobs: Some(2), ..greedy() };
        let mut sampler = Sampler::new(sampling, &[], &[]);
        let chosen = sampler.choose(&logits, &mut Scratch::default()).unwrap();
        let logprobs = chosen.logprobs.unwrap();
        assert_eq!((chosen.token, logprobs.top[0].0), (1, 0));
        assert_eq!(logprobs.chosen, logprobs.top[1].1);
    }

    #[test]
    fn what_is_not_a_number_is_not_a_token() {
        let mut sampler = Sampler::new(Sampling::default(), &[], &[]);
        let mut scratch = Scratch::default();
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(sampler.choose(&[0.0, bad], &mut scratch), Err(NotNumbers));
        }
        assert_eq!(sampler.choose(&[f32::NEG_INFINITY; 3], &mut scratch), Err(NotNumbers));
        assert_eq!(sampler.index(), 0);
        let huge = Sampling { repetition_penalty: 1e-9, ..greedy() };
        let mut sampler = Sampler::new(huge, &[0], &[]);
        assert_eq!(sampler.choose(&[3e38], &mut scratch), Err(NotNumbers));
    }
}
