//! Which tokens are drawn from, and which one is drawn?
//!
//! Nothing here sorts the vocabulary: where a set has to be cut off, the token at its edge is found
//! by halving (as quickselect does), and the set is then what comes no later than that token.

use std::cmp::Ordering;

use crate::request::Sampling;

/// Weights below e^-40 of the largest are no chance at all: 10^-17.
const EXPONENT_MIN: f64 = -40.0;

/// A token and its probability, as a multiple of the likeliest one's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    token: u32,
    weight: f64,
}

/// Likelier before less likely, and lower ids before higher ones.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}

/// Fills `candidates` with the tokens that are drawn from, in order of their ids. `highest` is the
/// largest of the logits; `scratch` holds anything.
pub(super) fn candidates(
    logits: &[f32],
    highest: f32,
    sampling: &Sampling,
    candidates: &mut Vec<Candidate>,
    scratch: &mut Vec<Candidate>,
) {
    let temperature = f64::from(sampling.temperature);
    let least = f64::from(sampling.min_p);
    candidates.clear();
    candidates.extend(logits.iter().zip(0_u32..).filter_map(|(&logit, token)| {
        // In f64 before the subtraction: two f32 may lie further apart than an f32 can say.
        let exponent = (f64::from(logit) - f64::from(highest)) / temperature;
        // The likeliest stays whatever the temperature: 0 / 0 is not a number.
        let weight = if logit == highest { 1.0 } else { exponent.exp() };
        (weight >= least && (exponent >= EXPONENT_MIN || logit == highest))
            .then_some(Candidate { token, weight })
    }));
    let k = sampling.top_k as usize;
    if k > 0 && k < candidates.len() {
        copy(candidates, scratch);
        let (_, &mut last, _) = scratch.select_nth_unstable_by(k - 1, order);
        cut_after(last, candidates);
    }
    if sampling.top_p < 1.0 && candidates.len() > 1 {
        let wanted = f64::from(sampling.top_p) * total(candidates);
        copy(candidates, scratch);
        cut_after(nucleus_edge(scratch, wanted), candidates);
    }
}

/// The last token, likeliest first, that is needed for the weights to reach `wanted`.
fn nucleus_edge(mut among: &mut [Candidate], mut wanted: f64) -> Candidate {
    while among.len() > 1 {
        let middle = among.len() / 2;
        let (likelier, ..) = among.select_nth_unstable_by(middle, order);
        let reached = total(likelier);
        if reached >= wanted {
            among = &mut among[..middle];
        } else {
            wanted -= reached;
            among = &mut among[middle..];
        }
    }
    among[0]
}

fn copy(from: &[Candidate], to: &mut Vec<Candidate>) {
    to.clear();
    to.extend_from_slice(from);
}

fn cut_after(last: Candidate, candidates: &mut Vec<Candidate>) {
    candidates.retain(|candidate| order(candidate, &last) != Ordering::Greater);
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| candidate.weight).sum()
}

/// The `index`-th draw with that seed from `candidates`: at least one.
pub(super) fn draw(candidates: &[Candidate], seed: u64, index: u32) -> u32 {
    let mut rest = uniform(seed, index) * total(candidates);
    for candidate in candidates {
        rest -= candidate.weight;
        if rest < 0.0 {
            return candidate.token;
        }
    }
    // Rounding may leave a crumb.
    candidates.last().map_or(0, |candidate| candidate.token)
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
    use proptest::prelude::*;

    use super::*;

    fn kept(logits: &[f32], sampling: &Sampling) -> Vec<u32> {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (mut found, mut scratch) = (Vec::new(), Vec::new());
        candidates(logits, highest, sampling, &mut found, &mut scratch);
        found.iter().map(|candidate| candidate.token).collect()
    }

    /// The same by its definition: everything sorted.
    fn kept_by_sorting(logits: &[f32], sampling: &Sampling) -> Vec<u32> {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| {
            ((f64::from(logit) - f64::from(highest)) / f64::from(sampling.temperature)).exp()
        };
        let mut all: Vec<Candidate> = (0..logits.len())
            .map(|n| Candidate { token: n as u32, weight: weight(logits[n]) })
            .filter(|one| one.weight >= f64::from(sampling.min_p))
            .collect();
        all.sort_by(order);
        if sampling.top_k > 0 {
            all.truncate(sampling.top_k as usize);
        }
        let wanted = f64::from(sampling.top_p) * total(&all);
        let mut reached = 0.0;
        let count = all.iter().take_while(|one| {
            let needed = reached < wanted;
            reached += one.weight;
            needed
        });
        let count = count.count().max(1);
        let mut tokens: Vec<u32> = all[..count].iter().map(|one| one.token).collect();
        tokens.sort_unstable();
        tokens
    }

    proptest! {
        #[test]
        fn the_set_is_the_one_that_sorting_gives(
            // Eighths, so that many are equal; sums of few weights, so that rounding decides nothing.
            eighths in proptest::collection::vec(-40i32..40, 1..300),
            top_k in prop_oneof![Just(0u32), 1u32..50],
            top_p in 0.01f32..1.0,
            min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0],
            temperature in 0.3f32..2.0,
        ) {
            let logits: Vec<f32> = eighths.iter().map(|&n| n as f32 / 8.0).collect();
            let sampling =
                Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
            prop_assert_eq!(kept(&logits, &sampling), kept_by_sorting(&logits, &sampling));
        }
    }

    #[test]
    fn each_cut_by_itself() {
        let logits = [1.0f32, 0.9, -3.0, -4.0, 0.9];
        let all = Sampling::default();
        assert_eq!(kept(&logits, &all), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&logits, &Sampling { top_k: 2, ..all.clone() }), [0, 1]);
        assert_eq!(kept(&logits, &Sampling { top_k: 3, ..all.clone() }), [0, 1, 4]);
        assert_eq!(kept(&logits, &Sampling { top_k: 99, ..all.clone() }), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&logits, &Sampling { top_p: 0.6, ..all.clone() }), [0, 1]);
        assert_eq!(kept(&logits, &Sampling { top_p: 1e-6, ..all.clone() }), [0]);
        assert_eq!(kept(&logits, &Sampling { min_p: 0.5, ..all.clone() }), [0, 1, 4]);
        assert_eq!(kept(&logits, &Sampling { min_p: 1.0, ..all.clone() }), [0]);
        let cold = Sampling { temperature: 1e-40, ..all };
        assert_eq!(kept(&[-3e38, 3e38, f32::NEG_INFINITY], &cold), [1]);
    }

    #[test]
    fn draws_are_spread_evenly_over_the_unit_interval() {
        let mut tenths = [0; 10];
        for index in 0..10_000 {
            tenths[(uniform(42, index) * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }
}
