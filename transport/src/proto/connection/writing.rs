//! Frames made, bytes out.

use std::hint::cold_path;
use std::io::IoSlice;

use super::super::lane::Cut;
use super::super::seal::Keys;
use super::super::time::Time;
use super::super::transmit::{Rank, Transmit};
use super::path::Path;
use super::time::earlier;
use super::{Connection, Counters, LaneState};
use crate::limits::{
    CLOSE_REASON_BYTES_MAX, HEADER_BYTES, PAYLOAD_PARTS_MAX, PINGS_UNANSWERED_MAX, TAG_BYTES,
};
use crate::queue::{OutWork, Verb};
use crate::wire::header::{Flags, Header, Kind, Lane};

/// News wait for a frame of their lane to go, this many times as long as for one to come.
const RIDE_MAX: u64 = 4;

impl Connection {
    /// Makes frames as long as there is something to say and room for it. Gives the bytes queued.
    pub(crate) fn poll_transmit(&mut self, now: Time) -> usize {
        if !self.path.attached {
            return 0;
        }
        if self.stirred || self.ack_due().is_some_and(|due| due <= now) {
            self.make_frames(now);
        }
        self.transmit.queued()
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) took nothing to have happened where something had.
    #[cfg(test)]
    pub(crate) fn has_overlooked(&mut self, now: Time) -> bool {
        let before = self.counters.frames_out;
        if self.path.attached {
            self.make_frames(now);
        }
        self.counters.frames_out > before
    }

    #[inline(never)] // mostly there is nothing to make, and to see that is little
    fn make_frames(&mut self, now: Time) {
        self.stirred = false;
        let was_crowded = std::mem::take(&mut self.crowded);
        let before = self.counters.frames_out;
        while self.make_control_frame(now) {}
        if !self.path.resuming && !self.closing {
            if was_crowded {
                // What better lanes have to send leaves no room again and again.
                self.settle_news(Some(now));
            }
            while self.make_lane_frame() {}
            self.settle_news(Some(now));
        }
        if self.counters.frames_out > before {
            self.path.last_sent = now;
        }
    }

    /// Calls `write` with the queued bytes, or the first `limit` of them.
    pub(crate) fn with_slices<T>(
        &self,
        limit: usize,
        write: impl FnOnce(&[IoSlice<'_>]) -> T,
    ) -> T {
        self.transmit.with_slices(limit, write)
    }

    /// So many bytes are with the kernel.
    pub(crate) fn handle_written(&mut self, len: usize) {
        self.counters.bytes_out += len as u64;
        self.transmit.handle_written(len);
        self.stirred |= self.crowded;
        if !self.owing.is_empty() {
            // Some may have waited for these bytes to go.
            self.unnoted = true;
            self.stirred = true;
        }
    }

    /// Bytes that are queued and not with the kernel.
    pub(crate) fn queued(&self) -> usize {
        self.transmit.queued()
    }

    fn make_control_frame(&mut self, now: Time) -> bool {
        let due = self.close_due.is_some() || self.path.has_something_to_say();
        if !due {
            return false;
        }
        cold_path();
        if !self.transmit.has_staging(HEADER_BYTES + CLOSE_REASON_BYTES_MAX + TAG_BYTES) {
            self.crowded = true;
            return false;
        }
        if let Some((code, reason)) = self.close_due.take() {
            // Whoever waits to hear that something arrived hears it before the goodbye.
            if !self.path.resuming {
                self.make_last_acks(now);
            }
            self.stage_control(Kind::Close, code as u32, reason.as_bytes());
            self.transmit.drop_rest();
        } else if self.closing {
            return false;
        } else if std::mem::take(&mut self.path.resume_due) {
            let standing = self.standing();
            self.stage_control(Kind::Resume, 0, &standing);
        } else if self.path.resuming {
            return false;
        } else if let Some(bytes) = self.path.pongs_due.pop_front() {
            self.stage_control(Kind::Pong, 0, &bytes);
        } else if std::mem::take(&mut self.path.ping_due) {
            // A sign of life is due all the same, but not one that makes more to answer: if the way
            // is closed the peer will get all of them at once.
            if self.path.pings_unanswered == PINGS_UNANSWERED_MAX {
                self.make_ack(0, now);
                return true;
            }
            self.path.pings_unanswered += 1;
            self.stage_control(Kind::Ping, 0, &now.as_nanos().to_le_bytes());
        } else {
            return false;
        }
        true
    }

    fn stage_control(&mut self, kind: Kind, immediate: u32, payload: &[u8]) {
        self.path.control_sent += 1;
        let header = Header {
            kind,
            sequence: self.path.control_sent,
            immediate,
            length: payload.len() as u32,
            ..header(&self.path, self.agreed.session)
        };
        self.stage_frame(&header, Rank::CONTROL, |transmit| transmit.stage(payload));
    }

    /// Notes when the news that are owed go, if nothing takes them along. With `now` those of lanes that
    /// are urgent, or have waited long enough, go.
    pub(super) fn settle_news(&mut self, now: Option<Time>) {
        self.unnoted = false;
        self.ack_due = None;
        for index in self.owing.iter() {
            let news = &self.lanes[index].arrivals.news;
            if news.is_told() {
                self.owing.remove(index);
                continue;
            }
            let due = self.ack_at(index, now.is_some() && news.is_urgent());
            if let Some(now) = now
                && due.is_some_and(|due| due <= now)
            {
                self.make_ack(index, now);
                self.owing.remove(index);
            } else {
                self.ack_due = earlier(self.ack_due, due);
            }
        }
    }

    /// When a lane's news go alone; `None` if none are owed, or if they cannot yet: what its queued
    /// frames say of them is older, and must arrive before.
    pub(super) fn ack_at(&self, index: usize, urgent: bool) -> Option<Time> {
        let lane = &self.lanes[index];
        let since = lane.arrivals.news.owed_since()?;
        if !self.path.attached || self.path.resuming {
            // Each side's RESUME says it all.
            return None;
        }
        let is_behind = index > 0 && self.transmit.queued_of(index) > 0;
        if is_behind || !self.transmit.has_staging(HEADER_BYTES + TAG_BYTES) {
            return None;
        }
        let reads = lane.arrivals.reads.len();
        Some(if lane.out.next_frame(self.agreed.chunk_bytes, reads).is_some() {
            // They ride on it, unless better lanes keep it from going.
            since.after(self.timers.ack_delay.times(RIDE_MAX))
        } else if urgent {
            since
        } else {
            since.after(self.timers.ack_delay)
        })
    }

    /// What was told in frames that will not go is told once more.
    fn make_last_acks(&mut self, now: Time) {
        for index in 0..self.lanes.len() {
            let owed = self.lanes[index].arrivals.news.owed_since().is_some();
            let told_in_vain = index > 0 && self.transmit.queued_of(index) > 0;
            if (owed || told_in_vain) && self.transmit.has_staging(HEADER_BYTES + TAG_BYTES) {
                self.make_ack(index, now);
            }
        }
    }

    #[inline(never)] // one message in many has none to ride on
    fn make_ack(&mut self, index: usize, now: Time) {
        self.path.control_sent += 1;
        let news = &mut self.lanes[index].arrivals.news;
        let held_us = u32::try_from(news.held(now).as_micros()).unwrap_or(u32::MAX);
        let (acknowledged, credit) = news.tell();
        let header = Header {
            kind: Kind::Ack,
            lane: Some(Lane::ALL[index]),
            sequence: self.path.control_sent,
            acknowledged,
            credit,
            immediate: held_us,
            ..header(&self.path, self.agreed.session)
        };
        self.stage_frame(&header, Rank::CONTROL, |_| {});
    }

    /// A frame of the connection itself, sealed if that was agreed.
    fn stage_frame(&mut self, header: &Header, rank: Rank, payload: impl FnOnce(&mut Transmit)) {
        let Self { path, transmit, counters, .. } = self;
        stage_frame(path.keys.as_ref(), transmit, counters, header, rank, payload);
    }

    /// The next frame of the best lane that has one.
    fn make_lane_frame(&mut self) -> bool {
        let chunk = self.agreed.chunk_bytes;
        for index in self.sending.iter() {
            let lane = &self.lanes[index];
            let reads = lane.arrivals.reads.len();
            // What is next is only looked at, so that it can still expire if there is no room.
            if let Some(length) = lane.out.next_frame(chunk, reads) {
                let room = self.has_room(index, length);
                self.crowded |= !room;
                return room && self.cut_frame(index, reads);
            }
            if lane.out.is_idle() {
                self.sending.remove(index);
            }
        }
        false
    }

    fn has_room(&self, lane: usize, payload: usize) -> bool {
        let overhead = HEADER_BYTES + TAG_BYTES;
        if self.path.stages(payload) {
            self.transmit.has_room(lane, overhead + payload, 0, 0)
        } else {
            self.transmit.has_room(lane, overhead, payload, PAYLOAD_PARTS_MAX)
        }
    }

    fn cut_frame(&mut self, index: usize, reads: usize) -> bool {
        let Self { lanes, path, agreed, transmit, counters, .. } = self;
        let LaneState { out, arrivals } = &mut lanes[index];
        let Some((cut, work)) = out.cut(agreed.chunk_bytes, reads) else { return false };
        let Cut { sequence, offset, length, last } = cut;
        let mut header = Header {
            sequence,
            length: length as u32,
            ..header_of(work, offset, last, header(path, agreed.session))
        };
        (header.acknowledged, header.credit) = arrivals.news.tell();

        let rank = Rank::of_lane(index);
        if path.stages(length) {
            stage_frame(path.keys.as_ref(), transmit, counters, &header, rank, |transmit| {
                work.payload.each_piece(offset, length, |part, range| {
                    transmit.stage(&part.as_slice()[range]);
                });
            });
            if path.keys.is_none() {
                counters.inlined_bytes += length as u64;
            }
        } else {
            transmit.begin(rank);
            transmit.stage(&header.encode());
            work.payload.each_piece(offset, length, |part, range| {
                transmit.gather(part.slice(range));
            });
            counters.frames_out += 1;
        }
        if let Some(read) = work.begin_read(sequence) {
            arrivals.reads.push_back(read);
        }
        out.advance(cut);
        true
    }
}

/// A header of this session and socket with nothing else in it.
fn header(path: &Path, session: u64) -> Header {
    Header {
        kind: Kind::Ack,
        lane: None,
        flags: if path.keys.is_some() { Flags::SEALED } else { Flags::NONE },
        session,
        epoch: path.epoch,
        length: 0,
        sequence: 0,
        acknowledged: 0,
        credit: 0,
        immediate: 0,
        remote_key: 0,
        offset: 0,
    }
}

/// What a frame of this message says beside its numbers.
fn header_of(work: &OutWork, offset: usize, last: bool, header: Header) -> Header {
    let mut flags = header.flags;
    if last {
        flags = flags.with(Flags::LAST);
    }
    if work.immediate.is_some() {
        flags = flags.with(Flags::IMMEDIATE);
    }
    let (kind, remote_key, base, number) = match &work.verb {
        Verb::Send => (Kind::Send, 0, 0, work.immediate),
        Verb::Write { key, offset } => (Kind::Write, *key, *offset, work.immediate),
        Verb::ReadRequest { key, offset, len, .. } => {
            (Kind::ReadRequest, *key, *offset, Some(*len))
        }
        Verb::ReadReply { request, refused } => {
            (Kind::ReadReply, *request, 0, refused.map(|refusal| refusal as u32))
        }
    };
    Header {
        kind,
        lane: Some(work.lane),
        flags,
        remote_key,
        offset: base + offset as u64,
        immediate: number.unwrap_or(0),
        ..header
    }
}

/// A frame whose payload is staged, sealed if there are keys.
fn stage_frame(
    keys: Option<&Keys>,
    transmit: &mut Transmit,
    counters: &mut Counters,
    header: &Header,
    rank: Rank,
    payload: impl FnOnce(&mut Transmit),
) {
    let encoded = header.encode();
    transmit.begin(rank);
    transmit.stage(&encoded);
    payload(transmit);
    if let Some(keys) = keys {
        let length = header.length as usize;
        let tag = keys.seal(header, &encoded, transmit.staged_tail(length));
        transmit.stage(&tag);
        counters.sealed_bytes += u64::from(header.length);
    }
    counters.frames_out += 1;
}
