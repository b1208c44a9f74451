//! What belongs to one socket of a session, and how the next one takes over.
//!
//! ```text
//!            attach(epoch 1)            socket gone            attach(epoch n+1)
//!  (new) ────────────────────► attached ────────────► detached ────────────────► resuming
//!                                  ▲                                                 │
//!                                  └──────────── the peer's RESUME came ─────────────┘
//! ```
//!
//! The first frame of a socket after the first is a `RESUME`, each way: what has arrived, lane by
//! lane. Until the peer's has come this side sends nothing else, because it does not know where to
//! go on. The parser and the keys of the old socket are forgotten before the first byte of the new
//! one is looked at, so nothing of the old can land any more.

use std::collections::VecDeque;

use super::super::error::{LossCause, ProtocolError};
use super::super::lane::Standing;
use super::super::seal::Keys;
use super::super::time::Time;
use super::{Connection, LaneState, Notice};
use crate::hint::{likely, unlikely};
use crate::limits::{INLINE_BYTES_BELOW, LANES, PING_BYTES, PONGS_OWED_MAX, RESUME_BYTES};
use crate::wire::header::{Header, Kind};

/// A socket that a session may run over, after its handshake.
pub(crate) struct Route {
    /// Its number in the session, from 1.
    pub(crate) epoch: u32,
    /// Keys to seal with and to open with, if frames are sealed.
    pub(crate) keys: Option<([u8; 32], [u8; 32])>,
}

/// A socket of a session.
pub(super) struct Path {
    pub(super) epoch: u32,
    pub(super) keys: Option<Keys>,
    /// Whether it can be read and written.
    pub(super) attached: bool,
    /// The peer has not said yet what has arrived.
    pub(super) resuming: bool,
    pub(super) resume_due: bool,
    /// A frame has come.
    pub(super) confirmed: bool,
    /// It is gone, or nothing has come for so long that the session should try another.
    pub(super) down: bool,
    /// Sequences of the socket's own frames, and of `ACK`s.
    pub(super) control_sent: u64,
    pub(super) control_received: u64,
    pub(super) ping_due: bool,
    /// `PING`s whose `PONG` has not come.
    pub(super) pings_unanswered: u32,
    pub(super) pongs_due: VecDeque<[u8; PING_BYTES]>,
    pub(super) last_sent: Time,
}

impl Path {
    pub(super) fn new(route: Route, now: Time) -> Self {
        let again = route.epoch > 1;
        Self {
            epoch: route.epoch,
            keys: route.keys.map(|(sealing, opening)| Keys::new(&sealing, &opening)),
            attached: true,
            resuming: again,
            resume_due: again,
            confirmed: false,
            down: false,
            control_sent: 0,
            control_received: 0,
            // The first frame tells the peer that it was taken, and measures the way.
            ping_due: !again,
            pings_unanswered: 0,
            pongs_due: VecDeque::with_capacity(PONGS_OWED_MAX),
            last_sent: now,
        }
    }

    /// Whether a payload of so many bytes is staged, not sent from where it lies.
    pub(super) fn stages(&self, payload: usize) -> bool {
        self.keys.is_some() || payload < INLINE_BYTES_BELOW
    }

    /// Whether a frame of its own is due.
    pub(super) fn has_something_to_say(&self) -> bool {
        self.resume_due || self.ping_due || !self.pongs_due.is_empty()
    }
}

impl Connection {
    /// The number of the socket there is, or of the last there was.
    pub(crate) fn epoch(&self) -> u32 {
        self.path.epoch
    }

    /// Whether there is a socket.
    pub(crate) fn is_attached(&self) -> bool {
        self.path.attached
    }

    /// Whether the peer has not answered on this socket yet.
    pub(crate) fn is_resuming(&self) -> bool {
        self.path.attached && self.path.resuming
    }

    /// The socket is gone. Work waits for the next one.
    pub(crate) fn detach(&mut self) {
        self.path.attached = false;
        self.path.keys = None;
        self.receive.reset();
        self.transmit.clear();
        self.ack_due = None;
        self.unnoted = false;
    }

    /// The next socket is there; the one before, if there still is one, counts no more.
    pub(crate) fn attach(&mut self, route: Route, now: Time) {
        debug_assert!(route.epoch > 1, "a session's first socket comes with it");
        self.detach();
        self.path = Path::new(route, now);
        self.stirred = true;
        // Its handshake proved that the peer is there.
        self.last_heard = now;
    }

    /// Whether a peer may go on with this session as socket `epoch`. `smaller` says that the peer's
    /// id is the smaller one: if both sides connect at once, its socket is taken.
    pub(crate) fn may_attach(&self, epoch: u32, smaller: bool) -> bool {
        !self.closing
            && (epoch > self.path.epoch
                || (epoch == self.path.epoch && self.is_resuming() && smaller))
    }

    /// The payload of this side's `RESUME`.
    pub(super) fn standing(&mut self) -> [u8; RESUME_BYTES] {
        let mut bytes = [0; RESUME_BYTES];
        for (lane, place) in self.lanes.iter_mut().zip(bytes.chunks_exact_mut(12)) {
            let (received, granted) = lane.arrivals.news.tell();
            place[..8].copy_from_slice(&received.to_le_bytes());
            place[8..].copy_from_slice(&granted.to_le_bytes());
        }
        bytes
    }

    /// Checks whether a frame of this kind may come now.
    pub(super) fn check_resumption(&self, header: &Header) -> Result<(), ProtocolError> {
        let kind = header.kind;
        let due = self.path.resuming;
        // A socket that is refused says so with a CLOSE and nothing before it.
        if likely(kind == Kind::Close || due == (kind == Kind::Resume)) {
            return Ok(());
        }
        Err(ProtocolError::Resume { kind, due })
    }

    /// The peer has said what has arrived: the rest goes again. Gives how many frames that are.
    pub(super) fn handle_resume(&mut self, now: Time) -> Result<u64, LossCause> {
        let standings: [Standing; LANES] = std::array::from_fn(|at| {
            let bytes = &self.receive.control[at * 12..(at + 1) * 12];
            let (mut received, mut granted) = ([0; 8], [0; 4]);
            received.copy_from_slice(&bytes[..8]);
            granted.copy_from_slice(&bytes[8..]);
            Standing {
                received: u64::from_le_bytes(received),
                granted: u32::from_le_bytes(granted),
            }
        });
        let mut replayed = 0;
        for (at, standing) in standings.into_iter().enumerate() {
            let LaneState { out, .. } = &mut self.lanes[at];
            out.hear(standing.received, standing.granted)?;
            self.complete_landed(at, None, now);
            self.sending.insert(at);
            replayed += self.lanes[at].out.rewind(self.agreed.chunk_bytes);
        }
        self.path.resuming = false;
        self.counters.resumes += 1;
        self.counters.replayed_frames += replayed;
        Ok(replayed)
    }

    pub(super) fn confirm(&mut self, replayed: u64) {
        if unlikely(!std::mem::replace(&mut self.path.confirmed, true)) {
            self.notices.push_back(Notice::Confirmed { replayed });
        }
    }
}
