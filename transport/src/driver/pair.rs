//! A session with the socket it runs over just now.
//!
//! Whoever posts puts its work into a queue and then tries to take the connection's lock. With the
//! lock it does the work of everyone who has posted; without it, the holder does: before it goes it
//! looks into the queue once more. So nobody ever waits for the lock, and no post is left lying.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crossbeam::queue::ArrayQueue;
use mio::net::TcpStream;

use super::endpoint::Shared;
use super::stats::{ConnectionStats, Durations, LaneStats};
use crate::event::PeerInfo;
use crate::limits::{POSTER_WRITE_BYTES, READ_TURN_BYTES, WORK_REQUESTS_MAX};
use crate::proto::{CloseCode, Connection, LossCause, Notice, Role, Time};
use crate::queue::{
    CompletionQueue, OutWork, Outcome, PostError, RecvWork, WorkError, WorkId, complete,
};
use crate::wire::header::Lane;

/// Work on its way to the connection.
pub(super) enum Post {
    Out(OutWork),
    Recv(RecvWork),
    Cancel(WorkId),
}

/// What only the holder of the lock touches.
pub(super) struct Io {
    pub(super) connection: Connection,
    pub(super) socket: Option<TcpStream>,
    /// Why the socket or the session is over, found by a thread that is not the driver.
    pub(super) failed: Option<LossCause>,
    /// What is for the driver to tell.
    notices: VecDeque<Notice>,
    /// What all work comes to from now on.
    pub(super) ended: Option<WorkError>,
    /// The socket took no more and has not said since that it has room.
    full: bool,
    reads: u64,
    writes: u64,
    dry_calls: u64,
    pub(super) rtt: Durations,
    pub(super) hops: [Durations; Lane::ALL.len()],
}

/// A session that is established.
pub(super) struct Pair {
    pub(super) info: PeerInfo,
    /// Who made the session's first socket.
    pub(super) role: Role,
    /// Where the peer listens, if it does.
    pub(super) listens: Option<SocketAddr>,
    pub(super) shared: Arc<Shared>,
    posts: ArrayQueue<Post>,
    /// Work requests that were accepted and have not completed.
    outstanding: AtomicUsize,
    pub(super) open: AtomicBool,
    /// Batches of posts that are not complete yet.
    batches: AtomicUsize,
    io: Mutex<Io>,
    /// When the driver will look at the timers next, in its clock's nanoseconds.
    due: AtomicU64,
    /// When news that wait for company go alone, likewise: for whoever drives inline.
    ack_due: AtomicU64,
    /// Something here is for the driver.
    attention: AtomicBool,
    pub(super) close_asked: AtomicBool,
}

impl Pair {
    pub(super) fn new(
        info: PeerInfo,
        role: Role,
        listens: Option<SocketAddr>,
        connection: Connection,
        socket: TcpStream,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            info,
            role,
            listens,
            shared,
            posts: ArrayQueue::new(2 * WORK_REQUESTS_MAX),
            outstanding: AtomicUsize::new(0),
            open: AtomicBool::new(true),
            batches: AtomicUsize::new(0),
            io: Mutex::new(Io {
                connection,
                socket: Some(socket),
                failed: None,
                notices: VecDeque::with_capacity(16),
                ended: None,
                full: false,
                reads: 0,
                writes: 0,
                dry_calls: 0,
                rtt: Durations::new(),
                hops: Lane::ALL.map(|_| Durations::new()),
            }),
            due: AtomicU64::new(0),
            ack_due: AtomicU64::new(u64::MAX),
            attention: AtomicBool::new(true),
            close_asked: AtomicBool::new(false),
        }
    }

    /// The connection itself. A thread that panicked with the lock left bytes, not promises, in an
    /// unknown state; the checks of the protocol will find out.
    pub(super) fn lock(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Io>> {
        match self.io.try_lock() {
            Ok(io) => Some(io),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn due(&self) -> Time {
        Time::from_nanos(self.due.load(Ordering::SeqCst))
    }

    pub(super) fn take_attention(&self) -> bool {
        self.attention.swap(false, Ordering::SeqCst)
    }

    pub(super) fn call_driver(&self) {
        if !self.attention.swap(true, Ordering::SeqCst) {
            self.shared.wake();
        }
    }

    /// Does what has been posted, as a poster.
    fn drive(&self) {
        loop {
            let Some(mut io) = self.try_lock() else { return };
            self.turn(&mut io, POSTER_WRITE_BYTES);
            drop(io);
            // Pairs with the fence in `enqueue`: either we see the post or its poster the lock.
            fence(Ordering::SeqCst);
            if self.posts.is_empty() {
                return;
            }
        }
    }

    /// Does what has been posted after the driver let go of the lock.
    pub(super) fn drive_late_posts(&self) {
        fence(Ordering::SeqCst);
        if !self.posts.is_empty() {
            self.drive();
        }
    }

    /// Takes posts, writes, and hands out completions. Asks for the driver if something is left
    /// that only it will get to.
    pub(super) fn turn(&self, io: &mut Io, budget: usize) {
        let now = self.shared.clock.now();
        let mut spent = 0;
        loop {
            // Between any two writes, so that what is urgent does not wait for a long turn's end.
            self.take_posts(io, now);
            self.hand_out(io);
            if io.ended.is_some() {
                return;
            }
            match io.write_once(now) {
                Ok(0) => break,
                Ok(len) => spent += len,
                Err(error) => return self.fail(io, loss(&error)),
            }
            if spent >= budget {
                return self.call_driver();
            }
        }
        if self.next_timer(io) < self.due() {
            self.call_driver();
        }
    }

    /// When the driver is needed. Whoever drives inline sends late news itself.
    fn next_timer(&self, io: &Io) -> Time {
        if self.shared.inline.is_none() {
            return io.connection.poll_timeout();
        }
        let due = io.connection.ack_due().map_or(u64::MAX, Time::as_nanos);
        self.ack_due.store(due, Ordering::Relaxed);
        io.connection.poll_slow_timeout()
    }

    pub(super) fn ack_due(&self) -> Time {
        Time::from_nanos(self.ack_due.load(Ordering::Relaxed))
    }

    pub(super) fn handle_writable(&self) {
        self.lock().handle_writable();
        self.drive();
    }

    /// Leaves the end of the socket, or of the session, to the driver.
    fn fail(&self, io: &mut Io, cause: LossCause) {
        io.full = true; // nobody writes any more
        io.failed.get_or_insert(cause);
        self.call_driver();
    }

    /// A turn of a thread that waits for completions itself: reads what there is and does what has
    /// been posted. Gives whether anything came. If somebody else is at it, there is nothing to do.
    pub(super) fn progress(&self) -> bool {
        let Some(mut io) = self.try_lock() else { return false };
        if io.failed.is_some() || io.ended.is_some() {
            return false;
        }
        let now = self.shared.clock.now();
        let before = io.reads;
        if let Err(cause) = io.read(now, false) {
            self.fail(&mut io, cause);
            return false;
        }
        if io.reads > before || io.connection.poll_timeout() <= now {
            self.turn(&mut io, POSTER_WRITE_BYTES);
            if io.sort_notices() {
                self.call_driver();
            }
        }
        let came = io.reads > before;
        drop(io);
        self.drive_late_posts();
        came
    }

    fn take_posts(&self, io: &mut Io, now: Time) {
        while let Some(post) = self.posts.pop() {
            match (&io.ended, post) {
                (None, Post::Out(work)) => io.connection.post(work),
                (None, Post::Recv(work)) => io.connection.post_recv(work, now),
                (None, Post::Cancel(id)) => {
                    io.connection.cancel(id, now);
                }
                (Some(_), Post::Cancel(_)) => {}
                (Some(error), Post::Out(mut work)) => {
                    let outcome = work.outcome(Err(error.clone()), self.info.node, now);
                    outcome.into_iter().for_each(|outcome| self.finish(outcome));
                }
                (Some(error), Post::Recv(work)) => {
                    self.finish(work.outcome(Err(error.clone()), self.info.node, now));
                }
            }
        }
    }

    fn finish(&self, outcome: Outcome) {
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
        complete(outcome);
        if let Some(inline) = &self.shared.inline {
            inline.handle_completion();
        }
    }

    /// Hands out completions.
    pub(super) fn hand_out(&self, io: &mut Io) {
        while let Some(outcome) = io.connection.poll_outcome() {
            self.finish(outcome);
        }
    }

    /// Notes when the driver must come back.
    pub(super) fn set_due(&self, io: &Io) {
        self.due.store(self.next_timer(io).as_nanos(), Ordering::SeqCst);
    }

    /// Ends all work. Gives the socket, to be said goodbye to.
    pub(super) fn end(&self, io: &mut Io, error: &WorkError) -> Option<TcpStream> {
        self.open.store(false, Ordering::SeqCst);
        io.ended = Some(error.clone());
        io.connection.lose(error, self.shared.clock.now());
        self.turn(io, 0);
        io.socket.take()
    }

    pub(super) fn admit(&self, queue: &CompletionQueue) -> Result<(WorkId, Time), PostError> {
        if !self.open.load(Ordering::Acquire) {
            return Err(PostError::Disconnected);
        }
        if self.outstanding.fetch_add(1, Ordering::AcqRel) >= WORK_REQUESTS_MAX {
            self.outstanding.fetch_sub(1, Ordering::AcqRel);
            return Err(PostError::QueueFull);
        }
        if !queue.promise() {
            self.outstanding.fetch_sub(1, Ordering::AcqRel);
            return Err(PostError::QueueFull);
        }
        Ok((WorkId::next(), self.shared.clock.now()))
    }

    pub(super) fn enqueue(&self, post: Post) {
        // There are as many places as work requests were admitted, and some for cancellations.
        let full = self.posts.push(post);
        debug_assert!(full.is_ok(), "more posts than were admitted");
        fence(Ordering::SeqCst);
        if self.batches.load(Ordering::SeqCst) == 0 {
            self.drive();
        }
    }

    /// Leaves posts lying until the last batch ends.
    pub(super) fn begin_batch(&self) {
        self.batches.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end_batch(&self) {
        self.batches.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.drive();
    }

    /// A cancellation that finds no room comes too late anyway: so many others are to be done first.
    pub(super) fn enqueue_cancel(&self, id: WorkId) {
        if self.posts.len() < WORK_REQUESTS_MAX {
            let _ = self.posts.push(Post::Cancel(id));
        }
        fence(Ordering::SeqCst);
        self.drive();
    }

    /// Whether the peer is silent for longer than it may be.
    pub(super) fn is_suspected(&self) -> bool {
        let suspected = self.lock().connection.is_suspected();
        self.drive_late_posts();
        suspected
    }

    /// Everything countable. Whoever posts meanwhile is looked after when it is read.
    pub(super) fn stats(&self) -> ConnectionStats {
        let stats = self.read_stats();
        self.drive_late_posts();
        stats
    }

    fn read_stats(&self) -> ConnectionStats {
        let io = self.lock();
        let counters = *io.connection.counters();
        let depths = io.connection.lane_depths();
        let lanes = Lane::ALL.map(|lane| {
            let (credits, sends_waiting, sends_in_flight, regions_posted) = depths[lane.index()];
            let hop = io.hops[lane.index()].percentiles();
            LaneStats { lane, credits, sends_waiting, sends_in_flight, regions_posted, hop }
        });
        ConnectionStats {
            peer: self.info.node,
            name: self.info.name.clone(),
            addr: self.info.addr.to_string(),
            interface: self.info.interface.clone(),
            link_kind: self.info.link_kind,
            encrypted: self.info.encrypted,
            suspected: io.connection.is_suspected(),
            frames_out: counters.frames_out,
            frames_in: counters.frames_in,
            bytes_out: counters.bytes_out,
            bytes_in: counters.bytes_in,
            epoch: io.connection.epoch(),
            resumes: counters.resumes,
            replayed_frames: counters.replayed_frames,
            discarded_bytes: counters.discarded_bytes,
            regions_granted: io.connection.grants(),
            payload_copies: counters.payload_copies,
            inlined_bytes: counters.inlined_bytes,
            sealed_bytes: counters.sealed_bytes,
            reads: io.reads,
            writes: io.writes,
            dry_calls: io.dry_calls,
            outstanding: self.outstanding.load(Ordering::Relaxed),
            queued_bytes: io.connection.queued(),
            rtt: io.rtt.percentiles(),
            lanes: lanes.into(),
        }
    }
}

pub(super) fn loss(error: &io::Error) -> LossCause {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => LossCause::SocketEnded,
        kind => LossCause::Io { kind, words: error.to_string() },
    }
}

impl Io {
    /// Makes frames and writes once. Gives the bytes written: 0 when nothing is left or the socket
    /// is full, which then says itself when it is not.
    fn write_once(&mut self, now: Time) -> io::Result<usize> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        if self.full || self.connection.poll_transmit(now) == 0 {
            return Ok(0);
        }
        loop {
            match self.connection.with_slices(|slices| socket.write_vectored(slices)) {
                Ok(len) => {
                    self.writes += 1;
                    // A short write means full too, and the next room is an event.
                    self.full = len < self.connection.queued();
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

    /// The socket says it has room again.
    pub(super) fn handle_writable(&mut self) {
        self.full = false;
    }

    /// Reads until the socket is dry or others should get their turn. Gives whether there may be
    /// more. `to_the_end` reads on after a short read, to find the end of the stream.
    pub(super) fn read(&mut self, now: Time, to_the_end: bool) -> Result<bool, LossCause> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        let mut taken = 0;
        while taken < READ_TURN_BYTES {
            let mut space = self.connection.read_space();
            let room: usize = space.iter().map(|part| part.len()).sum();
            let empty = space.iter().take_while(|part| part.is_empty()).count();
            match socket.read_vectored(&mut space[empty.min(2)..]) {
                Ok(0) => return Err(LossCause::SocketEnded),
                Ok(len) => {
                    self.reads += 1;
                    taken += len;
                    self.connection.handle_read(len, now)?;
                    if len < room && !to_the_end {
                        // Less than was asked for: that was all, and the next byte is an event.
                        self.connection.handle_dry();
                        return Ok(false);
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
                Notice::Hop { lane, elapsed } => self.hops[lane.index()].record(elapsed),
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
        self.failed = None;
        std::mem::replace(&mut self.socket, socket)
    }

    /// Says goodbye as far as the socket takes it now.
    pub(super) fn say_goodbye(&mut self, code: CloseCode, reason: &str, now: Time) {
        self.connection.close(code, reason);
        while self.write_once(now).is_ok_and(|len| len > 0) {}
    }
}
