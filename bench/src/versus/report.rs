//! Everything of one run, as data: what the pictures, the page and the summary are made of.

use std::time::Duration;

use exo_netconfig::LinkKind;
use serde::Serialize;

use super::{
    doors::{EmulatedLink, LinkFacts},
    meaning::Meaning,
    measure::{Broken, Collected, Measured},
    plan::{Amount, Cell, EXAMPLE, Waits},
};
use crate::{
    exercise::flow::Way as Direction,
    figures::Figure,
    histogram::{Durations, Percentiles},
    machine::Machine,
};

/// Points of the timeline that are kept.
const TIMELINE_POINTS_MAX: usize = 20_000;

/// One run.
#[derive(Serialize)]
pub(super) struct Report {
    /// Whether all was measured that was planned.
    pub(super) complete: bool,
    pub(super) interrupted: bool,
    pub(super) broken: Vec<Broken>,
    pub(super) took_s: f64,
    /// Rounds that were measured whole.
    pub(super) rounds: usize,
    pub(super) amount: Amount,
    /// This one and the peer.
    pub(super) machines: [Machine; 2],
    pub(super) links: [LinkReport; 2],
    pub(super) meaning: Vec<Meaning>,
}

/// One of both links.
#[derive(Serialize)]
pub(super) struct LinkReport {
    pub(super) facts: LinkFacts,
    /// How often the path was down for a second or longer, and came back.
    pub(super) interruptions: u64,
    pub(super) round_trips: Vec<RoundTrips>,
    pub(super) flows: Vec<Flow>,
    /// Of the timeline, in microseconds.
    pub(super) pace_us: Option<Percentiles>,
    /// When each message went, in seconds, and how long it took, in microseconds.
    pub(super) timeline: Vec<(f64, f64)>,
}

/// Round trips of one kind.
#[derive(Serialize)]
pub(super) struct RoundTrips {
    #[serde(flatten)]
    pub(super) cell: Cell,
    pub(super) count: u64,
    pub(super) rtt_us: Percentiles,
    /// How much neighbours differ, on average.
    pub(super) jitter_us: f64,
    /// Microseconds, and the share that took no longer.
    pub(super) shares: Vec<(f64, f64)>,
}

/// As much as goes one way.
#[derive(Serialize)]
pub(super) struct Flow {
    pub(super) way: Direction,
    pub(super) size: usize,
    /// Thousands of millions of bits per second, over the rounds.
    pub(super) gbps: Figure,
}

impl Report {
    pub(super) fn of(measured: Measured, amount: Amount, machines: [Machine; 2]) -> Self {
        let Measured { ways, collected, broken, interrupted, took, rounds } = measured;
        let links = ways.into_iter().zip(collected);
        let mut links =
            links.map(|(way, collected)| LinkReport::of(way.facts, way.interruptions, collected));
        let links = [0, 1].map(|_| links.next().expect("there are two links"));
        let complete = !interrupted && !broken.iter().any(|broken| broken.for_good);
        let took_s = took.as_secs_f64();
        let meaning = Meaning::of(&links);
        Self { complete, interrupted, broken, took_s, rounds, amount, machines, links, meaning }
    }

    /// Whether a picture has to say that its links are not real ones.
    pub(super) fn is_emulated(&self) -> bool {
        self.links.iter().any(|link| link.facts.emulated.is_some())
    }

    /// What both links are called.
    pub(super) fn titles(&self) -> [&str; 2] {
        self.links.each_ref().map(|link| link.facts.title.as_str())
    }

    /// How late a token can be, in words.
    pub(super) fn lateness(&self) -> Option<String> {
        super::meaning::lateness(&self.links)
    }

    /// What went wrong, in words.
    pub(super) fn troubles(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .broken
            .iter()
            .map(|Broken { after_s, link, why, for_good }| {
                let title = self.titles()[*link];
                let then = if *for_good { "It was given up." } else { "It was tried again." };
                format!("{title} broke after {after_s:.0} s: {why}. {then}")
            })
            .collect();
        if self.interrupted {
            all.push("Somebody ended it before all was measured.".into());
        }
        all
    }
}

fn percentiles(timeline: &[(f64, f64)]) -> Option<Percentiles> {
    let mut durations = Durations::new().ok().filter(|_| !timeline.is_empty())?;
    timeline.iter().for_each(|(_, us)| durations.record(Duration::from_secs_f64(us / 1e6)));
    Some(durations.percentiles())
}

impl LinkReport {
    fn of(facts: LinkFacts, interruptions: u64, collected: Collected) -> Self {
        let heard = collected.trips.into_iter().filter(|(_, heard)| heard.count > 0);
        let round_trips = heard
            .map(|(cell, heard)| RoundTrips {
                cell,
                count: heard.count,
                rtt_us: heard.durations.percentiles(),
                jitter_us: heard.jitter_us(),
                shares: heard.durations.shares(),
            })
            .collect();
        let flows = collected.flows.into_iter();
        let flows = flows
            .map(|((way, size), bits)| {
                let gbps = Figure::of(bits.into_iter().map(|bits| bits / 1e9).collect());
                Flow { way, size, gbps }
            })
            .collect();
        let mut timeline = collected.timeline;
        let pace_us = percentiles(&timeline);
        timeline.truncate(TIMELINE_POINTS_MAX);
        Self { facts, interruptions, round_trips, flows, pace_us, timeline }
    }

    /// Its title where throughput is told: an emulated one may be slower than it is meant to be.
    pub(super) fn title_of_rates(&self) -> String {
        let emulated = self.facts.emulated.as_ref();
        let capped = emulated.is_some_and(|one| one.rate_capped_mbps.is_some());
        format!("{}{}", self.facts.title, if capped { ", rate-capped" } else { "" })
    }

    /// Round trips of one kind, if there were any.
    pub(super) fn trips(&self, cell: Cell) -> Option<&RoundTrips> {
        self.round_trips.iter().find(|trips| trips.cell == cell)
    }

    /// Asleep and alone, of this size.
    pub(super) fn alone(&self, size: usize) -> Option<&RoundTrips> {
        self.trips(Cell { size, ..Cell::ALONE })
    }

    /// The example's activation, in each way of waiting and with each load.
    pub(super) fn examples(&self) -> impl Iterator<Item = &RoundTrips> {
        let size = EXAMPLE.activation_bytes(1);
        let cells = [
            (Waits::Asleep, false),
            (Waits::Spinning, false),
            (Waits::Asleep, true),
            (Waits::Spinning, true),
        ];
        cells
            .into_iter()
            .filter_map(move |(waits, loaded)| self.trips(Cell { waits, loaded, size }))
    }

    /// The most that went one way, whatever the size.
    pub(super) fn most_gbps(&self, way: Direction) -> Option<f64> {
        let flows = self.flows.iter().filter(|flow| flow.way == way);
        flows.map(|flow| flow.gbps.median).max_by(f64::total_cmp)
    }

    /// Thunderbolt by evidence, chosen by hand, or emulated.
    pub(super) fn evidence(&self) -> &'static str {
        match (&self.facts.emulated, self.facts.kind) {
            (Some(EmulatedLink { rate_capped_mbps: Some(_), .. }), _) => "emulated, rate-capped",
            (Some(_), _) => "emulated",
            (None, LinkKind::Thunderbolt) => "Thunderbolt by its driver or port",
            (None, LinkKind::ByHand) => "chosen by hand",
        }
    }
}
