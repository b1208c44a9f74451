//! An established connection: four lanes, their credits, and one counter of its own.
//!
//! The driver's turn: [`read_space`](Connection::read_space) and
//! [`handle_read`](Connection::handle_read) until the socket is dry, then
//! [`poll_transmit`](Connection::poll_transmit), [`with_slices`](Connection::with_slices) and
//! [`handle_written`](Connection::handle_written) until it is full or all is said, then
//! [`poll_outcome`](Connection::poll_outcome) and [`poll_notice`](Connection::poll_notice).

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::time::Duration;

use super::error::{CloseCode, LossCause, ProtocolError};
use super::lane::LaneState;
use super::receive::{Receive, State};
use super::seal::Keys;
use super::time::Time;
use super::transmit::Transmit;
use crate::NodeId;
use crate::limits::{
    CLOSE_REASON_BYTES_MAX, HEADER_BYTES, INLINE_BYTES_BELOW, PAYLOAD_PARTS_MAX, PING_BYTES,
    PONGS_OWED_MAX, TAG_BYTES,
};
use crate::queue::{Outcome, RecvWork, SendWork, WorkError};
use crate::wire::header::{Flags, Header, Kind, Lane};
use crate::wire::hello::{printable, truncated};

/// What both sides know after the handshake.
pub(crate) struct Agreed {
    pub(crate) peer: NodeId,
    pub(crate) session: u64,
    pub(crate) epoch: u32,
    /// Keys to seal with and to open with, if frames are sealed.
    pub(crate) keys: Option<([u8; 32], [u8; 32])>,
    /// Largest payload of a frame that this side sends.
    pub(crate) chunk_bytes: usize,
    /// Largest payload of a frame that this side accepts.
    pub(crate) frame_payload_max: u32,
}

/// How long silence may last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    pub(crate) keepalive: Duration,
    pub(crate) suspect: Duration,
    pub(crate) resume_window: Duration,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames_out: u64,
    pub(crate) frames_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    /// Bytes of plain payloads of 4 KiB and more that were copied in user space.
    pub(crate) payload_copies: u64,
    /// Bytes of smaller payloads that were copied once.
    pub(crate) inlined_bytes: u64,
    /// Bytes that went through the cipher.
    pub(crate) sealed_bytes: u64,
}

/// What the driver should tell others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The first frame came: the peer is there and takes us.
    Confirmed,
    Suspected {
        silent: Duration,
    },
    Recovered,
    RoundTrip {
        rtt: Duration,
    },
    /// A send was acknowledged.
    Hop {
        lane: Lane,
        elapsed: Duration,
    },
}

pub(crate) struct Connection {
    agreed: Agreed,
    keys: Option<Keys>,
    timers: Timers,
    receive: Receive,
    transmit: Transmit,
    lanes: [LaneState; Lane::ALL.len()],
    /// Sequences of the connection's own frames, and of `ACK`s.
    control_sent: u64,
    control_received: u64,
    last_sent: Time,
    last_heard: Time,
    suspected: bool,
    confirmed: bool,
    ping_due: bool,
    pongs_due: VecDeque<[u8; PING_BYTES]>,
    close_due: Option<(CloseCode, String)>,
    closing: bool,
    /// Not later than the earliest deadline of any send.
    next_deadline: Option<Time>,
    outcomes: VecDeque<Outcome>,
    notices: VecDeque<Notice>,
    counters: Counters,
}

impl Connection {
    pub(crate) fn new(agreed: Agreed, timers: Timers, now: Time) -> Self {
        let keys = agreed.keys.as_ref().map(|(sealing, opening)| Keys::new(sealing, opening));
        Self {
            transmit: Transmit::new(agreed.chunk_bytes, keys.is_some()),
            keys,
            timers,
            receive: Receive::new(),
            lanes: Lane::ALL.map(LaneState::new),
            control_sent: 0,
            control_received: 0,
            last_sent: now,
            last_heard: now,
            suspected: false,
            confirmed: false,
            // The first frame tells the peer that it was taken, and measures the way.
            ping_due: true,
            pongs_due: VecDeque::with_capacity(PONGS_OWED_MAX),
            close_due: None,
            closing: false,
            next_deadline: None,
            outcomes: VecDeque::with_capacity(16),
            notices: VecDeque::with_capacity(16),
            counters: Counters::default(),
            agreed,
        }
    }

    pub(crate) fn post_send(&mut self, work: SendWork) {
        if let Some(deadline) = work.deadline {
            self.next_deadline = Some(self.next_deadline.map_or(deadline, |at| at.min(deadline)));
        }
        self.lanes[work.lane.index()].waiting.push_back(work);
    }

    pub(crate) fn post_recv(&mut self, work: RecvWork) {
        self.lanes[work.lane.index()].post_recv(work);
    }

    /// Says goodbye: the last frame that goes out.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) {
        if !self.closing {
            self.closing = true;
            self.close_due = Some((code, truncated(reason, CLOSE_REASON_BYTES_MAX).to_owned()));
        }
    }

    /// Ends all work with `error`. The socket must not be written to any more.
    pub(crate) fn lose(&mut self, error: &WorkError, now: Time) {
        self.closing = true;
        self.close_due = None;
        self.transmit.clear();
        let peer = self.agreed.peer;
        for lane in &mut self.lanes {
            let cutting = lane.cutting.take().map(|cut| cut.work);
            let flying = lane.flying.drain(..).map(|flying| flying.work);
            for mut work in flying.chain(cutting).chain(lane.waiting.drain(..)) {
                self.outcomes.extend(work.outcome(Err(error.clone()), peer, now));
            }
            let arriving = lane.arriving.take().map(|arriving| arriving.work);
            for work in arriving.into_iter().chain(lane.posted.drain(..)) {
                self.outcomes.push_back(work.outcome(Err(error.clone()), peer, now));
            }
        }
    }

    // ---- reading -------------------------------------------------------------------------------

    /// Where the next bytes of the socket go, in order.
    pub(crate) fn read_space(&mut self) -> [IoSliceMut<'_>; 2] {
        let Self { receive, lanes, keys, .. } = self;
        let State::Payload { left } = receive.state else {
            return [IoSliceMut::new(&mut []), receive.staging_space(keys.is_some())];
        };
        let header = receive.header.as_ref().expect("a payload has a header");
        if let (Kind::Send, Some(lane)) = (header.kind, header.lane) {
            let arriving = lanes[lane.index()].arriving.as_mut().expect("begun by its header");
            let end = arriving.received + header.length as usize;
            let rest = &mut arriving.work.region.as_mut_slice()[end - left..end];
            return [IoSliceMut::new(rest), receive.staging_space(keys.is_some())];
        }
        // The few bytes of a control frame pass through the staging buffer, never past it.
        [IoSliceMut::new(&mut []), receive.staging_space_for(left)]
    }

    /// `len` bytes came into the space that [`read_space`](Self::read_space) gave.
    pub(crate) fn handle_read(&mut self, len: usize, now: Time) -> Result<(), LossCause> {
        self.counters.bytes_in += len as u64;
        if len > 0 {
            self.last_heard = now;
            if std::mem::take(&mut self.suspected) {
                self.notices.push_back(Notice::Recovered);
            }
        }
        let mut staged = len;
        if let State::Payload { left } = &mut self.receive.state
            && self.receive.header.as_ref().is_some_and(|header| header.kind == Kind::Send)
        {
            let direct = len.min(*left);
            *left -= direct;
            staged -= direct;
        }
        self.receive.handle_staged(staged);
        while self.advance(now)? {}
        Ok(())
    }

    /// The socket has no more bytes now.
    pub(crate) fn handle_dry(&mut self) {
        self.receive.handle_dry();
    }

    /// Takes the next thing out of the staging buffer, if it is there whole.
    fn advance(&mut self, now: Time) -> Result<bool, LossCause> {
        match self.receive.state {
            State::Header => {
                let Some(encoded) = self.receive.take_exactly::<HEADER_BYTES>() else {
                    return Ok(false);
                };
                let header = Header::parse(&encoded).map_err(ProtocolError::from)?;
                self.accept(&header)?;
                self.receive.encoded = encoded;
                self.receive.header = Some(header);
                self.receive.state = State::Payload { left: header.length as usize };
                Ok(true)
            }
            State::Payload { left: 0 } => {
                if self.keys.is_some() {
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
        let Self { receive, lanes, counters, .. } = self;
        let header = receive.header.expect("a payload has a header");
        let length = header.length as usize;
        let done = length - left;
        let taken = if let (Kind::Send, Some(lane)) = (header.kind, header.lane) {
            let arriving = lanes[lane.index()].arriving.as_mut().expect("begun by its header");
            let at = arriving.received + done;
            let bytes = receive.take(left);
            arriving.work.region.as_mut_slice()[at..at + bytes.len()].copy_from_slice(bytes);
            let counter = if length < INLINE_BYTES_BELOW {
                &mut counters.inlined_bytes
            } else {
                &mut counters.payload_copies
            };
            *counter += bytes.len() as u64;
            bytes.len()
        } else {
            let mut control = receive.control;
            let bytes = receive.take(left);
            control[done..done + bytes.len()].copy_from_slice(bytes);
            let taken = bytes.len();
            receive.control = control;
            taken
        };
        receive.state = State::Payload { left: left - taken };
        taken > 0
    }

    /// The checks of PROTOCOL.md §2.1 that depend on the connection, in its order.
    fn accept(&mut self, header: &Header) -> Result<(), ProtocolError> {
        if !header.kind.is_spoken() {
            return Err(ProtocolError::Unsupported { kind: header.kind });
        }
        let sealed = header.flags.has(Flags::SEALED);
        if sealed != self.keys.is_some() {
            return Err(ProtocolError::Sealing { sealed });
        }
        if header.session != self.agreed.session {
            let expected = self.agreed.session;
            return Err(ProtocolError::Session { found: header.session, expected });
        }
        if header.epoch != self.agreed.epoch {
            let expected = self.agreed.epoch;
            return Err(ProtocolError::Epoch { found: header.epoch, expected });
        }
        let (min, max) = match header.kind {
            Kind::Ping | Kind::Pong => (PING_BYTES as u32, PING_BYTES as u32),
            Kind::Ack => (0, 0),
            Kind::Close => (0, CLOSE_REASON_BYTES_MAX as u32),
            _ => (0, self.agreed.frame_payload_max),
        };
        if header.length < min || header.length > max {
            let (kind, found) = (header.kind, header.length);
            return Err(ProtocolError::Length { kind, found, max });
        }
        if let (Kind::Send, Some(lane)) = (header.kind, header.lane) {
            if header.length == 0 && !header.flags.has(Flags::LAST) {
                return Err(ProtocolError::Empty);
            }
            return self.lanes[lane.index()].accept(header);
        }
        let due = self.control_received + 1;
        if header.sequence != due {
            return Err(ProtocolError::Sequence { found: header.sequence, expected: due });
        }
        Ok(())
    }

    fn open_frame(&mut self) -> Result<(), ProtocolError> {
        let Self { receive, lanes, keys, counters, .. } = self;
        let (Some(keys), Some(header)) = (keys, receive.header) else { return Ok(()) };
        let length = header.length as usize;
        let payload = if let (Kind::Send, Some(lane)) = (header.kind, header.lane) {
            let arriving = lanes[lane.index()].arriving.as_mut().expect("begun by its header");
            &mut arriving.work.region.as_mut_slice()[arriving.received..arriving.received + length]
        } else {
            &mut receive.control[..length]
        };
        counters.sealed_bytes += length as u64;
        let right = keys.open(&header, &receive.encoded, payload, receive.tag);
        if right { Ok(()) } else { Err(ProtocolError::Tag) }
    }

    /// A frame is whole and true: what it says counts from now on.
    fn finish_frame(&mut self, now: Time) -> Result<(), LossCause> {
        let header = self.receive.header.take().expect("a frame has a header");
        self.receive.state = State::Header;
        self.counters.frames_in += 1;
        if !self.confirmed && header.kind != Kind::Close {
            self.confirmed = true;
            self.notices.push_back(Notice::Confirmed);
        }
        match header.kind {
            Kind::Send => {
                self.receive.count_frame(header.length as usize);
                self.lanes[header_lane(&header)].received = header.sequence;
            }
            _ => self.control_received = header.sequence,
        }
        match header.kind {
            Kind::Send => {
                self.hear(&header, now)?;
                self.deliver(&header, now);
            }
            Kind::Ack => self.hear(&header, now)?,
            Kind::Ping => {
                if self.pongs_due.len() == PONGS_OWED_MAX {
                    return Err(ProtocolError::PingFlood.into());
                }
                self.pongs_due.push_back(self.ping_bytes());
            }
            Kind::Pong => {
                let sent = Time::from_nanos(u64::from_le_bytes(self.ping_bytes()));
                self.notices.push_back(Notice::RoundTrip { rtt: now.since(sent) });
            }
            Kind::Close => return Err(self.closed_by_peer(&header)),
            Kind::Write | Kind::ReadRequest | Kind::ReadReply => {
                return Err(ProtocolError::Unsupported { kind: header.kind }.into());
            }
        }
        Ok(())
    }

    fn ping_bytes(&self) -> [u8; PING_BYTES] {
        let mut bytes = [0; PING_BYTES];
        bytes.copy_from_slice(&self.receive.control[..PING_BYTES]);
        bytes
    }

    fn closed_by_peer(&self, header: &Header) -> LossCause {
        let Some(code) = CloseCode::parse(header.immediate) else {
            return ProtocolError::CloseCode { found: header.immediate }.into();
        };
        let words = &self.receive.control[..header.length as usize];
        LossCause::ClosedByPeer { code, reason: printable(&String::from_utf8_lossy(words)) }
    }

    fn hear(&mut self, header: &Header, now: Time) -> Result<(), ProtocolError> {
        let peer = self.agreed.peer;
        let index = header_lane(header);
        self.lanes[index].hear(header)?;
        while let Some(mut work) = self.lanes[index].landed() {
            if let Some(outcome) = work.outcome(Ok(()), peer, now) {
                self.notices.push_back(Notice::Hop {
                    lane: Lane::ALL[index],
                    elapsed: outcome.completion.elapsed,
                });
                self.outcomes.push_back(outcome);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, header: &Header, now: Time) {
        let lane = &mut self.lanes[header_lane(header)];
        let Some(arriving) = &mut lane.arriving else { return };
        arriving.received += header.length as usize;
        if !header.flags.has(Flags::LAST) {
            return;
        }
        if let Some(arriving) = lane.arriving.take() {
            let immediate = header.flags.has(Flags::IMMEDIATE).then_some(header.immediate);
            let status = Ok((arriving.received, immediate));
            self.outcomes.push_back(arriving.work.outcome(status, self.agreed.peer, now));
        }
    }

    // ---- writing -------------------------------------------------------------------------------

    /// Makes frames as long as there is something to say and room for it. Gives the bytes queued.
    pub(crate) fn poll_transmit(&mut self, now: Time) -> usize {
        let before = self.counters.frames_out;
        while self.make_control_frame(now) {}
        for index in 0..self.lanes.len() {
            // With a frame of its own to go, the lane's news ride on that.
            if self.lanes[index].owes_news() && !self.lanes[index].is_sendable() {
                self.make_ack(index);
            }
        }
        while !self.closing && self.make_lane_frame() {}
        if self.counters.frames_out > before {
            self.last_sent = now;
        }
        self.transmit.queued()
    }

    /// Calls `write` with the queued bytes.
    pub(crate) fn with_slices<T>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        self.transmit.with_slices(write)
    }

    /// So many bytes are with the kernel.
    pub(crate) fn handle_written(&mut self, len: usize) {
        self.counters.bytes_out += len as u64;
        self.transmit.handle_written(len);
    }

    /// Bytes that are queued and not with the kernel.
    pub(crate) fn queued(&self) -> usize {
        self.transmit.queued()
    }

    fn make_control_frame(&mut self, now: Time) -> bool {
        if !self.transmit.has_staging(HEADER_BYTES + CLOSE_REASON_BYTES_MAX + TAG_BYTES) {
            return false;
        }
        if let Some((code, reason)) = self.close_due.take() {
            self.stage_control(Kind::Close, code as u32, reason.as_bytes());
        } else if self.closing {
            return false;
        } else if let Some(bytes) = self.pongs_due.pop_front() {
            self.stage_control(Kind::Pong, 0, &bytes);
        } else if std::mem::take(&mut self.ping_due) {
            self.stage_control(Kind::Ping, 0, &now.as_nanos().to_le_bytes());
        } else {
            return false;
        }
        true
    }

    fn header(&self, kind: Kind, lane: Option<Lane>, flags: Flags, sequence: u64) -> Header {
        let sealed = if self.keys.is_some() { Flags::SEALED } else { Flags::NONE };
        Header {
            kind,
            lane,
            flags: flags.with(sealed),
            session: self.agreed.session,
            epoch: self.agreed.epoch,
            length: 0,
            sequence,
            acknowledged: 0,
            credit: 0,
            immediate: 0,
            remote_key: 0,
            offset: 0,
        }
    }

    fn stage_control(&mut self, kind: Kind, immediate: u32, payload: &[u8]) {
        self.control_sent += 1;
        let mut header = self.header(kind, None, Flags::NONE, self.control_sent);
        header.immediate = immediate;
        header.length = payload.len() as u32;
        self.stage_frame(&header, |transmit| transmit.stage(payload));
    }

    fn make_ack(&mut self, index: usize) {
        if self.closing || !self.transmit.has_staging(HEADER_BYTES + TAG_BYTES) {
            return;
        }
        self.control_sent += 1;
        let lane = Some(Lane::ALL[index]);
        let mut header = self.header(Kind::Ack, lane, Flags::NONE, self.control_sent);
        (header.acknowledged, header.credit) = self.lanes[index].tell();
        self.stage_frame(&header, |_| {});
    }

    /// A frame whose payload is staged, sealed if that was agreed.
    fn stage_frame(&mut self, header: &Header, payload: impl FnOnce(&mut Transmit)) {
        let encoded = header.encode();
        self.transmit.stage(&encoded);
        payload(&mut self.transmit);
        if let Some(keys) = &self.keys {
            let length = header.length as usize;
            let tag = keys.seal(header, &encoded, self.transmit.staged_tail(length));
            self.transmit.stage(&tag);
            self.counters.sealed_bytes += u64::from(header.length);
        }
        self.counters.frames_out += 1;
    }

    /// The next frame of the best lane that has one.
    fn make_lane_frame(&mut self) -> bool {
        let Some(index) = self.lanes.iter().position(LaneState::is_sendable) else {
            return false;
        };
        let chunk = self.agreed.chunk_bytes;
        let Some(cut) = &self.lanes[index].cutting else {
            // What is next is only looked at, so that it can still expire if there is no room.
            let next = self.lanes[index].waiting.front().map_or(0, |work| work.payload.len());
            if !self.has_room(next.min(chunk)) {
                return false;
            }
            self.lanes[index].begin();
            return self.cut_frame(index);
        };
        let left = cut.work.payload.len() - cut.offset;
        self.has_room(left.min(chunk)) && self.cut_frame(index)
    }

    fn has_room(&self, payload: usize) -> bool {
        let overhead = HEADER_BYTES + TAG_BYTES;
        if self.is_staged(payload) {
            self.transmit.has_room(overhead + payload, 0, 0)
        } else {
            self.transmit.has_room(overhead, payload, PAYLOAD_PARTS_MAX)
        }
    }

    fn is_staged(&self, payload: usize) -> bool {
        self.keys.is_some() || payload < INLINE_BYTES_BELOW
    }

    fn cut_frame(&mut self, index: usize) -> bool {
        let (acknowledged, credit) = self.lanes[index].tell();
        self.lanes[index].sent += 1;
        let sequence = self.lanes[index].sent;
        let Some(cut) = self.lanes[index].cutting.take() else { return false };
        let total = cut.work.payload.len();
        let offset = cut.offset;
        let length = (total - offset).min(self.agreed.chunk_bytes);
        let last = offset + length == total;

        let flags = if last { Flags::LAST } else { Flags::NONE }.with(Flags::IMMEDIATE);
        let mut header = self.header(Kind::Send, Some(Lane::ALL[index]), flags, sequence);
        header.length = length as u32;
        header.acknowledged = acknowledged;
        header.credit = credit;
        header.immediate = cut.work.immediate;
        header.offset = offset as u64;

        let payload = &cut.work.payload;
        if self.is_staged(length) {
            self.stage_frame(&header, |transmit| {
                payload.each_piece(offset, length, |part, range| {
                    transmit.stage(&part.as_slice()[range]);
                });
            });
            if self.keys.is_none() {
                self.counters.inlined_bytes += length as u64;
            }
        } else {
            self.transmit.stage(&header.encode());
            payload.each_piece(offset, length, |part, range| {
                self.transmit.gather(part.slice(range));
            });
            self.counters.frames_out += 1;
        }

        self.lanes[index].cutting = Some(super::lane::Cutting { offset: offset + length, ..cut });
        if last {
            self.lanes[index].flies();
        }
        true
    }

    // ---- time ----------------------------------------------------------------------------------

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(crate) fn poll_timeout(&self) -> Time {
        let window = self.last_heard.after(self.timers.resume_window);
        let suspect = (!self.suspected).then(|| self.last_heard.after(self.timers.suspect));
        let keepalive = (!self.ping_due).then(|| self.last_sent.after(self.timers.keepalive));
        let others = [suspect, keepalive, self.next_deadline];
        others.into_iter().flatten().fold(window, Time::min)
    }

    /// Does what is due. An error ends the connection.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> Result<(), LossCause> {
        let silent = now.since(self.last_heard);
        if silent >= self.timers.resume_window {
            return Err(LossCause::Silent { silent_ms: silent.as_millis() as u64 });
        }
        if silent >= self.timers.suspect && !self.suspected {
            self.suspected = true;
            self.notices.push_back(Notice::Suspected { silent });
        }
        if now.since(self.last_sent) >= self.timers.keepalive {
            self.ping_due = true;
        }
        if self.next_deadline.is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
        Ok(())
    }

    fn expire(&mut self, now: Time) {
        let Self { lanes, outcomes, agreed, .. } = self;
        for lane in lanes.iter_mut() {
            lane.expire(now, |work| {
                outcomes.extend(work.outcome(Err(WorkError::DeadlinePassed), agreed.peer, now));
            });
        }
        self.next_deadline = self.lanes.iter().filter_map(LaneState::next_deadline).min();
    }

    // ---- what comes of it ----------------------------------------------------------------------

    pub(crate) fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    pub(crate) fn is_suspected(&self) -> bool {
        self.suspected
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Credits left, sends waiting, sends in flight and regions posted, per lane.
    pub(crate) fn lane_depths(&self) -> [(u32, usize, usize, usize); Lane::ALL.len()] {
        std::array::from_fn(|at| {
            let lane = &self.lanes[at];
            let waiting = lane.waiting.len() + usize::from(lane.cutting.is_some());
            (lane.credits(), waiting, lane.flying.len(), lane.posted.len())
        })
    }
}

fn header_lane(header: &Header) -> usize {
    header.lane.map_or(0, Lane::index)
}
