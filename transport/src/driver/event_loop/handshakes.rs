//! Sockets before they carry a session: taken in, dialled, shaken hands over, decided on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::super::dialling::{Dialling, Progress};
use super::super::goodbye::Goodbye;
use super::super::pair::Pair;
use super::{ACCEPT_PAUSE, Entry, EventLoop, Ready, Tracked};
use crate::event::{ConnectError, Event, PeerInfo};
use crate::identity::NodeId;
use crate::proto::{
    Agreed, CloseCode, Connection, Established, HandshakeError, LossCause, Refusal, Role, Route,
};

impl EventLoop {
    pub(super) fn accept(&mut self) {
        self.accept_again = None;
        while let Some(listener) = &self.listener {
            match listener.accept() {
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

    /// A socket came to nothing: tells whoever wanted it.
    fn fail(&mut self, dialling: &Dialling, error: ConnectError) {
        match &dialling.carries_on {
            Some(pair) => self.redial_failed(pair, &error),
            None => self.report(dialling.handshake.role(), dialling.addr, error),
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

    pub(super) fn connect(&mut self, addr: SocketAddr) {
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
    pub(super) fn check_room(&self, role: Role) -> Result<(), ConnectError> {
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

    pub(super) fn begin(&mut self, mut dialling: Dialling) {
        let at = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        if at == self.entries.len() {
            self.entries.push(None);
        }
        // Registered once for both, and only for edges: a turn goes on until the socket is dry.
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut dialling.socket, Token(at), both) {
            let addr = dialling.addr;
            let (kind, words) = (error.kind(), error.to_string());
            self.fail(&dialling, ConnectError::Io { addr, kind, words });
            return;
        }
        self.entries[at] = Some(Entry::Dialling(Box::new(dialling)));
        self.handle_ready(at, Ready::ALL);
    }

    pub(super) fn report(&mut self, role: Role, addr: SocketAddr, error: ConnectError) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%addr, %error, ?role, "no connection");
        self.emit(match role {
            Role::Initiator => Event::ConnectFailed { addr, error },
            Role::Responder => Event::Refused { addr, error },
        });
    }

    pub(super) fn dial(&mut self, at: usize) {
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
        let carries_on = dialling.carries_on.is_some();
        let verdict = match (self.shared.trust.check(&key), role) {
            (Err(error), _) => Err((Refusal::Untrusted, error)),
            // A responder that has another connection says so in `establish`.
            (Ok(()), Role::Responder) => Ok(None),
            (Ok(()), Role::Initiator) => match self.session_with(node) {
                Some(Err(())) => Err((Refusal::Duplicate, HandshakeError::Duplicate)),
                Some(Ok(resume)) => Ok(Some(resume)),
                // It was to carry a session on that has ended meanwhile: nobody asked for another.
                None if carries_on => Err((Refusal::Duplicate, HandshakeError::Duplicate)),
                None => Ok(None),
            },
        };
        let Some(Some(Entry::Dialling(dialling))) = self.entries.get_mut(at) else { return };
        let welcome = match verdict {
            Ok(resume) => dialling.handshake.welcome(&self.shared.local, resume),
            // Nothing more is due from a responder: it says no with a CLOSE, in `establish`.
            Err((_, error)) if role == Role::Responder => {
                dialling.unwelcome = Some(error);
                dialling.handshake.welcome(&self.shared.local, None)
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

    pub(super) fn give_up(&mut self, at: usize, error: ConnectError) {
        let Some(Entry::Dialling(mut dialling)) = self.entries[at].take() else { return };
        // What is still to be said tells the peer why.
        let _ = dialling.write();
        self.fail(&dialling, error);
        self.say_goodbye(at, dialling.socket);
    }

    pub(super) fn say_goodbye(&mut self, at: usize, socket: TcpStream) {
        let mut goodbye = Goodbye::new(socket, self.shared.clock.now());
        if goodbye.turn() {
            let _ = self.poll.registry().deregister(&mut goodbye.socket);
            self.entries[at] = None;
        } else {
            self.entries[at] = Some(Entry::Goodbye(goodbye));
        }
    }

    fn establish(&mut self, at: usize) {
        let Some(Entry::Dialling(mut dialling)) = self.entries[at].take() else { return };
        let Some(established) = dialling.handshake.finish(&self.shared.local) else {
            self.entries[at] = Some(Entry::Dialling(dialling));
            return;
        };
        let (node, role, addr) = (established.node, established.role, dialling.addr);
        if let Some(error) = dialling.unwelcome.take() {
            self.turn_away(at, &established, dialling.socket, CloseCode::Refused);
            return self.report(role, addr, ConnectError::Handshake { addr, error });
        }
        if established.epoch > 1 {
            return self.carry_on(at, established, *dialling);
        }
        let pair = Arc::new(self.make_pair(established, addr, dialling.socket));
        let tracked = Tracked {
            pair,
            announced: false,
            more: false,
            closed: false,
            unwritten: false,
            redial: None,
            proposed: 1,
        };
        self.entries[at] = Some(Entry::Pair(tracked));
        if let Some(&other) = self.peers.get(&node)
            && !self.settle_duplicate(at, other, node, role)
        {
            return;
        }
        self.peers.insert(node, at);
        let Some(Some(Entry::Pair(tracked))) = self.entries.get_mut(at) else { return };
        let pair = tracked.pair.clone();
        self.shared.register(pair.clone());
        if let Err(error) = self.hand_to_waiters(at, &pair) {
            return self.end(at, super::super::io::loss(&error), None);
        }
        // An initiator waits for the first frame, which says that it was let in.
        if role == Role::Responder {
            self.announce(at);
        }
        self.work(at, Ready::ALL);
    }

    /// Ends a socket whose handshake is complete, with a reason.
    pub(super) fn turn_away(
        &mut self,
        at: usize,
        established: &Established,
        mut socket: TcpStream,
        code: CloseCode,
    ) {
        let now = self.shared.clock.now();
        let (agreed, route) = self.agreed(established);
        let mut connection = Connection::new(agreed, route, self.shared.timing.timers(), now);
        connection.close(code, "");
        connection.poll_transmit(now);
        // One small write into an empty socket; if it does not go, the peer learns no reason.
        let _ = connection
            .with_slices(usize::MAX, |slices| io::Write::write_vectored(&mut socket, slices));
        self.say_goodbye(at, socket);
    }

    pub(super) fn agreed(&self, established: &Established) -> (Agreed, Route) {
        let shared = &self.shared;
        let keys = (established.sending_key, established.receiving_key);
        let agreed = Agreed {
            peer: established.node,
            session: established.session,
            chunk_bytes: shared.chunk_bytes.min(established.hello.frame_payload_max as usize),
            frame_payload_max: shared.local.frame_payload_max,
        };
        (agreed, Route { epoch: established.epoch, keys: established.sealed.then_some(keys) })
    }

    fn make_pair(&self, established: Established, addr: SocketAddr, socket: TcpStream) -> Pair {
        let now = self.shared.clock.now();
        let shared = &self.shared;
        let (agreed, route) = self.agreed(&established);
        let connection = Connection::new(agreed, route, shared.timing.timers(), now);
        let listens = match (established.role, established.hello.port) {
            (Role::Initiator, _) => Some(addr),
            (Role::Responder, 0) => None,
            (Role::Responder, port) => Some(SocketAddr::new(addr.ip(), port)),
        };
        let info = PeerInfo {
            node: established.node,
            name: established.hello.name,
            addr,
            interface: shared.interface.clone(),
            link_kind: shared.link_kind,
            encrypted: established.sealed,
            software: established.hello.software,
        };
        Pair::new(info, established.role, listens, connection, socket, shared.clone())
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
}
