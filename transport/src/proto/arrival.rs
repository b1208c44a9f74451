//! The other direction of a lane: what a frame that comes in is part of, and where its bytes go.
//!
//! Nothing is written before a header has passed [`Arrivals::accept`], except what is expected (see
//! `receive`), and that lands in a region that its user has given away and not got back.

use std::collections::VecDeque;

use super::error::ProtocolError;
use super::lane::News;
use super::time::Time;
use crate::NodeId;
use crate::hint::{likely, unlikely};
use crate::limits::{HEADER_BYTES, TAG_BYTES};
use crate::memory::{Granted, Grants};
use crate::queue::{Arrived, Opcode, Outcome, ReadRefusal, ReadWork, RecvWork, WorkError};
use crate::wire::header::{Flags, Header, Kind, Lane};

/// A message that is coming in.
enum Arriving {
    /// A send.
    Recv { work: RecvWork, received: usize },
    /// A write. With an immediate it has its receive already.
    Write { key: u64, next: u64, bytes: usize, recv: Option<RecvWork> },
    /// The reply to the oldest read.
    Reply,
}

/// What comes in on a lane.
pub(super) struct Arrivals {
    lane: Lane,
    /// Receives, in the order in which they are filled.
    pub(super) posted: VecDeque<RecvWork>,
    arriving: Option<Arriving>,
    /// Reads that were asked for, in the order in which they are answered.
    pub(super) reads: VecDeque<ReadWork>,
    pub(super) news: News,
}

impl Arrivals {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            posted: VecDeque::with_capacity(16),
            arriving: None,
            reads: VecDeque::new(),
            news: News::default(),
        }
    }

    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    pub(super) fn post_recv(&mut self, work: RecvWork, now: Time) {
        self.news.note_room(now);
        self.posted.push_back(work);
    }

    /// Checks the header of a frame of this lane against what is due, and begins its message if it
    /// is the first of one.
    pub(super) fn accept(&mut self, header: &Header, grants: &Grants) -> Result<(), ProtocolError> {
        let due = self.news.received + 1;
        if unlikely(header.sequence != due) {
            return Err(ProtocolError::Sequence { found: header.sequence, expected: due });
        }
        match header.kind {
            kind if likely(kind == Kind::Send) => self.accept_send(header),
            Kind::Write => self.accept_write(header, grants),
            Kind::ReadReply => self.accept_reply(header),
            _ if self.arriving.is_some() => Err(ProtocolError::Interleaved { kind: header.kind }),
            _ => Ok(()),
        }
    }

    fn take_posted(&mut self) -> Result<RecvWork, ProtocolError> {
        let lane = self.lane;
        let work = self.posted.pop_front().ok_or(ProtocolError::CreditExceeded { lane })?;
        self.news.arrived = self.news.arrived.wrapping_add(1);
        Ok(work)
    }

    fn accept_send(&mut self, header: &Header) -> Result<(), ProtocolError> {
        if self.arriving.is_none() {
            self.arriving = Some(Arriving::Recv { work: self.take_posted()?, received: 0 });
        }
        let Some(Arriving::Recv { work, received }) = &self.arriving else {
            return Err(ProtocolError::Interleaved { kind: header.kind });
        };
        check_offset(header, *received as u64)?;
        self.check_room(header, work.region.len())
    }

    fn accept_write(&mut self, header: &Header, grants: &Grants) -> Result<(), ProtocolError> {
        let key = header.remote_key;
        if self.arriving.is_none() {
            let told = header.flags.has(Flags::IMMEDIATE);
            let recv = if told { Some(self.take_posted()?) } else { None };
            let next = header.offset;
            self.arriving = Some(Arriving::Write { key, next, bytes: 0, recv });
        }
        let Some(Arriving::Write { key: begun, next, recv, .. }) = &self.arriving else {
            return Err(ProtocolError::Interleaved { kind: header.kind });
        };
        if key != *begun || header.flags.has(Flags::IMMEDIATE) != recv.is_some() {
            return Err(ProtocolError::Interleaved { kind: header.kind });
        }
        check_offset(header, *next)?;
        match grants.find(key) {
            Some(Granted::Write(region)) => self.check_room(header, region.len()),
            Some(Granted::Read(_)) => Err(ProtocolError::Access { key }),
            // Its owner took it back and looks no more: the bytes are thrown away.
            None if grants.may_have_been(key) => Ok(()),
            None => Err(ProtocolError::Access { key }),
        }
    }

    fn accept_reply(&mut self, header: &Header) -> Result<(), ProtocolError> {
        if self.arriving.is_none() {
            self.arriving = Some(Arriving::Reply);
        }
        let (Some(Arriving::Reply), Some(read)) = (&self.arriving, self.reads.front()) else {
            return Err(ProtocolError::Interleaved { kind: header.kind });
        };
        if header.remote_key != read.request {
            let (found, expected) = (header.remote_key, read.request);
            return Err(ProtocolError::Reply { found, expected });
        }
        check_offset(header, read.received as u64)?;
        self.check_room(header, read.len)?;
        let end = header.offset + u64::from(header.length);
        let last = header.flags.has(Flags::LAST);
        if last && header.immediate == 0 && end < read.len as u64 {
            let (needed, room) = (read.len as u64, end);
            return Err(ProtocolError::ReplyShort { needed, found: room });
        }
        if last && header.immediate != 0 && ReadRefusal::parse(header.immediate).is_none() {
            return Err(ProtocolError::ReplyCode { found: header.immediate });
        }
        Ok(())
    }

    fn check_room(&self, header: &Header, room: usize) -> Result<(), ProtocolError> {
        let (needed, room) = (header.offset.saturating_add(header.length.into()), room as u64);
        if unlikely(needed > room) {
            return Err(ProtocolError::RoomExceeded { lane: self.lane, needed, room });
        }
        Ok(())
    }

    /// Where the payload of an accepted frame goes, all of it. `discard` is for what goes nowhere.
    pub(super) fn space<'a>(
        &'a mut self,
        header: &Header,
        grants: &'a mut Grants,
        discard: &'a mut Vec<u8>,
    ) -> &'a mut [u8] {
        let length = header.length as usize;
        let at = header.offset as usize;
        match (&mut self.arriving, self.reads.front_mut()) {
            (Some(Arriving::Recv { work, .. }), _) => {
                &mut work.region.as_mut_slice()[at..at + length]
            }
            (Some(Arriving::Reply), Some(ReadWork { region: Some(region), .. })) => {
                &mut region.as_mut_slice()[at..at + length]
            }
            (Some(Arriving::Write { key, .. }), _) if grants.writable(*key).is_some() => {
                let region = grants.writable(*key).expect("it was there a moment ago");
                &mut region.as_mut_slice()[at..at + length]
            }
            // Its owner has it back.
            (Some(Arriving::Reply | Arriving::Write { .. }), _) => {
                discard.resize(length, 0);
                discard
            }
            // A request has no payload.
            _ => &mut [],
        }
    }

    /// Where a message of `length` bytes, or of a little more, would go if the next frame began one.
    pub(super) fn expected_space(&mut self, length: usize) -> Option<&mut [u8]> {
        if self.arriving.is_some() {
            return None;
        }
        let region = self.posted.front_mut()?.region.as_mut_slice();
        let longer = (length + TAG_BYTES + HEADER_BYTES).min(region.len());
        region.get_mut(..longer).filter(|space| space.len() >= length)
    }

    /// A frame is whole and true. Gives what completes with it.
    pub(super) fn deliver(&mut self, header: &Header, peer: NodeId, now: Time) -> Option<Outcome> {
        let length = header.length as usize;
        let last = header.flags.has(Flags::LAST);
        self.news.note(header, now);
        match &mut self.arriving {
            Some(Arriving::Recv { received, .. }) => *received += length,
            Some(Arriving::Write { next, bytes, .. }) => {
                *next = next.saturating_add(length as u64);
                *bytes += length;
            }
            Some(Arriving::Reply) => self.reads.front_mut()?.received += length,
            None => {}
        }
        if !last {
            return None;
        }
        let immediate = header.flags.has(Flags::IMMEDIATE).then_some(header.immediate);
        match self.arriving.take()? {
            Arriving::Recv { work, received: bytes } => {
                let arrived = Arrived { opcode: Opcode::Recv, bytes, immediate, written: None };
                Some(work.outcome(Ok(arrived), peer, now))
            }
            Arriving::Write { key, bytes, recv, .. } => {
                let written = Some(key);
                let arrived = Arrived { opcode: Opcode::RecvWrite, bytes, immediate, written };
                Some(recv?.outcome(Ok(arrived), peer, now))
            }
            Arriving::Reply => {
                let status = match ReadRefusal::parse(header.immediate) {
                    None => Ok(()),
                    Some(refusal) => Err(WorkError::ReadRefused { refusal }),
                };
                self.reads.pop_front()?.finish(status, peer, now)
            }
        }
    }

    /// Earliest deadline of the reads under way.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let open = self.reads.iter().filter(|read| read.queue.is_some());
        open.filter_map(|read| read.deadline).min()
    }

    /// Ends all that was to come.
    pub(super) fn drain(
        &mut self,
        error: &WorkError,
        peer: NodeId,
        now: Time,
        outcomes: &mut VecDeque<Outcome>,
    ) {
        let arriving = match self.arriving.take() {
            Some(Arriving::Recv { work, .. }) => Some(work),
            Some(Arriving::Write { recv, .. }) => recv,
            Some(Arriving::Reply) | None => None,
        };
        for work in arriving.into_iter().chain(self.posted.drain(..)) {
            outcomes.push_back(work.outcome(Err(error.clone()), peer, now));
        }
        for mut read in self.reads.drain(..) {
            outcomes.extend(read.finish(Err(error.clone()), peer, now));
        }
    }
}

fn check_offset(header: &Header, expected: u64) -> Result<(), ProtocolError> {
    let found = header.offset;
    if likely(found == expected) { Ok(()) } else { Err(ProtocolError::Offset { found, expected }) }
}
