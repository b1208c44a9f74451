//! The one door to the transport and the link: connections by node, messages in and out.
//!
//! Activations do not pass here: the [stage worker](crate::stage::worker) posts and receives them
//! itself, on the same connections.

mod config;
pub mod dial;
pub mod discovery;
mod ends;
pub mod messages;
pub mod record;
pub mod shards;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{self, Receiver};
use exo_exchange::Hold;
pub use exo_netconfig::{InterfaceChoice, Link, LinkError, LinkKind, link::events::LinkEvent};
use exo_netconfig::{link::events::LinkEvents, peer};
pub use exo_transport::{
    Backing, ClusterKey, Completion, CompletionQueue, Encrypt, Endpoint, EndpointConfig, Event,
    Identity, Lane, NodeId, Payload, QueuePair, Region, RegionPool, RegionSlice, RemoteRegion,
    Send as SendRequest, Trust, wire::activation,
};
use exo_transport::{CloseCode, LossCause, PeerLost};
use rkyv::{Archive, Serialize, api::high, rancor, util::AlignedVec};

pub use self::{
    config::{FabricConfig, FabricError, TrustWithoutKey},
    ends::Said,
};
use self::{
    dial::DialBook,
    discovery::{Announcement, Discovery, Found},
    ends::Ends,
    messages::{ClusterMessage, Record, TokenMessage},
    record::{Facts, SignedRecord},
};

/// Room for one message: a prompt of 128 K tokens and more.
const CLUSTER_REGION_BYTES: usize = 1 << 20;
/// Room for a token with its log-probabilities.
const TOKEN_REGION_BYTES: usize = 4 << 10;
/// Regions posted per connection and lane.
const REGIONS_POSTED: usize = 8;
/// Small messages on their way, from a pool; more come from the allocator.
const MESSAGES_POOLED: usize = 64;
/// A message that nobody acknowledged for so long is given up.
const MESSAGE_DEADLINE: Duration = Duration::from_secs(30);
/// Messages of all peers that may be on their way: a silent peer must not use up the others' room.
const COMPLETIONS: usize = 16 << 10;
/// Events of the link that may wait for the node.
const LINK_EVENTS_MAX: usize = 16;
/// How often its thread looks whether anybody still waits for them.
const LINK_WAIT: Duration = Duration::from_secs(1);

/// What came in.
#[derive(Debug)]
pub enum Incoming {
    /// On the urgent lane.
    Token(TokenMessage),
    /// On the cluster lane.
    Cluster(Box<ClusterMessage>),
    /// Bytes that are no message.
    Malformed(String),
}

impl Incoming {
    fn malformed(error: impl std::fmt::Display) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// See the module.
pub struct Fabric {
    endpoint: Endpoint,
    received: CompletionQueue,
    sent: CompletionQueue,
    pool: RegionPool,
    peers: BTreeMap<NodeId, QueuePair>,
    found: Receiver<Found>,
    dial_book: DialBook,
    discovery: Option<Discovery>,
    identity: Identity,
    /// The record of this node that was signed last, as it was before it got its revision.
    signed: Mutex<Option<(Record, SignedRecord, u64)>>,
    ends: Ends,
    /// As long as it is there, the link is watched.
    watched: Arc<()>,
    /// Without a cluster's key: nobody else speaks in this machine's name meanwhile.
    _hold: Option<Hold>,
}

impl Fabric {
    /// Validates the link, listens on it and announces this node there.
    ///
    /// # Errors
    /// [`FabricError`], each with what to do next.
    pub fn open(config: &FabricConfig<'_>) -> Result<Self, FabricError> {
        let link = Link::open(config.interface)?;
        let key_file = config.data.join("identity.key");
        let identity = Identity::load_or_create(&key_file)?;
        let hold =
            config.cluster_key_file.is_none().then(|| config::speak_for(&key_file)).transpose()?;
        let store = config.data.join("pinned-peer");
        let trust = match (config.cluster_key_file, config.trust) {
            (Some(file), _) => Trust::ClusterKey(ClusterKey::from_file(file)?),
            (None, TrustWithoutKey::FirstUse) => Trust::FirstUse { store },
            (None, TrustWithoutKey::Pinned) => Trust::Pinned { store },
            (None, TrustWithoutKey::Nobody) => return Err(FabricError::NobodyTrusted),
        };
        let named = config.peers.iter().map(|text| resolve(text)).collect::<Result<Vec<_>, _>>()?;
        let endpoint = Endpoint::open(
            link.clone(),
            identity.clone(),
            EndpointConfig {
                listen: config.listen,
                encrypt: config.encrypt,
                software: concat!("exo-node/", env!("CARGO_PKG_VERSION")).into(),
                ..EndpointConfig::new(config.name, trust)
            },
        )?;
        let end = peer::Identity {
            machine: endpoint.node_id().to_string(),
            name: config.name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (sender, found) = channel::bounded(64);
        let discovery = config.discovery.then(|| {
            let me = Announcement {
                node: endpoint.node_id(),
                name: config.name.to_owned(),
                port: endpoint.local_addr().port(),
                addresses: link.addresses().iter().map(ipnet::IpNet::addr).collect(),
            };
            Discovery::start(&link, me, sender)
        });
        let discovery = match discovery {
            Some(Err(error)) => {
                tracing::warn!("no discovery on {}: {error}\n{}", link.name(), error.hint());
                None
            }
            Some(Ok(discovery)) => Some(discovery),
            None => None,
        };
        // Without discovery nobody is ever found; a channel that is closed would be "ready" for ever.
        let found = if discovery.is_some() { found } else { channel::never() };
        Ok(Self {
            endpoint,
            received: CompletionQueue::with_capacity(COMPLETIONS),
            sent: CompletionQueue::with_capacity(COMPLETIONS),
            pool: RegionPool::new(MESSAGES_POOLED, TOKEN_REGION_BYTES),
            peers: BTreeMap::new(),
            found,
            dial_book: DialBook::new(named),
            discovery,
            identity,
            signed: Mutex::new(None),
            ends: Ends::start(end).map_err(FabricError::Thread)?,
            watched: Arc::default(),
            _hold: hold,
        })
    }

    /// The endpoint, for its numbers.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the transport reports.
    #[must_use]
    pub fn events(&self) -> Receiver<Event> {
        self.endpoint.events().clone()
    }

    /// Has a word as long as messages have come: for each, [`take_received`](Self::take_received).
    #[must_use]
    pub fn received(&self) -> Receiver<()> {
        self.received.doorbell().clone()
    }

    /// Has a word as long as messages were acknowledged, or were not: for each,
    /// [`take_sent`](Self::take_sent).
    #[must_use]
    pub fn sent(&self) -> Receiver<()> {
        self.sent.doorbell().clone()
    }

    /// Nodes found on the link: hand each to [`handle_found`](Self::handle_found).
    #[must_use]
    pub fn found(&self) -> Receiver<Found> {
        self.found.clone()
    }

    /// Answers to questions about this end of the link: hand each to
    /// [`handle_said`](Self::handle_said).
    #[must_use]
    pub fn said(&self) -> Receiver<Said> {
        self.ends.answers()
    }

    /// What becomes of the link from now on, until the fabric is dropped.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn watch_link(&self) -> std::io::Result<Receiver<LinkEvent>> {
        let (sender, heard) = channel::bounded(LINK_EVENTS_MAX);
        let (link, watched) = (self.endpoint.link().clone(), Arc::downgrade(&self.watched));
        thread::Builder::new().name("link".into()).spawn(move || {
            let mut events = LinkEvents::of(&link);
            while watched.strong_count() > 0 {
                let told = events.next(LINK_WAIT).is_none_or(|event| sender.send(event).is_ok());
                if !told {
                    return;
                }
            }
        })?;
        Ok(heard)
    }

    /// The connection to a node.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> Option<&QueuePair> {
        self.peers.get(&node)
    }

    /// All connections.
    pub fn peers(&self) -> impl Iterator<Item = &QueuePair> {
        self.peers.values()
    }

    /// A node has connected: makes room for its messages.
    pub fn handle_connected(&mut self, queue_pair: QueuePair) {
        for (lane, bytes) in
            [(Lane::Urgent, TOKEN_REGION_BYTES), (Lane::Cluster, CLUSTER_REGION_BYTES)]
        {
            for _ in 0..REGIONS_POSTED {
                self.post_recv(&queue_pair, lane, Region::pages(bytes));
            }
        }
        self.peers.insert(queue_pair.peer().node, queue_pair);
    }

    /// A connection is gone.
    pub fn handle_disconnected(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.dial_book.handle_lost(node, Instant::now());
    }

    /// Another node was found on the link. Gives whether it is one with this node's own key.
    pub fn handle_found(&mut self, found: &Found) -> bool {
        if found.node == self.endpoint.node_id() {
            let (link, local) = (self.endpoint.link(), self.endpoint.local_addr());
            let own = link.addresses().iter().any(|net| net.addr() == found.addr.ip());
            return !(own && found.addr.port() == local.port());
        }
        let news = self.dial_book.handle_found(found.node, found.addr, Instant::now());
        if news && !self.peers.contains_key(&found.node) {
            tracing::info!(node = %found.name, addr = %found.addr, "found on the link");
            self.dial(found.addr);
        }
        false
    }

    /// Another node is said to listen on these addresses.
    pub fn handle_heard<'a>(&mut self, node: NodeId, listens: impl Iterator<Item = &'a str>) {
        for addr in listens.filter_map(|text| text.parse().ok()) {
            if self.dial_book.handle_found(node, addr, Instant::now()) {
                self.dial(addr);
            }
        }
    }

    /// A node is known to be gone: it is not dialled until it is heard of again.
    pub fn forget(&mut self, node: NodeId) {
        self.dial_book.forget(node);
    }

    /// This machine slept: it says that it is there, asks who else is, and dials whom it misses.
    pub fn handle_wake(&mut self) {
        self.dial_book.handle_wake();
        self.handle_link_back(self.endpoint.link());
    }

    /// Dials, again and again, the peers that were named and those that were found, unless they
    /// are there: `listening` are the addresses on which the nodes that are there listen.
    pub fn redial(&mut self, listening: &[&str]) {
        let own = self.endpoint.local_addr().to_string();
        let there: Vec<&str> = listening.iter().copied().chain([own.as_str()]).collect();
        let peers = &self.peers;
        let due = self.dial_book.due(|node| peers.contains_key(&node), &there, Instant::now());
        for addr in due {
            self.dial(addr);
        }
    }

    /// This node's record, signed. What is new in it gets a higher revision.
    #[must_use]
    pub fn signed(&self, record: &Record) -> SignedRecord {
        let mut last = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = match &*last {
            Some((same, signed, _)) if same == record => return signed.clone(),
            Some((.., revision)) => revision + 1,
            None => 1,
        };
        let facts = Facts { revision, ..record.facts.clone() };
        let signed = SignedRecord::sign(&self.identity, &Record { facts, ..record.clone() });
        *last = Some((record.clone(), signed.clone(), revision));
        signed
    }

    /// Sends a cluster message to a node, if it is there; its own record signed.
    pub fn tell(&self, node: NodeId, message: &ClusterMessage) {
        match message {
            ClusterMessage::Record(record) => {
                let signed = ClusterMessage::Signed(self.signed(record));
                self.send(node, Lane::Cluster, messages::CLUSTER, &signed);
            }
            message => self.send(node, Lane::Cluster, messages::CLUSTER, message),
        }
    }

    fn dial(&self, addr: SocketAddr) {
        if let Err(error) = self.endpoint.connect(addr) {
            tracing::debug!(%addr, %error, "not dialled");
        }
    }

    /// Sends a message to a node, if it is there.
    pub fn send<T>(&self, node: NodeId, lane: Lane, immediate: u32, message: &T)
    where
        T: for<'a> Serialize<
                high::HighSerializer<
                    AlignedVec,
                    rkyv::ser::allocator::ArenaHandle<'a>,
                    rancor::Error,
                >,
            > + Archive,
    {
        self.send_bytes(node, lane, immediate, &messages::encode(message));
    }

    fn send_bytes(&self, node: NodeId, lane: Lane, immediate: u32, bytes: &[u8]) {
        let Some(queue_pair) = self.peers.get(&node) else { return };
        let mut region = Some(bytes.len())
            .filter(|&len| len <= TOKEN_REGION_BYTES)
            .and_then(|_| self.pool.lease())
            .unwrap_or_else(|| Region::pages(bytes.len()));
        region.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        let payload = Payload::from_slice(region.freeze().slice(..bytes.len()));
        let deadline = Some(MESSAGE_DEADLINE);
        if let Err((error, _)) =
            queue_pair.post_send(SendRequest { lane, payload, immediate, deadline }, &self.sent)
        {
            // A message that is lost is a request that never ends: better to lose the connection,
            // which everybody knows how to go on from.
            tracing::warn!(peer = %queue_pair.peer().name, %error, "message not sent: closing");
            queue_pair.close();
        }
    }

    /// Sends a cluster message to all.
    pub fn broadcast(&self, message: &ClusterMessage) {
        for &node in self.peers.keys() {
            self.tell(node, message);
        }
    }

    /// Sends what there is to say of this end of the link; gives what was no question.
    pub fn handle_said(&self, said: Said) -> Option<(NodeId, Incoming)> {
        match said.bytes {
            Ok(Some(bytes)) => {
                self.send_bytes(said.to, Lane::Cluster, exo_exchange::IMMEDIATE, &bytes);
                None
            }
            Ok(None) => None,
            Err(error) => Some((said.to, Incoming::Malformed(error.to_string()))),
        }
    }

    /// Reads the next received message, if there is one, and posts its region again. A question about
    /// this end of the link is passed on to whoever answers it.
    pub fn take_received(&mut self) -> Option<(NodeId, Incoming)> {
        let completion = self.received.poll()?;
        let Completion { status, region, bytes, immediate, peer, lane, .. } = completion;
        let (Ok(()), Some(region)) = (status, region) else { return None };
        let message = &region.as_slice()[..bytes];
        let incoming = match (lane, immediate) {
            (Lane::Cluster, Some(exo_exchange::IMMEDIATE)) => {
                let link = self.endpoint.link();
                self.ends.ask(peer, link.name(), message).err().map(Incoming::malformed)
            }
            (Lane::Urgent, Some(messages::TOKEN)) => {
                let token = messages::decode(message).map(Incoming::Token);
                Some(token.unwrap_or_else(Incoming::malformed))
            }
            (Lane::Cluster, Some(messages::CLUSTER)) => {
                let said = messages::decode(message).map(Box::new).map(Incoming::Cluster);
                Some(said.unwrap_or_else(Incoming::malformed))
            }
            (lane, immediate) => {
                let what = format!("immediate {immediate:?} on the {lane} lane");
                return Some((peer, Incoming::Malformed(what)));
            }
        };
        if let Some(queue_pair) = self.peers.get(&peer) {
            self.post_recv(queue_pair, lane, region);
        }
        incoming.map(|incoming| (peer, incoming))
    }

    /// Looks whether a message was acknowledged, or was not.
    pub fn take_sent(&self) {
        if let Some(completion) = self.sent.poll()
            && let Err(error) = &completion.status
            && let Some(queue_pair) = self.peers.get(&completion.peer).filter(|pair| pair.is_open())
        {
            tracing::warn!(peer = %queue_pair.peer().name, %error, "message lost: closing");
            queue_pair.close();
        }
    }

    /// The link is usable again: this node is announced anew, and asks who is there.
    pub fn handle_link_back(&self, link: Link) {
        if let Some(discovery) = &self.discovery {
            discovery.link_changed(link);
        }
    }

    /// Ends all connections.
    pub fn close(&mut self) {
        self.discovery = None;
        self.endpoint.close();
    }

    fn post_recv(&self, queue_pair: &QueuePair, lane: Lane, region: Region) {
        if let Err((error, _)) = queue_pair.post_recv(lane, region, &self.received) {
            tracing::debug!(peer = %queue_pair.peer().name, %error, "no region posted");
        }
    }
}

/// Whether the peer ended the connection because it had nothing more to say.
pub fn is_goodbye(lost: &PeerLost) -> bool {
    matches!(lost.cause, LossCause::ClosedByPeer { code: CloseCode::Done, .. })
}

fn resolve(text: &str) -> Result<SocketAddr, FabricError> {
    let wrong = |cause: String| FabricError::Peer { text: text.to_owned(), cause };
    let mut addrs = text.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    addrs.next().ok_or_else(|| wrong("no such address".into()))
}
