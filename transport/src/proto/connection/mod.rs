//! A session: four lanes that outlive the sockets they run over.
//!
//! The driver's turn, while there is a socket: [`read_space`](Connection::read_space) and
//! [`handle_read`](Connection::handle_read) until it is dry, then
//! [`poll_transmit`](Connection::poll_transmit), [`with_slices`](Connection::with_slices) and
//! [`handle_written`](Connection::handle_written) until it is full or all is said, then
//! [`poll_outcome`](Connection::poll_outcome) and [`poll_notice`](Connection::poll_notice). Without
//! one, work waits: [`attach`](Connection::attach) gives it the next.
//!
//! Layout: `reading` takes frames in, `writing` makes them, `path` is what belongs to one socket
//! and how the next takes over, `time` knows what is due.

mod path;
mod reading;
mod time;
mod writing;

use std::collections::VecDeque;
use std::time::Duration;

use path::Path;
pub(crate) use path::Route;

use super::arrival::Arrivals;
use super::error::{CloseCode, LossCause};
use super::lane::{LaneSet, Outgoing};
use super::receive::Receive;
use super::time::{Span, Time};
use super::transmit::Transmit;
use crate::NodeId;
use crate::limits::CLOSE_REASON_BYTES_MAX;
use crate::memory::{Granted, Grants};
use crate::queue::{OutWork, Outcome, RecvWork, WorkError, WorkId};
use crate::wire::header::{Kind, Lane};
use crate::wire::hello::truncated;

/// What both sides know of a session, whatever socket it runs over.
pub(crate) struct Agreed {
    pub(crate) peer: NodeId,
    pub(crate) session: u64,
    /// Largest payload of a frame that this side sends.
    pub(crate) chunk_bytes: usize,
    /// Largest payload of a frame that this side accepts.
    pub(crate) frame_payload_max: u32,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    pub(crate) keepalive: Span,
    pub(crate) suspect: Span,
    pub(crate) resume_window: Span,
    /// How long an acknowledgement may wait for a frame to ride on.
    pub(crate) ack_delay: Span,
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
    /// Sockets after the first.
    pub(crate) resumes: u64,
    /// Frames that were sent again on them.
    pub(crate) replayed_frames: u64,
    /// Bytes that were written to a region after its owner had taken it back.
    pub(crate) discarded_bytes: u64,
}

/// What the driver should tell others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The first frame of a socket came: the peer is there and takes us. `replayed` frames go out
    /// again.
    Confirmed {
        replayed: u64,
    },
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
        bytes: usize,
        elapsed: Duration,
    },
}

/// Both directions of a lane.
struct LaneState {
    out: Outgoing,
    arrivals: Arrivals,
}

pub(crate) struct Connection {
    agreed: Agreed,
    timers: Timers,
    receive: Receive,
    transmit: Transmit,
    lanes: [LaneState; Lane::ALL.len()],
    /// The lanes that have something to send or in flight, and maybe others.
    sending: LaneSet,
    /// Something has happened since all frames were made that could be.
    stirred: bool,
    /// Some were not, for want of room among what is queued.
    crowded: bool,
    /// The lanes of which messages came that acknowledged ours: what these come to is told after what
    /// those do, which somebody waits for.
    heard: LaneSet,
    /// The lanes of which the peer should hear something, and maybe others.
    owing: LaneSet,
    grants: Grants,
    /// The socket there is, or the last there was.
    path: Path,
    last_heard: Time,
    suspected: bool,
    close_due: Option<(CloseCode, String)>,
    closing: bool,
    /// Not later than the earliest deadline of any work.
    next_deadline: Option<Time>,
    /// When news that wait for company go alone.
    ack_due: Option<Time>,
    /// Something has happened since that may have changed it: it is only looked for when somebody asks.
    unnoted: bool,
    outcomes: VecDeque<Outcome>,
    notices: VecDeque<Notice>,
    counters: Counters,
}

impl Connection {
    /// A new session over its first socket.
    pub(crate) fn new(agreed: Agreed, route: Route, timers: Timers, now: Time) -> Self {
        Self {
            receive: Receive::new(),
            transmit: Transmit::new(agreed.chunk_bytes),
            lanes: Lane::ALL
                .map(|lane| LaneState { out: Outgoing::new(lane), arrivals: Arrivals::new(lane) }),
            sending: LaneSet::default(),
            heard: LaneSet::default(),
            owing: LaneSet::default(),
            stirred: true,
            crowded: false,
            grants: Grants::default(),
            path: Path::new(route, now),
            timers,
            last_heard: now,
            suspected: false,
            close_due: None,
            closing: false,
            next_deadline: None,
            ack_due: None,
            unnoted: false,
            outcomes: VecDeque::with_capacity(16),
            notices: VecDeque::with_capacity(16),
            counters: Counters::default(),
            agreed,
        }
    }

    pub(crate) fn session(&self) -> u64 {
        self.agreed.session
    }

    // ---- work ------------------------------------------------------------------------------------

    pub(crate) fn post(&mut self, work: OutWork) {
        self.note_deadline(work.deadline);
        let lane = work.lane.index();
        self.lanes[lane].out.post(work);
        self.sending.insert(lane);
        self.stirred = true;
    }

    pub(crate) fn post_recv(&mut self, work: RecvWork, now: Time) {
        let lane = work.lane.index();
        let arrivals = &mut self.lanes[lane].arrivals;
        let told = arrivals.news.is_told();
        arrivals.post_recv(work, now);
        self.stirred |= arrivals.news.is_urgent();
        // What was owed before is owed no earlier now.
        if told && !arrivals.news.is_told() {
            self.owing.insert(lane);
            self.unnoted = true;
        }
    }

    /// Ends a work request that goes out, if it has not completed. Gives whether there was one.
    pub(crate) fn cancel(&mut self, id: WorkId, now: Time) -> bool {
        self.stirred = true;
        self.complete_heard();
        let before = self.outcomes.len();
        let Self { lanes, outcomes, agreed, receive, .. } = self;
        let peer = agreed.peer;
        for lane in lanes.iter_mut() {
            lane.out.give_up(
                |work| work.id == id && work.queue.is_some(),
                |work| outcomes.extend(work.outcome(Err(WorkError::Cancelled), peer, now)),
            );
            receive.set_aside_reply(&lane.arrivals, |read| read.id == id);
            for read in lane.arrivals.reads.iter_mut().filter(|read| read.id == id) {
                outcomes.extend(read.finish(Err(WorkError::Cancelled), peer, now));
            }
        }
        self.outcomes.len() > before
    }

    /// Ends all work with `error`. The socket must not be written to any more.
    pub(crate) fn lose(&mut self, error: &WorkError, now: Time) {
        self.closing = true;
        self.close_due = None;
        self.path.attached = false;
        self.transmit.clear();
        self.complete_heard();
        let Self { lanes, outcomes, agreed, .. } = self;
        let peer = agreed.peer;
        for lane in lanes.iter_mut() {
            lane.out.drain(|mut work| {
                outcomes.extend(work.outcome(Err(error.clone()), peer, now));
            });
            lane.arrivals.drain(error, peer, now, outcomes);
        }
    }

    /// Says goodbye: the last frame that goes out.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) {
        if !self.closing {
            self.closing = true;
            self.stirred = true;
            self.close_due = Some((code, truncated(reason, CLOSE_REASON_BYTES_MAX).to_owned()));
        }
    }

    /// Whether nothing waits to be told, sent or written, as far as the time does not matter.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_unstirred() && self.outcomes.is_empty()
    }

    /// Whether nothing waits to be sent or written, likewise.
    fn is_unstirred(&self) -> bool {
        !self.stirred && self.transmit.queued() == 0
    }

    // ---- regions of the peer's -------------------------------------------------------------------

    /// Lets the peer touch a region by the key that this gives.
    pub(crate) fn grant(&mut self, granted: Granted, salt: u32) -> Result<u64, Granted> {
        self.grants.grant(granted, salt)
    }

    /// Takes a region back. What of a frame has come into it already is kept apart: the seal of the
    /// whole can still be checked.
    pub(crate) fn revoke(&mut self, key: u64) -> Option<Granted> {
        let granted = self.grants.revoke(key)?;
        if let (Some(header), Granted::Write(region)) = (&self.receive.header, &granted)
            && header.kind == Kind::Write
            && header.remote_key == key
        {
            let at = header.offset as usize..header.offset as usize + header.length as usize;
            self.receive.set_aside(&region.as_slice()[at]);
        }
        Some(granted)
    }

    // ---- what comes of it ------------------------------------------------------------------------

    /// Whether something urgent went out that the peer has not acknowledged, or answered if it was a
    /// read.
    pub(crate) fn awaits_urgent(&self) -> bool {
        let LaneState { out, arrivals } = &self.lanes[Lane::Urgent.index()];
        out.oldest_in_flight().is_some() || !arrivals.reads.is_empty()
    }

    /// Whether something became of work of the urgent lane.
    pub(crate) fn has_urgent_outcome(&self) -> bool {
        self.heard.contains(Lane::Urgent.index())
            || self.outcomes.iter().any(|outcome| outcome.completion.lane == Lane::Urgent)
    }

    /// What became of work, as long as there is any that something became of.
    pub(crate) fn poll_outcome(&mut self) -> Option<Outcome> {
        if self.outcomes.is_empty() {
            self.complete_heard();
        }
        self.outcomes.pop_front()
    }

    /// As [`poll_outcome`](Self::poll_outcome), but for what can be told later: that messages have
    /// arrived which one that came acknowledges in passing.
    pub(crate) fn poll_first_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Whether something became of work, and nothing else is to be done.
    pub(crate) fn has_only_outcomes(&self) -> bool {
        self.is_unstirred() && !self.outcomes.is_empty() && self.notices.is_empty()
    }

    /// Whether there is something that [`poll_first_outcome`](Self::poll_first_outcome) leaves out.
    pub(crate) fn has_later_outcomes(&self) -> bool {
        !self.heard.is_empty()
    }

    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    pub(crate) fn is_suspected(&self) -> bool {
        self.suspected
    }

    /// Whether another socket is wanted. A peer that is suspected may have one that is young enough.
    pub(crate) fn is_down(&self) -> bool {
        self.path.down
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn grants(&self) -> usize {
        self.grants.count()
    }

    /// Credits left, sends waiting, sends in flight and regions posted, per lane.
    pub(crate) fn lane_depths(&self) -> [(u32, usize, usize, usize); Lane::ALL.len()] {
        std::array::from_fn(|at| {
            let LaneState { out, arrivals } = &self.lanes[at];
            (out.credits(), out.depth(), out.in_flight(), arrivals.posted.len())
        })
    }

    /// What a connection that broke the protocol is told.
    pub(crate) fn close_code(cause: &LossCause) -> Option<CloseCode> {
        matches!(cause, LossCause::Protocol(_)).then_some(CloseCode::Protocol)
    }
}
