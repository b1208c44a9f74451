//! What an endpoint tells of its connections.

use std::time::Duration;

use exo_netconfig::LinkKind;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::identity::NodeId;
use crate::wire::header::Lane;

/// All that was counted.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStats {
    /// This node.
    pub node: NodeId,
    /// The interface that every socket is pinned to.
    pub interface: String,
    /// What sort of link that is.
    pub link_kind: LinkKind,
    /// Connections that were refused or failed before they were any.
    pub refused: u64,
    /// Events that nobody fetched in time and that were not kept.
    pub events_dropped: u64,
    /// The connections there are.
    pub connections: Vec<ConnectionStats>,
}

/// What was counted on one connection.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionStats {
    /// Who is at the other end.
    pub peer: NodeId,
    /// What people call it.
    pub name: String,
    /// Its address.
    pub addr: String,
    /// The interface.
    pub interface: String,
    /// What sort of link that is.
    pub link_kind: LinkKind,
    /// Whether frames are sealed.
    pub encrypted: bool,
    /// Whether the peer is silent just now.
    pub suspected: bool,
    /// The number of the socket that the session runs over, or ran last.
    pub epoch: u32,
    /// Sockets after the first.
    pub resumes: u64,
    /// Frames that were sent again on them.
    pub replayed_frames: u64,
    /// Bytes the peer wrote to regions that were no more granted, and that went nowhere.
    pub discarded_bytes: u64,
    /// Regions that are granted to the peer.
    pub regions_granted: usize,
    /// Frames sent.
    pub frames_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Bytes sent, headers included.
    pub bytes_out: u64,
    /// Bytes received, headers included.
    pub bytes_in: u64,
    /// Bytes of plain payloads of 4 KiB and more that were copied in user space.
    pub payload_copies: u64,
    /// Bytes of smaller payloads that were copied once.
    pub inlined_bytes: u64,
    /// Bytes that went through the cipher.
    pub sealed_bytes: u64,
    /// System calls that read bytes.
    pub reads: u64,
    /// System calls that wrote bytes.
    pub writes: u64,
    /// System calls that found nothing to read or no room to write.
    pub dry_calls: u64,
    /// Work requests posted and not completed.
    pub outstanding: usize,
    /// Bytes queued and not with the kernel.
    pub queued_bytes: usize,
    /// Ping to pong.
    pub rtt: Percentiles,
    /// The four lanes.
    pub lanes: Vec<LaneStats>,
}

/// What is known of one lane.
#[derive(Clone, Debug, Serialize)]
pub struct LaneStats {
    /// Which.
    pub lane: Lane,
    /// Messages that may still begin.
    pub credits: u32,
    /// Sends that wait.
    pub sends_waiting: usize,
    /// Sends that are sent and not acknowledged.
    pub sends_in_flight: usize,
    /// Regions posted.
    pub regions_posted: usize,
    /// From posting a send to its acknowledgement, on this machine's clock.
    pub hop: Percentiles,
}

/// How long something took, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// How often it was measured.
    pub count: u64,
    /// The least.
    pub min_us: f64,
    /// Half took less.
    pub p50_us: f64,
    /// 90 of 100 took less.
    pub p90_us: f64,
    /// 99 of 100 took less.
    pub p99_us: f64,
    /// 999 of 1,000 took less.
    pub p999_us: f64,
    /// The most.
    pub max_us: f64,
}

/// How the way to a peer was over one session: from its keepalives and from the messages that it
/// carried anyway.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Nanoseconds from a ping to its pong.
    pub rtt_ns: Histogram<u32>,
    /// Kilobytes in a second while a message of 64 KiB or more was under way, the round trip left
    /// out. What else was sent meanwhile counts against it.
    pub kilobytes_per_s: Histogram<u32>,
}

/// Shorter messages tell nothing of how much a way carries.
const RATED_BYTES_MIN: usize = 64 << 10;
/// The most kilobytes in a second that are told apart.
const RATE_MAX: u64 = 1_000_000_000;

/// Rates, collected without allocating.
pub(super) struct Rates(Histogram<u32>);

impl Rates {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, RATE_MAX, 2);
        Self(histogram.expect("the bounds are constants that fit"))
    }

    /// A message was acknowledged after `elapsed`, of which a round trip was waiting.
    pub(super) fn record(&mut self, bytes: usize, elapsed: Duration, durations: &Durations) {
        if bytes < RATED_BYTES_MIN {
            return;
        }
        let waiting =
            Duration::from_nanos(if durations.0.is_empty() { 0 } else { durations.0.min() });
        // The round trip may have become shorter: then most of the time was carrying all the same.
        let carrying = elapsed.saturating_sub(waiting).max(elapsed / 4);
        let micros = u64::try_from(carrying.as_micros()).unwrap_or(u64::MAX).max(1);
        self.0.saturating_record((bytes as u64 * 1_000 / micros).max(1));
    }

    pub(super) fn histogram(&self) -> Histogram<u32> {
        self.0.clone()
    }
}

/// Durations, collected without allocating.
pub(super) struct Durations(Histogram<u32>);

/// Longest duration that is told apart, in nanoseconds: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

impl Durations {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 2);
        Self(histogram.expect("the bounds are constants that fit"))
    }

    pub(super) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(LONGEST_NS);
        self.0.saturating_record(nanos.max(1));
    }

    pub(super) fn histogram(&self) -> Histogram<u32> {
        self.0.clone()
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles {
            count: self.0.len(),
            min_us: self.0.min() as f64 / 1000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_rated_by_what_long_messages_took_beside_the_round_trip() {
        let (mut durations, mut rates) = (Durations::new(), Rates::new());
        rates.record(1_000, Duration::from_micros(1), &durations);
        assert!(rates.histogram().is_empty(), "a short one tells nothing");
        durations.record(Duration::from_micros(300));
        // 1 MB in 0.5 ms and a round trip: 2 GB a second.
        rates.record(1_000_000, Duration::from_micros(800), &durations);
        let near = |value: u64, wanted: u64| value.abs_diff(wanted) * 100 <= wanted;
        assert!(near(rates.histogram().max(), 2_000_000), "{}", rates.histogram().max());
        // Faster than any round trip before: not faster than light.
        let mut rates = Rates::new();
        rates.record(1_000_000, Duration::from_micros(200), &durations);
        assert!(near(rates.histogram().max(), 20_000_000), "{}", rates.histogram().max());
    }
}
