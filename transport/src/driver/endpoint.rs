//! The handle on everything: one link, one identity, one thread.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use exo_netconfig::{Link, LinkKind};
use mio::Waker;
use mio::net::TcpListener;
use socket2::SockRef;

use super::clock::Clock;
use super::event_loop::EventLoop;
use super::inline::Inline;
use super::pair::Pair;
use super::stats::EndpointStats;
use crate::config::{Drive, Encrypt, EndpointConfig, Timing};
use crate::event::{ConnectError, Event, OpenError};
use crate::identity::{Identity, NodeId};
use crate::limits::{
    COMMANDS_MAX, CONNECTIONS_MAX, EVENTS_MAX, FRAME_PAYLOAD_BYTES_MAX, FRAME_PAYLOAD_BYTES_MIN,
    NODE_NAME_BYTES_MAX, SOFTWARE_BYTES_MAX,
};
use crate::proto::Local;
use crate::queue::{Completion, CompletionQueue, WaitTimeout};
use crate::sys;
use crate::trust::Trust;
use crate::wire::hello::truncated;

/// Connections that may wait in the kernel to be accepted. One that finds no room tries again only
/// after a second.
const BACKLOG: i32 = 256;

/// What the handle, the driver and the queue pairs share.
pub(super) struct Shared {
    /// The link as it was last seen. Hot-plug changes its index.
    link: RwLock<Link>,
    /// What each connection is called that it is on; hot-plug does not change these.
    pub(super) interface: String,
    pub(super) link_kind: LinkKind,
    pub(super) local: Local,
    pub(super) node: NodeId,
    pub(super) trust: Trust,
    pub(super) timing: Timing,
    pub(super) chunk_bytes: usize,
    pub(super) connections_max: usize,
    pub(super) handshakes_max: usize,
    pub(super) spin_us: u64,
    pub(super) clock: Clock,
    pub(super) closing: AtomicBool,
    pub(super) refused: AtomicU64,
    pub(super) events_dropped: AtomicU64,
    /// For statistics only; the driver has its own table.
    pub(super) pairs: Mutex<Vec<Arc<Pair>>>,
    /// The data sockets, if whoever waits drives them.
    pub(super) inline: Option<Inline>,
    waker: Waker,
}

impl Shared {
    /// Calls the driver out of its sleep.
    pub(super) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the driver");
        }
    }

    /// The link as it was last seen.
    pub(super) fn link(&self) -> Link {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_link(&self, link: Link) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
    }

    fn pairs(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pair>>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(&self, pair: Arc<Pair>) {
        self.pairs().push(pair);
    }

    pub(super) fn unregister(&self, pair: &Arc<Pair>) {
        if let Some(inline) = &self.inline {
            inline.remove(pair);
        }
        self.pairs().retain(|other| !Arc::ptr_eq(other, pair));
    }
}

/// What the driver is asked.
pub(super) enum Command {
    Connect(SocketAddr),
}

/// The handle, of which the last one dropped ends the driver.
struct Inner {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    commands: Sender<Command>,
    events: Receiver<Event>,
    driver: Mutex<Option<JoinHandle<()>>>,
}

/// One node's end of all its connections over one link. Cloning gives another handle.
///
/// The last handle to be dropped closes the endpoint.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

impl Endpoint {
    /// Listens on the link's address, on sockets that the system keeps on the link's interface,
    /// and starts the driver.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which says what to do next.
    pub fn open(link: Link, identity: Identity, config: EndpointConfig) -> Result<Self, OpenError> {
        check(&link, &config)?;
        let addr = link.socket_addr(config.listen);
        let io = |doing| {
            let interface = link.name().to_owned();
            move |source| OpenError::Io { doing, interface, addr, source }
        };
        let listener = listen(&link, addr)?;
        let local_addr = listener.local_addr().map_err(io("ask the listening socket"))?;
        let poll = mio::Poll::new().map_err(io("make an event queue"))?;
        let waker =
            Waker::new(poll.registry(), EventLoop::WAKER).map_err(io("make an event queue"))?;
        let encrypt = match config.encrypt {
            Encrypt::On => true,
            Encrypt::Off => false,
            Encrypt::Auto => link.kind() == LinkKind::ByHand,
        };
        let clock = Clock::start();
        let shared = Arc::new(Shared {
            node: identity.node_id(),
            local: Local {
                cluster_key: config.trust.cluster_key().cloned(),
                identity,
                encrypt,
                frame_payload_max: FRAME_PAYLOAD_BYTES_MAX as u32,
                name: truncated(&config.name, NODE_NAME_BYTES_MAX).into(),
                software: truncated(&config.software, SOFTWARE_BYTES_MAX).into(),
                port: local_addr.port(),
            },
            interface: link.name().into(),
            link_kind: link.kind(),
            link: RwLock::new(link.clone()),
            trust: config.trust,
            timing: config.timing,
            chunk_bytes: config.chunk_bytes,
            connections_max: config.connections_max,
            handshakes_max: config.handshakes_max,
            spin_us: config.spin_us,
            clock,
            closing: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            events_dropped: AtomicU64::new(0),
            pairs: Mutex::new(Vec::new()),
            inline: (config.drive == Drive::Inline)
                .then(|| Inline::new(clock))
                .transpose()
                .map_err(io("make an event queue"))?,
            waker,
        });
        let (commands, commands_in) = bounded(COMMANDS_MAX);
        let (events_out, events) = bounded(EVENTS_MAX);
        let event_loop = EventLoop::new(poll, listener, shared.clone(), commands_in, events_out)
            .map_err(io("watch the listening socket"))?;
        let driver = std::thread::Builder::new()
            .name("exo-transport".into())
            .spawn(move || event_loop.run())
            .map_err(io("start the transport's thread"))?;
        tracing::info!(node = %shared.node, interface = link.name(), %local_addr, "listening");
        let driver = Mutex::new(Some(driver));
        Ok(Self(Arc::new(Inner { shared, local_addr, commands, events, driver })))
    }

    /// The name of this node.
    pub fn node_id(&self) -> NodeId {
        self.0.shared.node
    }

    /// The address and port it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    /// The link that all its sockets are pinned to, as it was last seen.
    pub fn link(&self) -> Link {
        self.0.shared.link()
    }

    /// The next completion of `queue`, waiting for it at most `timeout`. It spins for
    /// [`spin_us`](EndpointConfig::spin_us), then sleeps. If the endpoint is driven
    /// [inline](Drive::Inline) this moves the bytes of all its connections meanwhile, and what ends
    /// the sleep is a packet.
    ///
    /// # Errors
    ///
    /// [`WaitTimeout`]; the work requests stay posted.
    pub fn wait(
        &self,
        queue: &CompletionQueue,
        timeout: Duration,
    ) -> Result<Completion, WaitTimeout> {
        let shared = &self.0.shared;
        match &shared.inline {
            Some(inline) => {
                let spin = Duration::from_micros(shared.spin_us);
                inline.wait(queue, timeout, spin)
            }
            None => self.spin(queue, timeout),
        }
    }

    /// Beside a driver that spins, the thread that waits for it does: to be woken takes longer than
    /// to look.
    fn spin(&self, queue: &CompletionQueue, timeout: Duration) -> Result<Completion, WaitTimeout> {
        let shared = &self.0.shared;
        let begun = shared.clock.now();
        let spin_until = begun.after(Duration::from_micros(shared.spin_us).min(timeout));
        let mut now = begun;
        while now < spin_until {
            if let Some(completion) = queue.poll() {
                return Ok(completion);
            }
            // The driver may be on this very core.
            std::thread::yield_now();
            now = shared.clock.now();
        }
        let left = timeout.saturating_sub(now.since(begun));
        queue.wait(left).map_err(|_| WaitTimeout::after(timeout))
    }

    /// Moves the bytes of all connections as far as that goes without waiting, if the endpoint is
    /// driven [inline](Drive::Inline). Gives whether any came.
    pub fn progress(&self) -> bool {
        self.0.shared.inline.as_ref().is_some_and(Inline::progress)
    }

    /// Asks for a connection. Never waits: what comes of it is an [`Event`].
    ///
    /// # Errors
    ///
    /// [`ConnectError::Limit`] if too many such wishes wait, [`ConnectError::Closed`].
    pub fn connect(&self, addr: SocketAddr) -> Result<(), ConnectError> {
        if self.0.shared.closing.load(Ordering::SeqCst) {
            return Err(ConnectError::Closed);
        }
        self.0.commands.try_send(Command::Connect(addr)).map_err(|error| match error {
            TrySendError::Full(_) => {
                ConnectError::Limit { what: "wishes to connect", max: COMMANDS_MAX }
            }
            TrySendError::Disconnected(_) => ConnectError::Closed,
        })?;
        self.0.shared.wake();
        Ok(())
    }

    /// What happens to its connections. Whoever does not fetch them loses the less important ones.
    pub fn events(&self) -> &Receiver<Event> {
        &self.0.events
    }

    /// What was counted so far.
    pub fn stats(&self) -> EndpointStats {
        let shared = &self.0.shared;
        let pairs = shared.pairs().clone();
        EndpointStats {
            node: shared.node,
            interface: shared.interface.clone(),
            link_kind: shared.link_kind,
            refused: shared.refused.load(Ordering::Relaxed),
            events_dropped: shared.events_dropped.load(Ordering::Relaxed),
            connections: pairs.iter().map(|pair| pair.stats()).collect(),
        }
    }

    /// Tells all peers that this node is going, completes all work, and ends the driver. Returns
    /// when that is done. Calling it again does nothing.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.wake();
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(driver) = driver
            && driver.thread().id() != std::thread::current().id()
            && driver.join().is_err()
        {
            tracing::error!("the transport's thread panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("node", &self.node_id())
            .field("interface", &self.0.shared.interface)
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}

fn check(link: &Link, config: &EndpointConfig) -> Result<(), OpenError> {
    if link.kind() != LinkKind::Thunderbolt && config.trust.cluster_key().is_none() {
        return Err(OpenError::ClusterKeyNeeded { interface: link.name().into() });
    }
    let bounds = [
        ("chunk_bytes", config.chunk_bytes, FRAME_PAYLOAD_BYTES_MIN, FRAME_PAYLOAD_BYTES_MAX),
        ("connections_max", config.connections_max, 1, CONNECTIONS_MAX),
        ("handshakes_max", config.handshakes_max, 1, 1024),
    ];
    for (field, value, min, max) in bounds {
        if !(min..=max).contains(&value) {
            return Err(OpenError::Config { field, value, min, max });
        }
    }
    Ok(())
}

/// A socket that listens on the link, and nowhere else.
pub(super) fn listen(link: &Link, addr: SocketAddr) -> Result<TcpListener, OpenError> {
    let socket = sys::pinned_socket(link, addr)?;
    let io = |doing| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => {
                OpenError::PortInUse { port: addr.port(), interface: link.name().into() }
            }
            _ => OpenError::Io { doing, interface: link.name().into(), addr, source },
        }
    };
    // A port whose last connections are only waiting out their time is not in use.
    socket.set_reuse_address(true).map_err(io("listen"))?;
    socket.bind(&addr.into()).map_err(io("listen"))?;
    socket.listen(BACKLOG).map_err(io("listen"))?;
    sys::check_pinned(&SockRef::from(&socket), link)?;
    Ok(TcpListener::from_std(socket.into()))
}
