//! One question: who takes part, what is measured of each, and what has to hold.

use std::collections::BTreeMap;

use serde::Serialize;

use super::job;
use crate::{
    figures::{Figure, paired_ratio},
    namespace::Lab,
    turns,
};

/// What one run of one contestant gives, by the metric's name.
pub(super) type Values = BTreeMap<&'static str, f64>;

/// Measures once.
type Run = Box<dyn Fn(&Lab) -> anyhow::Result<Values> + Send + Sync>;

/// Somebody who is measured.
pub(super) struct Contestant {
    pub(super) name: String,
    /// Why it cannot take part here, with a hint.
    pub(super) missing: Option<String>,
    in_turns: bool,
    pub(super) run: Run,
}

impl Contestant {
    pub(super) fn new(
        name: impl Into<String>,
        run: impl Fn(&Lab) -> anyhow::Result<Values> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), missing: None, in_turns: false, run: Box::new(run) }
    }

    /// It is measured at the same time as others of which that is said, in turns of a fraction of a
    /// second: a [claim](Claim) about two of them is about the same machine. Only for medians and
    /// percentiles (see `turns`).
    pub(super) fn in_turns(mut self) -> Self {
        self.in_turns = true;
        self
    }

    /// It needs something that is not there.
    pub(super) fn unless(mut self, missing: Option<String>) -> Self {
        self.missing = missing;
        self
    }
}

/// A row that follows from others of the same round.
pub(super) struct Derived {
    pub(super) name: &'static str,
    pub(super) of: fn(&Round<'_>) -> Option<Values>,
}

/// The values of one round.
pub(super) struct Round<'a> {
    results: &'a [Result],
    at: usize,
}

impl Round<'_> {
    pub(super) fn value(&self, contestant: &str, metric: &str) -> Option<f64> {
        let result = self.results.iter().find(|result| result.name == contestant)?;
        result.rounds.get(self.at)?.as_ref()?.get(metric).copied()
    }
}

/// What has to hold.
pub(super) struct Claim {
    pub(super) subject: &'static str,
    pub(super) metric: &'static str,
    /// Whose figure it is held against; `None`: the figure itself is looked at.
    pub(super) against: Option<(&'static str, &'static str)>,
    pub(super) limit: Limit,
}

/// How much is enough.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// A question, before it is measured.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: String,
    /// Names of the columns, in order.
    pub(super) metrics: &'static [&'static str],
    pub(super) mtu: u32,
    pub(super) contestants: Vec<Contestant>,
    pub(super) derived: Vec<Derived>,
    pub(super) claims: Vec<Claim>,
}

/// What came of a contestant.
#[derive(Serialize)]
pub(super) struct Result {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<String>,
    /// Rounds that failed, and why the last one did.
    pub(super) failed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    pub(super) figures: BTreeMap<&'static str, Figure>,
    #[serde(skip)]
    rounds: Vec<Option<Values>>,
}

/// What came of a claim.
#[derive(Serialize)]
pub(super) struct Verdict {
    pub(super) what: String,
    /// The figure, or the median of the ratios of neighbouring runs.
    pub(super) value: Option<f64>,
    pub(super) limit: String,
    /// `None` if it could not be measured.
    pub(super) holds: Option<bool>,
}

/// A question, answered.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) id: &'static str,
    pub(super) title: String,
    pub(super) metrics: &'static [&'static str],
    pub(super) rounds: usize,
    pub(super) results: Vec<Result>,
    pub(super) verdicts: Vec<Verdict>,
}

impl Section {
    /// Measures all contestants in turn, `repeats` times after a round to warm up. What was
    /// measured before an interrupt is kept.
    pub(super) fn measure(self, lab: &Lab, repeats: usize) -> anyhow::Result<Answer> {
        lab.set_mtu(self.mtu)?;
        let mut results: Vec<_> = self.contestants.iter().map(Result::of).collect();
        'rounds: for round in 0..=repeats {
            let warm_up = if round == 0 { " (warm-up)" } else { "" };
            eprintln!("{}: round {round} of {repeats}{warm_up}", self.id);
            let (able, unable): (Vec<_>, Vec<_>) = self
                .contestants
                .iter()
                .zip(&mut results)
                // One that could not be run twice in a row is not waited for again.
                .partition(|(_, result)| {
                    result.missing.is_none() && (round <= 1 || result.failed < round)
                });
            unable.into_iter().for_each(|(_, result)| result.rounds.push(None));
            let (together, alone): (Vec<_>, Vec<_>) =
                able.into_iter().partition(|(contestant, _)| contestant.in_turns);
            let jobs = together.iter().map(|(contestant, _)| || (contestant.run)(lab)).collect();
            let measured = turns::take(jobs);
            if job::interrupted() {
                break 'rounds;
            }
            for ((_, result), values) in together.into_iter().zip(measured) {
                result.note(values, round > 0);
            }
            for (contestant, result) in alone {
                let values = (contestant.run)(lab);
                if job::interrupted() {
                    break 'rounds;
                }
                result.note(values, round > 0);
            }
        }
        let rounds = results.iter().map(|result| result.rounds.len()).max().unwrap_or(0);
        for derived in &self.derived {
            let rounds = (0..rounds).map(|at| (derived.of)(&Round { results: &results, at }));
            let rounds: Vec<_> = rounds.collect();
            results.push(Result::new(derived.name.into(), None, rounds));
        }
        results.iter_mut().for_each(Result::sum_up);
        let verdicts = self.claims.iter().map(|claim| claim.judge(&results)).collect();
        let Self { id, title, metrics, .. } = self;
        Ok(Answer { id, title, metrics, rounds, results, verdicts })
    }
}

impl Result {
    fn new(name: String, missing: Option<String>, rounds: Vec<Option<Values>>) -> Self {
        Self { name, missing, failed: 0, error: None, figures: BTreeMap::new(), rounds }
    }

    fn of(contestant: &Contestant) -> Self {
        Self::new(contestant.name.clone(), contestant.missing.clone(), Vec::new())
    }

    fn note(&mut self, values: anyhow::Result<Values>, keep: bool) {
        let values = match values {
            Ok(values) => Some(values),
            Err(error) => {
                self.failed += 1;
                self.error = Some(format!("{error:#}"));
                None
            }
        };
        if keep {
            self.rounds.push(values);
        }
    }

    fn values(&self, metric: &str) -> Vec<Option<f64>> {
        let value = |round: &Option<Values>| round.as_ref()?.get(metric).copied();
        self.rounds.iter().map(value).collect()
    }

    fn sum_up(&mut self) {
        let mut by_metric: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for (metric, value) in self.rounds.iter().flatten().flatten() {
            by_metric.entry(metric).or_default().push(*value);
        }
        self.figures =
            by_metric.into_iter().map(|(metric, values)| (metric, Figure::of(values))).collect();
    }
}

impl Claim {
    fn judge(&self, results: &[Result]) -> Verdict {
        let values = |name: &str, metric: &str| {
            let result = results.iter().find(|result| result.name == name);
            result.map(|result| result.values(metric)).unwrap_or_default()
        };
        let ours = values(self.subject, self.metric);
        let value = match self.against {
            None => median_of(ours.into_iter().flatten().collect()),
            Some((other, metric)) => {
                let pairs = ours.into_iter().zip(values(other, metric));
                let (ours, theirs): (Vec<_>, Vec<_>) =
                    pairs.filter_map(|(ours, theirs)| Some((ours?, theirs?))).unzip();
                (!ours.is_empty()).then(|| paired_ratio(&ours, &theirs))
            }
        };
        let what = match self.against {
            None => format!("{}, {}", self.subject, self.metric),
            Some((other, metric)) if metric == self.metric => {
                format!("{} / {other}, {metric}", self.subject)
            }
            Some((other, metric)) => {
                format!("{}, {} / {other}, {metric}", self.subject, self.metric)
            }
        };
        Verdict {
            what,
            value,
            limit: self.limit.to_string(),
            holds: value.map(|value| self.limit.holds(value)),
        }
    }
}

fn median_of(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| Figure::of(values).median)
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "at most {limit}"),
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, values: &[Option<f64>]) -> Result {
        let rounds = values.iter().map(|value| Some(Values::from([("p50", (*value)?)]))).collect();
        Result::new(name.into(), None, rounds)
    }

    fn claim(limit: Limit) -> Claim {
        Claim { subject: "we", metric: "p50", against: Some(("they", "p50")), limit }
    }

    #[test]
    fn a_ratio_is_that_of_rounds_in_which_both_were_measured() {
        let results = [
            result("we", &[Some(1.0), None, Some(4.0)]),
            result("they", &[Some(2.0), Some(0.1), Some(4.0)]),
        ];
        let verdict = claim(Limit::AtMost(0.75)).judge(&results);
        assert_eq!((verdict.value, verdict.holds), (Some(0.75), Some(true)));
        assert_eq!(claim(Limit::AtLeast(0.8)).judge(&results).holds, Some(false));
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let results = [result("we", &[Some(1.0)]), result("they", &[None])];
        assert_eq!(claim(Limit::AtMost(9.0)).judge(&results).holds, None);
    }
}
