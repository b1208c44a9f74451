//! The cluster's decisions, among nodes whose messages arrive in the order sent.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::*;
use crate::{
    fabric::{
        NodeId,
        messages::{ClusterMessage, Place, Record},
        record::Facts,
    },
    model::{ModelShape, PartShape},
};

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
        leaving: false,
        facts: Facts::default(),
    }
}

fn model() -> KnownModel {
    let shape = ModelShape {
        layers: vec![PartShape::dense(14_160_384, 3_540_096); 30],
        embedding_bytes: 113_246_208,
        head: PartShape::dense(113_248_512, 28_311_552),
        tied: true,
        kv_token_layer_bytes: 1536,
        context: 8192,
        token_bytes: 2304,
    };
    KnownModel { name: "m".into(), fingerprint: [7; 32], shape }
}

/// Nodes whose messages arrive in the order sent, and whose loads succeed at once.
struct Net {
    nodes: BTreeMap<u8, Cluster>,
    up: BTreeSet<(u8, u8)>,
    queue: VecDeque<(u8, u8, ClusterMessage)>,
    /// Who was asked to prepare a placement.
    prepared: Vec<u8>,
    /// Who cannot load.
    unable: BTreeSet<u8>,
}

impl Net {
    fn new(ids: &[u8], wanted: NodesWanted) -> Self {
        let nodes = ids.iter().map(|&id| (id, Cluster::new(record(id), wanted))).collect();
        Self {
            nodes,
            up: BTreeSet::new(),
            queue: VecDeque::new(),
            prepared: Vec::new(),
            unable: BTreeSet::new(),
        }
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
            self.act(at, |node| node.handle_lost(NodeId::from_bytes([gone; 16]), "cable pulled"));
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
                        let why = "m is not on this disk".to_owned();
                        let result = if self.unable.contains(&at) { Err(why) } else { Ok(1) };
                        actions.extend(node.handle_own_load(model.epoch, result));
                    }
                }
                Action::Prepare(model) => {
                    let node = self.nodes.get_mut(&at).unwrap();
                    self.prepared.push(at);
                    actions.extend(node.handle_own_prepared(model.epoch, Ok(())));
                }
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
                ClusterMessage::Hearing(hearing) => node.handle_hearing(peer, hearing),
                ClusterMessage::Prepare(place) => node.handle_prepare(peer, &place),
                ClusterMessage::Prepared { placement_epoch } => {
                    node.handle_prepared(peer, placement_epoch, Ok(()))
                }
                other => panic!("not the cluster's business: {other:?}"),
            });
        }
        panic!("the nodes never stop talking");
    }

    fn pass(&mut self, time: Duration) {
        for at in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.act(at, |node| node.handle_time(time));
        }
        self.settle();
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
fn a_lost_node_ends_the_placement_everywhere_and_a_new_one_is_made_without_it() {
    let mut net = Net::new(&[1, 2, 3], NodesWanted::Exactly(3));
    net.act(3, |node| node.handle_want(model()));
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        net.connect(a, b);
    }
    assert_eq!(net.ready(), [true, true, true]);
    // 1 and 2 lose each other; 3 sees both and hears of it.
    net.disconnect(1, 2);
    let placed = net.nodes[&3].placed().unwrap().clone();
    assert_eq!(placed.placement.assignments().len(), 2, "{placed:?}");
    assert!(epoch_count(placed.epoch) >= 2);
    net.connect(1, 2);
    // It is steady again after a while, and takes its share.
    net.pass(Duration::from_secs(10));
    assert_eq!(net.nodes[&3].placed().unwrap().placement.assignments().len(), 3);
    assert!(!net.prepared.is_empty());
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
    net.unable.insert(2);
    net.act(1, |node| node.handle_want(model()));
    net.connect(1, 2);
    let failed = Phase::Failed("n2: m is not on this disk".into());
    assert_eq!(net.nodes[&1].phase(), failed, "two nodes were wanted, and it never ran");
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
        shape: model().shape,
        wish: Wish::from(NodesWanted::All),
    };
    assert_eq!(node.handle_place(NodeId::from_bytes([2; 16]), &place), []);
    assert!(node.placed().is_none());
}
