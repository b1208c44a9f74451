//! How likely were the likeliest?

use super::TOP_LOGPROBS_MAX;
use crate::request::TokenLogprobs;

/// The log-probabilities of `token` and of the `top` likeliest; `highest` is the largest logit.
pub(super) fn logprobs(logits: &[f32], highest: f32, token: u32, top: u8) -> TokenLogprobs {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    let log_total = f64::from(highest) + sum.ln();
    let logprob = |token: u32| (f64::from(logits[token as usize]) - log_total) as f32;
    let top = likeliest(logits, usize::from(top).min(TOP_LOGPROBS_MAX));
    TokenLogprobs {
        chosen: logprob(token),
        top: top.into_iter().map(|token| (token, logprob(token))).collect(),
    }
}

fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let count = count.min(logits.len());
    if count == 0 {
        return Vec::new();
    }
    let by_logit =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.select_nth_unstable_by(count - 1, by_logit);
    order.truncate(count);
    order.sort_unstable_by(by_logit);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_add_up_and_are_sorted() {
        let logits = [0.5f32, 2.0, -1.0, 2.0];
        let all = logprobs(&logits, 2.0, 1, 4);
        let ids: Vec<u32> = all.top.iter().map(|&(id, _)| id).collect();
        assert_eq!(ids, [1, 3, 0, 2]);
        let sum: f32 = all.top.iter().map(|&(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(all.chosen, all.top[0].1);
        assert!(logprobs(&logits, 2.0, 1, 0).top.is_empty());
        assert_eq!(logprobs(&logits, 2.0, 2, 255).top.len(), 4);
    }
}
