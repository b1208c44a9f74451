//! Nodes find each other on the link, by multicast DNS (RFC 6762) and its service discovery
//! (RFC 6763), as instances of `_exo-node._tcp.local.`.
//!
//! Contract: every packet goes out and comes in on the pinned link alone, membership reports
//! included. What is found is a hint where to connect to, no more: the handshake decides who is
//! there. Bytes of others are checked, bounded and never a reason to panic.
//!
//! Layout: `message` knows the bytes, `protocol` knows what to do when (both without sockets and
//! clocks), this file has the thread around them.

mod message;
mod protocol;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError};
use exo_netconfig::Link;
use exo_transport::{MulticastError, MulticastSocket, NodeId};
use thiserror::Error;

use self::{
    message::{NAME_BYTES_MAX, PACKET_BYTES_MAX, is_name},
    protocol::Protocol,
};

/// Longest wait for a packet: so long may it take until the end, or a new link, is noticed.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// Time between two attempts to open the socket again after the system refused it something.
const REOPEN_EVERY: Duration = Duration::from_secs(1);
/// Changes of the link that wait for the thread.
const LINKS_WAITING_MAX: usize = 16;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Its id.
    pub node: NodeId,
    /// What people call it: 1 to 64 bytes without control characters.
    pub name: String,
    /// The port that its transport listens on.
    pub port: u16,
    /// The addresses that it listens on. Those that are not the link's own are left out; if none
    /// is left, all of the link's are announced.
    pub addresses: Vec<IpAddr>,
}

/// A node that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The id that it claims: the handshake has to prove it.
    pub node: NodeId,
    /// What it wants to be called.
    pub name: String,
    /// Where it listens: inside one of the link's own networks, with the scope id where IPv6
    /// link-local needs it.
    pub addr: SocketAddr,
}

/// Why nobody can be found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// A node that listens nowhere cannot be announced.
    #[error("discovery: a node cannot be announced with port 0")]
    NoPort,
    /// The name cannot be announced.
    #[error(
        "discovery: a node's name has 1 to {NAME_BYTES_MAX} bytes and no control characters: {name:?}"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// The link gives us no multicast.
    #[error("discovery: {0}")]
    Multicast(#[from] MulticastError),
    /// The thread could not be started.
    #[error("discovery: cannot start its thread: {0}")]
    Thread(io::Error),
}

impl DiscoveryError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NoPort => "announce the port that the transport really listens on".into(),
            Self::BadName { .. } => "choose another one with --name".into(),
            Self::Multicast(error) => error.hint(),
            Self::Thread(_) => "the system is short of threads or memory: close something".into(),
        }
    }
}

/// Discovery under way. Dropping it says goodbye to the others and waits for its thread (at most a
/// fraction of a second).
#[derive(Debug)]
pub struct Discovery {
    /// `None` only while it is dropped.
    links: Option<Sender<Link>>,
    thread: Option<JoinHandle<()>>,
}

impl Discovery {
    /// Announces `me` on `link` and reports others to `found`.
    ///
    /// A node is reported when it is new or has changed, and again whenever it answers a later
    /// question (at most once a second), so whoever could not connect to it hears of it again. If
    /// `found` is full, a report is dropped: it comes again.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`]: each has a hint.
    pub fn start(
        link: &Link,
        me: Announcement,
        found: Sender<Found>,
    ) -> Result<Self, DiscoveryError> {
        if me.port == 0 {
            return Err(DiscoveryError::NoPort);
        }
        if !is_name(&me.name) {
            return Err(DiscoveryError::BadName { name: me.name });
        }
        let socket = MulticastSocket::open(link)?;
        let (links, changes) = channel::bounded(LINKS_WAITING_MAX);
        let begun = Instant::now();
        let runner = Runner {
            protocol: Protocol::new(me, link.clone(), Duration::ZERO),
            link: link.clone(),
            socket: Some(socket),
            pausing: false,
            changes,
            found,
            begun,
        };
        let thread = std::thread::Builder::new()
            .name("discovery".into())
            .spawn(move || runner.run())
            .map_err(DiscoveryError::Thread)?;
        Ok(Self { links: Some(links), thread: Some(thread) })
    }

    /// The link came back, or has another index or other addresses now: opens a new socket on it,
    /// asks and announces at once, and reports everybody anew.
    pub fn link_changed(&self, link: Link) {
        if let Some(links) = &self.links {
            // Fails only if the thread has panicked, which its join will tell.
            let _ = links.send(link);
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        drop(self.links.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the discovery thread panicked");
        }
    }
}

/// The thread: carries packets between the socket and the protocol.
struct Runner {
    protocol: Protocol,
    link: Link,
    /// `None` after the system refused it something, until it can be opened again.
    socket: Option<MulticastSocket>,
    /// Something was refused, and nothing was sent since: told once, not every second.
    pausing: bool,
    changes: Receiver<Link>,
    found: Sender<Found>,
    begun: Instant,
}

impl Runner {
    fn run(mut self) {
        // One byte more than allowed, so that what is too long is seen to be.
        let mut buffer = vec![0; PACKET_BYTES_MAX + 1];
        loop {
            match self.changes.try_recv() {
                Ok(link) => self.link_changed(link),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => match self.socket.take() {
                    Some(socket) => self.exchange(socket, &mut buffer),
                    None => match self.changes.recv_timeout(REOPEN_EVERY) {
                        Ok(link) => self.link_changed(link),
                        Err(RecvTimeoutError::Timeout) => self.reopen(),
                        Err(RecvTimeoutError::Disconnected) => break,
                    },
                },
            }
        }
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(&self.protocol.goodbye())
        {
            tracing::debug!("no goodbye: {error}");
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn link_changed(&mut self, link: Link) {
        self.link = link;
        // The old socket is stuck on the old index.
        self.socket = None;
        self.reopen();
    }

    fn reopen(&mut self) {
        match MulticastSocket::open(&self.link) {
            Ok(socket) => {
                self.socket = Some(socket);
                let now = self.now();
                self.protocol.handle_link(self.link.clone(), now);
            }
            Err(error) => tracing::debug!("still no discovery: {error}"),
        }
    }

    /// Sends what is due and takes at most one packet. The socket is kept if nothing was refused.
    fn exchange(&mut self, socket: MulticastSocket, buffer: &mut [u8]) {
        match self.try_exchange(&socket, buffer) {
            Ok(()) => self.socket = Some(socket),
            Err(error) if self.pausing => tracing::debug!("discovery still pauses: {error}"),
            Err(error) => {
                self.pausing = true;
                tracing::warn!("discovery pauses until the link works again: {error}");
            }
        }
    }

    fn try_exchange(
        &mut self,
        socket: &MulticastSocket,
        buffer: &mut [u8],
    ) -> Result<(), MulticastError> {
        let now = self.now();
        while let Some(packet) = self.protocol.poll_send(now) {
            socket.send(&packet)?;
            if self.pausing {
                self.pausing = false;
                tracing::info!("discovery goes on on {}", self.link.name());
            }
        }
        let wait = self.protocol.poll_timeout().saturating_sub(now).min(WAIT_MAX);
        let Some((length, from)) = socket.recv(buffer, wait)? else { return Ok(()) };
        let heard = self.protocol.handle_packet(from, &buffer[..length], self.now());
        for reason in heard.ignored {
            tracing::trace!(%from, "a discovery packet is not used: {reason}");
        }
        for found in heard.found {
            tracing::debug!(name = found.name, addr = %found.addr, "found a node");
            if let Err(TrySendError::Full(found)) = self.found.try_send(found) {
                tracing::debug!("nobody takes the report of {}: it will come again", found.name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod namespaces;
