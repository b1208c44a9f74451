//! The socket of a session and the connection on it, as only the holder of the pair's lock sees them.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::clock::Clock;
use super::stats::{Durations, Rates};
use crate::hint::likely;
use crate::limits::{READ_TURN_BYTES, URGENT_WRITE_BYTES};
use crate::proto::{CloseCode, Connection, LossCause, Notice, Time};
use crate::queue::{CompletionQueue, WorkError};
use crate::wire::header::Lane;

/// What only the holder of the lock touches.
pub(super) struct Io {
    pub(super) connection: Connection,
    pub(super) socket: Option<TcpStream>,
    /// An event queue watches it: the driver's, or that of those that wait inline.
    watched: bool,
    /// Why the socket or the session is over, found by a thread that is not the driver.
    pub(super) failed: Option<LossCause>,
    /// What is for the driver to tell.
    pub(super) notices: VecDeque<Notice>,
    /// What all work comes to from now on.
    pub(super) ended: Option<WorkError>,
    /// The socket took no more and has not said since that it has room.
    pub(super) full: bool,
    /// The last turn ended before everything was written that could be.
    pub(super) unwritten: bool,
    /// The last read ended before the socket was dry.
    pub(super) unread: bool,
    /// Where the last turn first handed out an urgent completion.
    pub(super) urgent: Option<CompletionQueue>,
    /// The last turn in which there was one ended before it wrote the bulk that there was.
    pub(super) made_way: bool,
    /// When bytes came last.
    pub(super) read_at: Time,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) dry_calls: u64,
    pub(super) rtt: Durations,
    pub(super) rates: Rates,
    pub(super) hops: [Durations; Lane::ALL.len()],
}

#[cold]
pub(super) fn loss(error: &io::Error) -> LossCause {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => LossCause::SocketEnded,
        kind => LossCause::Io { kind, words: error.to_string() },
    }
}

/// Whether so many bytes take longer to write than anybody should wait who has something urgent to take.
pub(super) fn is_bulk(bytes: usize) -> bool {
    bytes >= URGENT_WRITE_BYTES
}

/// Whether the socket is looked at before so many bytes, or more, are all written: something urgent is
/// under way, and what comes of it would lie there.
pub(super) fn looks_first(connection: &Connection, bytes: usize) -> bool {
    is_bulk(bytes) && connection.awaits_urgent()
}

impl Io {
    pub(super) fn new(connection: Connection, socket: TcpStream) -> Self {
        Self {
            connection,
            socket: Some(socket),
            watched: false,
            failed: None,
            notices: VecDeque::with_capacity(16),
            ended: None,
            full: false,
            unwritten: false,
            unread: false,
            urgent: None,
            made_way: false,
            read_at: Time::default(),
            reads: 0,
            writes: 0,
            dry_calls: 0,
            rtt: Durations::new(),
            rates: Rates::new(),
            hops: Lane::ALL.map(|_| Durations::new()),
        }
    }

    /// Makes frames and writes once, `limit` bytes at most. Gives the bytes written: 0 when nothing is
    /// left or the socket is full, which then says itself when it is not.
    pub(super) fn write_once(&mut self, limit: usize, now: Time) -> io::Result<usize> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        if self.full {
            return Ok(0);
        }
        let queued = self.connection.poll_transmit(now);
        if queued == 0 {
            return Ok(0);
        }
        let looks = looks_first(&self.connection, queued);
        let limit = if looks { limit.min(URGENT_WRITE_BYTES) } else { limit };
        loop {
            match self.connection.with_slices(limit, |slices| socket.write_vectored(slices)) {
                Ok(len) => {
                    self.writes += 1;
                    // A short write means full too, and the next room is an event. (What is queued are
                    // never more pieces than one write takes.)
                    self.full = len < limit.min(queued);
                    self.connection.handle_written(len);
                    return Ok(len);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.dry_calls += 1;
                    self.full = true;
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the socket watched by an event queue.
    pub(super) fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if let Some(socket) = self.socket.as_mut().filter(|_| !self.watched) {
            registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)?;
            self.watched = true;
        }
        Ok(())
    }

    /// Only an event will say that there is room, and nobody watches for it.
    pub(super) fn needs_watching(&self) -> bool {
        self.full && !self.watched
    }

    /// Has it watched no more.
    pub(super) fn unwatch(&mut self, registry: &Registry) {
        if let Some(socket) = self.socket.as_mut().filter(|_| self.watched) {
            self.watched = registry.deregister(socket).is_err();
        }
    }

    /// The socket says it has room again.
    pub(super) fn handle_writable(&mut self) {
        self.full = false;
    }

    /// Reads until the socket is dry or others should get their turn. Gives whether there may be
    /// more. `to_the_end` reads on after a short read, to find the end of the stream. `now` is when the
    /// turn began.
    pub(super) fn read(
        &mut self,
        clock: Clock,
        mut now: Time,
        to_the_end: bool,
    ) -> Result<bool, LossCause> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        let mut taken = 0;
        while taken < READ_TURN_BYTES {
            let mut space = self.connection.read_space(now);
            let room: usize = space.iter().map(|part| part.len()).sum();
            let empty = space.iter().take_while(|part| part.is_empty()).count();
            match socket.read_vectored(&mut space[empty.min(2)..]) {
                Ok(0) => return Err(LossCause::SocketEnded),
                Ok(len) => {
                    self.reads += 1;
                    taken += len;
                    now = clock.now();
                    self.read_at = now;
                    self.connection.handle_read(len, now)?;
                    if likely(len < room && !to_the_end) {
                        // Less than was asked for: that was all, and the next byte is an event.
                        self.connection.handle_dry();
                        return Ok(false);
                    }
                    if self.connection.has_urgent_outcome() {
                        // Somebody waits for it: it is handed out before more is read.
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.dry_calls += 1;
                    self.connection.handle_dry();
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(loss(&error)),
            }
        }
        Ok(true)
    }

    /// Puts measurements where they belong and keeps the rest for the driver. Gives whether there is
    /// something for it.
    pub(super) fn sort_notices(&mut self) -> bool {
        while let Some(notice) = self.connection.poll_notice() {
            match notice {
                Notice::RoundTrip { rtt } => self.rtt.record(rtt),
                Notice::Hop { lane, bytes, elapsed } => {
                    self.hops[lane.index()].record(elapsed);
                    self.rates.record(bytes, elapsed, &self.rtt);
                }
                other => self.notices.push_back(other),
            }
        }
        !self.notices.is_empty()
    }

    /// What the driver has to tell.
    pub(super) fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The session goes on over this socket. Gives the one before.
    pub(super) fn replace_socket(&mut self, socket: Option<TcpStream>) -> Option<TcpStream> {
        self.full = false;
        self.unwritten = false;
        self.unread = false;
        self.failed = None;
        self.watched = false;
        std::mem::replace(&mut self.socket, socket)
    }

    /// Says goodbye as far as the socket takes it now.
    pub(super) fn say_goodbye(&mut self, code: CloseCode, reason: &str, now: Time) {
        self.connection.close(code, reason);
        while self.write_once(usize::MAX, now).is_ok_and(|len| len > 0) {}
    }
}
