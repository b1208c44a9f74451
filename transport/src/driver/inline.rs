//! The sockets of an endpoint whose completions are fetched by the threads that wait for them.
//!
//! A thread that waits sleeps in the event queue of the data sockets themselves: what wakes it is
//! the packet, not another thread. It is told of completions that come about elsewhere (a deadline,
//! a lost peer) by a waker, which costs nothing while it does not sleep.
//!
//! A socket that is watched by an event queue costs its sender: the kernel tells the queue of every
//! packet before the receiver gets at it. So where threads that wait find what they wait for before
//! they would sleep, again and again, the sockets are not watched until one sleeps.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::{Events, Poll, Registry, Token, Waker};

use super::clock::Clock;
use super::pair::Pair;
use super::{LOOK_EVERY, UNWATCH_AFTER};
use crate::proto::Time;
use crate::queue::{Completion, CompletionQueue, WaitTimeout};
use crate::sys::Alarm;

const WAKER: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);
/// How long a second thread sleeps at most while a first one moves the bytes for both.
const TURN: Duration = Duration::from_millis(1);

struct Sleeper {
    poll: Poll,
    events: Events,
    alarm: Alarm,
}

pub(super) struct Inline {
    registry: Registry,
    sleeper: Mutex<Sleeper>,
    pairs: Mutex<Vec<(Token, Arc<Pair>)>>,
    waker: Waker,
    asleep: AtomicBool,
    /// Waits in a row that ended without sleep. No more than a guess if several threads wait.
    sleepless: AtomicU32,
    /// The event queue watches all sockets. Only who holds the sleeper changes this.
    watched: AtomicBool,
    clock: Clock,
}

impl Inline {
    pub(super) fn new(clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        Ok(Self {
            registry: poll.registry().try_clone()?,
            waker: Waker::new(poll.registry(), WAKER)?,
            sleeper: Mutex::new(Sleeper { poll, events: Events::with_capacity(64), alarm }),
            pairs: Mutex::new(Vec::new()),
            asleep: AtomicBool::new(false),
            sleepless: AtomicU32::new(0),
            watched: AtomicBool::new(true),
            clock,
        })
    }

    fn pairs(&self) -> MutexGuard<'_, Vec<(Token, Arc<Pair>)>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session runs over the socket that its pair has now. Somebody may be asleep, so it is
    /// watched in any case.
    pub(super) fn add(&self, token: Token, pair: &Arc<Pair>) -> io::Result<()> {
        let mut pairs = self.pairs();
        pairs.retain(|(other, _)| *other != token);
        pairs.push((token, pair.clone()));
        drop(pairs);
        pair.watch(&self.registry, token)
    }

    /// Watches all sockets again. What they have already is an event, too.
    #[cold]
    fn watch(&self) {
        for (token, pair) in self.pairs().clone() {
            pair.watch_again(&self.registry, token);
        }
        self.watched.store(true, Ordering::Relaxed);
    }

    /// A wait ended without sleep: if that is so again and again, nobody need watch the sockets.
    fn note_sleepless(&self) {
        let sleepless = self.sleepless.load(Ordering::Relaxed).wrapping_add(1);
        self.sleepless.store(sleepless, Ordering::Relaxed);
        if sleepless.is_multiple_of(UNWATCH_AFTER) {
            self.unwatch();
        }
    }

    #[cold]
    fn unwatch(&self) {
        // Whoever sleeps has the sleeper, and needs them watched.
        if let Ok(_sleeper) = self.sleeper.try_lock()
            && self.watched.swap(false, Ordering::Relaxed)
        {
            self.pairs().clone().iter().for_each(|(_, pair)| pair.unwatch(&self.registry));
        }
    }

    pub(super) fn remove(&self, pair: &Arc<Pair>) {
        self.pairs().retain(|(_, other)| !Arc::ptr_eq(other, pair));
    }

    /// Something completed: whoever sleeps looks.
    pub(super) fn handle_completion(&self) {
        // Both sides write this, so one of them is first: either we see that somebody sleeps, or they
        // what completed.
        let awake = self.asleep.compare_exchange(false, false, Ordering::AcqRel, Ordering::Acquire);
        if awake.is_err() {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the thread that waits");
        }
    }

    /// A turn of every session. Gives whether any bytes came.
    pub(super) fn progress(&self) -> bool {
        self.turn_all(true, self.clock.now())
    }

    fn turn_all(&self, look: bool, now: Time) -> bool {
        self.pairs().iter().fold(false, |came, (_, pair)| pair.progress(look, now) | came)
    }

    /// Only the event queue says that a full socket has room again.
    #[inline(never)] // once in eight turns
    fn look_at_full(&self, queue: &CompletionQueue, now: Time) {
        if self.pairs().iter().any(|(_, pair)| pair.is_full())
            && let Ok(mut sleeper) = self.sleeper.try_lock()
        {
            self.sleep(&mut sleeper, queue, Duration::ZERO, now);
        }
    }

    /// The next completion of `queue`, moving the bytes meanwhile.
    pub(super) fn wait(
        &self,
        queue: &CompletionQueue,
        timeout: Duration,
        spin: Duration,
    ) -> Result<Completion, WaitTimeout> {
        if let Some(completion) = queue.poll() {
            return Ok(completion);
        }
        let begun = self.clock.now();
        let (end, spin_until) = (begun.after(timeout), begun.after(spin.min(timeout)));
        let mut now = begun;
        for turn in 0_u32.. {
            // What is only now and then does not hold up the look at the sockets.
            let look = turn.is_multiple_of(LOOK_EVERY);
            if look {
                if turn > 0 {
                    now = self.clock.now();
                }
                if now >= spin_until {
                    break;
                }
                self.look_at_full(queue, now);
            }
            let came = self.turn_all(look, now);
            if (came || look)
                && let Some(completion) = queue.poll()
            {
                self.note_sleepless();
                return Ok(completion);
            }
        }
        loop {
            if now >= end {
                // Whatever is there already is not late.
                self.progress();
                return queue.poll().ok_or(WaitTimeout::after(timeout));
            }
            let left = end.since(now);
            match self.sleeper.try_lock() {
                Ok(mut sleeper) => self.sleep(&mut sleeper, queue, left, now),
                Err(_) => {
                    if let Ok(completion) = queue.wait(left.min(TURN)) {
                        return Ok(completion);
                    }
                }
            }
            if let Some(completion) = queue.poll() {
                return Ok(completion);
            }
            now = self.clock.now();
        }
    }

    fn sleep(&self, sleeper: &mut Sleeper, queue: &CompletionQueue, left: Duration, now: Time) {
        let Sleeper { poll, events, alarm } = sleeper;
        self.sleepless.store(0, Ordering::Relaxed);
        if !self.watched.load(Ordering::Relaxed) {
            self.watch();
        }
        self.asleep.swap(true, Ordering::AcqRel);
        let (due, busy) =
            self.pairs().iter().fold((Time::NEVER, false), |(due, busy), (_, pair)| {
                (due.min(pair.ack_due()), busy | pair.is_busy())
            });
        let timeout = if queue.is_empty() && !busy {
            alarm.timeout(now, due.min(now.after(left)))
        } else {
            Some(Duration::ZERO)
        };
        let slept = poll.poll(events, timeout);
        self.asleep.store(false, Ordering::Relaxed);
        if slept.is_err() {
            return; // interrupted: the caller looks at the time and comes back
        }
        for event in events.iter().filter(|event| event.token() != WAKER) {
            let found = |(token, pair): &(Token, Arc<Pair>)| {
                (*token == event.token()).then(|| pair.clone())
            };
            let Some(pair) = self.pairs().iter().find_map(found) else { continue };
            pair.note_readable();
            if event.is_writable() {
                pair.handle_writable();
            }
        }
        let only_woken = !events.is_empty() && events.iter().all(|event| event.token() == WAKER);
        if busy || !only_woken {
            // One turn, and a look at the queue before the next. What the turn leaves is not
            // forgotten: an edge is told once, and the pair remembers it.
            self.progress();
        }
    }
}
