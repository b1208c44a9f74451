//! One direction of one lane: what waits, what flies, and the numbers that the peer was told.
//!
//! A lane's sequence goes on over all sockets of a session. A frame keeps its number when it has
//! to be sent again: what was cut once is cut the same way again, so a peer that has received up to
//! some number has received just what comes before the rest. That is all that resumption needs.

use std::collections::VecDeque;
use std::hint::cold_path;
use std::time::Duration;

use super::error::ProtocolError;
use super::time::Time;
use crate::hint::{likely, unlikely};
use crate::limits::{
    INLINE_BYTES_BELOW, READS_MAX, UNACKNOWLEDGED_BYTES_MAX, UNACKNOWLEDGED_LARGE_MAX,
    UNACKNOWLEDGED_MESSAGES_MAX,
};
use crate::queue::{OutWork, Verb};
use crate::wire::header::{Flags, Header, Lane};

/// A message that goes out.
struct Outbound {
    work: OutWork,
    /// Sequence of its first frame, when it has begun.
    first: u64,
    /// Sequence of its last frame, when that is cut.
    last: u64,
}

impl Outbound {
    fn new(work: OutWork) -> Self {
        Self { work, first: 0, last: 0 }
    }
}

/// The frame that a lane cuts next.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) sequence: u64,
    /// Where in its message it begins.
    pub(super) offset: usize,
    /// Bytes of its payload.
    pub(super) length: usize,
    /// Whether the message ends with it.
    pub(super) last: bool,
}

/// What goes out on a lane.
pub(super) struct Outgoing {
    lane: Lane,
    /// What was posted and has not landed. Those that have begun come first, in the order of their
    /// sequence: those that are cut to their end, the one that is being cut, and those that began on a
    /// socket that is gone and are to be cut again. A message stays where it is until it lands.
    outbound: VecDeque<Outbound>,
    /// How many of them have begun.
    begun: usize,
    /// How many of those are cut to their end.
    flying: usize,
    /// Bytes that are cut of the next one.
    offset: usize,
    /// Replies to the peer's reads that have not begun. They wait for nobody's credit, so never behind
    /// what does.
    replies: VecDeque<OutWork>,
    /// Sequence of the last frame sent.
    pub(super) sent: u64,
    /// Highest sequence the peer has acknowledged.
    pub(super) acknowledged: u64,
    /// Messages begun that use up a receive, modulo 2³².
    spent: u32,
    /// Messages the peer has made room for, modulo 2³².
    credit: u32,
    /// Replies that wait or fly: the peer may ask for so many at once.
    pub(super) replies_due: usize,
}

impl Outgoing {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            outbound: VecDeque::with_capacity(32),
            begun: 0,
            flying: 0,
            offset: 0,
            replies: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
            spent: 0,
            credit: 0,
            replies_due: 0,
        }
    }

    /// Takes a message that was posted.
    pub(super) fn post(&mut self, work: OutWork) {
        self.outbound.push_back(Outbound::new(work));
    }

    /// Takes the reply to a read.
    pub(super) fn reply(&mut self, work: OutWork) {
        self.replies.push_back(work);
        self.replies_due += 1;
    }

    /// Messages that may still begin.
    pub(super) fn credits(&self) -> u32 {
        self.credit.wrapping_sub(self.spent)
    }

    /// Whether a message that was posted may begin. `reads` is how many reads are under way.
    fn may_begin(&self, work: &OutWork, reads: usize) -> bool {
        match work.verb {
            Verb::ReadRequest { .. } => reads < READS_MAX,
            _ => likely(!work.needs_credit() || self.credits() > 0),
        }
    }

    /// Bytes of the next frame's payload, at most `chunk`, if there is a frame to send.
    pub(super) fn next_frame(&self, chunk: usize, reads: usize) -> Option<usize> {
        if self.flying < self.begun {
            let cutting = &self.outbound[self.flying].work;
            return Some((cutting.payload.len() - self.offset).min(chunk));
        }
        let waiting = || {
            let work = &self.outbound.get(self.begun)?.work;
            self.may_begin(work, reads).then_some(work)
        };
        self.replies.front().or_else(waiting).map(|work| work.payload.len().min(chunk))
    }

    /// The next frame and its message, begun if it has not. `None` when there is nothing to send.
    pub(super) fn cut(&mut self, chunk: usize, reads: usize) -> Option<(Cut, &mut OutWork)> {
        let sequence = self.sent + 1;
        if self.flying == self.begun {
            if let Some(reply) = self.replies.pop_front() {
                cold_path();
                self.outbound.insert(self.begun, Outbound::new(reply));
            } else if !self.may_begin(&self.outbound.get(self.begun)?.work, reads) {
                return None;
            }
            let begun = &mut self.outbound[self.begun];
            begun.first = sequence;
            self.begun += 1;
            if begun.work.needs_credit() {
                self.spent = self.spent.wrapping_add(1);
            }
        }
        let cutting = self.outbound.get_mut(self.flying)?;
        let resumed = cutting.first + (self.offset / chunk) as u64;
        debug_assert_eq!(resumed, sequence, "what is sent again keeps its numbers");
        let (offset, total) = (self.offset, cutting.work.payload.len());
        let length = (total - offset).min(chunk);
        let last = offset + length == total;
        Some((Cut { sequence, offset, length, last }, &mut cutting.work))
    }

    /// That frame is on its way.
    pub(super) fn advance(&mut self, cut: Cut) {
        self.sent = cut.sequence;
        self.offset = cut.offset + cut.length;
        if cut.last {
            self.outbound[self.flying].last = cut.sequence;
            self.flying += 1;
            self.offset = 0;
        }
    }

    /// Takes what the peer says of this lane's acknowledgement and credit. Completed work is left
    /// for [`landed`](Self::landed). Gives whether there may be some.
    pub(super) fn hear(&mut self, acknowledged: u64, credit: u32) -> Result<bool, ProtocolError> {
        if unlikely(acknowledged < self.acknowledged || acknowledged > self.sent) {
            return Err(ProtocolError::Acknowledged {
                lane: self.lane,
                found: acknowledged,
                low: self.acknowledged,
                high: self.sent,
            });
        }
        // A step of half the numbers or more is a step back.
        if unlikely(credit.wrapping_sub(self.credit) > u32::MAX / 2) {
            return Err(ProtocolError::CreditBackwards { lane: self.lane });
        }
        self.credit = credit;
        Ok(std::mem::replace(&mut self.acknowledged, acknowledged) < acknowledged)
    }

    /// The next message whose last frame is acknowledged.
    pub(super) fn landed(&mut self) -> Option<OutWork> {
        if self.flying == 0 || self.outbound.front()?.last > self.acknowledged {
            return None;
        }
        self.flying -= 1;
        self.begun -= 1;
        let work = self.outbound.pop_front()?.work;
        if unlikely(matches!(work.verb, Verb::ReadReply { .. })) {
            self.replies_due -= 1;
        }
        Some(work)
    }

    /// The peer has everything up to `acknowledged`, which was heard, and nothing after it: goes
    /// back to there. Gives how many frames are to be sent again.
    pub(super) fn rewind(&mut self, chunk: usize) -> u64 {
        let arrived = self.acknowledged;
        let again = self.sent - arrived;
        self.sent = arrived;
        self.flying = 0;
        let oldest = self.outbound.front().filter(|_| self.begun > 0);
        let partly = oldest.map_or(0, |begun| (arrived + 1).saturating_sub(begun.first));
        self.offset = partly as usize * chunk;
        again
    }

    /// Messages that are sent and have not completed.
    pub(super) fn in_flight(&self) -> usize {
        self.flying
    }

    /// The one of them that was sent first. None as long as that is acknowledged and about to complete.
    pub(super) fn oldest_in_flight(&self) -> Option<&OutWork> {
        let sent = self.outbound.front().filter(|_| self.flying > 0)?;
        (sent.last > self.acknowledged).then_some(&sent.work)
    }

    /// Earliest deadline of what was posted to go out and has not completed.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let all = self.outbound.iter().map(|outbound| &outbound.work);
        all.filter(|work| work.queue.is_some()).filter_map(|work| work.deadline).min()
    }

    /// Calls `each` with every message of which `over` holds. One that has begun stays, and keeps
    /// its memory, until it is acknowledged; the others are gone.
    pub(super) fn give_up(
        &mut self,
        over: impl Fn(&OutWork) -> bool,
        mut each: impl FnMut(&mut OutWork),
    ) {
        let mut at = 0;
        self.outbound.retain_mut(|outbound| {
            let over = over(&outbound.work);
            if over {
                each(&mut outbound.work);
            }
            at += 1;
            at <= self.begun || !over
        });
    }

    /// Takes out everything.
    pub(super) fn drain(&mut self, mut each: impl FnMut(OutWork)) {
        self.outbound.drain(..).for_each(|outbound| each(outbound.work));
        self.begun = 0;
        self.flying = 0;
        self.offset = 0;
        self.replies.drain(..).for_each(each);
        self.replies_due = 0;
    }

    /// Whether something waits or is being cut.
    pub(super) fn has_unsent(&self) -> bool {
        self.outbound.len() > self.flying || !self.replies.is_empty()
    }

    /// Whether nothing waits, is being cut or is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.outbound.is_empty() && self.replies.is_empty()
    }

    /// Messages that have not begun, or not wholly.
    pub(super) fn depth(&self) -> usize {
        self.outbound.len() - self.flying + self.replies.len()
    }
}

/// What this side owes the peer in words of what has arrived.
#[derive(Default)]
pub(super) struct News {
    /// Sequence of the last frame received.
    pub(super) received: u64,
    /// Messages that use up a receive and have begun to come in, modulo 2³².
    pub(super) arrived: u32,
    /// Messages this side has made room for, modulo 2³².
    pub(super) granted: u32,
    /// What the peer was last told of `received` and `granted`.
    told_received: u64,
    told_granted: u32,
    /// Messages that ended, the large ones among them, and bytes that came, since.
    messages: u32,
    large: u32,
    bytes: u64,
    /// When the last frame came.
    last: Time,
    /// Since when something is owed.
    since: Option<Time>,
}

impl News {
    /// A frame came.
    pub(super) fn note(&mut self, header: &Header, now: Time) {
        let last = header.flags.has(Flags::LAST);
        // Of a write this is its place in the region: it may be taken for larger than it is.
        let end = header.offset.saturating_add(header.length.into());
        self.received = header.sequence;
        self.bytes += u64::from(header.length);
        self.messages += u32::from(last);
        self.large += u32::from(last && end >= INLINE_BYTES_BELOW as u64);
        self.last = now;
        self.since.get_or_insert(now);
    }

    /// A receive was posted.
    pub(super) fn note_room(&mut self, now: Time) {
        self.granted = self.granted.wrapping_add(1);
        if self.credit_owed() {
            self.since.get_or_insert(now);
        }
    }

    fn credit_unknown(&self) -> u32 {
        self.granted.wrapping_sub(self.told_granted)
    }

    fn credit_known(&self) -> u32 {
        self.told_granted.wrapping_sub(self.arrived)
    }

    /// Whether the peer knows of no more than half of its credit.
    fn credit_owed(&self) -> bool {
        self.credit_unknown() > 0 && self.credit_unknown() >= self.credit_known()
    }

    /// Whether there is nothing that the peer was not told.
    pub(super) fn is_told(&self) -> bool {
        self.since.is_none()
    }

    /// Since when the peer should hear of this lane, though perhaps not at once.
    pub(super) fn owed_since(&self) -> Option<Time> {
        self.since.filter(|_| self.told_received < self.received || self.credit_owed())
    }

    /// Whether it should hear now, even if nothing else goes its way: when much has come, or when
    /// it may have run out of credit. Otherwise a frame may come by that carries it.
    pub(super) fn is_urgent(&self) -> bool {
        let much = self.messages >= UNACKNOWLEDGED_MESSAGES_MAX
            || self.large >= UNACKNOWLEDGED_LARGE_MAX
            || self.bytes >= UNACKNOWLEDGED_BYTES_MAX;
        let spent = self.credit_known() == 0 || self.credit_unknown() > 1;
        much || (spent && self.credit_owed())
    }

    /// For how long the news of the last frame was held back.
    pub(super) fn held(&self, now: Time) -> Duration {
        if self.told_received < self.received { now.since(self.last) } else { Duration::ZERO }
    }

    /// The numbers of the next header of this lane; from now on the peer has been told.
    pub(super) fn tell(&mut self) -> (u64, u32) {
        self.told_received = self.received;
        self.told_granted = self.granted;
        self.messages = 0;
        self.large = 0;
        self.bytes = 0;
        self.since = None;
        (self.received, self.granted)
    }
}

/// Some of the lanes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneSet(u8);

impl LaneSet {
    pub(super) fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.0 &= !(1 << index);
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn contains(self, index: usize) -> bool {
        self.0 & 1 << index != 0
    }

    /// Their places among the lanes, the best first, as they are now.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(index)
        })
    }
}

/// The numbers of one lane in a `RESUME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) received: u64,
    pub(super) granted: u32,
}

/// Reads the number of a header's lane.
pub(super) fn index_of(header: &Header) -> usize {
    header.lane.map_or(0, Lane::index)
}
