//! One direction of one lane: what waits, what flies, and the numbers that the peer was told.
//!
//! A lane's sequence goes on over all sockets of a session. A frame keeps its number when it has
//! to be sent again: what was cut once is cut the same way again, so a peer that has received up to
//! some number has received just what comes before the rest. That is all that resumption needs.

use std::collections::VecDeque;
use std::time::Duration;

use super::error::ProtocolError;
use super::time::Time;
use crate::limits::{
    INLINE_BYTES_BELOW, READS_MAX, UNACKNOWLEDGED_BYTES_MAX, UNACKNOWLEDGED_LARGE_MAX,
    UNACKNOWLEDGED_MESSAGES_MAX,
};
use crate::queue::{OutWork, Verb};
use crate::wire::header::{Flags, Header, Lane};

/// A message that has begun.
pub(super) struct Begun {
    pub(super) work: OutWork,
    /// Sequence of its first frame.
    pub(super) first: u64,
}

/// A message that is being cut into frames.
pub(super) struct Cutting {
    pub(super) begun: Begun,
    pub(super) offset: usize,
}

/// A message that is cut, sent and not yet acknowledged.
pub(super) struct Flying {
    pub(super) begun: Begun,
    /// Sequence of its last frame.
    pub(super) last: u64,
}

/// What goes out on a lane.
pub(super) struct Outgoing {
    lane: Lane,
    /// Posted, not begun.
    pub(super) waiting: VecDeque<OutWork>,
    /// Replies to the peer's reads. They wait for nobody's credit, so never behind what does.
    pub(super) replies: VecDeque<OutWork>,
    /// Begun on a socket that is gone, in the order of their sequence: before all else.
    again: VecDeque<Begun>,
    pub(super) cutting: Option<Cutting>,
    pub(super) flying: VecDeque<Flying>,
    /// Sequence of the last frame sent.
    pub(super) sent: u64,
    /// Highest sequence the peer has acknowledged.
    pub(super) acknowledged: u64,
    /// Messages begun that use up a receive, modulo 2³².
    begun: u32,
    /// Messages the peer has made room for, modulo 2³².
    credit: u32,
    /// Replies that wait or fly: the peer may ask for so many at once.
    pub(super) replies_due: usize,
}

impl Outgoing {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            waiting: VecDeque::with_capacity(16),
            replies: VecDeque::new(),
            again: VecDeque::new(),
            cutting: None,
            flying: VecDeque::with_capacity(16),
            sent: 0,
            acknowledged: 0,
            begun: 0,
            credit: 0,
            replies_due: 0,
        }
    }

    /// Messages that may still begin.
    pub(super) fn credits(&self) -> u32 {
        self.credit.wrapping_sub(self.begun)
    }

    /// Whether a message that was posted may begin. `reads` is how many reads are under way.
    fn may_begin(&self, work: &OutWork, reads: usize) -> bool {
        match work.verb {
            Verb::ReadRequest { .. } => reads < READS_MAX,
            _ => !work.needs_credit() || self.credits() > 0,
        }
    }

    /// Bytes of the next frame's payload, at most `chunk`, if there is a frame to send.
    pub(super) fn next_frame(&self, chunk: usize, reads: usize) -> Option<usize> {
        if let Some(cut) = &self.cutting {
            return Some((cut.begun.work.payload.len() - cut.offset).min(chunk));
        }
        let next = self.again.front().map(|begun| &begun.work).or(self.replies.front());
        let waiting = || self.waiting.front().filter(|work| self.may_begin(work, reads));
        next.or_else(waiting).map(|work| work.payload.len().min(chunk))
    }

    /// The message to cut, begun if none is. `None` when there is nothing to send.
    pub(super) fn begin(&mut self, reads: usize) -> Option<&mut Cutting> {
        if self.cutting.is_none() {
            let first = self.sent + 1;
            let begun = if let Some(begun) = self.again.pop_front() {
                debug_assert_eq!(begun.first, first, "what is sent again keeps its numbers");
                begun
            } else if let Some(work) = self.replies.pop_front() {
                Begun { work, first }
            } else {
                let allowed = self.waiting.front().is_some_and(|work| self.may_begin(work, reads));
                let work = allowed.then(|| self.waiting.pop_front()).flatten()?;
                if work.needs_credit() {
                    self.begun = self.begun.wrapping_add(1);
                }
                Begun { work, first }
            };
            self.cutting = Some(Cutting { begun, offset: 0 });
        }
        self.cutting.as_mut()
    }

    /// The message in hand is cut to its end.
    pub(super) fn flies(&mut self) {
        if let Some(cut) = self.cutting.take() {
            self.flying.push_back(Flying { begun: cut.begun, last: self.sent });
        }
    }

    /// Takes what the peer says of this lane's acknowledgement and credit. Completed work is left
    /// for [`landed`](Self::landed).
    pub(super) fn hear(&mut self, acknowledged: u64, credit: u32) -> Result<(), ProtocolError> {
        if acknowledged < self.acknowledged || acknowledged > self.sent {
            return Err(ProtocolError::Acknowledged {
                lane: self.lane,
                found: acknowledged,
                low: self.acknowledged,
                high: self.sent,
            });
        }
        // A step of half the numbers or more is a step back.
        if credit.wrapping_sub(self.credit) > u32::MAX / 2 {
            return Err(ProtocolError::CreditBackwards { lane: self.lane });
        }
        self.acknowledged = acknowledged;
        self.credit = credit;
        Ok(())
    }

    /// The next message whose last frame is acknowledged.
    pub(super) fn landed(&mut self) -> Option<OutWork> {
        let landed = self.flying.front()?.last <= self.acknowledged;
        let work = landed.then(|| self.flying.pop_front()).flatten()?.begun.work;
        if matches!(work.verb, Verb::ReadReply { .. }) {
            self.replies_due -= 1;
        }
        Some(work)
    }

    /// The peer has everything up to `acknowledged`, which was heard, and nothing after it: goes
    /// back to there. Gives how many frames are to be sent again.
    pub(super) fn rewind(&mut self, chunk: usize) -> u64 {
        let arrived = self.acknowledged;
        let again = self.sent - arrived;
        let flying = self.flying.drain(..).map(|flying| flying.begun);
        let cutting = self.cutting.take().map(|cutting| cutting.begun);
        // What was to be sent again and was not, comes after what was.
        let rest = std::mem::take(&mut self.again);
        self.again = flying.chain(cutting).chain(rest).collect();
        self.sent = arrived;
        let partly = self.again.front().is_some_and(|begun| begun.first <= arrived);
        if partly && let Some(begun) = self.again.pop_front() {
            let frames = (arrived + 1 - begun.first) as usize;
            self.cutting = Some(Cutting { begun, offset: frames * chunk });
        }
        again
    }

    /// All messages that have begun and not landed.
    fn begun_mut(&mut self) -> impl Iterator<Item = &mut OutWork> {
        let flying = self.flying.iter_mut().map(|flying| &mut flying.begun.work);
        let cutting = self.cutting.iter_mut().map(|cutting| &mut cutting.begun.work);
        flying.chain(cutting).chain(self.again.iter_mut().map(|begun| &mut begun.work))
    }

    /// Earliest deadline of what was posted to go out and has not completed.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let flying = self.flying.iter().map(|flying| &flying.begun.work);
        let cutting = self.cutting.iter().map(|cutting| &cutting.begun.work);
        let again = self.again.iter().map(|begun| &begun.work);
        let all = self.waiting.iter().chain(flying).chain(cutting).chain(again);
        all.filter(|work| work.queue.is_some()).filter_map(|work| work.deadline).min()
    }

    /// Calls `each` with every message of which `over` holds. One that has begun stays, and keeps
    /// its memory, until it is acknowledged; the others are gone.
    pub(super) fn give_up(
        &mut self,
        over: impl Fn(&OutWork) -> bool,
        mut each: impl FnMut(&mut OutWork),
    ) {
        self.waiting.retain_mut(|work| {
            let over = over(work);
            if over {
                each(work);
            }
            !over
        });
        self.begun_mut().filter(|work| over(work)).for_each(each);
    }

    /// Takes out everything.
    pub(super) fn drain(&mut self, mut each: impl FnMut(OutWork)) {
        self.flying.drain(..).for_each(|flying| each(flying.begun.work));
        self.cutting.take().into_iter().for_each(|cutting| each(cutting.begun.work));
        self.again.drain(..).for_each(|begun| each(begun.work));
        self.replies.drain(..).for_each(&mut each);
        self.waiting.drain(..).for_each(each);
        self.replies_due = 0;
    }

    /// Messages that have not begun, or not wholly.
    pub(super) fn depth(&self) -> usize {
        let cutting = usize::from(self.cutting.is_some());
        self.waiting.len() + self.replies.len() + self.again.len() + cutting
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
