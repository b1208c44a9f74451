//! What is due, and when.

use super::super::error::LossCause;
use super::super::time::Time;
use super::{Connection, Notice};
use crate::queue::WorkError;

impl Connection {
    /// When [`handle_timeout`](Self::handle_timeout), or at least
    /// [`poll_transmit`](Self::poll_transmit), wants to be called.
    pub(crate) fn poll_timeout(&mut self) -> Time {
        let slow = self.poll_slow_timeout();
        self.ack_due().map_or(slow, |due| due.min(slow))
    }

    /// When news that wait for company go alone.
    pub(crate) fn ack_due(&mut self) -> Option<Time> {
        if self.unnoted {
            self.settle_news(None);
        }
        self.ack_due
    }

    /// Not later than that, if something came at `now`.
    pub(crate) fn ack_due_after(&self, now: Time) -> Time {
        now.after(self.timers.ack_delay)
    }

    /// Not later than the earliest deadline of any work.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.next_deadline
    }

    /// As [`poll_timeout`](Self::poll_timeout), without the news that wait for company.
    pub(crate) fn poll_slow_timeout(&self) -> Time {
        let window = self.last_heard.after(self.timers.resume_window);
        let suspect = (!self.path.down).then(|| self.last_heard.after(self.timers.suspect));
        let keepalive = (self.path.attached && !self.path.ping_due && !self.path.resuming)
            .then(|| self.path.last_sent.after(self.timers.keepalive));
        let others = [suspect, keepalive, self.next_deadline];
        others.into_iter().flatten().fold(window, Time::min)
    }

    /// Does what is due. An error ends the session.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> Result<(), LossCause> {
        let silent = now.since(self.last_heard);
        if self.last_heard.after(self.timers.resume_window) <= now {
            return Err(LossCause::Silent { silent_ms: silent.as_millis() as u64 });
        }
        if self.last_heard.after(self.timers.suspect) <= now {
            self.suspect(now);
        }
        let attached = self.path.attached && !self.path.resuming;
        if attached && self.path.last_sent.after(self.timers.keepalive) <= now {
            self.path.ping_due = true;
            self.stirred = true;
        }
        if self.next_deadline.is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
        Ok(())
    }

    /// The peer is not to be reached just now, over the socket there is or without one.
    pub(crate) fn suspect(&mut self, now: Time) {
        self.path.down = true;
        if !std::mem::replace(&mut self.suspected, true) {
            self.notices.push_back(Notice::Suspected { silent: now.since(self.last_heard) });
        }
    }

    pub(super) fn note_deadline(&mut self, deadline: Option<Time>) {
        self.next_deadline = earlier(self.next_deadline, deadline);
    }

    fn expire(&mut self, now: Time) {
        self.stirred = true;
        self.complete_heard();
        let Self { lanes, outcomes, agreed, receive, .. } = self;
        let peer = agreed.peer;
        let late = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        for lane in lanes.iter_mut() {
            lane.out.give_up(
                |work| late(work.deadline),
                |work| outcomes.extend(work.outcome(Err(WorkError::DeadlinePassed), peer, now)),
            );
            receive.set_aside_reply(&lane.arrivals, |read| late(read.deadline));
            for read in lane.arrivals.reads.iter_mut().filter(|read| late(read.deadline)) {
                outcomes.extend(read.finish(Err(WorkError::DeadlinePassed), peer, now));
            }
        }
        let earliest = |lane: &super::LaneState| {
            earlier(lane.out.next_deadline(), lane.arrivals.next_deadline())
        };
        self.next_deadline = self.lanes.iter().filter_map(earliest).min();
    }
}

/// The earlier one, if there is any.
pub(super) fn earlier(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
