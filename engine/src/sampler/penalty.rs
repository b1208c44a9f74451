//! How do bias and the tokens so far change the logits?

use std::collections::HashMap;

use crate::request::Sampling;

/// The tokens so far, as far as they matter.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    tracks: bool,
    biases: bool,
    /// How often the answer has each; 0 for one that only the prompt has.
    counts: HashMap<u32, u32>,
}

impl Seen {
    pub(super) fn new(sampling: &Sampling, prompt_tokens: &[u32]) -> Self {
        let repetition = sampling.repetition_penalty != 1.0;
        let prompt: &[u32] = if repetition { prompt_tokens } else { &[] };
        Self {
            tracks: repetition
                || sampling.presence_penalty != 0.0
                || sampling.frequency_penalty != 0.0,
            biases: !sampling.logit_bias.is_empty(),
            counts: prompt.iter().map(|&token| (token, 0)).collect(),
        }
    }

    /// The answer has one more token.
    pub(super) fn add(&mut self, token: u32) {
        if self.tracks {
            *self.counts.entry(token).or_default() += 1;
        }
    }

    pub(super) fn changes_nothing(&self) -> bool {
        !self.biases && self.counts.is_empty()
    }

    /// Changes the logits: bias, repetition, frequency, presence. A token that the vocabulary does
    /// not have is left out.
    pub(super) fn apply(&self, sampling: &Sampling, logits: &mut [f32]) {
        for &(token, bias) in &sampling.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        for (&token, &count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            if *logit > 0.0 {
                *logit /= sampling.repetition_penalty;
            } else {
                *logit *= sampling.repetition_penalty;
            }
            if count > 0 {
                *logit -= sampling.frequency_penalty * count as f32 + sampling.presence_penalty;
            }
        }
    }
}
