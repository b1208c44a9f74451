//! The state machine: see the module above.

use std::collections::{BTreeMap, BTreeSet};

use super::{Assignment, NodesWanted, Offer, Placement, place};
use crate::{
    fabric::{
        NodeId,
        messages::{ClusterMessage, Place, Record},
    },
    layers::LayerRange,
    model::ModelShape,
};

/// A model on this node's disk that it wants placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownModel {
    /// Its name.
    pub name: String,
    /// Its files' fingerprint.
    pub fingerprint: [u8; 32],
    /// Its size.
    pub shape: ModelShape,
}

/// A model over nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedModel {
    /// Its epoch.
    pub epoch: u64,
    /// Its proposer.
    pub proposer: NodeId,
    /// The model's name.
    pub name: String,
    /// Its files' fingerprint.
    pub fingerprint: [u8; 32],
    /// Who holds what.
    pub placement: Placement,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Tell one node.
    Send(NodeId, ClusterMessage),
    /// Tell all.
    Broadcast(ClusterMessage),
    /// Load this node's layers of the placement (or drop what is held, if it has none in it).
    Load(PlacedModel),
    /// The placement is gone: free its memory, and end its requests with this cause.
    Unload {
        /// Name of the node that is gone.
        node: String,
        /// What happened.
        cause: String,
    },
    /// All layers are loaded: requests may run.
    Ready,
}

/// Where this node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is placed; why.
    Waiting(String),
    /// Layers are being loaded; by whom still.
    Loading(String),
    /// Requests run.
    Ready,
    /// The model cannot be loaded; why.
    Failed(String),
}

struct Active {
    model: PlacedModel,
    loaded: BTreeMap<NodeId, u64>,
    failed: Option<String>,
}

/// See the module.
pub struct Cluster {
    me: Record,
    node: NodeId,
    wanted_nodes: NodesWanted,
    wanted_model: Option<KnownModel>,
    members: BTreeMap<NodeId, Record>,
    suspected: BTreeSet<NodeId>,
    active: Option<Active>,
    /// The last placement that was given up: it, and older ones, are not taken again.
    abandoned: u64,
    /// Why there is no placement, as far as known.
    waiting: String,
}

/// Ranges that one placement may have.
const RANGES_MAX: usize = 1024;
/// Counts that a peer's epoch may be ahead of ours: one that lies must not use the numbers up.
const EPOCH_LEAP_MAX: u64 = 1 << 20;

/// The count in an epoch. The lower half names the proposer, so that no two placements share one.
#[must_use]
pub fn epoch_count(epoch: u64) -> u64 {
    epoch >> 32
}

impl Cluster {
    /// A cluster of one: `me`.
    #[must_use]
    pub fn new(me: Record, wanted_nodes: NodesWanted) -> Self {
        let node = NodeId::from_bytes(me.node);
        let waiting = "no model was asked for (hint: exo-node run MODEL)".to_owned();
        Self {
            me,
            node,
            wanted_nodes,
            wanted_model: None,
            members: BTreeMap::new(),
            suspected: BTreeSet::new(),
            active: None,
            abandoned: 0,
            waiting,
        }
    }

    /// This node's record, as it is now.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.me
    }

    /// The other nodes.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Record)> {
        self.members.iter().map(|(&node, record)| (node, record))
    }

    /// A member's record.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Record> {
        if node == self.node { Some(&self.me) } else { self.members.get(&node) }
    }

    /// Whether a member has been silent for too long.
    #[must_use]
    pub fn is_suspected(&self, node: NodeId) -> bool {
        self.suspected.contains(&node)
    }

    /// The placement in force.
    #[must_use]
    pub fn placed(&self) -> Option<&PlacedModel> {
        self.active.as_ref().map(|active| &active.model)
    }

    /// Bytes that a node has read for its layers of the placement in force, once it holds them.
    #[must_use]
    pub fn loaded_bytes(&self, node: NodeId) -> Option<u64> {
        self.active.as_ref()?.loaded.get(&node).copied()
    }

    /// Where this node stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let Some(active) = &self.active else { return Phase::Waiting(self.waiting.clone()) };
        if let Some(why) = &active.failed {
            return Phase::Failed(why.clone());
        }
        let missing: Vec<&str> = active
            .model
            .placement
            .assignments()
            .iter()
            .filter(|assignment| !active.loaded.contains_key(&assignment.node))
            .map(|assignment| self.member(assignment.node).map_or("?", |record| &record.name))
            .collect();
        if missing.is_empty() {
            Phase::Ready
        } else {
            Phase::Loading(format!("{} still loading", missing.join(", ")))
        }
    }

    /// This node is asked to have a model placed.
    pub fn handle_want(&mut self, model: KnownModel) -> Vec<Action> {
        self.me.wants = Some((model.name.clone(), model.fingerprint));
        self.wanted_model = Some(model);
        let mut actions = vec![Action::Broadcast(ClusterMessage::Record(self.me.clone()))];
        actions.extend(self.propose());
        actions
    }

    /// A node says who it is. (Connections send the record first, so this is also how one joins.)
    pub fn handle_record(&mut self, record: Record) -> Vec<Action> {
        let node = NodeId::from_bytes(record.node);
        self.hear_of(record.placement_epoch);
        self.suspected.remove(&node);
        let is_new = self.members.insert(node, record).is_none();
        let mut actions = Vec::new();
        if let (true, Some(active)) = (is_new, &self.active) {
            // A node that comes late hears what holds, and that this node is ready.
            actions.push(Action::Send(node, ClusterMessage::Place(message(&active.model))));
            if let Some(&bytes_read) = active.loaded.get(&self.node) {
                let placement_epoch = active.model.epoch;
                let loaded = ClusterMessage::Loaded { placement_epoch, bytes_read };
                actions.push(Action::Send(node, loaded));
            }
        }
        actions.extend(self.propose());
        actions
    }

    /// A node has been silent for too long; or it is heard again.
    pub fn handle_suspected(&mut self, node: NodeId, suspected: bool) {
        if suspected {
            self.suspected.insert(node);
        } else {
            self.suspected.remove(&node);
        }
    }

    /// A node is gone.
    pub fn handle_lost(&mut self, node: NodeId, cause: &str) -> Vec<Action> {
        self.suspected.remove(&node);
        let Some(record) = self.members.remove(&node) else { return Vec::new() };
        let mut actions = Vec::new();
        if self.holds_layers(node) {
            actions.extend(self.abandon(&record.name, cause));
        }
        actions.extend(self.propose());
        actions
    }

    /// A node of the ring abandons a placement. (What others say of it does not count.)
    pub fn handle_abandon(
        &mut self,
        from: NodeId,
        epoch: u64,
        node: &str,
        cause: &str,
    ) -> Vec<Action> {
        let active = self.active.as_ref().is_some_and(|active| active.model.epoch == epoch);
        if !active || !self.holds_layers(from) {
            return Vec::new();
        }
        let mut actions = self.abandon(node, cause);
        actions.extend(self.propose());
        actions
    }

    /// Another node says which placement holds.
    pub fn handle_place(&mut self, from: NodeId, place: &Place) -> Vec<Action> {
        let proposer = NodeId::from_bytes(place.proposer);
        let theirs = (place.placement_epoch, proposer);
        let sane = place.ranges.len() <= RANGES_MAX && self.hear_of(place.placement_epoch);
        let newer = sane
            && match &self.active {
                Some(active) => theirs > (active.model.epoch, active.model.proposer),
                None => place.placement_epoch > self.abandoned,
            };
        if let Some(active) = &self.active
            && theirs < (active.model.epoch, active.model.proposer)
        {
            // Who holds to an older one has not heard of this.
            return vec![Action::Send(from, ClusterMessage::Place(message(&active.model)))];
        }
        let ranges: Option<Vec<Assignment>> = place
            .ranges
            .iter()
            .map(|&(node, start, end)| {
                let range = LayerRange::checked(start, end).ok()?;
                Some(Assignment { node: NodeId::from_bytes(node), range })
            })
            .collect();
        let placement = ranges.and_then(|ranges| Placement::checked(ranges, place.layers).ok());
        let (true, Some(placement)) = (newer, placement) else { return Vec::new() };
        let model = PlacedModel {
            epoch: place.placement_epoch,
            proposer,
            name: place.model.clone(),
            fingerprint: place.fingerprint,
            placement,
        };
        self.activate(model)
    }

    /// This node holds its layers.
    pub fn handle_own_load(&mut self, epoch: u64, result: Result<u64, String>) -> Vec<Action> {
        let message = match &result {
            Ok(bytes) => ClusterMessage::Loaded { placement_epoch: epoch, bytes_read: *bytes },
            Err(cause) => {
                ClusterMessage::LoadFailed { placement_epoch: epoch, cause: cause.clone() }
            }
        };
        let mut actions = vec![Action::Broadcast(message)];
        actions.extend(self.handle_load(self.node, epoch, result));
        actions
    }

    /// A node holds its layers, or says that it cannot.
    pub fn handle_load(
        &mut self,
        node: NodeId,
        epoch: u64,
        result: Result<u64, String>,
    ) -> Vec<Action> {
        let name = self.member(node).map_or_else(|| node.to_string(), |record| record.name.clone());
        let was_ready = self.phase() == Phase::Ready;
        let Some(active) = self.active.as_mut().filter(|active| active.model.epoch == epoch) else {
            return Vec::new();
        };
        if active.model.placement.position(node).is_none() {
            return Vec::new();
        }
        match result {
            Ok(bytes) => {
                active.loaded.insert(node, bytes);
            }
            Err(cause) => active.failed = Some(format!("{name}: {cause}")),
        }
        let ready = !was_ready && self.phase() == Phase::Ready;
        if ready { vec![Action::Ready] } else { Vec::new() }
    }

    /// What this node tells the others now and then, so that whoever missed it hears it.
    #[must_use]
    pub fn reminder(&self) -> Option<ClusterMessage> {
        let active = self.active.as_ref()?;
        let &bytes_read = active.loaded.get(&self.node)?;
        Some(ClusterMessage::Loaded { placement_epoch: active.model.epoch, bytes_read })
    }

    /// Whether a node holds layers of the placement in force.
    #[must_use]
    pub fn holds_layers(&self, node: NodeId) -> bool {
        self.placed().is_some_and(|placed| placed.placement.position(node).is_some())
    }

    /// Notes an epoch that a peer knows, unless it is one that no count of placements reaches.
    fn hear_of(&mut self, epoch: u64) -> bool {
        let sane = epoch_count(epoch) <= epoch_count(self.me.placement_epoch) + EPOCH_LEAP_MAX;
        if sane {
            self.me.placement_epoch = self.me.placement_epoch.max(epoch);
        }
        sane
    }

    /// Gives the placement up. A node of the ring does so for all; another one only stops using it.
    fn abandon(&mut self, node: &str, cause: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.holds_layers(self.node)
            && let Some(active) = &self.active
        {
            self.abandoned = self.abandoned.max(active.model.epoch);
            actions.push(Action::Broadcast(ClusterMessage::Abandon {
                placement_epoch: active.model.epoch,
                node: node.to_owned(),
                cause: cause.to_owned(),
            }));
        }
        self.active = None;
        self.waiting = format!("{node} is gone ({cause}); waiting for it, or for another node");
        actions.push(Action::Unload { node: node.to_owned(), cause: cause.to_owned() });
        actions
    }

    fn activate(&mut self, model: PlacedModel) -> Vec<Action> {
        self.me.placement_epoch = self.me.placement_epoch.max(model.epoch);
        let loaded = BTreeMap::new();
        self.active = Some(Active { model: model.clone(), loaded, failed: None });
        vec![Action::Load(model)]
    }

    /// Proposes a placement if this node wants a model, is the one to propose it, and none holds.
    fn propose(&mut self) -> Vec<Action> {
        let Some(wanted) = &self.wanted_model else { return Vec::new() };
        let holds = self.active.as_ref().is_some_and(|active| {
            let ring = active.model.placement.assignments().len();
            let grows = self.wanted_nodes == NodesWanted::All && self.members.len() + 1 > ring;
            active.model.fingerprint == wanted.fingerprint && active.failed.is_none() && !grows
        });
        if holds {
            return Vec::new();
        }
        let wants_it = |record: &Record| {
            record.wants.as_ref().is_some_and(|(_, print)| *print == wanted.fingerprint)
        };
        if self.members.iter().any(|(&node, record)| node < self.node && wants_it(record)) {
            self.waiting = "another node places the model".to_owned();
            return Vec::new();
        }
        let everyone = self.members.values().chain([&self.me]);
        let offers: Vec<Offer> = everyone
            .map(|record| Offer {
                node: NodeId::from_bytes(record.node),
                name: record.name.clone(),
                memory: record.memory,
            })
            .collect();
        match place(&offers, &wanted.shape, self.wanted_nodes) {
            Ok(placement) => {
                let [a, b, c, d, ..] = *self.node.as_bytes();
                let count = epoch_count(self.me.placement_epoch) + 1;
                let model = PlacedModel {
                    epoch: count << 32 | u64::from(u32::from_be_bytes([a, b, c, d])),
                    proposer: self.node,
                    name: wanted.name.clone(),
                    fingerprint: wanted.fingerprint,
                    placement,
                };
                let mut actions = vec![Action::Broadcast(ClusterMessage::Place(message(&model)))];
                actions.extend(self.activate(model));
                actions
            }
            Err(why) => {
                self.waiting = why.to_string();
                Vec::new()
            }
        }
    }
}

fn message(model: &PlacedModel) -> Place {
    let range = |a: &Assignment| (*a.node.as_bytes(), a.range.start(), a.range.end());
    Place {
        placement_epoch: model.epoch,
        proposer: *model.proposer.as_bytes(),
        model: model.name.clone(),
        fingerprint: model.fingerprint,
        layers: model.placement.layers(),
        ranges: model.placement.assignments().iter().map(range).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn record(id: u8) -> Record {
        Record {
            node: [id; 16],
            name: format!("n{id}"),
            memory: GIB,
            interface: "thunderbolt0".into(),
            link_kind: "by-hand".into(),
            listen: String::new(),
            api: String::new(),
            wants: None,
            placement_epoch: 0,
        }
    }

    fn model() -> KnownModel {
        let shape = ModelShape {
            layers: 30,
            layer_bytes: 14_160_384,
            embedding_bytes: 113_246_208,
            head_bytes: 113_248_512,
            tied: true,
            kv_token_layer_bytes: 1536,
            context: 8192,
        };
        KnownModel { name: "m".into(), fingerprint: [7; 32], shape }
    }

    /// Nodes whose messages arrive in the order sent, and whose loads succeed at once.
    struct Net {
        nodes: BTreeMap<u8, Cluster>,
        up: BTreeSet<(u8, u8)>,
        queue: VecDeque<(u8, u8, ClusterMessage)>,
        unloaded: Vec<(u8, String)>,
    }

    impl Net {
        fn new(ids: &[u8], wanted: NodesWanted) -> Self {
            let nodes = ids.iter().map(|&id| (id, Cluster::new(record(id), wanted))).collect();
            Self { nodes, up: BTreeSet::new(), queue: VecDeque::new(), unloaded: Vec::new() }
        }

        fn connect(&mut self, a: u8, b: u8) {
            self.up.extend([(a, b), (b, a)]);
            for (from, to) in [(a, b), (b, a)] {
                let record = self.nodes[&from].record().clone();
                self.queue.push_back((from, to, ClusterMessage::Record(record)));
            }
            self.settle();
        }

        fn disconnect(&mut self, a: u8, b: u8) {
            self.up.retain(|&pair| pair != (a, b) && pair != (b, a));
            self.queue.retain(|(from, to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
            for (at, gone) in [(a, b), (b, a)] {
                self.act(at, |node| {
                    node.handle_lost(NodeId::from_bytes([gone; 16]), "cable pulled")
                });
            }
            self.settle();
        }

        fn act(&mut self, at: u8, event: impl FnOnce(&mut Cluster) -> Vec<Action>) {
            let mut actions: VecDeque<Action> = event(self.nodes.get_mut(&at).unwrap()).into();
            while let Some(action) = actions.pop_front() {
                match action {
                    Action::Send(to, message) => {
                        let to = to.as_bytes()[0];
                        self.queue.push_back((at, to, message));
                    }
                    Action::Broadcast(message) => {
                        let peers = self.up.iter().filter(|pair| pair.0 == at);
                        let sent = peers.map(|pair| (at, pair.1, message.clone()));
                        self.queue.extend(sent);
                    }
                    Action::Load(model) => {
                        let node = self.nodes.get_mut(&at).unwrap();
                        if model.placement.position(NodeId::from_bytes([at; 16])).is_some() {
                            actions.extend(node.handle_own_load(model.epoch, Ok(1)));
                        }
                    }
                    Action::Unload { node, .. } => self.unloaded.push((at, node)),
                    Action::Ready => {}
                }
            }
        }

        fn settle(&mut self) {
            for _ in 0..10_000 {
                let Some((from, to, message)) = self.queue.pop_front() else { return };
                if !self.up.contains(&(from, to)) {
                    continue;
                }
                let peer = NodeId::from_bytes([from; 16]);
                self.act(to, |node| match message {
                    ClusterMessage::Record(record) => node.handle_record(record),
                    ClusterMessage::Place(place) => node.handle_place(peer, &place),
                    ClusterMessage::Loaded { placement_epoch, bytes_read } => {
                        node.handle_load(peer, placement_epoch, Ok(bytes_read))
                    }
                    ClusterMessage::LoadFailed { placement_epoch, cause } => {
                        node.handle_load(peer, placement_epoch, Err(cause))
                    }
                    ClusterMessage::Abandon { placement_epoch, node: gone, cause } => {
                        node.handle_abandon(peer, placement_epoch, &gone, &cause)
                    }
                    other => panic!("not the cluster's business: {other:?}"),
                });
            }
            panic!("the nodes never stop talking");
        }

        fn ready(&self) -> Vec<bool> {
            self.nodes.values().map(|node| node.phase() == Phase::Ready).collect()
        }
    }

    #[test]
    fn both_want_the_model_and_one_placement_holds() {
        let mut net = Net::new(&[1, 2], NodesWanted::Exactly(2));
        net.act(1, |node| node.handle_want(model()));
        net.act(2, |node| node.handle_want(model()));
        let waits = Phase::Waiting("1 of 2 nodes are there".into());
        assert_eq!(net.nodes[&1].phase(), waits);
        net.connect(1, 2);
        assert_eq!(net.ready(), [true, true]);
        let placed = net.nodes[&2].placed().unwrap();
        assert_eq!(placed, net.nodes[&1].placed().unwrap());
        assert_eq!((epoch_count(placed.epoch), placed.proposer), (1, NodeId::from_bytes([1; 16])));
    }

    #[test]
    fn a_lost_node_ends_the_placement_everywhere_and_its_return_makes_a_new_one() {
        let mut net = Net::new(&[1, 2, 3], NodesWanted::Exactly(3));
        net.act(3, |node| node.handle_want(model()));
        for (a, b) in [(1, 2), (1, 3), (2, 3)] {
            net.connect(a, b);
        }
        assert_eq!(net.ready(), [true, true, true]);
        // 1 and 2 lose each other; 3 sees both and hears of it.
        net.disconnect(1, 2);
        assert_eq!(net.unloaded.iter().filter(|(at, _)| *at == 3).count(), 1);
        net.connect(1, 2);
        let epochs: Vec<u64> =
            net.nodes.values().map(|node| node.placed().map_or(0, |placed| placed.epoch)).collect();
        assert!(
            epochs.iter().all(|&epoch| epoch == epochs[0] && epoch_count(epoch) >= 2),
            "{epochs:?}"
        );
        assert_eq!(net.ready(), [true, true, true]);
    }

    #[test]
    fn a_node_that_comes_late_hears_what_holds() {
        let mut net = Net::new(&[1, 2, 3], NodesWanted::Exactly(2));
        net.act(1, |node| node.handle_want(model()));
        net.connect(1, 2);
        net.connect(1, 3);
        net.connect(2, 3);
        assert_eq!(net.ready(), [true, true, true]);
        assert_eq!(net.nodes[&3].placed(), net.nodes[&1].placed());
        net.disconnect(1, 3);
        assert!(net.ready()[0], "a node outside the ring is not missed");
    }

    #[test]
    fn a_node_that_cannot_load_is_named() {
        let mut net = Net::new(&[1, 2], NodesWanted::Exactly(2));
        net.act(1, |node| node.handle_want(model()));
        net.connect(1, 2);
        let epoch = net.nodes[&1].placed().unwrap().epoch;
        net.act(2, |node| node.handle_own_load(epoch, Err("m is not on this disk".into())));
        net.settle();
        let failed = Phase::Failed("n2: m is not on this disk".into());
        assert_eq!(net.nodes[&1].phase(), failed);
    }

    #[test]
    fn a_placement_that_does_not_tile_is_ignored() {
        let mut node = Cluster::new(record(1), NodesWanted::Smallest);
        let place = Place {
            placement_epoch: 5,
            proposer: [2; 16],
            model: "m".into(),
            fingerprint: [0; 32],
            layers: 30,
            ranges: vec![([2; 16], 0, 10), ([1; 16], 12, 30)],
        };
        assert_eq!(node.handle_place(NodeId::from_bytes([2; 16]), &place), []);
        assert!(node.placed().is_none());
    }
}
