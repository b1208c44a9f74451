//! What a session has done and how it stands, in numbers.

use std::sync::atomic::Ordering;

use super::Pair;
use crate::driver::stats::{ConnectionStats, LaneStats, Measured};
use crate::wire::header::Lane;

impl Pair {
    /// Everything countable. Whoever posts meanwhile is looked after when it is read.
    pub(in crate::driver) fn stats(&self) -> ConnectionStats {
        let stats = self.read_stats();
        self.drive_late_posts();
        stats
    }

    /// How the way was so far.
    pub(in crate::driver) fn measured(&self) -> Measured {
        let io = self.lock();
        let measured =
            Measured { rtt_ns: io.rtt.histogram(), kilobytes_per_s: io.rates.histogram() };
        drop(io);
        self.drive_late_posts();
        measured
    }

    fn read_stats(&self) -> ConnectionStats {
        let io = self.lock();
        let counters = *io.connection.counters();
        let depths = io.connection.lane_depths();
        let lanes = Lane::ALL.map(|lane| {
            let (credits, sends_waiting, sends_in_flight, regions_posted) = depths[lane.index()];
            let hop = io.hops[lane.index()].percentiles();
            LaneStats { lane, credits, sends_waiting, sends_in_flight, regions_posted, hop }
        });
        ConnectionStats {
            peer: self.info.node,
            name: self.info.name.clone(),
            addr: self.info.addr.to_string(),
            interface: self.info.interface.clone(),
            link_kind: self.info.link_kind,
            encrypted: self.info.encrypted,
            suspected: io.connection.is_suspected(),
            frames_out: counters.frames_out,
            frames_in: counters.frames_in,
            bytes_out: counters.bytes_out,
            bytes_in: counters.bytes_in,
            epoch: io.connection.epoch(),
            resumes: counters.resumes,
            replayed_frames: counters.replayed_frames,
            discarded_bytes: counters.discarded_bytes,
            regions_granted: io.connection.grants(),
            payload_copies: counters.payload_copies,
            inlined_bytes: counters.inlined_bytes,
            sealed_bytes: counters.sealed_bytes,
            reads: io.reads,
            writes: io.writes,
            dry_calls: io.dry_calls,
            outstanding: self.outstanding.load(Ordering::Relaxed),
            queued_bytes: io.connection.queued(),
            rtt: io.rtt.percentiles(),
            lanes: lanes.into(),
        }
    }
}
