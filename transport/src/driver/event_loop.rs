//! The driver's thread: all sockets, all timers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::dialling::{Dialling, Progress};
use super::endpoint::{Command, Shared};
use super::goodbye::Goodbye;
use super::pair::{Pair, QueuePair};
use crate::event::{ConnectError, Event, PeerInfo};
use crate::identity::NodeId;
use crate::limits::WRITE_TURN_BYTES;
use crate::proto::{
    Agreed, CloseCode, Connection, Established, HandshakeError, LossCause, Notice, PeerLost,
    Refusal, Role, Time,
};
use crate::queue::WorkError;

/// How long the driver waits before it accepts again after the system had no room for a socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a token stands for.
enum Entry {
    Dialling(Box<Dialling>),
    Pair(Tracked),
    Goodbye(Goodbye),
}

/// A connection and what only the driver knows of it.
struct Tracked {
    pair: Arc<Pair>,
    /// The owner of the endpoint knows of it.
    announced: bool,
    /// There may be more to read without another event.
    more: bool,
}

pub(super) struct EventLoop {
    poll: Poll,
    listener: TcpListener,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    events: Sender<Event>,
    /// Events that must not be lost and found no room.
    backlog: VecDeque<Event>,
    entries: Vec<Option<Entry>>,
    peers: HashMap<NodeId, usize>,
    accept_again: Option<Time>,
}

impl EventLoop {
    pub(super) const WAKER: Token = Token(usize::MAX);
    const LISTENER: Token = Token(usize::MAX - 1);

    pub(super) fn new(
        poll: Poll,
        mut listener: TcpListener,
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        poll.registry().register(&mut listener, Self::LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            shared,
            commands,
            events,
            backlog: VecDeque::new(),
            entries: Vec::new(),
            peers: HashMap::new(),
            accept_again: None,
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
                    Self::WAKER => {}
                    Self::LISTENER => self.accept(),
                    Token(at) => self.handle_ready(at, Ready::from(event)),
                }
            }
            self.handle_commands();
            self.handle_attention_and_time();
            self.flush_backlog();
        }
        self.shut_down();
    }

    /// Waits for an event, a wake-up or the next timer; spins before, if it may.
    fn sleep(&mut self, ready: &mut Events) -> io::Result<()> {
        let mut now = self.shared.clock.now();
        let next = self.next_timer();
        let spin_until = now.after(Duration::from_micros(self.shared.spin_us));
        while now < spin_until.min(next.unwrap_or(spin_until)) {
            self.poll.poll(ready, Some(Duration::ZERO))?;
            if !ready.is_empty() {
                return Ok(());
            }
            std::hint::spin_loop();
            now = self.shared.clock.now();
        }
        let timeout = next.map(|next| next.since(now));
        self.poll.poll(ready, timeout)
    }

    fn next_timer(&self) -> Option<Time> {
        let mut next = self.accept_again;
        for entry in self.entries.iter().flatten() {
            let at = match entry {
                Entry::Dialling(dialling) => dialling.deadline,
                Entry::Pair(tracked) if tracked.more => Time::default(),
                Entry::Pair(tracked) => tracked.pair.due(),
                Entry::Goodbye(goodbye) => goodbye.until,
            };
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        if !self.backlog.is_empty() {
            let soon = self.shared.clock.now().after(ACCEPT_PAUSE);
            next = Some(next.map_or(soon, |next| next.min(soon)));
        }
        next
    }

    // ---- sockets before they are connections -----------------------------------------------------

    fn accept(&mut self) {
        self.accept_again = None;
        loop {
            match self.listener.accept() {
                Ok((socket, addr)) => self.take_in(socket, addr),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections just now");
                    self.accept_again = Some(self.shared.clock.now().after(ACCEPT_PAUSE));
                    return;
                }
            }
        }
    }

    fn take_in(&mut self, socket: TcpStream, addr: SocketAddr) {
        let now = self.shared.clock.now();
        let taken = match self.check_room(Role::Responder) {
            Ok(()) => Dialling::accepted(socket, addr, &self.shared, now),
            Err(error) => Err(error),
        };
        match taken {
            Ok(dialling) => self.begin(dialling),
            Err(error) => self.report(Role::Responder, addr, error),
        }
    }

    fn connect(&mut self, addr: SocketAddr) {
        let now = self.shared.clock.now();
        let begun = match self.check_room(Role::Initiator) {
            Ok(()) => Dialling::connect(addr, &self.shared, now),
            Err(error) => Err(error),
        };
        match begun {
            Ok(dialling) => self.begin(dialling),
            Err(error) => self.report(Role::Initiator, addr, error),
        }
    }

    /// Strangers that knock cannot take the room for the connections that this node asks for.
    fn check_room(&self, role: Role) -> Result<(), ConnectError> {
        let mut handshakes = 0;
        for entry in self.entries.iter().flatten() {
            if let Entry::Dialling(dialling) = entry
                && dialling.handshake.role() == role
            {
                handshakes += 1;
            }
        }
        if handshakes >= self.shared.handshakes_max {
            return Err(ConnectError::Limit {
                what: "handshakes",
                max: self.shared.handshakes_max,
            });
        }
        if self.peers.len() >= self.shared.connections_max {
            return Err(ConnectError::Limit {
                what: "connections",
                max: self.shared.connections_max,
            });
        }
        Ok(())
    }

    fn begin(&mut self, mut dialling: Dialling) {
        let at = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        if at == self.entries.len() {
            self.entries.push(None);
        }
        // Registered once for both, and only for edges: a turn goes on until the socket is dry.
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut dialling.socket, Token(at), both) {
            let addr = dialling.addr;
            let (kind, words) = (error.kind(), error.to_string());
            let role = dialling.handshake.role();
            self.report(role, addr, ConnectError::Io { addr, kind, words });
            return;
        }
        self.entries[at] = Some(Entry::Dialling(Box::new(dialling)));
        self.handle_ready(at, Ready::ALL);
    }

    fn report(&mut self, role: Role, addr: SocketAddr, error: ConnectError) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%addr, %error, ?role, "no connection");
        self.emit(match role {
            Role::Initiator => Event::ConnectFailed { addr, error },
            Role::Responder => Event::Refused { addr, error },
        });
    }

    fn dial(&mut self, at: usize) {
        let Some(Some(Entry::Dialling(dialling))) = self.entries.get_mut(at) else { return };
        match dialling.turn(&self.shared) {
            Ok(Progress::Waiting) => {}
            Ok(Progress::Decide) => self.decide(at),
            Ok(Progress::Done) => self.establish(at),
            Err(error) => self.give_up(at, error),
        }
    }

    /// Lets a peer in whose key is proven, or turns it away.
    fn decide(&mut self, at: usize) {
        let Some(Some(Entry::Dialling(dialling))) = self.entries.get(at) else { return };
        let Some((node, _)) = dialling.handshake.to_decide() else { return };
        let key = dialling.handshake.peer_key().unwrap_or_default();
        let role = dialling.handshake.role();
        let verdict = match self.shared.trust.check(&key) {
            Err(error) => Err((Refusal::Untrusted, error)),
            // A responder that has another connection says so in `establish`.
            Ok(()) if role == Role::Initiator && is_alive(&self.peers, &self.entries, node) => {
                Err((Refusal::Duplicate, HandshakeError::Duplicate))
            }
            Ok(()) => Ok(()),
        };
        let Some(Some(Entry::Dialling(dialling))) = self.entries.get_mut(at) else { return };
        let welcome = match verdict {
            Ok(()) => dialling.handshake.welcome(&self.shared.local),
            // Nothing more is due from a responder: it says no with a CLOSE, in `establish`.
            Err((_, error)) if role == Role::Responder => {
                dialling.unwelcome = Some(error);
                dialling.handshake.welcome(&self.shared.local)
            }
            Err((refusal, error)) => {
                dialling.handshake.turn_away(refusal);
                Err(error)
            }
        };
        match welcome {
            Ok(()) => self.dial(at),
            Err(error) => {
                let error = dialling.failed(error);
                self.give_up(at, error);
            }
        }
    }

    fn give_up(&mut self, at: usize, error: ConnectError) {
        let Some(Entry::Dialling(mut dialling)) = self.entries[at].take() else { return };
        // What is still to be said tells the peer why.
        let _ = dialling.write();
        self.say_goodbye(at, dialling.socket);
        self.report(dialling.handshake.role(), dialling.addr, error);
    }

    fn say_goodbye(&mut self, at: usize, socket: TcpStream) {
        let mut goodbye = Goodbye::new(socket, self.shared.clock.now());
        if goodbye.turn() {
            let _ = self.poll.registry().deregister(&mut goodbye.socket);
            self.entries[at] = None;
        } else {
            self.entries[at] = Some(Entry::Goodbye(goodbye));
        }
    }

    // ---- connections -----------------------------------------------------------------------------

    fn establish(&mut self, at: usize) {
        let Some(Entry::Dialling(mut dialling)) = self.entries[at].take() else { return };
        let Some(established) = dialling.handshake.finish(&self.shared.local) else {
            self.entries[at] = Some(Entry::Dialling(dialling));
            return;
        };
        let (node, role, addr) = (established.node, established.role, dialling.addr);
        let unwelcome = dialling.unwelcome.take();
        let pair = Arc::new(self.make_pair(established, addr, dialling.socket));
        if let Some(error) = unwelcome {
            let mut io = pair.lock();
            io.say_goodbye(CloseCode::Refused, "", self.shared.clock.now());
            if let Some(socket) = pair.end(&mut io, &WorkError::Flushed) {
                self.say_goodbye(at, socket);
            }
            drop(io);
            return self.report(role, addr, ConnectError::Handshake { addr, error });
        }
        let tracked = Tracked { pair, announced: false, more: false };
        self.entries[at] = Some(Entry::Pair(tracked));
        if let Some(&other) = self.peers.get(&node)
            && !self.settle_duplicate(at, other, node, role)
        {
            return;
        }
        self.peers.insert(node, at);
        let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) else { return };
        self.shared.register(tracked.pair.clone());
        // An initiator waits for the first frame, which says that it was let in.
        if role == Role::Responder {
            self.announce(at);
        }
        self.work(at, Ready::ALL);
    }

    fn make_pair(&self, established: Established, addr: SocketAddr, socket: TcpStream) -> Pair {
        let now = self.shared.clock.now();
        let shared = &self.shared;
        let keys = (established.sending_key, established.receiving_key);
        let agreed = Agreed {
            peer: established.node,
            session: established.session,
            epoch: established.hello.epoch,
            keys: established.sealed.then_some(keys),
            chunk_bytes: shared.chunk_bytes.min(established.hello.frame_payload_max as usize),
            frame_payload_max: shared.local.frame_payload_max,
        };
        let connection = Connection::new(agreed, shared.timing.timers(), now);
        let info = PeerInfo {
            node: established.node,
            name: established.hello.name,
            addr,
            interface: shared.link.name().into(),
            link_kind: shared.link.kind(),
            encrypted: established.sealed,
            software: established.hello.software,
        };
        Pair::new(info, established.role, connection, socket, shared.clone())
    }

    /// Two connections between the same two nodes: decides which goes on. Gives whether the new
    /// one (at `at`) does.
    ///
    /// An initiator with a live connection gives up before its last message, so a complete second
    /// one means: either both connected at once, and the smaller node's goes on; or the peer has
    /// lost the old one, which then is replaced.
    fn settle_duplicate(&mut self, at: usize, other: usize, node: NodeId, role: Role) -> bool {
        let Some(Some(Entry::Pair(old))) = self.entries.get(other) else { return true };
        let crossed = old.pair.role != role && !old.pair.is_suspected();
        let smaller_initiated_new = match role {
            Role::Initiator => self.shared.node < node,
            Role::Responder => node < self.shared.node,
        };
        match (crossed, smaller_initiated_new) {
            (true, false) => {
                self.end(at, LossCause::Duplicate, Some(CloseCode::Duplicate));
                false
            }
            (true, true) => {
                self.end(other, LossCause::Duplicate, Some(CloseCode::Duplicate));
                true
            }
            (false, _) => {
                self.end(other, LossCause::Replaced, Some(CloseCode::Duplicate));
                true
            }
        }
    }

    fn announce(&mut self, at: usize) {
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

    /// A turn of one connection: read, tell, write.
    fn work(&mut self, at: usize, ready: Ready) {
        let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) else { return };
        let pair = tracked.pair.clone();
        let now = self.shared.clock.now();
        let mut notices = Notices::default();
        let mut io = pair.lock();
        if ready.writable {
            io.handle_writable();
        }
        let read = if ready.readable || ready.closed || tracked.more {
            io.read(now, ready.closed)
        } else {
            Ok(false)
        };
        let lost = match read {
            Ok(more) => {
                tracked.more = more;
                io.connection.handle_timeout(now).err()
            }
            Err(cause) => Some(cause),
        };
        pair.turn(&mut io, WRITE_TURN_BYTES);
        io.sort_notices(|notice| notices.take(notice));
        let lost = lost.or_else(|| io.failed.take());
        pair.set_due(&io);
        drop(io);
        pair.drive_late_posts();
        if notices.confirmed {
            self.announce(at);
        }
        if let Some(silent) = notices.suspected {
            let peer = pair.info.clone();
            tracing::warn!(peer = %peer.node, name = peer.name, "silent");
            let link = peer.interface.clone();
            let silent_ms = silent.as_millis() as u64;
            self.emit(Event::Suspected { peer, link, silent_ms });
        }
        if notices.recovered {
            self.emit(Event::Recovered { peer: pair.info.clone() });
        }
        if let Some(cause) = lost {
            let code = match &cause {
                LossCause::Protocol(_) => Some(CloseCode::Protocol),
                _ => None,
            };
            self.end(at, cause, code);
        }
    }

    /// Ends a connection and tells its owner. With a code, the peer is told too.
    fn end(&mut self, at: usize, cause: LossCause, code: Option<CloseCode>) {
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
            _ => WorkError::PeerLost(lost.clone()),
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
        tracing::info!(peer = %peer.node, name = peer.name, %cause, announced, "connection ended");
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
                    if called && tracked.pair.close_asked.load(Ordering::SeqCst) {
                        self.end(at, LossCause::ClosedHere, Some(CloseCode::Done));
                    } else if called || tracked.more || tracked.pair.due() <= now {
                        self.work(at, Ready::default());
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
                    self.entries[at] = None;
                    self.report(role, addr, ConnectError::Closed);
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

/// What a turn found out.
#[derive(Default)]
struct Notices {
    confirmed: bool,
    suspected: Option<Duration>,
    recovered: bool,
}

impl Notices {
    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Confirmed => self.confirmed = true,
            Notice::Suspected { silent } => self.suspected = Some(silent),
            Notice::Recovered => self.recovered = true,
            Notice::RoundTrip { .. } | Notice::Hop { .. } => {}
        }
    }
}

fn is_alive(peers: &HashMap<NodeId, usize>, entries: &[Option<Entry>], node: NodeId) -> bool {
    let entry = peers.get(&node).and_then(|&at| entries.get(at)?.as_ref());
    let Some(Entry::Pair(tracked)) = entry else { return false };
    !tracked.pair.is_suspected()
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
