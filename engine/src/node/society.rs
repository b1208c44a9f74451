//! Whom does this node know, and are they who they were?

use std::time::{Duration, Instant, SystemTime};

use super::run::Node;
use crate::{
    cluster::{
        clocks::{ClockWatch, Clocks, Jump},
        membership::{Membership, Spread},
        sightings::{Sighting, Sightings, Verdict},
    },
    fabric::{
        NodeId,
        messages::{ClusterMessage, Record},
        record::SignedRecord,
    },
};

/// What a node keeps of others beside the cluster's decisions.
pub(super) struct Society {
    started: Instant,
    membership: Membership,
    sightings: Sightings,
    clocks: ClockWatch,
    /// What this node said of itself last.
    said: Option<SignedRecord>,
}

impl Society {
    pub(super) fn new(record: &Record) -> Self {
        let node = NodeId::from_bytes(record.node);
        let facts = &record.facts;
        let own = Sighting {
            incarnation: facts.incarnation,
            instance: facts.instance,
            name: record.name.clone(),
            at: record.listen.clone(),
        };
        Self {
            started: Instant::now(),
            membership: Membership::new(node, facts.incarnation, facts.instance),
            sightings: Sightings::new(node, own),
            clocks: ClockWatch::default(),
            said: None,
        }
    }

    /// Since the node was started.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// What a person must know of copied keys.
    pub(super) fn told(&self) -> Vec<String> {
        self.sightings.told(self.now())
    }

    /// The records of nodes that are up as far as anybody knows.
    pub(super) fn up(&self) -> Vec<Record> {
        self.membership.up()
    }
}

impl Node {
    /// A connected node says who it is. Gives its record, if it is to be believed.
    pub(super) fn handle_signed(&mut self, from: NodeId, signed: &SignedRecord) -> Option<Record> {
        let record = match signed.open() {
            Ok(record) if NodeId::from_bytes(record.node) == from => record,
            Ok(_) => {
                self.cut_off(from, "the record of another node");
                return None;
            }
            Err(error) => {
                self.cut_off(from, &error.to_string());
                return None;
            }
        };
        let at =
            self.fabric.peer(from).map_or_else(String::new, |pair| pair.peer().addr.to_string());
        let (society, facts) = (&mut self.society, &record.facts);
        let now = society.now();
        let (incarnation, instance) = (facts.incarnation, facts.instance);
        let sighting = Sighting { incarnation, instance, name: record.name.clone(), at };
        match society.sightings.handle_record(from, sighting, now) {
            Verdict::Copied => {
                for told in society.sightings.told(now) {
                    tracing::error!("{told}");
                }
            }
            verdict => tracing::debug!(peer = record.name, ?verdict, incarnation, "its record"),
        }
        society.membership.handle_session(signed, now);
        self.spread();
        Some(record)
    }

    pub(super) fn handle_gossip(&mut self, bytes: &[u8]) {
        let now = self.society.now();
        self.society.membership.handle_gossip(bytes, now);
        self.spread();
    }

    /// The session with a node is over.
    pub(super) fn handle_parted(&mut self, node: NodeId) {
        let now = self.society.now();
        self.society.membership.handle_lost(node, now);
        self.spread();
    }

    /// Whoever else was found on the link under this node's own name is not this node.
    pub(super) fn handle_own_key(&mut self, name: &str, addr: std::net::SocketAddr) {
        let now = self.society.now();
        let at = format!("{name} at {addr}");
        if self.society.sightings.told(now).is_empty() {
            tracing::error!(at, "has this node's key: a copied data folder?");
        }
        self.society.sightings.handle_own_key(&at, now);
    }

    /// Spreads what this node says of itself, and notices what only time tells.
    pub(super) fn keep_company(&mut self) {
        let now = self.society.now();
        let signed = self.fabric.signed(self.core.cluster().record());
        if self.society.said.as_ref() != Some(&signed) {
            self.society.membership.handle_own_record(&signed, now);
            self.society.said = Some(signed);
        }
        self.society.membership.handle_tick(now);
        self.spread();
        let reading = clocks(now);
        match self.society.clocks.handle_reading(reading) {
            Some(Jump::Slept(time)) => {
                tracing::info!(seconds = time.as_secs(), "this machine slept; looking around anew");
                self.fabric.handle_wake();
            }
            Some(jump) => tracing::info!(?jump, "the clock was set; nothing here goes by it"),
            None => {}
        }
    }

    /// Does what membership asks for.
    fn spread(&mut self) {
        for spread in self.society.membership.poll() {
            match spread {
                Spread::Send(to, bytes) => self.tell(to, &ClusterMessage::Gossip(bytes)),
                Spread::Heard(record) => {
                    let node = NodeId::from_bytes(record.node);
                    if node != self.node && self.fabric.peer(node).is_none() {
                        tracing::info!(node = record.name, listen = record.listen, "heard of");
                        let listens = record.facts.addresses.iter().map(|it| it.address.as_str());
                        self.fabric.handle_heard(node, listens.chain([record.listen.as_str()]));
                    }
                }
                Spread::Gone(node) => {
                    tracing::info!(%node, "gone, as far as anybody knows");
                    self.fabric.forget(node);
                }
            }
        }
    }
}

fn clocks(awake: Duration) -> Clocks {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Clocks { awake, always: exo_netconfig::system::since_boot(), wall }
}
