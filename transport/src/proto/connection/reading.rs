//! Bytes in, frames taken.

use std::hint::cold_path;
use std::io::IoSliceMut;

use super::super::error::{CloseCode, LossCause, ProtocolError};
use super::super::lane::index_of;
use super::super::receive::{Expected, State};
use super::super::time::Time;
use super::{Connection, LaneState, Notice};
use crate::hint::{likely, unlikely};
use crate::limits::{
    CLOSE_REASON_BYTES_MAX, HEADER_BYTES, INLINE_BYTES_BELOW, PING_BYTES, PONGS_OWED_MAX,
    READS_MAX, RESUME_BYTES, TAG_BYTES,
};
use crate::memory::Granted;
use crate::queue::{OutWork, Payload, ReadRefusal, Verb, WorkId};
use crate::wire::header::{Flags, Header, Kind, Lane};
use crate::wire::hello::printable;

impl Connection {
    /// Where the next bytes of the socket go, in order.
    ///
    /// `now` may be a little while ago: it only tells whether what comes could be foreseen.
    pub(crate) fn read_space(&mut self, now: Time) -> [IoSliceMut<'_>; 3] {
        let foreseen = self.receive.expected().filter(|_| !self.may_hear_news_first(now));
        let Self { receive, lanes, path, grants, .. } = self;
        let sealed = path.keys.is_some();
        receive.offered = None;
        let State::Payload { left } = receive.state else {
            if let Some(expected) = foreseen
                && let Some(space) = lanes[expected.lane].arrivals.expected_space(expected.length)
            {
                receive.offered = Some(Expected { length: space.len(), ..expected });
                // What follows the payload comes along, in the region if that is long enough.
                let whole = expected.length + HEADER_BYTES + TAG_BYTES;
                let [header, after] = receive.space_around(whole - space.len());
                return [header, IoSliceMut::new(space), after];
            }
            let (staging, _) = receive.staging_space(sealed);
            return [IoSliceMut::new(&mut []), IoSliceMut::new(&mut []), staging];
        };
        let header = receive.header.expect("a payload has a header");
        if header.kind.is_of_lane() {
            let (staging, discard) = receive.staging_space(sealed);
            let space = lanes[index_of(&header)].arrivals.space(&header, grants, discard);
            let done = space.len() - left;
            return [IoSliceMut::new(&mut []), IoSliceMut::new(&mut space[done..]), staging];
        }
        // The few bytes of a control frame pass through the staging buffer, never past it.
        let staging = receive.staging_space_for(left);
        [IoSliceMut::new(&mut []), IoSliceMut::new(&mut []), staging]
    }

    /// Whether a frame without a payload may come before the next message: news that the peer held
    /// back for company in vain, the answer to a ping, or a ping. What came right behind it would lie
    /// in the wrong place.
    fn may_hear_news_first(&self, now: Time) -> bool {
        let soon = self.timers.ack_delay.half();
        let unheard = |index: usize| {
            let oldest = self.lanes[index].out.oldest_in_flight();
            oldest.is_some_and(|work| work.posted.after(soon) <= now)
        };
        self.path.pings_unanswered > 0
            || self.last_heard.after(self.timers.keepalive.half()) <= now
            || self.sending.iter().any(unheard)
    }

    /// `len` bytes came into the space that [`read_space`](Self::read_space) gave.
    pub(crate) fn handle_read(&mut self, len: usize, now: Time) -> Result<(), LossCause> {
        self.counters.bytes_in += len as u64;
        if len > 0 {
            self.last_heard = now;
        }
        let mut staged = len;
        if self.receive.offered.is_some() && len > HEADER_BYTES {
            self.handle_expected(len)?;
            staged = 0;
        } else if let State::Payload { left } = &mut self.receive.state
            && self.receive.header.is_some_and(|header| header.kind.is_of_lane())
        {
            let direct = len.min(*left);
            *left -= direct;
            staged -= direct;
        }
        self.receive.handle_staged(staged);
        while self.advance(now)? {}
        self.unnoted = true;
        let urgent = |index: usize| self.lanes[index].arrivals.news.is_urgent();
        self.stirred |= self.owing.iter().any(urgent);
        Ok(())
    }

    /// The socket has no more bytes now.
    pub(crate) fn handle_dry(&mut self) {
        self.receive.handle_dry();
    }

    /// More than a header came where a payload was expected behind it.
    fn handle_expected(&mut self, len: usize) -> Result<(), LossCause> {
        let Some(expected) = self.receive.offered.take() else { return Ok(()) };
        let direct = (len - HEADER_BYTES).min(expected.length);
        let after = len - HEADER_BYTES - direct;
        let encoded = *self.receive.peek_header();
        let header = Header::parse(&encoded).map_err(ProtocolError::from)?;
        let right =
            header.kind == Kind::Send && index_of(&header) == expected.lane && header.offset == 0;
        let in_place = if right { direct.min(header.length as usize) } else { 0 };
        let Self { receive, lanes, .. } = self;
        let space = lanes[expected.lane].arrivals.expected_space(expected.length);
        receive.settle(&space.expect("it was there a moment ago")[in_place..direct], after);
        if direct - in_place >= INLINE_BYTES_BELOW {
            receive.note_surprise();
        } else if !right {
            receive.forget_expected();
        }
        if !right {
            return Ok(());
        }
        let _ = receive.take_exactly::<HEADER_BYTES>();
        self.begin_frame(&header, &encoded)?;
        self.receive.state = State::Payload { left: header.length as usize - in_place };
        Ok(())
    }

    fn begin_frame(
        &mut self,
        header: &Header,
        encoded: &[u8; HEADER_BYTES],
    ) -> Result<(), ProtocolError> {
        self.accept(header)?;
        self.receive.encoded = *encoded;
        self.receive.header = Some(*header);
        self.receive.state = State::Payload { left: header.length as usize };
        Ok(())
    }

    /// Takes the next thing out of the staging buffer, if it is there whole.
    fn advance(&mut self, now: Time) -> Result<bool, LossCause> {
        match self.receive.state {
            State::Header => {
                let Some(encoded) = self.receive.take_exactly::<HEADER_BYTES>() else {
                    return Ok(false);
                };
                let header = Header::parse(&encoded).map_err(ProtocolError::from)?;
                self.begin_frame(&header, &encoded)?;
                Ok(true)
            }
            State::Payload { left: 0 } => {
                if self.path.keys.is_some() {
                    self.receive.state = State::Tag;
                } else {
                    self.finish_frame(now)?;
                }
                Ok(true)
            }
            State::Payload { left } => Ok(self.take_staged_payload(left)),
            State::Tag => {
                let Some(tag) = self.receive.take_exactly::<TAG_BYTES>() else {
                    return Ok(false);
                };
                self.receive.tag = tag;
                self.open_frame()?;
                self.finish_frame(now)?;
                Ok(true)
            }
        }
    }

    /// Payload that was read ahead is copied to where it belongs, and counted.
    fn take_staged_payload(&mut self, left: usize) -> bool {
        if self.receive.staged() == 0 {
            return false;
        }
        let Self { receive, lanes, grants, counters, .. } = self;
        let header = receive.header.expect("a payload has a header");
        let length = header.length as usize;
        let done = length - left;
        let taken = if header.kind.is_of_lane() {
            let (bytes, discard) = receive.take(left);
            let space = lanes[index_of(&header)].arrivals.space(&header, grants, discard);
            space[done..done + bytes.len()].copy_from_slice(bytes);
            let counter = if length < INLINE_BYTES_BELOW {
                &mut counters.inlined_bytes
            } else {
                &mut counters.payload_copies
            };
            *counter += bytes.len() as u64;
            bytes.len()
        } else {
            let mut control = receive.control;
            let (bytes, _) = receive.take(left);
            control[done..done + bytes.len()].copy_from_slice(bytes);
            let taken = bytes.len();
            receive.control = control;
            taken
        };
        receive.state = State::Payload { left: left - taken };
        true
    }

    /// The checks of PROTOCOL.md §2.1 that depend on the session, in its order.
    fn accept(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let sealed = header.flags.has(Flags::SEALED);
        if unlikely(sealed != self.path.keys.is_some()) {
            return Err(ProtocolError::Sealing { sealed });
        }
        if unlikely(header.session != self.agreed.session) {
            let expected = self.agreed.session;
            return Err(ProtocolError::Session { found: header.session, expected });
        }
        if unlikely(header.epoch != self.path.epoch) {
            let expected = self.path.epoch;
            return Err(ProtocolError::Epoch { found: header.epoch, expected });
        }
        self.check_resumption(header)?;
        let (min, max) = match header.kind {
            kind if likely(kind == Kind::Send) => (0, self.agreed.frame_payload_max),
            Kind::Ping | Kind::Pong => (PING_BYTES as u32, PING_BYTES as u32),
            Kind::Ack | Kind::ReadRequest => (0, 0),
            Kind::Close => (0, CLOSE_REASON_BYTES_MAX as u32),
            Kind::Resume => (RESUME_BYTES as u32, RESUME_BYTES as u32),
            Kind::Send | Kind::Write | Kind::ReadReply => (0, self.agreed.frame_payload_max),
        };
        if unlikely(header.length < min || header.length > max) {
            let (kind, found) = (header.kind, header.length);
            return Err(ProtocolError::Length { kind, found, max });
        }
        if header.kind.is_of_lane() {
            if unlikely(header.length == 0 && !header.flags.has(Flags::LAST)) {
                return Err(ProtocolError::Empty);
            }
            return self.lanes[index_of(header)].arrivals.accept(header, &self.grants);
        }
        let due = self.path.control_received + 1;
        if header.sequence != due {
            return Err(ProtocolError::Sequence { found: header.sequence, expected: due });
        }
        Ok(())
    }

    fn open_frame(&mut self) -> Result<(), ProtocolError> {
        let Self { receive, lanes, path, grants, counters, .. } = self;
        let (Some(keys), Some(header)) = (&path.keys, receive.header) else { return Ok(()) };
        let length = header.length as usize;
        let (encoded, tag) = (receive.encoded, receive.tag);
        let payload = if header.kind.is_of_lane() {
            lanes[index_of(&header)].arrivals.space(&header, grants, &mut receive.discard)
        } else {
            &mut receive.control[..length]
        };
        counters.sealed_bytes += length as u64;
        if keys.open(&header, &encoded, payload, tag) { Ok(()) } else { Err(ProtocolError::Tag) }
    }

    /// A frame is whole and true: what it says counts from now on.
    fn finish_frame(&mut self, now: Time) -> Result<(), LossCause> {
        let header = self.receive.header.take().expect("a frame has a header");
        self.receive.state = State::Header;
        self.counters.frames_in += 1;
        // A goodbye is no sign of life.
        if header.kind != Kind::Close {
            self.path.down = false;
            if std::mem::take(&mut self.suspected) {
                cold_path();
                self.notices.push_back(Notice::Recovered);
            }
        }
        if !header.kind.is_of_lane() {
            self.path.control_received = header.sequence;
        }
        if !matches!(header.kind, Kind::Close | Kind::Resume) {
            self.confirm(0);
        }
        match header.kind {
            Kind::Send | Kind::Write | Kind::ReadRequest | Kind::ReadReply => {
                self.finish_lane_frame(&header, now)?;
            }
            Kind::Ack => {
                self.hear(&header, now)?;
                self.stirred = true;
            }
            Kind::Ping => {
                cold_path();
                if self.path.pongs_due.len() == PONGS_OWED_MAX {
                    return Err(ProtocolError::PingFlood.into());
                }
                self.path.pongs_due.push_back(self.ping_bytes());
                self.stirred = true;
            }
            Kind::Pong => {
                cold_path();
                let unanswered = &mut self.path.pings_unanswered;
                *unanswered = unanswered.saturating_sub(1);
                let sent = Time::from_nanos(u64::from_le_bytes(self.ping_bytes()));
                self.notices.push_back(Notice::RoundTrip { rtt: now.since(sent) });
            }
            Kind::Close => return Err(self.closed_by_peer(&header)),
            Kind::Resume => {
                cold_path();
                let replayed = self.handle_resume(now)?;
                self.confirm(replayed);
                self.stirred = true;
            }
        }
        Ok(())
    }

    fn finish_lane_frame(&mut self, header: &Header, now: Time) -> Result<(), LossCause> {
        let lane = index_of(header);
        let whole = header.offset == 0 && header.flags.has(Flags::LAST);
        let length = header.length as usize;
        if header.kind != Kind::ReadRequest {
            self.receive.note_frame(lane, length, whole && header.kind == Kind::Send);
        }
        let discarded = match header.kind {
            kind if likely(kind == Kind::Send) => false,
            Kind::Write => self.grants.find(header.remote_key).is_none(),
            Kind::ReadReply => {
                let read = self.lanes[lane].arrivals.reads.front();
                read.is_some_and(|read| read.region.is_none())
            }
            _ => false,
        };
        self.counters.discarded_bytes += if discarded { length as u64 } else { 0 };
        self.hear(header, now)?;
        if unlikely(header.kind == Kind::ReadRequest) {
            self.answer(header, now)?;
        }
        self.owing.insert(lane);
        let outcome = self.lanes[lane].arrivals.deliver(header, self.agreed.peer, now);
        if let Some(outcome) = outcome {
            self.outcomes.push_back(outcome);
        }
        // A message that comes makes nothing to be sent by itself, or not yet.
        let told = matches!(header.kind, Kind::ReadRequest | Kind::ReadReply);
        self.stirred |= told || self.lanes[lane].out.has_unsent();
        Ok(())
    }

    /// Queues the reply to a read.
    fn answer(&mut self, header: &Header, now: Time) -> Result<(), ProtocolError> {
        let lane = header.lane.unwrap_or(Lane::Urgent);
        let out = &mut self.lanes[lane.index()].out;
        if out.replies_due == READS_MAX {
            return Err(ProtocolError::ReadFlood { lane });
        }
        self.sending.insert(lane.index());
        let (start, len) = (header.offset, u64::from(header.immediate));
        let found = match self.grants.find(header.remote_key) {
            None => Err(ReadRefusal::NoRegion),
            Some(Granted::Write(_)) => Err(ReadRefusal::NotReadable),
            Some(Granted::Read(slice)) => match start.checked_add(len) {
                Some(end) if end <= slice.len() as u64 => {
                    Ok(Payload::from_slice(slice.slice(start as usize..end as usize)))
                }
                _ => Err(ReadRefusal::OutOfRegion),
            },
        };
        let refused = found.as_ref().err().copied();
        out.reply(OutWork {
            id: WorkId(0),
            lane,
            verb: Verb::ReadReply { request: header.sequence, refused },
            payload: found.unwrap_or_default(),
            immediate: None,
            posted: now,
            deadline: None,
            queue: None,
        });
        Ok(())
    }

    fn ping_bytes(&self) -> [u8; PING_BYTES] {
        let mut bytes = [0; PING_BYTES];
        bytes.copy_from_slice(&self.receive.control[..PING_BYTES]);
        bytes
    }

    #[cold]
    fn closed_by_peer(&self, header: &Header) -> LossCause {
        let Some(code) = CloseCode::parse(header.immediate) else {
            return ProtocolError::CloseCode { found: header.immediate }.into();
        };
        let words = &self.receive.control[..header.length as usize];
        LossCause::ClosedByPeer { code, reason: printable(&String::from_utf8_lossy(words)) }
    }

    fn hear(&mut self, header: &Header, now: Time) -> Result<(), ProtocolError> {
        let at = index_of(header);
        let LaneState { out, .. } = &mut self.lanes[at];
        let advanced = out.hear(header.acknowledged, header.credit)?;
        match header.kind {
            // Only an ACK says for how long the news was held back: else the way cannot be told.
            Kind::Ack => self.complete_landed(at, Some(header.immediate), now),
            // Somebody waits for it, and mostly not for what it acknowledges.
            Kind::Send | Kind::Write if likely(advanced) => self.heard.insert(at),
            Kind::Send | Kind::Write => {}
            // A request counts the replies that have not landed.
            _ => self.complete_landed(at, None, now),
        }
        Ok(())
    }

    /// Completes what messages that came have acknowledged in passing.
    pub(super) fn complete_heard(&mut self) {
        for at in std::mem::take(&mut self.heard).iter() {
            self.complete_landed(at, None, self.last_heard);
        }
    }

    /// Completes what the peer has acknowledged. `held_us` is for how long it held that back.
    pub(super) fn complete_landed(&mut self, at: usize, held_us: Option<u32>, now: Time) {
        let Self { lanes, outcomes, notices, agreed, .. } = self;
        while let Some(mut work) = lanes[at].out.landed() {
            let Some(outcome) = work.outcome(Ok(()), agreed.peer, now) else { continue };
            if let Some(held_us) = held_us {
                cold_path();
                let held = std::time::Duration::from_micros(held_us.into());
                let elapsed = outcome.completion.elapsed.saturating_sub(held);
                let bytes = outcome.completion.bytes;
                notices.push_back(Notice::Hop { lane: Lane::ALL[at], bytes, elapsed });
            }
            outcomes.push_back(outcome);
        }
    }
}
