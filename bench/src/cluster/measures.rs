//! What is asked of one node and of the ring, and what came of it.

use anyhow::ensure;
use serde::Serialize;

use super::{
    client::{Ask, Heard, rate_in_turn, rate_together},
    nodes::Cluster,
    profile::{Counts, StageProfile},
    quota::Met,
};

/// Requests that run one after the other, where that is what is asked.
const IN_TURN: usize = 2;

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) batch: usize,
    pub(super) tokens: usize,
    pub(super) stages: usize,
}

/// One question.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Question {
    pub(super) id: &'static str,
    pub(super) what: String,
    /// Whether the ring takes one sequence in each step.
    pub(super) one_per_step: bool,
    /// Requests at once on the one node and on the ring; 1: one after the other.
    pub(super) requests: [usize; 2],
    tokens: usize,
    /// The gain that is aimed at.
    pub(super) wanted: f64,
}

pub(super) fn known(ids: &[String]) -> anyhow::Result<()> {
    let all = all(Load { batch: 2, tokens: 8, stages: 2 });
    for id in ids {
        let ids = all.iter().map(|question| question.id).chain(["turn", "concurrent", "prompt"]);
        let ids: Vec<_> = ids.collect();
        ensure!(ids.contains(&id.as_str()), "--only {id}: there are {}", ids.join(", "));
    }
    Ok(())
}

pub(super) fn all(load: Load) -> Vec<Question> {
    let Load { batch, tokens, stages } = load;
    let question = |id, requests: [usize; 2], wanted, what| Question {
        id,
        what,
        one_per_step: id == "one-per-step",
        requests,
        tokens,
        wanted,
    };
    vec![
        question("single", [1, 1], 0.9, "one request on either".into()),
        question(
            "one-per-step",
            [1, 2 * stages],
            2.5,
            format!(
                "one sequence per step: {} requests in flight on the ring, one at a time on one node",
                2 * stages
            ),
        ),
        question("same", [batch, batch], 1.0, format!("the same {batch} requests on either")),
        question(
            "saturation",
            [batch, stages * batch],
            2.5,
            format!(
                "steps of {batch}: {batch} requests on one node, {} on the ring",
                stages * batch
            ),
        ),
    ]
}

/// Which of the questions to a ring of one or of more sequences per step has the most requests.
pub(super) fn fullest(questions: &[Measured], one_per_step: bool) -> Option<usize> {
    let load = |at: usize| &questions[at].load;
    let asked = (0..questions.len()).filter(|at| load(*at).one_per_step == one_per_step);
    asked.max_by_key(|at| load(*at).requests[1])
}

/// The same requests on either, so many at once.
pub(super) fn concurrent(requests: &[usize], tokens: usize) -> Vec<Question> {
    let question = |&requests: &usize| Question {
        id: "concurrent",
        what: format!("{requests} at once"),
        one_per_step: false,
        requests: [requests; 2],
        tokens,
        wanted: 1.0,
    };
    requests.iter().map(question).collect()
}

/// One side of one question.
#[derive(Debug, Default, Clone)]
pub(super) struct Side {
    pub(super) rates: Vec<f64>,
    /// Seconds to the first token.
    pub(super) first_s: Vec<f64>,
    pub(super) gaps_ms: Vec<f64>,
    /// By run.
    pub(super) profiles: Vec<Vec<StageProfile>>,
    /// The share of periods in which the quota held somebody back, of the node it held back least.
    pub(super) throttled: Vec<f64>,
}

pub(super) struct Measured {
    pub(super) load: Question,
    pub(super) alone: Side,
    pub(super) ring: Side,
}

impl Measured {
    pub(super) fn new(load: Question) -> Self {
        Self { load, alone: Side::default(), ring: Side::default() }
    }

    /// Whether both sides were measured once at least.
    pub(super) fn is_something(&self) -> bool {
        !self.alone.rates.is_empty() && !self.ring.rates.is_empty()
    }

    /// Both sides, one after the other; round 0 is not kept.
    pub(super) fn measure(
        &mut self,
        alone: &Cluster,
        ring: &Cluster,
        round: u64,
    ) -> anyhow::Result<()> {
        let sides = [(alone, self.load.requests[0], 0), (ring, self.load.requests[1], 1)];
        for (cluster, requests, number) in sides {
            let side = if number == 0 { &mut self.alone } else { &mut self.ring };
            let question = self.load.id.len() * 100_000 + requests * 2_000_000;
            let salt = (round * 1000 + number) as u32 + question as u32;
            let count = if requests == 1 { IN_TURN } else { requests };
            let asks: Vec<Ask> = (0..count as u32)
                .map(|n| cluster.ask(prompt(salt, n, 8 + n as usize % 16), self.load.tokens))
                .collect();
            let mut one = Side::default();
            one.run(cluster, &asks, requests == 1)?;
            if round > 0 {
                side.extend(one);
            }
        }
        Ok(())
    }
}

impl Side {
    fn run(&mut self, cluster: &Cluster, asks: &[Ask], in_turn: bool) -> anyhow::Result<()> {
        let counts = cluster.counts()?;
        let met = cluster.met();
        let heard = if in_turn { cluster.in_turn(asks)? } else { cluster.together(asks)? };
        let now = cluster.met();
        let rate = if in_turn { rate_in_turn(&heard) } else { rate_together(&heard)? };
        self.rates.push(rate);
        self.first_s.extend(heard.iter().map(Heard::first_s));
        self.gaps_ms.extend(heard.iter().flat_map(Heard::gaps_ms));
        let shares = now.into_iter().zip(met).map(|(now, met)| Met::since(now, met).share());
        self.throttled.push(shares.fold(f64::INFINITY, f64::min));
        let after = Counts::now(cluster)?;
        self.profiles.push(after.since(&counts, rate));
        cluster.keep_counts(after);
        Ok(())
    }

    fn extend(&mut self, other: Self) {
        self.rates.extend(other.rates);
        self.first_s.extend(other.first_s);
        self.gaps_ms.extend(other.gaps_ms);
        self.profiles.extend(other.profiles);
        self.throttled.extend(other.throttled);
    }
}

/// Token ids that no other request of the run begins with.
pub(crate) fn prompt(salt: u32, number: u32, tokens: usize) -> Vec<u32> {
    let mut state = u64::from(salt) << 32 | u64::from(number);
    let mut next = || {
        // Knuth's multiplier: spread is all that is asked of it.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        500 + ((state >> 33) % 20_000) as u32
    };
    (0..tokens).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_prompts_begin_alike() {
        let mut firsts: Vec<_> =
            (0..200).flat_map(|salt| (0..48).map(move |number| prompt(salt, number, 3))).collect();
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 200 * 48);
        assert!(known(&["same".into()]).is_ok() && known(&["sam".into()]).is_err());
    }
}
