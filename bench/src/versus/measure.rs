//! Measures both links in turns, and keeps what was measured whatever happens.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{
    doors::Way,
    plan::{Amount, Cell, EXAMPLE, Slice, TIMELINE_EVERY, slices},
};
use crate::{
    exercise::{
        flow,
        trips::{self, Span},
    },
    histogram::Durations,
    interrupt::interrupted,
    link::Mode,
};

/// Round trips of a slice that do not count.
const WARMUP: u64 = 3;

/// What was heard of one cell over one link.
pub(super) struct Heard {
    pub(super) durations: Durations,
    pub(super) count: u64,
    /// Sum of the differences between neighbours, in microseconds.
    differences_us: f64,
    previous: Option<Duration>,
}

impl Heard {
    fn new() -> anyhow::Result<Self> {
        let durations = Durations::new()?;
        Ok(Self { durations, count: 0, differences_us: 0.0, previous: None })
    }

    fn hear(&mut self, took: Duration) {
        self.durations.record(took);
        self.count += 1;
        if let Some(previous) = self.previous.replace(took) {
            self.differences_us += took.abs_diff(previous).as_secs_f64() * 1e6;
        }
    }

    /// How much neighbouring round trips differ, on average, in microseconds.
    pub(super) fn jitter_us(&self) -> f64 {
        self.differences_us / (self.count.saturating_sub(1).max(1)) as f64
    }
}

/// All that was heard over one link.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) trips: BTreeMap<Cell, Heard>,
    /// Bits per second of each round.
    pub(super) flows: BTreeMap<(flow::Way, usize), Vec<f64>>,
    /// When each message went, in seconds, and how long it took, in microseconds.
    pub(super) timeline: Vec<(f64, f64)>,
}

/// Something that did not go on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Broken {
    /// Seconds since the first measurement.
    pub(super) after_s: f64,
    /// Which of both links.
    pub(super) link: usize,
    pub(super) why: String,
    /// Whether it was given up.
    pub(super) for_good: bool,
}

/// A measurement that goes on.
pub(super) struct Run {
    pub(super) ways: [Way; 2],
    pub(super) collected: [Collected; 2],
    pub(super) broken: Vec<Broken>,
    lost: [bool; 2],
    began: Instant,
    bar: ProgressBar,
}

/// All of it, or what there is.
pub(super) struct Measured {
    pub(super) ways: [Way; 2],
    pub(super) collected: [Collected; 2],
    pub(super) broken: Vec<Broken>,
    pub(super) interrupted: bool,
    pub(super) took: Duration,
    pub(super) rounds: usize,
}

impl Run {
    pub(super) fn new(ways: [Way; 2]) -> Self {
        Self {
            ways,
            collected: Default::default(),
            broken: Vec::new(),
            lost: [false; 2],
            began: Instant::now(),
            bar: ProgressBar::hidden(),
        }
    }

    /// Measures until all is done, both links are lost, or somebody ends it.
    pub(super) fn go(mut self, amount: &Amount) -> Measured {
        let slices = slices();
        self.bar = bar(2 * amount.rounds * slices.len());
        self.timeline(amount.timeline);
        let mut rounds = 0;
        'all: for round in 0..amount.rounds {
            if round > 0 && self.began.elapsed() > amount.at_most {
                break;
            }
            for slice in &slices {
                // Neither link is always the first: what warms up or tires meets both.
                for link in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                    if interrupted() || self.lost == [true, true] {
                        break 'all;
                    }
                    self.tell(round, amount.rounds, link, slice);
                    if !self.lost[link] {
                        self.slice(link, *slice, amount.slice);
                    }
                    self.bar.inc(1);
                }
            }
            rounds += 1;
        }
        self.bar.finish_and_clear();
        self.ways.iter_mut().for_each(Way::look);
        Measured {
            ways: self.ways,
            collected: self.collected,
            broken: self.broken,
            interrupted: interrupted(),
            took: self.began.elapsed(),
            rounds,
        }
    }

    /// One slice, and once again if it broke. Twice is for good.
    fn slice(&mut self, link: usize, slice: Slice, lasts: Duration) {
        for again in [false, true] {
            let way = &mut self.ways[link];
            match measure(way, &mut self.collected[link], slice, lasts) {
                Ok(()) => return,
                Err(_) if interrupted() => return,
                Err(error) => self.note(link, &error, again),
            }
        }
    }

    fn note(&mut self, link: usize, error: &anyhow::Error, for_good: bool) {
        let after_s = self.began.elapsed().as_secs_f64();
        let facts = &self.ways[link].facts;
        let why = format!("{error:#}");
        let then = if for_good { "given up" } else { "once again" };
        self.bar.println(format!("{} ({}): {why}: {then}", facts.title, facts.interface));
        self.lost[link] |= for_good;
        self.broken.push(Broken { after_s, link, why, for_good });
    }

    fn tell(&self, round: usize, rounds: usize, link: usize, slice: &Slice) {
        let medians = self.collected.each_ref().map(|collected| {
            let cell = Cell { size: EXAMPLE.activation_bytes(1), ..Cell::ALONE };
            let heard = collected.trips.get(&cell);
            heard.map_or("–".into(), |heard| {
                format!("{:.2} ms", heard.durations.percentiles().p50 / 1e3)
            })
        });
        self.bar.set_message(format!(
            "round {} of {rounds} · {} · {slice} · an activation there and back {} | {}",
            round + 1,
            self.ways[link].facts.interface,
            medians[0],
            medians[1],
        ));
    }

    /// Both links side by side, at a decoder's pace rather than as fast as they go.
    fn timeline(&mut self, lasts: Duration) {
        let plan = trips::Plan { size: EXAMPLE.activation_bytes(1), beside_bulk: false };
        let span = Span { warmup: WARMUP, lasts, every: TIMELINE_EVERY };
        self.bar.set_message("both links side by side");
        let look = |way: &mut Way, heard: &mut Vec<(f64, f64)>| {
            let mut side = way.connect(Mode::Wait)?;
            trips::client(&mut side, plan, span, |at, took| {
                heard.push((at.as_secs_f64(), took.as_secs_f64() * 1e6));
                !interrupted()
            })?;
            side.hang_up();
            anyhow::Ok(())
        };
        let results = std::thread::scope(|scope| {
            let threads: Vec<_> = (self.ways.iter_mut().zip(&mut self.collected))
                .map(|(way, collected)| scope.spawn(|| look(way, &mut collected.timeline)))
                .collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for (link, result) in results.into_iter().enumerate() {
            match result {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.note(link, &error, false),
                Err(_) => self.note(link, &anyhow::anyhow!("its thread died"), true),
            }
        }
    }
}

fn measure(
    way: &mut Way,
    collected: &mut Collected,
    slice: Slice,
    lasts: Duration,
) -> anyhow::Result<()> {
    match slice {
        Slice::Trips(cell) => {
            let heard = match collected.trips.entry(cell) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Heard::new()?),
            };
            heard.previous = None;
            let plan = trips::Plan { size: cell.size, beside_bulk: cell.loaded };
            let span = Span { warmup: WARMUP, lasts, every: Duration::ZERO };
            let mut side = way.connect(cell.waits.mode())?;
            trips::client(&mut side, plan, span, |_, took| {
                heard.hear(took);
                !interrupted()
            })?;
            side.hang_up();
        }
        Slice::Flow { way: direction, size } => {
            let lasts_ms = lasts.as_millis() as u64;
            let plan = flow::Plan { way: direction, size, lasts_ms };
            let mut side = way.connect(Mode::Wait)?;
            let bits_per_s = flow::client(&mut side, plan)?;
            side.hang_up();
            collected.flows.entry((direction, size)).or_default().push(bits_per_s);
        }
    }
    Ok(())
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    let style = ProgressStyle::with_template("{bar:24} {percent:>3} % {elapsed}/{duration} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
