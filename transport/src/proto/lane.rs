//! One lane of a connection: what waits, what flies, what arrives, and both sides' numbers.

use std::collections::VecDeque;

use super::error::ProtocolError;
use super::time::Time;
use crate::queue::{RecvWork, SendWork};
use crate::wire::header::{Header, Lane};

/// A message that is being cut into frames.
pub(super) struct Cutting {
    pub(super) work: SendWork,
    pub(super) offset: usize,
}

/// A message that is cut, sent and not yet acknowledged.
pub(super) struct Flying {
    pub(super) work: SendWork,
    /// Sequence of its last frame.
    pub(super) last: u64,
}

/// A message that is coming in.
pub(super) struct Arriving {
    pub(super) work: RecvWork,
    pub(super) received: usize,
}

pub(super) struct LaneState {
    lane: Lane,
    // What goes out.
    pub(super) waiting: VecDeque<SendWork>,
    pub(super) cutting: Option<Cutting>,
    pub(super) flying: VecDeque<Flying>,
    /// Sequence of the last frame sent.
    pub(super) sent: u64,
    /// Highest sequence the peer has acknowledged.
    pub(super) acknowledged: u64,
    /// Messages begun, modulo 2³².
    pub(super) begun: u32,
    /// Messages the peer has made room for, modulo 2³².
    pub(super) credit: u32,
    // What comes in.
    pub(super) posted: VecDeque<RecvWork>,
    pub(super) arriving: Option<Arriving>,
    /// Sequence of the last frame received.
    pub(super) received: u64,
    /// Messages that have begun to come in, modulo 2³².
    arrived: u32,
    /// Messages this side has made room for, modulo 2³².
    granted: u32,
    /// What the peer was last told of `received` and `granted`.
    told_received: u64,
    told_granted: u32,
}

impl LaneState {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            waiting: VecDeque::with_capacity(16),
            cutting: None,
            flying: VecDeque::with_capacity(16),
            sent: 0,
            acknowledged: 0,
            begun: 0,
            credit: 0,
            posted: VecDeque::with_capacity(16),
            arriving: None,
            received: 0,
            arrived: 0,
            granted: 0,
            told_received: 0,
            told_granted: 0,
        }
    }

    /// Messages that may still begin.
    pub(super) fn credits(&self) -> u32 {
        self.credit.wrapping_sub(self.begun)
    }

    /// Whether a frame could go out now.
    pub(super) fn is_sendable(&self) -> bool {
        self.cutting.is_some() || (!self.waiting.is_empty() && self.credits() > 0)
    }

    pub(super) fn post_recv(&mut self, work: RecvWork) {
        self.granted = self.granted.wrapping_add(1);
        self.posted.push_back(work);
    }

    /// Whether the peer should hear of this lane even if nothing else goes its way: when it waits
    /// for an acknowledgement, when it may have run out of credit, or when it knows of less than
    /// half of its credit.
    pub(super) fn owes_news(&self) -> bool {
        if self.told_received < self.received {
            return true;
        }
        let known = self.told_granted.wrapping_sub(self.arrived);
        let unknown = self.granted.wrapping_sub(self.told_granted);
        unknown > 0 && unknown >= known
    }

    /// The numbers of the next header of this lane; from now on the peer has been told.
    pub(super) fn tell(&mut self) -> (u64, u32) {
        self.told_received = self.received;
        self.told_granted = self.granted;
        (self.received, self.granted)
    }

    /// The next message to cut, if there is one and it has credit.
    pub(super) fn begin(&mut self) -> Option<&mut Cutting> {
        if self.cutting.is_none() && self.credits() > 0 {
            let work = self.waiting.pop_front()?;
            self.begun = self.begun.wrapping_add(1);
            self.cutting = Some(Cutting { work, offset: 0 });
        }
        self.cutting.as_mut()
    }

    /// The message in hand is cut to its end.
    pub(super) fn flies(&mut self) {
        if let Some(cut) = self.cutting.take() {
            self.flying.push_back(Flying { work: cut.work, last: self.sent });
        }
    }

    /// Takes what a header says of this lane's acknowledgement and credit. Completed work is left
    /// for [`landed`](Self::landed).
    pub(super) fn hear(&mut self, header: &Header) -> Result<(), ProtocolError> {
        if header.acknowledged < self.acknowledged || header.acknowledged > self.sent {
            return Err(ProtocolError::Acknowledged {
                lane: self.lane,
                found: header.acknowledged,
                low: self.acknowledged,
                high: self.sent,
            });
        }
        // A step of half the numbers or more is a step back.
        if header.credit.wrapping_sub(self.credit) > u32::MAX / 2 {
            return Err(ProtocolError::CreditBackwards { lane: self.lane });
        }
        self.acknowledged = header.acknowledged;
        self.credit = header.credit;
        Ok(())
    }

    /// The next message whose last frame is acknowledged.
    pub(super) fn landed(&mut self) -> Option<SendWork> {
        let landed = self.flying.front()?.last <= self.acknowledged;
        landed.then(|| self.flying.pop_front()).flatten().map(|flying| flying.work)
    }

    /// Checks the header of a `SEND` and says where its payload goes: to the arriving message,
    /// which is begun if there is none.
    pub(super) fn accept(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let due = self.received + 1;
        if header.sequence != due {
            return Err(ProtocolError::Sequence { found: header.sequence, expected: due });
        }
        if self.arriving.is_none() {
            let work = self.posted.pop_front();
            let work = work.ok_or(ProtocolError::CreditExceeded { lane: self.lane })?;
            self.arrived = self.arrived.wrapping_add(1);
            self.arriving = Some(Arriving { work, received: 0 });
        }
        let arriving = self.arriving.as_ref().expect("made above");
        if header.offset != arriving.received as u64 {
            return Err(ProtocolError::Offset {
                found: header.offset,
                expected: arriving.received as u64,
            });
        }
        let needed = header.offset + u64::from(header.length);
        let room = arriving.work.region.len() as u64;
        if needed > room {
            return Err(ProtocolError::RoomExceeded { lane: self.lane, needed, room });
        }
        Ok(())
    }

    /// Earliest deadline of what was posted to send.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let cutting = self.cutting.iter().map(|cut| &cut.work);
        let flying = self.flying.iter().map(|flying| &flying.work);
        let all = self.waiting.iter().chain(cutting).chain(flying);
        all.filter(|work| work.queue.is_some()).filter_map(|work| work.deadline).min()
    }

    /// Calls `each` with every send whose deadline has passed. One that has begun stays, and keeps
    /// its memory, until it is acknowledged; the others are gone.
    pub(super) fn expire(&mut self, now: Time, mut each: impl FnMut(&mut SendWork)) {
        let late = |work: &SendWork| work.deadline.is_some_and(|deadline| deadline <= now);
        self.waiting.retain_mut(|work| {
            let late = late(work);
            if late {
                each(work);
            }
            !late
        });
        let cutting = self.cutting.iter_mut().map(|cut| &mut cut.work);
        let flying = self.flying.iter_mut().map(|flying| &mut flying.work);
        cutting.chain(flying).filter(|work| late(work)).for_each(each);
    }
}
