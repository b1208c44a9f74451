//! How long a packet takes there and back.

use std::time::Duration;

use serde::Serialize;

/// By which way it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The transport's own acknowledgement, on the pinned connection.
    Transport,
    /// ICMP echo, on a socket kept on the interface.
    Icmp,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Transport => "transport",
            Self::Icmp => "ICMP",
        })
    }
}

/// Round trips, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rtt {
    /// How it was measured.
    pub way: Way,
    /// How many came back.
    pub count: usize,
    /// How many did not.
    pub lost: usize,
    /// The least.
    pub min_us: f64,
    /// Half took no longer.
    pub p50_us: f64,
    /// 90 of 100 took no longer.
    pub p90_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The most.
    pub max_us: f64,
}

impl Rtt {
    /// Of measured round trips; `None` if there are none.
    pub fn of(way: Way, times: &[Duration], lost: usize) -> Option<Self> {
        let mut sorted: Vec<Duration> = times.to_vec();
        sorted.sort_unstable();
        let us = |time: &Duration| time.as_nanos() as f64 / 1000.0;
        // Nearest rank: the least that at least so many are no longer than.
        let at = |per_cent: usize| {
            let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(us)
        };
        Some(Self {
            way,
            count: sorted.len(),
            lost,
            min_us: us(sorted.first()?),
            p50_us: at(50)?,
            p90_us: at(90)?,
            p99_us: at(99)?,
            max_us: us(sorted.last()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_nearest_rank() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        let rtt = Rtt::of(Way::Icmp, &times, 3).unwrap();
        assert_eq!((rtt.count, rtt.lost), (100, 3));
        assert_eq!((rtt.min_us, rtt.p50_us, rtt.p90_us), (1.0, 50.0, 90.0));
        assert_eq!((rtt.p99_us, rtt.max_us), (99.0, 100.0));
        let one = Rtt::of(Way::Icmp, &times[..1], 0).unwrap();
        assert_eq!((one.min_us, one.p50_us, one.p99_us), (100.0, 100.0, 100.0));
        assert_eq!(Rtt::of(Way::Icmp, &[], 5), None);
    }
}
