//! Clusters of membership alone, over connections that come and go.

use std::collections::{BTreeSet, VecDeque};

use exo_transport::Identity as Key;

use super::*;
use crate::fabric::record::tests::record_of;

const MS: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(100);

struct Node {
    key: Key,
    record: Record,
    membership: Membership,
    /// Whom it has heard of and not to be gone.
    heard: BTreeSet<NodeId>,
}

/// Nodes by index; messages arrive at once, if there is a connection.
struct World {
    now: Duration,
    nodes: Vec<Node>,
    up: BTreeSet<(usize, usize)>,
    frozen: BTreeSet<usize>,
}

impl World {
    fn new(count: usize) -> Self {
        let nodes = (0..count)
            .map(|number| {
                let key = Key::generate();
                let record = record_of(&key, &format!("n{number}"), 1);
                let mut membership = Membership::new(key.node_id(), 1, number as u64);
                membership.handle_own_record(&SignedRecord::sign(&key, &record), Duration::ZERO);
                Node { key, record, membership, heard: BTreeSet::new() }
            })
            .collect();
        Self { now: Duration::ZERO, nodes, up: BTreeSet::new(), frozen: BTreeSet::new() }
    }

    fn id(&self, node: usize) -> NodeId {
        self.nodes[node].key.node_id()
    }

    fn connect(&mut self, a: usize, b: usize) {
        self.up.extend([(a, b), (b, a)]);
        for (at, from) in [(a, b), (b, a)] {
            let signed = SignedRecord::sign(&self.nodes[from].key, &self.nodes[from].record);
            self.nodes[at].membership.handle_session(&signed, self.now);
        }
        self.deliver();
    }

    /// The transport tells the given side, or both, that the session is over.
    fn lose(&mut self, a: usize, b: usize) {
        self.up.retain(|&pair| pair != (a, b) && pair != (b, a));
        for (at, gone) in [(a, b), (b, a)] {
            let gone = self.id(gone);
            if !self.frozen.contains(&at) {
                self.nodes[at].membership.handle_lost(gone, self.now);
            }
        }
        self.deliver();
    }

    fn restart(&mut self, node: usize, incarnation: u64) {
        let key = self.nodes[node].key.clone();
        let record = record_of(&key, &self.nodes[node].record.name.clone(), incarnation);
        let mut membership = Membership::new(key.node_id(), incarnation, incarnation);
        membership.handle_own_record(&SignedRecord::sign(&key, &record), self.now);
        self.nodes[node] = Node { key, record, membership, heard: BTreeSet::new() };
    }

    fn deliver(&mut self) {
        for _ in 0..10_000 {
            let mut queue = VecDeque::new();
            for (from, node) in self.nodes.iter_mut().enumerate() {
                for spread in node.membership.poll() {
                    match spread {
                        Spread::Send(to, bytes) => queue.push_back((from, to, bytes)),
                        Spread::Heard(record) => {
                            node.heard.insert(NodeId::from_bytes(record.node));
                        }
                        Spread::Gone(gone) => {
                            node.heard.remove(&gone);
                        }
                    }
                }
            }
            if queue.is_empty() {
                return;
            }
            for (from, to, bytes) in queue {
                let to = (0..self.nodes.len()).find(|&node| self.id(node) == to).unwrap();
                if self.up.contains(&(from, to)) && !self.frozen.contains(&to) {
                    self.nodes[to].membership.handle_gossip(&bytes, self.now);
                }
            }
        }
        panic!("they never stop talking");
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            for (number, node) in self.nodes.iter_mut().enumerate() {
                if !self.frozen.contains(&number) {
                    node.membership.handle_tick(self.now);
                }
            }
            self.deliver();
        }
    }

    /// Who is up as far as this node knows, by name.
    fn up_at(&self, node: usize) -> Vec<String> {
        let mut names: Vec<String> =
            self.nodes[node].membership.up().into_iter().map(|record| record.name).collect();
        names.sort();
        names
    }
}

#[test]
fn a_node_that_meets_one_learns_of_all() {
    let mut world = World::new(5);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        world.connect(a, b);
    }
    world.run(5_000 * MS);
    for node in 0..5 {
        let mut others: Vec<String> = (0..5).map(|number| format!("n{number}")).collect();
        others.remove(node);
        assert_eq!(world.up_at(node), others, "at {node}");
        assert_eq!(world.nodes[node].heard.len(), 4);
    }
}

#[test]
fn a_ghost_is_gone_within_ten_seconds_even_with_those_who_never_met_it() {
    let mut world = World::new(4);
    for (a, b) in [(0, 1), (1, 2), (2, 3)] {
        world.connect(a, b);
    }
    world.run(5_000 * MS);
    let ghost = world.id(3);
    assert!(world.nodes[0].heard.contains(&ghost));
    // It dies; the one that was connected with it hears so from its transport.
    world.frozen.insert(3);
    world.lose(2, 3);
    world.run(3_000 * MS);
    for node in 0..3 {
        assert!(!world.nodes[node].heard.contains(&ghost), "a ghost at {node}");
        assert!(!world.up_at(node).contains(&"n3".to_owned()));
    }
}

#[test]
fn a_ghost_whose_only_friend_died_with_it_is_gone_too() {
    let mut world = World::new(4);
    for (a, b) in [(0, 1), (1, 2), (2, 3)] {
        world.connect(a, b);
    }
    world.run(5_000 * MS);
    world.frozen.extend([2, 3]);
    world.lose(1, 2);
    world.run(9_500 * MS);
    assert_eq!((world.up_at(0), world.up_at(1)), (vec!["n1".to_owned()], vec!["n0".to_owned()]));
}

#[test]
fn a_node_that_was_given_up_comes_back_and_so_does_one_that_restarts() {
    let mut world = World::new(3);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        world.connect(a, b);
    }
    world.run(2_000 * MS);
    // The cable of 2 is pulled on both sides, and put back.
    world.lose(0, 2);
    world.lose(1, 2);
    world.run(3_000 * MS);
    assert_eq!(world.up_at(0), ["n1"]);
    world.connect(0, 2);
    world.connect(1, 2);
    world.run(3_000 * MS);
    assert_eq!(world.up_at(0), ["n1", "n2"]);
    assert_eq!(world.up_at(2), ["n0", "n1"]);
    // Its program is started anew; nobody had noticed that it was gone.
    world.restart(2, 2);
    world.connect(0, 2);
    world.run(5_000 * MS);
    assert_eq!(world.up_at(1), ["n0", "n2"]);
    let known = world.nodes[1].membership.up();
    let incarnation =
        |name: &str| known.iter().find(|record| record.name == name).unwrap().facts.incarnation;
    assert_eq!(incarnation("n2"), 2, "the record of the start before is no longer told");
}

#[test]
fn one_whose_gossip_is_slow_is_not_given_up_by_who_is_connected_with_it() {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run(2_000 * MS);
    // It says nothing for long; the transport's keepalives, which another thread sends, go on.
    world.frozen.insert(1);
    world.run(20_000 * MS);
    let other = world.id(1);
    assert!(world.nodes[0].heard.contains(&other));
    world.frozen.clear();
    world.run(20_000 * MS);
    assert_eq!((world.up_at(0), world.up_at(1)), (vec!["n1".to_owned()], vec!["n0".to_owned()]));
}

#[test]
fn a_record_that_is_not_its_node_s_word_is_not_passed_on() {
    let mut world = World::new(2);
    world.connect(0, 1);
    let stranger = Key::generate();
    let forged = SignedRecord::sign(&world.nodes[0].key, &record_of(&stranger, "mini", 9));
    world.nodes[0].membership.handle_own_record(&forged, world.now);
    world.run(3_000 * MS);
    assert_eq!(world.nodes[1].heard.len(), 1);
    assert_eq!(world.nodes[0].membership.records.with(|records| records.refused), 1);
}

#[test]
fn bytes_that_are_no_gossip_change_nothing() {
    let mut world = World::new(2);
    world.connect(0, 1);
    world.run(1_000 * MS);
    for length in [0, 1, 7, 64, 1_000, GOSSIP_BYTES_MAX + 1] {
        let bytes: Vec<u8> = (0..length).map(|at: usize| (at * 37 % 251) as u8).collect();
        world.nodes[0].membership.handle_gossip(&bytes, world.now);
    }
    world.run(1_000 * MS);
    assert_eq!(world.up_at(0), ["n1"]);
}
