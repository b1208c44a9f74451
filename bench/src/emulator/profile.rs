//! What a link is like, and how that is known.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    path::{Character, Loss, Stalls, Tail},
    profiles::PROFILES,
    switch::Joint,
};

/// How a value is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Basis {
    /// Somebody measured it and said so in public, here.
    Measured(&'static str),
    /// Nobody did that we know of; why we take it to be so.
    Assumed(&'static str),
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured(source) => write!(f, "measured: {source}"),
            Self::Assumed(why) => write!(f, "assumed: {why}"),
        }
    }
}

/// A value, and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Known<T> {
    pub(crate) value: T,
    pub(crate) basis: Basis,
}

/// What measured.
pub(super) const fn measured<T: Copy>(value: T, source: &'static str) -> Known<T> {
    Known { value, basis: Basis::Measured(source) }
}

/// What assumed.
pub(super) const fn assumed<T: Copy>(value: T, why: &'static str) -> Known<T> {
    Known { value, basis: Basis::Assumed(why) }
}

/// A link that can be laid between machines.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Profile {
    /// What it is asked for by.
    pub(crate) name: &'static str,
    /// What people call it.
    pub(crate) title: &'static str,
    /// Largest packet, in bytes.
    pub(crate) mtu: Known<u16>,
    /// Megabits per second from the first machine to the second, and back.
    pub(crate) rate_mbps: [Known<f64>; 2],
    /// Whether both ways share that rate.
    pub(crate) shared: bool,
    /// One way, in microseconds.
    pub(crate) delay_us: Known<f64>,
    /// Its standard deviation.
    pub(crate) jitter_us: Known<f64>,
    /// Share of packets that take longer, and by how much on average, in microseconds.
    pub(crate) tail: Known<(f64, f64)>,
    /// Share of packets lost, and how many in a row.
    pub(crate) loss: Known<(f64, f64)>,
    /// Packets this close together arrive together, in microseconds.
    pub(crate) gather_us: Known<f64>,
    /// Every so many milliseconds nothing goes for so many milliseconds.
    pub(crate) stalls_ms: Known<Option<(f64, f64)>>,
    /// What may wait to be sent, in KiB.
    pub(crate) queue_kib: Known<u64>,
}

/// How far stalls lie off their rhythm.
const STALL_SPREAD: f64 = 0.1;

impl Profile {
    /// The profile of this name.
    pub(crate) fn find(name: &str) -> Result<&'static Self, String> {
        PROFILES.iter().find(|profile| profile.name == name).ok_or_else(|| {
            let names: Vec<_> = PROFILES.iter().map(|profile| profile.name).collect();
            format!("no link is called {name}; hint: there are {}", names.join(", "))
        })
    }

    /// What the switch needs to know.
    pub(crate) fn joint(&self) -> Joint {
        let us = |us: f64| Duration::from_secs_f64(us / 1e6);
        let way = |rate: Known<f64>| Character {
            delay: us(self.delay_us.value),
            jitter: us(self.jitter_us.value),
            tail: Tail { share: self.tail.value.0, mean: us(self.tail.value.1) },
            loss: Loss { share: self.loss.value.0, burst: self.loss.value.1 },
            rate_bps: Some((rate.value * 1e6) as u64),
            queue_bytes: self.queue_kib.value << 10,
            gather: us(self.gather_us.value),
        };
        let [there, back] = self.rate_mbps.map(way);
        let stalls = self.stalls_ms.value.map(|(every, lasts)| Stalls {
            every: us(every * 1e3),
            spread: STALL_SPREAD,
            lasts: us(lasts * 1e3),
        });
        Joint { there, back, shared: self.shared, stalls }
    }

    /// Each of its values in words, with how it is known.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String, Basis)> {
        let [there, back] = self.rate_mbps;
        let shared = if self.shared { ", both ways together" } else { "" };
        let (tail, loss) = (self.tail.value, self.loss.value);
        let stalls = match self.stalls_ms.value {
            Some((every, lasts)) => format!("{lasts} ms each {every} ms"),
            None => "none".into(),
        };
        vec![
            ("MTU", self.mtu.value.to_string(), self.mtu.basis),
            ("rate there", format!("{}{shared}", rate(there.value)), there.basis),
            ("rate back", format!("{}{shared}", rate(back.value)), back.basis),
            ("delay one way", format!("{} µs", self.delay_us.value), self.delay_us.basis),
            ("jitter (deviation)", format!("{} µs", self.jitter_us.value), self.jitter_us.basis),
            (
                "much slower",
                format!("{} % by {} ms", tail.0 * 100.0, tail.1 / 1e3),
                self.tail.basis,
            ),
            ("loss", format!("{} %, {} in a row", loss.0 * 100.0, loss.1), self.loss.basis),
            ("arrive together", format!("{} µs", self.gather_us.value), self.gather_us.basis),
            ("stalls", stalls, self.stalls_ms.basis),
            ("queue", format!("{} KiB", self.queue_kib.value), self.queue_kib.basis),
        ]
    }

    /// The faster of both ways, in megabits per second.
    pub(crate) fn fastest_mbps(&self) -> f64 {
        let [there, back] = self.rate_mbps;
        there.value.max(back.value)
    }
}

/// `16.4 Gb/s`, `280 Mb/s`.
pub(crate) fn rate(mbps: f64) -> String {
    if mbps >= 1000.0 { format!("{:.1} Gb/s", mbps / 1e3) } else { format!("{mbps:.0} Mb/s") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name_and_can_be_laid() {
        let names: HashSet<_> = PROFILES.iter().map(|profile| profile.name).collect();
        assert_eq!(names.len(), PROFILES.len());
        for profile in PROFILES {
            assert_eq!(Profile::find(profile.name).unwrap().title, profile.title);
            let Joint { there, back, .. } = profile.joint();
            for way in [there, back] {
                assert!(
                    way.rate_bps.unwrap() > 0 && way.queue_bytes > u64::from(profile.mtu.value)
                );
                assert!(way.delay > way.jitter && way.delay >= way.gather, "{}", profile.name);
                assert!(way.loss.share < 0.5 && way.loss.burst >= 1.0);
            }
        }
        assert!(Profile::find("string").unwrap_err().contains("thunderbolt4"));
    }

    #[test]
    fn what_is_measured_says_where() {
        for profile in PROFILES {
            for (what, _, basis) in profile.lines() {
                let name = profile.name;
                match basis {
                    Basis::Measured(source) => {
                        assert!(source.contains("https://"), "{name}, {what}: {source}");
                    }
                    Basis::Assumed(why) => assert!(why.len() > 10, "{name}, {what}: {why}"),
                }
            }
        }
    }
}
