//! How does this node come by layers of a model that is not on its disk, and who gets them from it?
//!
//! It asks all nodes for the model of the placement's fingerprint. Who has all of it grants its files
//! to be read and says where ([`offer`](crate::fabric::shards::offer)); this node then reads its own
//! layers' tensors over the link, checks each by its hash, and keeps them under `DATA/shards`. A
//! node that goes away, or gives wrong bytes, is left for the next one. Files are read, hashed and
//! written on threads of their own: the loop only passes messages.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{self, Receiver, Sender};

use super::{parts::Parts, run::Node};
use crate::{
    cluster::PlacedModel,
    fabric::{
        NodeId, RemoteRegion,
        messages::ClusterMessage,
        shards::{self, Offering, PeerShards},
    },
    layers::LayerRange,
    weights::manifest::Manifests,
};

/// How long the others' answers are waited for once there is one.
const OTHERS_WAIT: Duration = Duration::from_secs(2);
/// How long an answer is waited for at all: a large model is hashed first, once.
const ANSWER_WAIT: Duration = Duration::from_secs(900);
/// Models that one peer may be reading at once.
const OFFERINGS_PER_PEER: usize = 2;
/// Things that threads may have to say before the loop hears them.
const EVENTS_MAX: usize = 256;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What this module's threads report.
pub(super) enum ShardEvent {
    /// A model is granted to a peer, or cannot be.
    Offering { to: NodeId, fingerprint: [u8; 32], result: Result<Offering, String> },
    /// So many bytes of the wanted layers are here.
    Progress { epoch: u64, bytes: u64 },
    /// All are, in this folder; or why not.
    Fetched { epoch: u64, result: Result<PathBuf, String> },
}

/// Layers that are being asked for.
struct Asking {
    placed: PlacedModel,
    range: LayerRange,
    since: Instant,
    /// Who has not answered.
    asked: BTreeSet<NodeId>,
    offers: BTreeMap<NodeId, (RemoteRegion, Instant)>,
}

/// What is asked for, and what is given.
pub(super) struct Shards {
    events: (Sender<ShardEvent>, Receiver<ShardEvent>),
    parts: Parts,
    manifests: Arc<Manifests>,
    asking: Option<Asking>,
    /// The epoch whose layers are coming.
    fetching: Option<u64>,
    /// What each peer may read: `None` while it is prepared.
    given: HashMap<(NodeId, [u8; 32]), Option<Offering>>,
}

impl Shards {
    pub(super) fn new(parts: Parts, manifests: Manifests) -> Self {
        Self {
            events: channel::bounded(EVENTS_MAX),
            parts,
            manifests: Arc::new(manifests),
            asking: None,
            fetching: None,
            given: HashMap::new(),
        }
    }

    /// What the threads report: hand each to [`Node::handle_shards`].
    pub(super) fn events(&self) -> Receiver<ShardEvent> {
        self.events.1.clone()
    }

    /// A peer is gone: what it was given is taken back.
    pub(super) fn handle_lost(&mut self, node: NodeId) {
        self.given.retain(|(to, _), _| *to != node);
        if let Some(asking) = &mut self.asking {
            asking.asked.remove(&node);
            asking.offers.remove(&node);
        }
    }

    /// The placement is another: what was asked for is not wanted any more. (What is coming goes on
    /// coming: it may be wanted again.)
    pub(super) fn forget(&mut self) {
        self.asking = None;
    }
}

impl Node {
    /// Asks the others for layers of a model that is not here.
    pub(super) fn ask_for(&mut self, placed: &PlacedModel, range: LayerRange, why: &str) {
        let asked: BTreeSet<NodeId> = self.fabric.peers().map(|pair| pair.peer().node).collect();
        tracing::info!(model = placed.name, %range, nodes = asked.len(), why, "asking for layers");
        self.fabric.broadcast(&ClusterMessage::WantShards { fingerprint: placed.fingerprint });
        self.shards.asking = Some(Asking {
            placed: placed.clone(),
            range,
            since: Instant::now(),
            asked,
            offers: BTreeMap::new(),
        });
        self.go_on_asking();
    }

    /// A peer lacks layers of a model.
    pub(super) fn handle_want_shards(&mut self, from: NodeId, fingerprint: [u8; 32]) {
        let given = self.shards.given.keys().filter(|(to, _)| *to == from).count();
        let known = self.shards.given.contains_key(&(from, fingerprint));
        let (Some(peer), Some(folder)) =
            (self.fabric.peer(from).cloned(), self.models.whole(fingerprint))
        else {
            return self.tell(from, &ClusterMessage::NoShards { fingerprint });
        };
        if known || given >= OFFERINGS_PER_PEER {
            // A peer that asks again has lost its place: it gets a new grant for the old one.
            self.shards.given.retain(|(to, model), offering| {
                *to != from || (*model != fingerprint && offering.is_none())
            });
        }
        self.shards.given.insert((from, fingerprint), None);
        let (events, manifests) = (self.shards.events.0.clone(), self.shards.manifests.clone());
        let give = move || {
            let manifest = manifests.of(&folder).map_err(|error| error.to_string());
            let result = manifest.and_then(|manifest| {
                shards::offer(&folder, manifest, &peer).map_err(|error| error.to_string())
            });
            let _ = events.send(ShardEvent::Offering { to: from, fingerprint, result });
        };
        if thread::Builder::new().name("offer".into()).spawn(give).is_err() {
            self.tell(from, &ClusterMessage::NoShards { fingerprint });
        }
    }

    /// A peer has the model, and says where its offer is read; or has it not.
    pub(super) fn handle_shards_answer(
        &mut self,
        from: NodeId,
        fingerprint: [u8; 32],
        offer: Option<(u64, u64)>,
    ) {
        let asking = self.shards.asking.as_mut();
        let Some(asking) = asking.filter(|asking| asking.placed.fingerprint == fingerprint) else {
            return;
        };
        if asking.asked.remove(&from)
            && let Some((key, len)) = offer
        {
            asking.offers.insert(from, (RemoteRegion::new(key, len), Instant::now()));
        }
        self.go_on_asking();
    }

    /// Begins to fetch once there are offers enough, or gives up.
    pub(super) fn go_on_asking(&mut self) {
        let Some(asking) = &self.shards.asking else { return };
        let first = asking.offers.values().map(|(_, at)| *at).min();
        let all = asking.asked.is_empty();
        if first.is_some_and(|at| all || at.elapsed() > OTHERS_WAIT) {
            if self.shards.fetching.is_none()
                && let Some(asking) = self.shards.asking.take()
            {
                self.fetch(asking);
            }
        } else if first.is_none() && (all || asking.since.elapsed() > ANSWER_WAIT) {
            let (name, epoch) = (asking.placed.name.clone(), asking.placed.epoch);
            self.shards.asking = None;
            self.not_loaded(
                epoch,
                format!(
                    "{name} is not on this node's disk, and no node here has all of it\n\
                     hint: on this machine, `exo-node models pull {name}` fetches it"
                ),
            );
        }
    }

    fn fetch(&mut self, asking: Asking) {
        let Asking { placed, range, offers, .. } = asking;
        let (epoch, fingerprint) = (placed.epoch, placed.fingerprint);
        // The proposer's word first: the placement is of its model.
        let mut offers: Vec<_> = offers.into_iter().map(|(node, (at, _))| (node, at)).collect();
        offers.sort_by_key(|(node, _)| *node != placed.proposer);
        let peers: Vec<_> = offers
            .into_iter()
            .filter_map(|(node, at)| Some((self.fabric.peer(node)?.clone(), at)))
            .collect();
        let (events, parts) = (self.shards.events.0.clone(), self.shards.parts.clone());
        self.shards.fetching = Some(epoch);
        let bring = move || {
            let mut sources = Vec::new();
            let mut refused = Vec::new();
            for (peer, at) in peers {
                let name = peer.peer().name.clone();
                match PeerShards::open(peer, at, fingerprint) {
                    Ok(source) => sources.push(source),
                    Err(error) => {
                        tracing::warn!(peer = name, %error, "its offer is not taken");
                        refused.push(format!("{name}: {error}"));
                    }
                }
            }
            let mut told = Instant::now();
            let mut progress = |bytes| {
                if told.elapsed() > PROGRESS_EVERY {
                    told = Instant::now();
                    let _ = events.try_send(ShardEvent::Progress { epoch, bytes });
                }
            };
            let result = if sources.is_empty() {
                Err(format!("no offer of it can be taken: {}", refused.join("; ")))
            } else {
                parts.fetch(fingerprint, range, &sources, &mut progress)
            };
            let _ = events.send(ShardEvent::Fetched { epoch, result });
        };
        if let Err(error) = thread::Builder::new().name("shards".into()).spawn(bring) {
            self.shards.fetching = None;
            self.not_loaded(epoch, error.to_string());
        }
    }

    pub(super) fn handle_shards(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Offering { to, fingerprint, result } => {
                let answer = match result {
                    // Gone, or asked anew, meanwhile.
                    _ if !self.shards.given.contains_key(&(to, fingerprint)) => return,
                    Ok(offering) => {
                        let (key, len) = (offering.remote.key(), offering.remote.len());
                        self.shards.given.insert((to, fingerprint), Some(offering));
                        ClusterMessage::Shards { fingerprint, key, len }
                    }
                    Err(error) => {
                        tracing::error!(error, "a model cannot be offered to a peer");
                        self.shards.given.remove(&(to, fingerprint));
                        ClusterMessage::NoShards { fingerprint }
                    }
                };
                self.tell(to, &answer);
            }
            ShardEvent::Progress { epoch, bytes } => {
                if self.core.cluster().placed().is_some_and(|placed| placed.epoch == epoch) {
                    self.loading_bytes = bytes;
                }
            }
            ShardEvent::Fetched { epoch, result } => {
                self.shards.fetching = None;
                let of = |placed: Option<&PlacedModel>| {
                    placed.filter(|placed| placed.epoch == epoch).cloned()
                };
                let cluster = self.core.cluster();
                match (of(cluster.placed()), of(cluster.next()), result) {
                    (None, None, _) => {} // placed anew meanwhile
                    (_, _, Err(cause)) => self.not_loaded(epoch, cause),
                    (placed, next, Ok(dir)) => {
                        tracing::info!(dir = %dir.display(), "layers have come");
                        match (placed, next) {
                            (Some(placed), _) => self.load(&placed),
                            (None, Some(next)) => self.prepare(&next),
                            (None, None) => {}
                        }
                    }
                }
                // What is wanted now may be asked for already.
                self.go_on_asking();
            }
        }
    }
}
