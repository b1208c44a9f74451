//! How are the ways to other nodes? Pure: what was measured goes in, histograms and the wish to
//! probe come out.
//!
//! A way is to one peer over one kind of link, whatever session it is on: a peer that is reached
//! over a cable today and over Wi-Fi tomorrow has two. Round trips are those of the transport's
//! keepalives; rates those of messages that were sent anyway. A way over which little goes tells
//! nothing of what it carries, so it is probed: thrice when it is new, then now and then.
//!
//! What is told is of late, so an hour of bad radio weighs no more than minutes after it is over:
//! two windows follow each other. A reader gets what was measured in the last five to ten minutes.
//! Only as long as fewer than three were measured since (a way that has just come back, or one
//! that carries nothing long) does what was before them stand beside them, however old.

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
/// How long a window is open, and counts when the next one has been opened.
const WINDOW: Duration = Duration::from_secs(300);
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

/// Numbers of late: see the module.
#[derive(Debug, Clone)]
struct Recent {
    open: Histogram<u32>,
    opened: Duration,
    /// The window before, and when it was closed or, if earlier, the way was last looked at.
    closed: Histogram<u32>,
    ended: Duration,
}

/// One way: what it told of late, and what the present session has told so far.
#[derive(Debug, Clone)]
struct Way {
    rtt_ns: Recent,
    kilobytes_per_s: Recent,
    session: Option<Measured>,
    looked: Duration,
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

/// As wide as the transport's up to `max`, so that one is never too large for the other.
fn nothing(max: u64) -> Histogram<u32> {
    Histogram::new_with_bounds(1, max, 2).expect("the bounds are constants that fit")
}

/// What a session has told since `before`; all of it if that was another session.
fn since(before: Option<&Histogram<u32>>, all: &Histogram<u32>) -> Histogram<u32> {
    let mut new = all.clone();
    match before.map(|before| new.subtract(before)) {
        None | Some(Ok(())) => new,
        Some(Err(_)) => all.clone(),
    }
}

impl Recent {
    fn new(max: u64, now: Duration) -> Self {
        Self { open: nothing(max), opened: now, closed: nothing(max), ended: now }
    }

    /// So much is new at `now`; the way was looked at before at `looked`.
    fn add(&mut self, new: &Histogram<u32>, looked: Duration, now: Duration) {
        let over = now.saturating_sub(self.opened) >= WINDOW;
        if over && self.open.len() >= COUNT_MIN {
            std::mem::swap(&mut self.closed, &mut self.open);
            self.open.reset();
            (self.ended, self.opened) = (looked, now);
        }
        // Of the same bounds, this cannot fail.
        let _ = self.open.add(new);
    }

    fn told(&self, now: Duration) -> Histogram<u32> {
        let mut told = self.open.clone();
        if told.len() < COUNT_MIN || now.saturating_sub(self.ended) <= WINDOW {
            let _ = told.add(&self.closed);
        }
        told
    }
}

impl Way {
    fn new(now: Duration) -> Self {
        Self {
            rtt_ns: Recent::new(60_000_000_000, now),
            kilobytes_per_s: Recent::new(1_000_000_000, now),
            session: None,
            looked: now,
            carried: 0,
            probes: 0,
            probed: None,
        }
    }

    fn handle_measured(&mut self, measured: Measured, now: Duration) {
        let before = self.session.as_ref();
        let rtts = since(before.map(|before| &before.rtt_ns), &measured.rtt_ns);
        let rates = since(before.map(|before| &before.kilobytes_per_s), &measured.kilobytes_per_s);
        self.rtt_ns.add(&rtts, self.looked, now);
        self.kilobytes_per_s.add(&rates, self.looked, now);
        (self.session, self.looked) = (Some(measured), now);
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
            let idle = self.ways.iter().find(|(_, way)| way.session.is_none());
            match idle.map(|(id, _)| id.clone()) {
                Some(old) => self.ways.remove(&old),
                None => return false,
            };
        }
        let way = self.ways.entry(id).or_insert_with(|| Way::new(now));
        way.handle_measured(measured, now);
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
            (way.session, way.carried, way.probes) = (None, 0, 0);
        }
    }

    /// What is known of a way, when it was last looked at.
    #[must_use]
    pub fn numbers(&self, id: &WayId) -> WayNumbers {
        let Some(way) = self.ways.get(id) else { return WayNumbers::default() };
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
            rtt_us: of(&way.rtt_ns.told(way.looked), [0.5, 0.9, 0.99], 1e-3),
            bytes_per_s: of(&way.kilobytes_per_s.told(way.looked), [0.1, 0.5, 0.9], 1e3),
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
        let mut measured =
            Measured { rtt_ns: nothing(60_000_000_000), kilobytes_per_s: nothing(1_000_000_000) };
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

    /// One session that is looked at every second: what it has told by then.
    struct Session(Measured);

    impl Session {
        fn look(&mut self, book: &mut LinkBook, at: u32, rtt_us: u64, rate: Option<u64>) {
            self.0.rtt_ns.record(rtt_us * 1_000).unwrap();
            if let Some(rate) = rate {
                self.0.kilobytes_per_s.record(rate).unwrap();
            }
            book.handle_look(way(1, "by-hand"), self.0.clone(), 0, SECOND * at);
        }
    }

    #[test]
    fn an_hour_of_bad_radio_weighs_no_more_than_two_windows_after_it() {
        let (mut book, mut session) = (LinkBook::default(), Session(measured(&[], &[])));
        let told = |book: &LinkBook| book.numbers(&way(1, "by-hand"));
        for at in 0..3_600 {
            session.look(&mut book, at, 9_000, (at % 20 == 0).then_some(20_000));
        }
        let bad = told(&book);
        assert!(near(bad.rtt_us.1, 9_000.0) && near(bad.bytes_per_s.2, 2e7), "{bad:?}");
        assert!((300..=600).contains(&bad.rtt_us.0), "of late: {bad:?}");
        // From here on it is good, on the same session.
        for at in 3_600..4_205 {
            session.look(&mut book, at, 300, (at % 20 == 0).then_some(2_000_000));
        }
        let good = told(&book);
        assert!(near(good.rtt_us.3, 300.0), "not one of a hundred is of before: {good:?}");
        assert!(near(good.bytes_per_s.1, 2e9), "not one of ten is of before: {good:?}");
        assert!((300..=605).contains(&good.rtt_us.0) && good.bytes_per_s.0 >= 15, "{good:?}");
    }

    #[test]
    fn a_way_that_comes_back_goes_by_the_old_numbers_only_until_there_are_new_ones() {
        let mut book = LinkBook::default();
        let id = way(1, "by-hand");
        let speed = |book: &LinkBook| book.numbers(&way(1, "by-hand")).speed();
        let bad = measured(&[9_000; 99], &[20_000; 99]);
        book.handle_look(id.clone(), bad, 0, SECOND);
        book.handle_parted(id.peer);
        book.handle_look(id.clone(), measured(&[300; 2], &[2_000_000; 2]), 0, SECOND * 3_600);
        let old = speed(&book).unwrap();
        assert!(near(old.latency_ns as f64, 4_500_000.0) && near(old.bytes_per_s as f64, 2e7));
        book.handle_look(id.clone(), measured(&[300; 3], &[2_000_000; 3]), 0, SECOND * 3_601);
        let new = speed(&book).unwrap();
        assert!(near(new.latency_ns as f64, 150_000.0), "{new:?}");
        assert!(near(new.bytes_per_s as f64, 2e9), "{new:?}");
        assert_eq!(book.numbers(&id).rtt_us.0, 3, "nothing of an hour ago");
        // Back within a window, both count.
        book.handle_parted(id.peer);
        book.handle_look(id.clone(), measured(&[400; 4], &[]), 0, SECOND * 3_700);
        assert_eq!(book.numbers(&id).rtt_us.0, 7);
    }

    #[test]
    fn a_way_that_carries_nothing_long_keeps_the_rates_that_it_has() {
        let (mut book, mut session) = (LinkBook::default(), Session(measured(&[], &[])));
        for at in 0..7_200 {
            session.look(&mut book, at, 300, (at < 3).then_some(2_000_000));
        }
        let numbers = book.numbers(&way(1, "by-hand"));
        assert_eq!(numbers.bytes_per_s.0, 3);
        assert!(numbers.speed().is_some() && numbers.rtt_us.0 <= 600, "{numbers:?}");
    }

    #[test]
    fn a_session_that_nobody_said_was_over_is_not_taken_for_the_next() {
        let mut book = LinkBook::default();
        let id = way(1, "by-hand");
        book.handle_look(id.clone(), measured(&[300; 9], &[]), 0, SECOND);
        book.handle_look(id.clone(), measured(&[400; 4], &[]), 0, SECOND * 2);
        assert_eq!(book.numbers(&id).rtt_us.0, 13);
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
