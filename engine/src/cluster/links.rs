//! How are the ways to other nodes? Pure: what was measured goes in, histograms and the wish to
//! probe come out.
//!
//! A way is to one peer over one kind of link, whatever session it is on: a peer that is reached
//! over a cable today and over Wi-Fi tomorrow has two. Round trips are those of the transport's
//! keepalives; rates those of messages that were sent anyway. A way over which little goes tells
//! nothing of what it carries, so it is probed: thrice when it is new, then now and then.

use std::{collections::BTreeMap, time::Duration};

use exo_transport::Measured;
use hdrhistogram::Histogram;

use super::LinkSpeed;
use crate::fabric::NodeId;

/// Bytes of a probe: at 16 Gb/s an eighth of a millisecond, on slow Wi-Fi some.
pub const PROBE_BYTES: usize = 256 << 10;
/// Probes of a way that is new, one each look.
const PROBES_FIRST: u32 = 3;
/// Then one after so long.
const PROBE_EVERY: Duration = Duration::from_secs(20);
/// A way that carried less since the last look is idle: it may be probed.
const IDLE_BYTES: u64 = 64 << 10;
/// Fewer round trips, or rates, than this say nothing yet.
const COUNT_MIN: u64 = 3;
/// Ways that are remembered.
const WAYS_MAX: usize = 256;

/// Over which link, to whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WayId {
    /// The other end.
    pub peer: NodeId,
    /// `thunderbolt` or `by-hand`.
    pub kind: String,
}

/// One way: what past sessions told, and what the present one has told so far.
#[derive(Debug, Clone)]
struct Way {
    past: Measured,
    now: Option<Measured>,
    carried: u64,
    probes: u32,
    probed: Option<Duration>,
}

/// See the module. Times are since the node started.
#[derive(Debug, Default)]
pub struct LinkBook {
    ways: BTreeMap<WayId, Way>,
}

/// What is known of a way, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WayNumbers {
    /// Round trips: how many, and microseconds at p50, p90, p99.
    pub rtt_us: (u64, f64, f64, f64),
    /// Rates: how many, and bytes per second at p10, p50, p90.
    pub bytes_per_s: (u64, f64, f64, f64),
}

impl Way {
    fn new() -> Self {
        Self { past: nothing(), now: None, carried: 0, probes: 0, probed: None }
    }

    fn all(&self) -> Measured {
        let mut all = self.past.clone();
        if let Some(now) = &self.now {
            add(&mut all, now);
        }
        all
    }
}

fn nothing() -> Measured {
    // As wide as the transport's, so that one is never too large for the other.
    let of =
        |max| Histogram::new_with_bounds(1, max, 2).expect("the bounds are constants that fit");
    Measured { rtt_ns: of(60_000_000_000), kilobytes_per_s: of(1_000_000_000) }
}

fn add(all: &mut Measured, more: &Measured) {
    for (all, more) in
        [(&mut all.rtt_ns, &more.rtt_ns), (&mut all.kilobytes_per_s, &more.kilobytes_per_s)]
    {
        // Of the same bounds, this cannot fail.
        let _ = all.add(more);
    }
}

impl LinkBook {
    /// The session over a way has told so much until now, and carried so many bytes both ways.
    /// Gives whether a probe should be sent.
    pub fn handle_look(
        &mut self,
        id: WayId,
        measured: Measured,
        carried: u64,
        now: Duration,
    ) -> bool {
        if self.ways.len() >= WAYS_MAX && !self.ways.contains_key(&id) {
            let idle = self.ways.iter().find(|(_, way)| way.now.is_none());
            match idle.map(|(id, _)| id.clone()) {
                Some(old) => self.ways.remove(&old),
                None => return false,
            };
        }
        let way = self.ways.entry(id).or_insert_with(Way::new);
        way.now = Some(measured);
        let moved = carried.saturating_sub(std::mem::replace(&mut way.carried, carried));
        let due = way.probes < PROBES_FIRST
            || way.probed.is_none_or(|probed| now.saturating_sub(probed) >= PROBE_EVERY);
        // Its own probe is not what makes a way busy.
        if !due || moved > IDLE_BYTES + PROBE_BYTES as u64 * 5 / 4 {
            return false;
        }
        way.probes = way.probes.saturating_add(1);
        way.probed = Some(now);
        true
    }

    /// The session with a peer is over: what it told is kept.
    pub fn handle_parted(&mut self, peer: NodeId) {
        for (_, way) in self.ways.iter_mut().filter(|(id, _)| id.peer == peer) {
            if let Some(now) = way.now.take() {
                add(&mut way.past, &now);
            }
            (way.carried, way.probes) = (0, 0);
        }
    }

    /// What is known of a way.
    #[must_use]
    pub fn numbers(&self, id: &WayId) -> WayNumbers {
        let Some(way) = self.ways.get(id) else { return WayNumbers::default() };
        let all = way.all();
        let at = |histogram: &Histogram<u32>, quantile: f64, unit: f64| {
            histogram.value_at_quantile(quantile) as f64 * unit
        };
        let of = |histogram: &Histogram<u32>, quantiles: [f64; 3], unit: f64| {
            let [a, b, c] = quantiles;
            match histogram.len() {
                0 => (0, 0.0, 0.0, 0.0),
                count => {
                    (count, at(histogram, a, unit), at(histogram, b, unit), at(histogram, c, unit))
                }
            }
        };
        WayNumbers {
            rtt_us: of(&all.rtt_ns, [0.5, 0.9, 0.99], 1e-3),
            bytes_per_s: of(&all.kilobytes_per_s, [0.1, 0.5, 0.9], 1e3),
        }
    }
}

impl WayNumbers {
    /// For placing by speed; `None` as long as too little was measured.
    #[must_use]
    pub fn speed(&self) -> Option<LinkSpeed> {
        let ((trips, rtt_us, ..), (rates, _, rate, _)) = (self.rtt_us, self.bytes_per_s);
        let enough = trips >= COUNT_MIN && rates >= COUNT_MIN;
        // Half of a round trip is one way.
        enough.then_some(LinkSpeed {
            latency_ns: (rtt_us * 500.0) as u64,
            bytes_per_s: (rate as u64).max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn way(peer: u8, kind: &str) -> WayId {
        WayId { peer: NodeId::from_bytes([peer; 16]), kind: kind.into() }
    }

    fn measured(rtts_us: &[u64], rates: &[u64]) -> Measured {
        let mut measured = nothing();
        for rtt in rtts_us {
            measured.rtt_ns.record(rtt * 1_000).unwrap();
        }
        for rate in rates {
            measured.kilobytes_per_s.record(*rate).unwrap();
        }
        measured
    }

    fn near(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() <= wanted / 50.0
    }

    #[test]
    fn a_way_is_known_by_peer_and_kind_and_over_all_its_sessions() {
        let mut book = LinkBook::default();
        let (cable, wifi) = (way(1, "thunderbolt"), way(1, "by-hand"));
        book.handle_look(cable.clone(), measured(&[300; 9], &[2_000_000; 3]), 0, SECOND);
        book.handle_parted(cable.peer);
        book.handle_look(wifi.clone(), measured(&[8_000; 3], &[60_000; 3]), 0, SECOND);
        let again = measured(&[400; 1], &[]);
        book.handle_look(cable.clone(), again.clone(), 0, SECOND);
        // Looking twice counts nothing twice.
        book.handle_look(cable.clone(), again, 0, SECOND);
        let numbers = book.numbers(&cable);
        assert_eq!((numbers.rtt_us.0, numbers.bytes_per_s.0), (10, 3));
        let speed = numbers.speed().unwrap();
        assert!(near(speed.latency_ns as f64, 150_000.0), "{speed:?}");
        assert!(near(speed.bytes_per_s as f64, 2e9), "{speed:?}");
        let slow = book.numbers(&wifi).speed().unwrap();
        assert!(slow.latency_ns > 20 * speed.latency_ns && slow.bytes_per_s < 100_000_000);
        assert_eq!(book.numbers(&way(2, "thunderbolt")).speed(), None);
    }

    #[test]
    fn a_new_way_is_probed_thrice_an_idle_one_now_and_then_a_busy_one_never() {
        let mut book = LinkBook::default();
        let mut look = |carried, at: u32| {
            book.handle_look(way(1, "thunderbolt"), measured(&[], &[]), carried, SECOND * at)
        };
        let probe = PROBE_BYTES as u64;
        assert!(look(0, 0) && look(probe, 1) && look(2 * probe, 2));
        let probed: u32 = (3..23).map(|at| u32::from(look(3 * probe, at))).sum();
        assert_eq!(probed, 1, "one in twenty seconds");
        let mut carried = 9 * probe;
        for at in 23..100 {
            carried += 4 << 20;
            assert!(!look(carried, at), "it is busy at {at}");
        }
        assert!(look(carried, 100));
        book.handle_parted(NodeId::from_bytes([1; 16]));
        assert!(book.handle_look(way(1, "thunderbolt"), measured(&[], &[]), 0, SECOND * 101));
    }

    #[test]
    fn too_little_says_nothing() {
        let mut book = LinkBook::default();
        book.handle_look(way(1, "thunderbolt"), measured(&[300; 50], &[9; 2]), 0, SECOND);
        assert_eq!(book.numbers(&way(1, "thunderbolt")).speed(), None);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut book = LinkBook::default();
        for peer in 0..=255 {
            for kind in ["thunderbolt", "by-hand"] {
                book.handle_look(way(peer, kind), measured(&[], &[]), 0, SECOND);
                book.handle_parted(NodeId::from_bytes([peer; 16]));
            }
        }
        assert_eq!(book.ways.len(), WAYS_MAX);
    }
}
