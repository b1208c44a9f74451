//! A session: who may touch it, when, and what is left to the driver.
//!
//! Whoever posts tries to take the connection's lock. With it, it does its work and that of everyone
//! who left some; without it, it leaves its work in a queue, and the holder does it: whoever lets go
//! of the lock looks into the queue once more. So nobody ever waits for the lock, and no post is left
//! lying.

mod stats;

use std::hint::cold_path;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use mio::net::TcpStream;
use mio::{Registry, Token};

use super::endpoint::Shared;
use super::io::{Io, is_bulk, looks_first, loss};
use super::post::{Post, Posted};
use crate::event::PeerInfo;
use crate::hint::{likely, unlikely};
use crate::limits::{POSTER_WRITE_BYTES, WORK_REQUESTS_MAX, WRITE_TURN_BYTES};
use crate::proto::{Connection, LossCause, Role, Time};
use crate::queue::{CompletionQueue, Outcome, PostError, WorkError, WorkId, complete};
use crate::wire::header::Lane;

/// How long what was posted inline waits for a thread that waits, before the driver goes on with it.
const LEFT_ALONE: Duration = Duration::from_millis(1);

/// A session that is established.
pub(super) struct Pair {
    pub(super) info: PeerInfo,
    /// Who made the session's first socket.
    pub(super) role: Role,
    /// Where the peer listens, if it does.
    pub(super) listens: Option<SocketAddr>,
    pub(super) shared: Arc<Shared>,
    posts: ArrayQueue<Post>,
    /// Whether there may be any. Whoever puts one there, and whoever lets go of the lock, writes this,
    /// so one of them is first: either the poster finds the lock free, or the holder finds the post.
    left: AtomicBool,
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
    /// For whoever drives inline: there is more to write or to read without another event.
    busy: AtomicBool,
    /// Likewise: the socket took no more, and there is more.
    full: AtomicBool,
    /// Likewise: the socket has said that there is something, and nobody has read since.
    readable: AtomicBool,
    /// What the driver is wanted for, as a [`Call`].
    attention: AtomicU8,
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
            left: AtomicBool::new(false),
            outstanding: AtomicUsize::new(0),
            open: AtomicBool::new(true),
            batches: AtomicUsize::new(0),
            io: Mutex::new(Io::new(connection, socket)),
            due: AtomicU64::new(0),
            ack_due: AtomicU64::new(u64::MAX),
            busy: AtomicBool::new(false),
            full: AtomicBool::new(false),
            readable: AtomicBool::new(false),
            attention: AtomicU8::new(Call::Work as u8),
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

    /// Whether the driver was called to work, or only to look at the time anew.
    pub(super) fn take_attention(&self) -> bool {
        self.attention.swap(Call::Nothing as u8, Ordering::SeqCst) == Call::Work as u8
    }

    pub(super) fn call_driver(&self, call: Call) {
        if self.attention.fetch_max(call as u8, Ordering::SeqCst) == Call::Nothing as u8 {
            self.shared.wake();
        }
    }

    /// Does what has been posted, as a poster.
    #[cold]
    fn drive(&self, mut now: Time) {
        loop {
            let Some(mut io) = self.try_lock() else { return };
            self.turn(&mut io, Hand::Poster, now);
            self.leave(&mut io);
            drop(io);
            if !self.posts_were_left() {
                return;
            }
            now = self.shared.clock.now();
        }
    }

    /// Whether somebody may have left a post and found the lock taken. For who has just let go of it.
    fn posts_were_left(&self) -> bool {
        self.left.compare_exchange(false, false, Ordering::AcqRel, Ordering::Acquire).is_err()
    }

    /// Puts a post where the holder of the lock will find it, if there is room.
    fn leave_post(&self, post: Post) -> bool {
        let room = self.posts.push(post).is_ok();
        self.left.swap(true, Ordering::AcqRel);
        room
    }

    /// Does what has been posted after the driver let go of the lock.
    pub(super) fn drive_late_posts(&self) {
        if self.posts_were_left() {
            self.drive(self.shared.clock.now());
        }
    }

    /// Takes posts, writes, and hands out completions, until nothing is left or the budget is spent.
    ///
    /// What messages that came acknowledge in passing is handed out after the first write, which may be
    /// the answer to them. A thread that waits goes and makes that answer before.
    pub(super) fn turn(&self, io: &mut Io, hand: Hand, now: Time) {
        let mut spent = 0;
        io.unwritten = false;
        io.urgent = None;
        loop {
            // Between any two writes, so that what is urgent does not wait for a long turn's end.
            self.take_posts(io, now);
            let told = if spent == 0 { self.hand_out_first(io) } else { self.hand_out(io) };
            if unlikely(io.ended.is_some()) {
                return;
            }
            let enough = spent >= hand.budget() || looks_first(&io.connection, spent);
            if enough || makes_way(io, hand, spent, now) {
                io.unwritten = !io.full && io.connection.poll_transmit(now) > 0;
                break;
            }
            match io.write_once(hand.budget() - spent, now) {
                Ok(0) if told && hand == Hand::Waiter => return,
                Ok(0) => break,
                Ok(len) => spent += len,
                Err(error) => return self.fail(io, loss(&error)),
            }
        }
        if io.connection.has_later_outcomes() {
            self.hand_out(io);
        }
    }

    /// Calls the driver if a thread that is not the driver leaves something that only it will get
    /// to: what the turn had no budget for, or a timer before the one for which it sleeps. What is
    /// driven inline is the driver's only if nobody comes back to it soon.
    fn leave(&self, io: &mut Io) {
        if unlikely(io.ended.is_some()) {
            return;
        }
        let next = self.next_timer(io);
        if self.shared.inline.is_some() {
            self.leave_inline(io, next);
        } else if io.unwritten || io.needs_watching() || next < self.due() {
            self.call_driver(Call::Work);
        }
    }

    /// As [`leave`](Self::leave) after a post: of all timers only those of deadlines and of news can be
    /// earlier than before.
    fn leave_after_post(&self, io: &mut Io) {
        if unlikely(io.ended.is_some()) {
            return;
        }
        let deadline = io.connection.next_deadline().unwrap_or(Time::NEVER);
        let news = self.note_ack_due(io);
        if self.shared.inline.is_none() {
            if io.unwritten || io.needs_watching() || deadline.min(news) < self.due() {
                self.call_driver(Call::Work);
            }
            return;
        }
        self.leave_inline(io, self.unless_left_alone(io, deadline));
    }

    /// Only the driver makes the time for which it sleeps a later one: it comes for nothing at most
    /// once, and looks at the timers anew.
    fn leave_inline(&self, io: &Io, next: Time) {
        self.note_busy(io);
        self.full.store(io.full, Ordering::Relaxed);
        if next < self.due()
            && next.as_nanos() < self.due.fetch_min(next.as_nanos(), Ordering::SeqCst)
        {
            self.call_driver(Call::Time);
        }
    }

    fn note_busy(&self, io: &Io) {
        let busy = io.unwritten || io.unread || io.connection.has_later_outcomes();
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// `next`, or when the driver goes on with what was posted inline and left, if that is earlier.
    fn unless_left_alone(&self, io: &Io, next: Time) -> Time {
        if unlikely(io.unwritten || (io.full && io.connection.queued() > 0)) {
            return next.min(self.shared.clock.now().after(LEFT_ALONE));
        }
        next
    }

    /// When the driver is needed. Whoever drives inline sends late news itself.
    fn next_timer(&self, io: &mut Io) -> Time {
        if self.shared.inline.is_none() {
            return io.connection.poll_timeout();
        }
        self.note_ack_due(io);
        self.unless_left_alone(io, io.connection.poll_slow_timeout())
    }

    fn note_notices(&self, io: &mut Io) {
        if io.sort_notices() {
            self.call_driver(Call::Work);
        }
    }

    /// For whoever drives inline: when news go alone, and never if there are none. Gives it.
    fn note_ack_due(&self, io: &mut Io) -> Time {
        let due = io.connection.ack_due().unwrap_or(Time::NEVER);
        self.ack_due.store(due.as_nanos(), Ordering::Relaxed);
        due
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) || self.readable.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn note_readable(&self) {
        self.readable.store(true, Ordering::Relaxed);
    }

    pub(super) fn ack_due(&self) -> Time {
        Time::from_nanos(self.ack_due.load(Ordering::Relaxed))
    }

    /// Has its socket watched by an event queue.
    pub(super) fn watch(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let watched = self.lock().watch(registry, token);
        self.drive_late_posts();
        watched
    }

    /// As [`watch`](Self::watch), for a socket that was watched before: one that can not be is given up
    /// for another.
    pub(super) fn watch_again(&self, registry: &Registry, token: Token) {
        let mut io = self.lock();
        if let Err(error) = io.watch(registry, token) {
            tracing::error!(peer = %self.info.node, %error, "its socket cannot be watched");
            self.fail(&mut io, loss(&error));
        }
        drop(io);
        self.drive_late_posts();
    }

    /// Has it watched no more.
    pub(super) fn unwatch(&self, registry: &Registry) {
        self.lock().unwatch(registry);
        self.drive_late_posts();
    }

    /// The socket has room, says an event: every event of a packet does, too, so mostly it is no news.
    pub(super) fn handle_writable(&self) {
        let mut io = self.lock();
        let was_full = io.full;
        io.handle_writable();
        drop(io);
        if was_full {
            self.drive(self.shared.clock.now());
        }
        self.drive_late_posts();
    }

    /// Leaves the end of the socket, or of the session, to the driver.
    #[cold]
    pub(super) fn fail(&self, io: &mut Io, cause: LossCause) {
        io.full = true; // nobody writes any more
        io.failed.get_or_insert(cause);
        self.call_driver(Call::Work);
    }

    /// Reads what there is, as a driver that spins. Gives whether there is work; while somebody posts
    /// there is none, and the next look finds it. `more` is what the driver knows of what is left to
    /// read, `closed` that the peer writes no more.
    pub(super) fn read_spinning(&self, now: Time, more: &mut bool, closed: bool) -> bool {
        let Some(mut io) = self.try_lock() else { return false };
        let before = io.reads;
        match io.read(self.shared.clock, now, closed) {
            Ok(left) => *more = left,
            Err(cause) => {
                io.failed.get_or_insert(cause);
            }
        }
        let work = io.reads > before || io.failed.is_some();
        drop(io);
        self.drive_late_posts();
        work
    }

    /// A turn of a thread that waits for completions itself: reads what there is and does what has
    /// been posted. Gives whether anything came, or was left to be told. If somebody else is at it,
    /// there is nothing to do. `look` is whether to look at the timers too, `now` when somebody last looked at the clock.
    pub(super) fn progress(&self, look: bool, now: Time) -> bool {
        let Some(mut io) = self.try_lock() else { return false };
        self.readable.store(false, Ordering::Relaxed);
        if io.failed.is_some() || io.ended.is_some() {
            self.busy.store(false, Ordering::Relaxed);
            return false;
        }
        let left = io.connection.has_later_outcomes() && self.hand_out(&mut io);
        let clock = self.shared.clock;
        let before = io.reads;
        match io.read(clock, now, false) {
            Ok(more) => io.unread = more,
            Err(cause) => {
                self.fail(&mut io, cause);
                return false;
            }
        }
        let came = io.reads > before;
        let now = if came { io.read_at } else { now };
        if came && !io.unwritten && io.connection.has_only_outcomes() {
            // Mostly a message came, and an answer follows. All else can wait for that.
            self.hand_out_first(&mut io);
            let due = io.connection.ack_due_after(now).as_nanos();
            self.ack_due.fetch_min(due, Ordering::Relaxed);
        } else if came || io.unwritten || (look && io.connection.poll_timeout() <= now) {
            self.turn(&mut io, Hand::Waiter, now);
            self.note_notices(&mut io);
            self.leave(&mut io);
        } else {
            self.note_busy(&io);
            if look {
                self.note_ack_due(&mut io);
            }
        }
        drop(io);
        self.drive_late_posts();
        came || left
    }

    fn take_posts(&self, io: &mut Io, now: Time) {
        // (Looking costs less than taking in vain.)
        if self.left.load(Ordering::Relaxed) && self.left.swap(false, Ordering::AcqRel) {
            cold_path();
            while let Some(post) = self.posts.pop() {
                self.take(io, post, now);
            }
        }
    }

    fn take(&self, io: &mut Io, post: impl Posted, now: Time) {
        match &io.ended {
            None => post.hand_over(&mut io.connection, now),
            Some(error) => self.flush(post.into(), error, now),
        }
    }

    /// What is posted after the end comes to what all else came to.
    #[cold]
    fn flush(&self, post: Post, error: &WorkError, now: Time) {
        let outcome = match post {
            Post::Out(mut work) => work.outcome(Err(error.clone()), self.info.node, now),
            Post::Recv(work) => Some(work.outcome(Err(error.clone()), self.info.node, now)),
            Post::Cancel(_) => None,
        };
        if let Some(outcome) = outcome {
            self.finish(outcome);
            self.note_finished();
        }
    }

    fn finish(&self, outcome: Outcome) {
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
        complete(outcome);
    }

    /// Whoever sleeps looks at what was finished.
    fn note_finished(&self) {
        if let Some(inline) = &self.shared.inline {
            inline.handle_completion();
        }
    }

    /// Hands out completions. Gives whether there were any.
    pub(super) fn hand_out(&self, io: &mut Io) -> bool {
        self.hand_out_by(io, Connection::poll_outcome)
    }

    /// Hands out those that are not told [later](Connection::has_later_outcomes).
    fn hand_out_first(&self, io: &mut Io) -> bool {
        self.hand_out_by(io, Connection::poll_first_outcome)
    }

    fn hand_out_by(&self, io: &mut Io, poll: fn(&mut Connection) -> Option<Outcome>) -> bool {
        let mut some = false;
        while let Some(outcome) = poll(&mut io.connection) {
            if unlikely(outcome.completion.lane == Lane::Urgent) {
                // The first that is told is the one that somebody waits for.
                io.urgent.get_or_insert_with(|| outcome.queue.clone());
            }
            self.finish(outcome);
            some = true;
        }
        if some {
            // Before anybody is told: whoever sleeps then sees that more is left.
            self.note_busy(io);
            self.note_finished();
        }
        some
    }

    /// Notes when the driver must come back.
    pub(super) fn set_due(&self, io: &mut Io) {
        self.full.store(io.full, Ordering::Relaxed);
        self.due.store(self.next_timer(io).as_nanos(), Ordering::SeqCst);
    }

    /// Ends all work. Gives the socket, to be said goodbye to.
    pub(super) fn end(&self, io: &mut Io, error: &WorkError) -> Option<TcpStream> {
        self.open.store(false, Ordering::SeqCst);
        io.ended = Some(error.clone());
        let now = self.shared.clock.now();
        io.connection.lose(error, now);
        self.turn(io, Hand::Driver, now);
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

    /// Does work if nobody else is at it, and else leaves it in their queue. `now` is when it was
    /// admitted.
    pub(super) fn enqueue(&self, post: impl Posted, now: Time) {
        let Some(mut io) = self.try_lock() else { return self.leave_to_holder(post.into(), now) };
        // What was left before comes before.
        self.take_posts(&mut io, now);
        self.take(&mut io, post, now);
        if !self.is_batched() {
            self.handle_posted(&mut io, now);
        }
        drop(io);
        self.drive_late_posts();
    }

    fn is_batched(&self) -> bool {
        self.batches.load(Ordering::Acquire) > 0
    }

    /// What a post calls for.
    fn handle_posted(&self, io: &mut Io, now: Time) {
        // Room for a message is mostly nothing that the peer must hear of at once.
        if !io.connection.is_settled() || io.ended.is_some() {
            self.turn(io, Hand::Poster, now);
            self.note_notices(io);
        }
        self.leave_after_post(io);
    }

    #[cold]
    fn leave_to_holder(&self, post: Post, now: Time) {
        // There are as many places as work requests were admitted, and some for cancellations.
        let room = self.leave_post(post);
        debug_assert!(room, "more posts than were admitted");
        if !self.is_batched() {
            self.drive(now);
        }
    }

    /// Leaves posts lying until the last batch ends.
    pub(super) fn begin_batch(&self) {
        self.batches.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end_batch(&self) {
        self.batches.fetch_sub(1, Ordering::AcqRel);
        // As good as a post: some may lie with the connection, unwritten.
        self.left.swap(true, Ordering::AcqRel);
        self.drive(self.shared.clock.now());
    }

    /// A cancellation that finds no room comes too late anyway: so many others are to be done first.
    pub(super) fn enqueue_cancel(&self, id: WorkId) {
        if self.posts.len() < WORK_REQUESTS_MAX {
            self.leave_post(Post::Cancel(id));
        }
        self.drive(self.shared.clock.now());
    }

    /// Whether the peer is silent for longer than it may be.
    pub(super) fn is_suspected(&self) -> bool {
        let suspected = self.lock().connection.is_suspected();
        self.drive_late_posts();
        suspected
    }
}

/// What a thread that is not the driver wants of it.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Nothing,
    /// The next timer is earlier than it was.
    Time,
    Work,
}

/// Whether a turn that has written `spent` bytes ends for somebody who has something urgent to take,
/// perhaps on this processor: one write of bulk takes longer than all that they would do. Only a driver
/// keeps a processor for long, and no two turns in a row end before they have written.
fn makes_way(io: &mut Io, hand: Hand, spent: usize, now: Time) -> bool {
    if likely(hand != Hand::Driver || io.urgent.is_none()) {
        return false;
    }
    let first = spent == 0 && !io.made_way;
    io.made_way = first && is_bulk(io.connection.poll_transmit(now));
    spent > 0 || io.made_way
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    /// A thread that posts.
    Poster,
    /// A thread that waits.
    Waiter,
    /// The driver's.
    Driver,
}

impl Hand {
    /// Bytes it may write before it does something else.
    fn budget(self) -> usize {
        match self {
            Self::Poster | Self::Waiter => POSTER_WRITE_BYTES,
            Self::Driver => WRITE_TURN_BYTES,
        }
    }
}
