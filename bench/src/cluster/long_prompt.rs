//! Who waits for whom, when a long prompt comes while others decode? Asked once for each setting of
//! the knob.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde::Serialize;

use super::{
    Args, Controls,
    client::{self, Ask},
    measures::prompt,
    nodes::{Cluster, Setup},
    report::{Control, percentiles},
};
use crate::figures::{Figure, paired_ratio};

/// Requests that decode.
const DECODING: usize = 4;
/// Tokens that each has had before it is looked at.
const SETTLED: usize = 16;
/// Tokens of each that are looked at before the prompt comes.
const IDLE: usize = 48;
/// More than they will have.
const DECODE_TOKENS: usize = 3_500;
const PATIENCE: Duration = Duration::from_secs(120);

/// The knob at one setting.
#[derive(Serialize)]
pub(super) struct LongPrompt {
    delay: f64,
    prompt_tokens: usize,
    /// Milliseconds from token to token before the prompt came, p50, p90, p99: medians of the rounds.
    idle_ms: [f64; 3],
    /// And while it was read.
    during_ms: [f64; 3],
    /// p99 during over p99 before: median of the rounds.
    token_times: f64,
    /// Seconds until the prompt's first token with nobody else, and with others.
    alone_s: Figure,
    beside_s: Figure,
    /// Median of the rounds' ratios.
    first_times: f64,
}

pub(super) fn measure(
    args: &Args,
    setup: &Setup,
    controls: &Controls<'_>,
    control: &mut Control,
) -> anyhow::Result<Vec<LongPrompt>> {
    let mut rings = Vec::new();
    for (number, delay) in args.delays.iter().enumerate() {
        let mut more = args.with.clone();
        more.extend(["--token-delay".to_owned(), delay.to_string()]);
        let ring = Cluster::start(setup, &format!("d{number}"), &args.layers, &more)?;
        rings.push((*delay, ring, Rounds::default()));
    }
    for round in 0..=args.repeats {
        controls.round(round, args.repeats, control)?;
        for (number, (_, ring, rounds)) in rings.iter_mut().enumerate() {
            let salt = 900_000 + 100 * number as u32 + round as u32;
            let one = Round::run(ring, args.prompt_tokens_in(round), salt)?;
            if round > 0 {
                rounds.push(&one);
            }
        }
    }
    Ok(rings.into_iter().map(|(delay, _, of)| of.done(delay, args.prompt_tokens)).collect())
}

struct Round {
    idle_ms: Vec<f64>,
    during_ms: Vec<f64>,
    alone_s: f64,
    beside_s: f64,
}

impl Round {
    fn run(ring: &Cluster, tokens: usize, salt: u32) -> anyhow::Result<Self> {
        let long = |salt| ring.ask(prompt(salt, 77, tokens), 1);
        let first = |ask: Ask| ring.beside(|| Ok(client::stream(&ask)?.first_s()));
        let alone_s = first(long(salt))?;
        let stop = AtomicBool::new(false);
        let heard: [Mutex<Vec<Instant>>; DECODING] = Default::default();
        let (begun, ended, beside_s) = thread::scope(|scope| {
            for (number, heard) in heard.iter().enumerate() {
                let ask = ring.ask(prompt(salt + 50, number as u32, 24), DECODE_TOKENS);
                let stop = &stop;
                scope.spawn(move || {
                    ring.beside(|| {
                        client::stream_while(&ask, |own| {
                            if let (Ok(mut heard), Some(&at)) = (heard.lock(), own.at.last()) {
                                heard.push(at);
                            }
                            !stop.load(Ordering::Relaxed)
                        })
                    })
                });
            }
            let outcome = beside(&heard, || first(long(salt + 25)));
            stop.store(true, Ordering::Relaxed);
            outcome
        })?;
        let gaps = |from: Option<Instant>, to: Instant| -> Vec<f64> {
            let mut gaps = Vec::new();
            for own in &heard {
                let own = own.lock().map(|own| own.clone()).unwrap_or_default();
                let settled = own.get(SETTLED).copied();
                let from = from.or(settled).unwrap_or(to);
                let pairs = own.windows(2).filter(|pair| pair[0] >= from && pair[0] < to);
                gaps.extend(pairs.map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3));
            }
            gaps
        };
        Ok(Self {
            idle_ms: gaps(None, begun - Duration::from_millis(1)),
            during_ms: gaps(Some(begun), ended),
            alone_s,
            beside_s,
        })
    }
}

/// Waits until all decode and have been looked at, then has the prompt read; says from when to when.
fn beside(
    heard: &[Mutex<Vec<Instant>>],
    prompt: impl FnOnce() -> anyhow::Result<f64>,
) -> anyhow::Result<(Instant, Instant, f64)> {
    let deadline = Instant::now() + PATIENCE;
    let least = || heard.iter().map(|own| own.lock().map_or(0, |own| own.len())).min();
    while least() < Some(SETTLED + IDLE) {
        ensure!(Instant::now() < deadline, "the requests that decode do not come on");
        thread::sleep(Duration::from_millis(20));
    }
    let begun = Instant::now();
    let first_s = prompt()?;
    Ok((begun, Instant::now(), first_s))
}

#[derive(Default)]
struct Rounds {
    idle: Vec<[f64; 3]>,
    during: Vec<[f64; 3]>,
    alone: Vec<f64>,
    beside: Vec<f64>,
}

impl Rounds {
    fn push(&mut self, one: &Round) {
        self.idle.push(percentiles(one.idle_ms.clone()));
        self.during.push(percentiles(one.during_ms.clone()));
        self.alone.push(one.alone_s);
        self.beside.push(one.beside_s);
    }

    fn done(self, delay: f64, prompt_tokens: usize) -> LongPrompt {
        let median = |rounds: &[[f64; 3]]| {
            [0, 1, 2].map(|at| Figure::of(rounds.iter().map(|round| round[at]).collect()).median)
        };
        let p99 = |rounds: &[[f64; 3]]| rounds.iter().map(|round| round[2]).collect::<Vec<_>>();
        LongPrompt {
            delay,
            prompt_tokens,
            token_times: paired_ratio(&p99(&self.during), &p99(&self.idle)),
            idle_ms: median(&self.idle),
            during_ms: median(&self.during),
            first_times: paired_ratio(&self.beside, &self.alone),
            alone_s: Figure::of(self.alone),
            beside_s: Figure::of(self.beside),
        }
    }
}

pub(super) fn print(all: &[LongPrompt]) {
    let Some(first) = all.first() else { return };
    println!(
        "prompt: {} tokens come while {DECODING} requests decode (wanted at the latency end: 2.0 × \
         and 3.5 ×; at the prompt's: 5.0 × and 1.3 ×)",
        first.prompt_tokens
    );
    println!(
        "  {:<14}{:>24}{:>24}{:>10}{:>12}{:>12}{:>10}",
        "--token-delay",
        "idle p50/p90/p99 ms",
        "during p50/p90/p99 ms",
        "p99",
        "alone s",
        "beside s",
        "first"
    );
    for one in all {
        let three = |[a, b, c]: [f64; 3]| format!("{a:.0}/{b:.0}/{c:.0}");
        println!(
            "  {:<14}{:>24}{:>24}{:>8.2} ×{:>12.1}{:>12.1}{:>8.2} ×",
            one.delay,
            three(one.idle_ms),
            three(one.during_ms),
            one.token_times,
            one.alone_s.median,
            one.beside_s.median,
            one.first_times
        );
    }
}
