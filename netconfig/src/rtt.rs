//! How long a packet takes there and back.

use std::time::Duration;

use serde::Serialize;

use crate::peer::RoundTrips;

/// Round trips, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rtt {
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
    /// What a check keeps of it; `by` says what was sent there and back.
    pub fn round_trips(&self, by: &str) -> RoundTrips {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        RoundTrips {
            by: by.to_owned(),
            count: count(self.count),
            lost: count(self.lost),
            p50_us: self.p50_us.round() as u64,
            p99_us: self.p99_us.round() as u64,
        }
    }

    /// Of measured round trips; `None` if there are none.
    pub fn of(times: &[Duration], lost: usize) -> Option<Self> {
        let mut sorted: Vec<Duration> = times.to_vec();
        sorted.sort_unstable();
        let us = |time: &Duration| time.as_nanos() as f64 / 1000.0;
        // Nearest rank: the least that at least so many are no longer than.
        let at = |per_cent: usize| {
            let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(us)
        };
        Some(Self {
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

/// Counts by powers of two, from the first that holds any to the last: each with the bound, in
/// microseconds, that its times are below.
pub fn histogram(times: &[Duration]) -> Vec<(u64, usize)> {
    let mut counts = [0_usize; 64];
    for time in times {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        counts[(64 - us.leading_zeros()).min(63) as usize] += 1;
    }
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let last = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    (first..=last).map(|power| (1_u64 << power, counts[power])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_nearest_rank() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        let rtt = Rtt::of(&times, 3).unwrap();
        assert_eq!((rtt.count, rtt.lost), (100, 3));
        assert_eq!((rtt.min_us, rtt.p50_us, rtt.p90_us), (1.0, 50.0, 90.0));
        assert_eq!((rtt.p99_us, rtt.max_us), (99.0, 100.0));
        let one = Rtt::of(&times[..1], 0).unwrap();
        assert_eq!((one.min_us, one.p50_us, one.p99_us), (100.0, 100.0, 100.0));
        assert_eq!(Rtt::of(&[], 5), None);
    }

    #[test]
    fn every_time_is_in_one_bucket_below_its_bound() {
        let times: Vec<Duration> =
            [0, 1, 2, 3, 700, 1023, 1024].map(Duration::from_micros).to_vec();
        let buckets = histogram(&times);
        assert_eq!(buckets.first(), Some(&(1, 1)));
        assert_eq!(buckets.last(), Some(&(2048, 1)));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<usize>(), times.len());
        assert!(buckets.contains(&(1024, 2)) && buckets.contains(&(512, 0)));
    }
}
