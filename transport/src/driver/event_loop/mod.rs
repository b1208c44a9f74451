//! The driver's thread: all sockets, all timers.
//!
//! Layout: this file waits and hands out; `handshakes` makes sockets ready, `sessions` runs them,
//! `link` follows the interface.

mod handshakes;
mod link;
mod sessions;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use self::link::Look;
use self::sessions::Redial;
use super::LOOK_EVERY;
use super::dialling::Dialling;
use super::endpoint::{Command, Shared};
use super::goodbye::Goodbye;
use super::pair::Pair;
use crate::event::{ConnectError, Event};
use crate::identity::NodeId;
use crate::proto::{CloseCode, HandshakeError, LossCause, Time};
use crate::sys::{Alarm, take_long_turns};

/// How long the driver waits before it accepts again after the system had no room for a socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A driver that spins reads the sockets of so many sessions itself; of more, the event queue says
/// which.
const SPIN_SESSIONS_MAX: usize = 4;

/// What a token stands for.
enum Entry {
    Dialling(Box<Dialling>),
    Pair(Tracked),
    Goodbye(Goodbye),
}

/// A session and what only the driver knows of it.
struct Tracked {
    pair: Arc<Pair>,
    /// The owner of the endpoint knows of it.
    announced: bool,
    /// There may be more to read without another event.
    more: bool,
    /// The peer's end of the socket writes no more: what is read is read to the end.
    closed: bool,
    /// The last turn ended before everything was written that could be.
    unwritten: bool,
    /// Tries to reach the peer again.
    redial: Option<Redial>,
    /// Largest epoch that this side has asked for.
    proposed: u32,
}

pub(super) struct EventLoop {
    poll: Poll,
    alarm: Alarm,
    /// None while the link is away that it would listen on.
    listener: Option<TcpListener>,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    events: Sender<Event>,
    /// Events that must not be lost and found no room.
    backlog: VecDeque<Event>,
    entries: Vec<Option<Entry>>,
    peers: HashMap<NodeId, usize>,
    accept_again: Option<Time>,
    look: Look,
    /// When this thread's turns are ordinary again.
    long_turns_until: Option<Time>,
    /// Turns of spinning so far.
    turns: u32,
    /// Messages in a row that came before this thread would have slept.
    sleepless: u32,
    /// The event queue watches the sockets of all sessions.
    watched: bool,
}

impl EventLoop {
    pub(super) const WAKER: Token = Token(usize::MAX);
    const LISTENER: Token = Token(usize::MAX - 1);
    const ALARM: Token = Token(usize::MAX - 2);

    pub(super) fn new(
        poll: Poll,
        mut listener: TcpListener,
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        poll.registry().register(&mut listener, Self::LISTENER, Interest::READABLE)?;
        let alarm = Alarm::new(poll.registry(), Self::ALARM)?;
        Ok(Self {
            poll,
            alarm,
            listener: Some(listener),
            shared,
            commands,
            events,
            backlog: VecDeque::new(),
            entries: Vec::new(),
            peers: HashMap::new(),
            accept_again: None,
            look: Look::default(),
            long_turns_until: None,
            turns: 0,
            sleepless: 0,
            watched: true,
        })
    }

    pub(super) fn run(mut self) {
        let mut ready = Events::with_capacity(256);
        while !self.shared.closing.load(Ordering::SeqCst) {
            if let Err(error) = self.sleep(&mut ready) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                tracing::error!(%error, "the event queue failed; the endpoint closes");
                break;
            }
            for event in &ready {
                match event.token() {
                    Self::WAKER | Self::ALARM => {}
                    Self::LISTENER => self.accept(),
                    Token(at) => self.handle_ready(at, Ready::from(event)),
                }
            }
            self.handle_commands();
            self.handle_look();
            self.handle_attention_and_time();
            self.flush_backlog();
        }
        self.shut_down();
    }

    /// Waits for an event, a wake-up or the next timer; spins before, if it may.
    fn sleep(&mut self, ready: &mut Events) -> io::Result<()> {
        let mut now = self.shared.clock.now();
        if self.long_turns_until.is_some_and(|until| until <= now) {
            self.long_turns_until = None;
            take_long_turns(false);
        }
        let next = self.next_timer();
        let spin_until =
            now.after(Duration::from_micros(self.shared.spin_us)).min(next.unwrap_or(Time::NEVER));
        let reads = self.shared.inline.is_none() && self.sessions() <= SPIN_SESSIONS_MAX;
        if !reads {
            self.watch_sessions();
        }
        while now < spin_until {
            // Whoever posts or waits may be on this very core, and has something to do now.
            std::thread::yield_now();
            self.turns = self.turns.wrapping_add(1);
            if !reads || self.turns.is_multiple_of(LOOK_EVERY) {
                self.poll.poll(ready, Some(Duration::ZERO))?;
                if !ready.is_empty() {
                    return Ok(());
                }
            }
            if reads && self.read_sessions(now) {
                ready.clear();
                self.note_sleepless();
                return Ok(());
            }
            now = self.shared.clock.now();
        }
        // A timer that is due is no sleep.
        if next.is_none_or(|next| now < next) {
            self.sleepless = 0;
            self.watch_sessions();
        }
        let timeout = next.and_then(|next| self.alarm.timeout(now, next));
        self.poll.poll(ready, timeout)
    }

    fn sessions(&self) -> usize {
        self.entries.iter().flatten().filter(|entry| matches!(entry, Entry::Pair(_))).count()
    }

    fn next_timer(&self) -> Option<Time> {
        let mut next = self.accept_again;
        for entry in self.entries.iter().flatten() {
            let at = match entry {
                Entry::Dialling(dialling) => dialling.deadline,
                Entry::Pair(tracked) if tracked.more || tracked.unwritten => Time::default(),
                Entry::Pair(tracked) => {
                    let redial = tracked.redial.as_ref().and_then(|redial| redial.at);
                    redial.map_or(tracked.pair.due(), |at| at.min(tracked.pair.due()))
                }
                Entry::Goodbye(goodbye) => goodbye.until,
            };
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        if let Some(look) = self.next_look() {
            next = Some(next.map_or(look, |next| next.min(look)));
        }
        if !self.backlog.is_empty() {
            let soon = self.shared.clock.now().after(ACCEPT_PAUSE);
            next = Some(next.map_or(soon, |next| next.min(soon)));
        }
        next
    }

    fn handle_ready(&mut self, at: usize, ready: Ready) {
        match self.entries.get_mut(at) {
            Some(Some(Entry::Dialling(_))) => self.dial(at),
            Some(Some(Entry::Pair(_))) => self.work(at, ready),
            Some(Some(Entry::Goodbye(goodbye))) => {
                if goodbye.turn() {
                    self.forget(at);
                }
            }
            Some(None) | None => {}
        }
    }

    fn forget(&mut self, at: usize) {
        if let Some(Entry::Goodbye(mut goodbye)) = self.entries[at].take() {
            let _ = self.poll.registry().deregister(&mut goodbye.socket);
        }
    }

    // ---- time and wishes -------------------------------------------------------------------------

    fn handle_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Connect(addr) => self.connect(addr),
            }
        }
    }

    fn handle_attention_and_time(&mut self) {
        let now = self.shared.clock.now();
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept();
        }
        if self.next_look().is_some_and(|at| at <= now) {
            self.look_at_link(now);
        }
        for at in 0..self.entries.len() {
            match &mut self.entries[at] {
                Some(Entry::Dialling(dialling)) if dialling.deadline <= now => {
                    let waited_ms = self.shared.timing.handshake_ms;
                    let error = dialling.failed(HandshakeError::Timeout { waited_ms });
                    self.give_up(at, error);
                }
                Some(Entry::Goodbye(goodbye)) if goodbye.until <= now => self.forget(at),
                Some(Entry::Pair(tracked)) => {
                    let called = tracked.pair.take_attention();
                    let due = tracked.pair.due() <= now;
                    let redial = tracked.redial.as_ref().and_then(|redial| redial.at);
                    if called && tracked.pair.close_asked.load(Ordering::SeqCst) {
                        self.end(at, LossCause::ClosedHere, Some(CloseCode::Done));
                    } else if called || tracked.more || tracked.unwritten || due {
                        // Nobody may be waiting inline just now: then this thread looks.
                        let look = due && self.shared.inline.is_some();
                        self.work(at, Ready { readable: look, writable: look, closed: false });
                    }
                    if redial.is_some_and(|at| at <= now) {
                        self.redial(at);
                    }
                }
                _ => {}
            }
        }
    }

    /// Tells the owner. Gives whether it will hear of it.
    fn emit(&mut self, event: Event) -> bool {
        self.flush_backlog();
        let event = if self.backlog.is_empty() {
            match self.events.try_send(event) {
                Ok(()) => return true,
                Err(TrySendError::Full(event) | TrySendError::Disconnected(event)) => event,
            }
        } else {
            event
        };
        // There is at most one of these for each connection that was announced.
        if matches!(event, Event::Disconnected { .. }) {
            self.backlog.push_back(event);
            return true;
        }
        self.shared.events_dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn flush_backlog(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.backlog.push_front(event);
                return;
            }
        }
    }

    fn shut_down(&mut self) {
        for at in 0..self.entries.len() {
            match &self.entries[at] {
                Some(Entry::Pair(_)) => {
                    self.end(at, LossCause::ClosedHere, Some(CloseCode::ShuttingDown));
                }
                Some(Entry::Dialling(dialling)) => {
                    let (role, addr) = (dialling.handshake.role(), dialling.addr);
                    let asked_for = dialling.carries_on.is_none();
                    self.entries[at] = None;
                    if asked_for {
                        self.report(role, addr, ConnectError::Closed);
                    }
                }
                Some(Entry::Goodbye(_)) | None => {}
            }
        }
    }
}

/// What a socket says it is ready for.
#[derive(Clone, Copy, Default)]
struct Ready {
    readable: bool,
    writable: bool,
    /// The peer writes no more: read on until its end.
    closed: bool,
}

impl Ready {
    const ALL: Self = Self { readable: true, writable: true, closed: false };
    const NOTHING: Self = Self { readable: false, writable: false, closed: false };
}

impl From<&mio::event::Event> for Ready {
    fn from(event: &mio::event::Event) -> Self {
        Self {
            readable: event.is_readable(),
            writable: event.is_writable(),
            closed: event.is_read_closed(),
        }
    }
}
