//! What a link is like, and how that is known.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    path::{Character, Stalls},
    profiles::PROFILES,
    spell::Spells,
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
    /// The same where there is little room.
    pub(crate) short: &'static str,
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
    /// Share of the time in which nothing arrives, and how long that lasts on average, in microseconds.
    pub(crate) tail: Known<(f64, f64)>,
    /// Share of the time in which packets are lost, and how long that lasts on average, in microseconds;
    /// nothing: each by itself.
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
        let spells = |(share, mean_us): (f64, f64)| Spells { share, mean: us(mean_us) };
        let way = |rate: Known<f64>| Character {
            delay: us(self.delay_us.value),
            jitter: us(self.jitter_us.value),
            tail: spells(self.tail.value),
            loss: spells(self.loss.value),
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
        let spells = |(share, mean_us): (f64, f64)| match (share, mean_us) {
            (0.0, _) => "none".into(),
            (_, 0.0) => format!("{} % of packets", share * 100.0),
            _ => format!("{} % of the time, {} ms each", share * 100.0, mean_us / 1e3),
        };
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
            ("held up", spells(self.tail.value), self.tail.basis),
            ("lost", spells(self.loss.value), self.loss.basis),
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
                assert!(way.loss.share < 0.5 && way.tail.share < 0.5);
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
