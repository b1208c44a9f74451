//! Which token do these logits mean?
//!
//! A choice is a function of the logits, the [`Sampling`] and the token's index alone: a request
//! that is resumed elsewhere draws the same tokens again.

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

/// Chooses the `index`-th generated token (from 0) by `logits`, one per token of the vocabulary.
///
/// # Errors
/// [`NotNumbers`] if no logit is a number, or one is NaN or +∞.
pub fn choose(logits: &[f32], sampling: &Sampling, index: u32) -> Result<Chosen, NotNumbers> {
    let (best, highest) = argmax(logits).ok_or(NotNumbers)?;
    let token =
        if sampling.temperature <= 0.0 { best } else { draw(logits, highest, sampling, index) };
    let logprobs = sampling.logprobs.map(|top| logprobs(logits, highest, token, top));
    Ok(Chosen { token, logprobs })
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

fn draw(logits: &[f32], highest: f32, sampling: &Sampling, index: u32) -> u32 {
    let weight = |logit: f32| f64::from((logit - highest) / sampling.temperature).exp();
    let mut candidates: Vec<(u32, f64)> =
        logits.iter().enumerate().map(|(token, &logit)| (token as u32, weight(logit))).collect();
    if sampling.top_p < 1.0 {
        let total: f64 = candidates.iter().map(|&(_, weight)| weight).sum();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut reached = 0.0;
        let kept = candidates.iter().take_while(|&&(_, weight)| {
            let wanted = reached < f64::from(sampling.top_p) * total;
            reached += weight;
            wanted
        });
        let kept = kept.count().max(1);
        candidates.truncate(kept);
    }
    let total: f64 = candidates.iter().map(|&(_, weight)| weight).sum();
    let mut rest = uniform(sampling.seed, index) * total;
    for &(token, weight) in &candidates {
        rest -= weight;
        if rest < 0.0 {
            return token;
        }
    }
    candidates.iter().rev().find(|&&(_, weight)| weight > 0.0).map_or(0, |&(token, _)| token)
}

fn logprobs(logits: &[f32], highest: f32, token: u32, top: u8) -> TokenLogprobs {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    let log_total = f64::from(highest) + sum.ln();
    let logprob = |logit: f32| (f64::from(logit) - log_total) as f32;
    let count = usize::from(top).min(TOP_LOGPROBS_MAX).min(logits.len());
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if count < order.len() && count > 0 {
        order.select_nth_unstable_by(count - 1, by_logit);
    }
    order.truncate(count);
    order.sort_unstable_by(by_logit);
    TokenLogprobs {
        chosen: logprob(logits[token as usize]),
        top: order.iter().map(|&id| (id, logprob(logits[id as usize]))).collect(),
    }
}

/// A number in [0, 1) from seed and counter (SplitMix64, Steele, Lea and Flood 2014).
fn uniform(seed: u64, index: u32) -> f64 {
    let mut z =
        seed.wrapping_add(u64::from(index).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_p: f32, seed: u64) -> Sampling {
        Sampling { temperature, top_p, seed, logprobs: None }
    }

    #[test]
    fn zero_temperature_takes_the_first_of_the_likeliest() {
        let logits = [0.0, 3.0, 3.0, -1.0];
        for seed in 0..20 {
            assert_eq!(choose(&logits, &sampling(0.0, 1.0, seed), 0).unwrap().token, 1);
        }
    }

    #[test]
    fn draws_follow_the_probabilities_and_repeat_by_seed() {
        let logits = [0.0f32, (2.0f32).ln(), f32::NEG_INFINITY];
        let draws = |seed| -> Vec<u32> {
            (0..6000)
                .map(|i| choose(&logits, &sampling(1.0, 1.0, seed), i).unwrap().token)
                .collect()
        };
        let ones = draws(7).iter().filter(|&&token| token == 1).count();
        assert!((3850..=4150).contains(&ones), "two thirds of 6000, got {ones}");
        assert!(!draws(7).contains(&2));
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn top_p_cuts_the_tail() {
        let logits = [1.0f32, 0.9, -3.0, -4.0];
        let drawn: std::collections::BTreeSet<u32> =
            (0..3000).map(|i| choose(&logits, &sampling(1.5, 0.6, 1), i).unwrap().token).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1]);
        let only =
            (0..100).all(|i| choose(&logits, &sampling(1.5, 1e-6, 1), i).unwrap().token == 0);
        assert!(only, "at least one token is always kept");
    }

    #[test]
    fn log_probabilities_add_up_and_are_sorted() {
        let logits = [0.5f32, 2.0, -1.0, 2.0];
        let asked = Sampling { logprobs: Some(4), ..sampling(0.0, 1.0, 0) };
        let logprobs = choose(&logits, &asked, 0).unwrap().logprobs.unwrap();
        let ids: Vec<u32> = logprobs.top.iter().map(|&(id, _)| id).collect();
        assert_eq!(ids, [1, 3, 0, 2]);
        let sum: f32 = logprobs.top.iter().map(|&(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(logprobs.chosen, logprobs.top[0].1);
        let none = Sampling { logprobs: Some(0), ..asked };
        assert!(choose(&logits, &none, 0).unwrap().logprobs.unwrap().top.is_empty());
    }

    #[test]
    fn what_is_not_a_number_is_not_a_token() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(choose(&[0.0, bad], &sampling(1.0, 1.0, 0), 0), Err(NotNumbers));
        }
        let all = [f32::NEG_INFINITY; 3];
        assert_eq!(choose(&all, &sampling(0.0, 1.0, 0), 0), Err(NotNumbers));
    }
}
