//! Sessions: their turns, the sockets they lose and get, and their end.

use std::hint::cold_path;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::Token;

use super::super::UNWATCH_AFTER;
use super::super::dialling::Dialling;
use super::super::io::{is_bulk, loss};
use super::super::pair::{Hand, Pair};
use super::super::queue_pair::QueuePair;
use super::{Entry, EventLoop, Ready, Tracked};
use crate::event::{ConnectError, Event};
use crate::identity::NodeId;
use crate::proto::{
    CloseCode, Connection, Established, HandshakeError, LossCause, Notice, PeerLost, Resume, Role,
    Time,
};
use crate::queue::{CompletionQueue, WorkError};
use crate::sys::take_long_turns;

/// Time between two tries to reach a peer again.
const REDIAL: Duration = Duration::from_millis(100);
/// How long one try may take, the handshake included: on a link that has just come back the first
/// packet of an old try would wait longer than a new try takes.
const REDIAL_TRY: Duration = Duration::from_millis(1_000);
/// The side that did not make the session's first socket lets the other try first.
const REDIAL_SECOND: Duration = Duration::from_millis(400);
/// A peer whose socket ended, and whose machine says for so long that nobody listens there, has
/// ended its program. (It may only be changing the socket on which it listens.)
const PROGRAM_ENDED: Duration = Duration::from_millis(1_000);

/// How long this thread takes long turns after an urgent completion came amid bulk: whoever waits for
/// the next has the processor at once. Always would be wrong, since a thread that only spins or streams
/// has nobody to make way for, and changes of thread cost it.
const LONG_TURNS: Duration = Duration::from_millis(10);
/// How long this thread steps aside for one that has an urgent completion to take. Timers add to it.
const NAP: Duration = Duration::from_micros(20);

/// Tries to reach a peer again.
pub(super) struct Redial {
    /// When the next one begins; none while one is under way.
    pub(super) at: Option<Time>,
    /// The peer's end of the socket went away: it was not just silent.
    ended: bool,
    /// Since when its machine says that nobody listens.
    refused_since: Option<Time>,
}

impl EventLoop {
    pub(super) fn announce(&mut self, at: usize) {
        let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) else { return };
        if std::mem::replace(&mut tracked.announced, true) {
            return;
        }
        let pair = tracked.pair.clone();
        let info = &pair.info;
        tracing::info!(
            peer = %info.node, name = info.name, addr = %info.addr, interface = info.interface,
            encrypted = info.encrypted, "connected"
        );
        let event = Event::Connected { queue_pair: QueuePair(pair.clone()) };
        if !self.emit(event) {
            // Nobody would ever use or close it.
            if let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) {
                tracked.announced = false;
            }
            self.end(at, LossCause::ClosedHere, Some(CloseCode::Limit));
        }
    }

    /// A turn of one session: read, tell, write.
    pub(super) fn work(&mut self, at: usize, ready: Ready) {
        let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) else { return };
        let pair = tracked.pair.clone();
        let now = self.shared.clock.now();
        let mut io = pair.lock();
        if ready.writable {
            io.handle_writable();
        }
        let mut failed = io.failed.take();
        tracked.closed |= ready.closed;
        if failed.is_none() && (ready.readable || ready.closed || tracked.more) {
            match io.read(self.shared.clock, now, tracked.closed) {
                Ok(more) => tracked.more = more,
                Err(cause) => failed = Some(cause),
            }
        }
        let over = io.connection.handle_timeout(now).err();
        if failed.is_none() {
            pair.turn(&mut io, Hand::Driver, self.shared.clock.now());
            failed = io.failed.take();
        } else {
            pair.hand_out(&mut io);
        }
        let of_session = over.is_some()
            || failed.as_ref().is_some_and(|cause| {
                !is_of_path(cause, io.connection.is_resuming()) || !tracked.announced
            });
        if let (Some(cause), false) = (&failed, of_session) {
            tracing::debug!(peer = %pair.info.node, %cause, "the socket is gone");
            io.connection.detach();
            io.connection.suspect(now);
            drop(io.replace_socket(None));
            tracked.more = false;
            tracked.closed = false;
        }
        if io.needs_watching()
            && self.shared.inline.is_none()
            && let Err(error) = io.watch(self.poll.registry(), Token(at))
        {
            pair.fail(&mut io, loss(&error));
        }
        tracked.unwritten = io.unwritten;
        io.sort_notices();
        let notices: Vec<Notice> = std::iter::from_fn(|| io.next_notice()).collect();
        let down = io.connection.is_down();
        let epoch = io.connection.epoch();
        let urgent = io.urgent.take();
        let busy = tracked.more || io.unwritten || is_bulk(io.connection.queued());
        pair.set_due(&mut io);
        drop(io);
        pair.drive_late_posts();
        if let Some(queue) = urgent {
            if busy && self.long_turns_until.replace(now.after(LONG_TURNS)).is_none() {
                take_long_turns(true);
            }
            let_run(&queue, busy);
        }
        for notice in notices {
            self.tell(at, &pair, notice, epoch);
        }
        match over.or(failed.clone().filter(|_| of_session)) {
            Some(cause) => self.end(at, cause.clone(), Connection::close_code(&cause)),
            None if down => {
                let ended = failed.is_some_and(|cause| cause == LossCause::SocketEnded);
                self.plan_redial(at, ended);
            }
            None => {}
        }
    }

    fn tell(&mut self, at: usize, pair: &Arc<Pair>, notice: Notice, epoch: u32) {
        let peer = pair.info.clone();
        match notice {
            Notice::Confirmed { .. } if epoch == 1 => self.announce(at),
            Notice::Confirmed { replayed } => {
                tracing::info!(peer = %peer.node, name = peer.name, epoch, replayed, "resumed");
                self.emit(Event::Resumed { peer, epoch, replayed });
            }
            Notice::Suspected { silent } => {
                tracing::warn!(peer = %peer.node, name = peer.name, "silent");
                let (link, silent_ms) = (peer.interface.clone(), silent.as_millis() as u64);
                self.emit(Event::Suspected { peer, link, silent_ms });
            }
            Notice::Recovered => {
                if let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) {
                    tracked.redial = None;
                }
                self.emit(Event::Recovered { peer });
            }
            // Measurements stay with the session.
            Notice::RoundTrip { .. } | Notice::Hop { .. } => {}
        }
    }

    // ---- the next socket -------------------------------------------------------------------------

    /// Begins to look for the peer of a session that has no socket, or a silent one.
    fn plan_redial(&mut self, at: usize, ended: bool) {
        let now = self.shared.clock.now();
        let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) else { return };
        if tracked.pair.listens.is_none() {
            return;
        }
        let first = match tracked.pair.role {
            Role::Initiator => now,
            Role::Responder => now.after(REDIAL_SECOND),
        };
        let redial = tracked.redial.get_or_insert(Redial {
            at: Some(first),
            ended: false,
            refused_since: None,
        });
        redial.ended |= ended;
    }

    /// Dials the peer of a session that needs a socket.
    pub(super) fn redial(&mut self, at: usize) {
        let now = self.shared.clock.now();
        let room = self.check_room(Role::Initiator);
        let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) else { return };
        let pair = tracked.pair.clone();
        let (Some(redial), Some(addr)) = (&mut tracked.redial, pair.listens) else { return };
        redial.at = None;
        // An IPv6 address of the link alone is scoped by the link's index, which may be another.
        let addr = self.shared.link().peer_addr(addr.ip(), addr.port());
        match room.and_then(|()| Dialling::connect(addr, &self.shared, now)) {
            Ok(dialling) => self.begin(Dialling {
                carries_on: Some(pair),
                deadline: now.after(REDIAL_TRY.min(self.shared.timing.handshake())),
                ..dialling
            }),
            Err(error) => self.redial_failed(&pair, &error),
        }
    }

    pub(super) fn redial_failed(&mut self, pair: &Arc<Pair>, error: &ConnectError) {
        let now = self.shared.clock.now();
        tracing::debug!(peer = %pair.info.node, %error, "not reached again yet");
        let Some(&at) = self.peers.get(&pair.info.node) else { return };
        let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) else { return };
        let Some(redial) = tracked.redial.as_mut().filter(|_| Arc::ptr_eq(&tracked.pair, pair))
        else {
            return;
        };
        redial.at = Some(now.after(REDIAL));
        let refused =
            matches!(error, ConnectError::Io { kind: io::ErrorKind::ConnectionRefused, .. });
        if !refused {
            redial.refused_since = None;
            return;
        }
        let since = *redial.refused_since.get_or_insert(now);
        if redial.ended && now.since(since) >= PROGRAM_ENDED {
            self.end(at, LossCause::ProgramEnded, None);
        }
    }

    /// What an initiator does about a session with this peer: go on with it, or (`Err`) leave it
    /// alone, because it is well.
    pub(super) fn session_with(&mut self, node: NodeId) -> Option<Result<Resume, ()>> {
        let &at = self.peers.get(&node)?;
        let Some(Entry::Pair(tracked)) = self.entries.get_mut(at)?.as_mut() else { return None };
        let pair = tracked.pair.clone();
        let io = pair.lock();
        let connection = &io.connection;
        let well = connection.is_attached() && !connection.is_suspected() && io.failed.is_none();
        let (session, epoch) = (connection.session(), connection.epoch());
        drop(io);
        pair.drive_late_posts();
        if well {
            return Some(Err(()));
        }
        // An earlier try may have been taken without our hearing of it.
        tracked.proposed = tracked.proposed.max(epoch) + 1;
        Some(Ok(Resume { session, epoch: tracked.proposed }))
    }

    /// A handshake is complete by which a session is to go on over this socket.
    pub(super) fn carry_on(&mut self, at: usize, established: Established, dialling: Dialling) {
        let (node, (_, route)) = (established.node, self.agreed(&established));
        let own = dialling.handshake.role() == Role::Initiator;
        let target = self.peers.get(&node).copied();
        let tracked = match target.and_then(|at| self.entries.get_mut(at)) {
            Some(Some(Entry::Pair(tracked))) => tracked,
            _ => return self.turn_away(at, &established, dialling.socket, CloseCode::NoSession),
        };
        let pair = tracked.pair.clone();
        let mut io = pair.lock();
        let smaller = !own && node < self.shared.node;
        let verdict = if io.connection.session() != established.session || io.ended.is_some() {
            Err(CloseCode::NoSession)
        } else if io.connection.may_attach(established.epoch, smaller) {
            Ok(())
        } else {
            Err(CloseCode::Duplicate)
        };
        if let Err(code) = verdict {
            drop(io);
            pair.drive_late_posts();
            if let Some(pair) = &dialling.carries_on {
                self.redial_failed(
                    pair,
                    &ConnectError::Handshake {
                        addr: dialling.addr,
                        error: HandshakeError::Duplicate,
                    },
                );
            }
            return self.turn_away(at, &established, dialling.socket, code);
        }
        let now = self.shared.clock.now();
        tracked.proposed = tracked.proposed.max(established.epoch);
        tracked.redial = None;
        tracked.more = false;
        tracked.closed = false;
        io.connection.attach(route, now);
        let mut socket = dialling.socket;
        let _ = self.poll.registry().deregister(&mut socket);
        let old = io.replace_socket(Some(socket));
        drop(io);
        drop(old);
        let target = target.unwrap_or(at);
        if let Err(error) = self.hand_to_waiters(target, &pair) {
            pair.lock().failed = Some(loss(&error));
        }
        self.work(target, Ready::ALL);
    }

    /// Has the socket of a session watched: by this thread, or by those that wait.
    pub(super) fn hand_to_waiters(&self, at: usize, pair: &Arc<Pair>) -> io::Result<()> {
        let registry = self.poll.registry();
        let mut io = pair.lock();
        let Some(socket) = &mut io.socket else { return Ok(()) };
        // As a socket without a session it was watched for something else.
        let _ = registry.deregister(socket);
        drop(io);
        pair.drive_late_posts();
        match &self.shared.inline {
            Some(inline) => inline.add(Token(at), pair),
            None => pair.watch(registry, Token(at)),
        }
    }

    /// Reads what there is on all sessions, and does their work. Gives whether there was any.
    pub(super) fn read_sessions(&mut self, now: Time) -> bool {
        let mut some = false;
        for at in 0..self.entries.len() {
            let Some(Entry::Pair(tracked)) = &mut self.entries[at] else { continue };
            if tracked.pair.read_spinning(now, &mut tracked.more, tracked.closed) {
                some = true;
                self.work(at, Ready::NOTHING);
            }
        }
        some
    }

    /// Watches the sockets of all sessions again, if they are not watched. What they have already is an
    /// event, too.
    pub(super) fn watch_sessions(&mut self) {
        if std::mem::replace(&mut self.watched, true) {
            return;
        }
        cold_path();
        for (at, entry) in self.entries.iter().enumerate() {
            if let Some(Entry::Pair(tracked)) = entry {
                tracked.pair.watch_again(self.poll.registry(), Token(at));
            }
        }
    }

    /// Something came before this thread would have slept: if that is so again and again, the sockets
    /// need not be watched.
    pub(super) fn note_sleepless(&mut self) {
        self.sleepless = self.sleepless.wrapping_add(1);
        if self.sleepless.is_multiple_of(UNWATCH_AFTER) && self.watched {
            self.watched = false;
            for entry in self.entries.iter().flatten() {
                if let Entry::Pair(tracked) = entry {
                    tracked.pair.unwatch(self.poll.registry());
                }
            }
        }
    }

    // ---- the end ---------------------------------------------------------------------------------

    /// Ends a session and tells its owner. With a code, the peer is told too.
    pub(super) fn end(&mut self, at: usize, cause: LossCause, code: Option<CloseCode>) {
        let Some(Entry::Pair(tracked)) = self.entries[at].take() else { return };
        let Tracked { pair, announced, .. } = tracked;
        if self.peers.get(&pair.info.node) == Some(&at) {
            self.peers.remove(&pair.info.node);
        }
        self.shared.unregister(&pair);
        let peer = pair.info.clone();
        let lost = PeerLost {
            peer: peer.node,
            name: peer.name.clone(),
            link: peer.interface.clone(),
            cause: cause.clone(),
        };
        let error = match cause {
            LossCause::ClosedHere => WorkError::Flushed,
            _ => WorkError::PeerLost(Arc::new(lost.clone())),
        };
        let mut io = pair.lock();
        if let Some(code) = code {
            let words = match &cause {
                LossCause::Protocol(error) => error.to_string(),
                _ => String::new(),
            };
            io.say_goodbye(code, &words, self.shared.clock.now());
        }
        let socket = pair.end(&mut io, &error);
        drop(io);
        pair.drive_late_posts();
        if let Some(socket) = socket {
            self.say_goodbye(at, socket);
        }
        tracing::info!(peer = %peer.node, name = peer.name, %cause, announced, "session ended");
        match (announced, pair.role) {
            // The owner has another queue pair to this peer, or will in a moment.
            (true, _) if cause == LossCause::Duplicate => {}
            (true, _) => {
                self.emit(Event::Disconnected { peer, cause: lost });
            }
            (false, role) => {
                let error = failure(peer.addr, cause);
                self.report(role, peer.addr, error);
            }
        }
    }
}

/// Whether a socket's end is only that: the session may go on over another. `resuming` says that the
/// peer has not answered on this socket, so a refusal is one of the socket.
fn is_of_path(cause: &LossCause, resuming: bool) -> bool {
    match cause {
        LossCause::SocketEnded | LossCause::Io { .. } => true,
        LossCause::ClosedByPeer { code: CloseCode::Duplicate, .. } => resuming,
        _ => false,
    }
}

/// What the loss of a connection that was never announced is called.
fn failure(addr: SocketAddr, cause: LossCause) -> ConnectError {
    let error = match cause {
        LossCause::Duplicate => HandshakeError::Duplicate,
        LossCause::ClosedByPeer { code: CloseCode::Duplicate, .. } => HandshakeError::Duplicate,
        LossCause::ClosedByPeer { code: CloseCode::Refused, .. } => {
            HandshakeError::NotTrustedByPeer
        }
        LossCause::SocketEnded => HandshakeError::Ended,
        cause => return ConnectError::Ended { addr, cause },
    };
    ConnectError::Handshake { addr, error }
}

/// Whoever an urgent completion is for may have to share a processor with this thread, which under
/// bulk would keep it for milliseconds: a scheduler need not heed a yield.
#[expect(clippy::disallowed_methods, reason = "the poll's shortest wait is fifty times as long")]
fn let_run(queue: &CompletionQueue, busy: bool) {
    thread::yield_now();
    if busy && !queue.is_empty() {
        thread::sleep(NAP);
    }
}
