//! Who is there? See the module above.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, KnownModel, Links, Phase, PlacedModel, Wish, epoch_count};
use crate::fabric::{
    NodeId,
    messages::{ClusterMessage, Record},
};

/// Counts that a peer's epoch may be ahead of ours: one that lies must not use the numbers up.
const EPOCH_LEAP_MAX: u64 = 1 << 20;

pub(super) struct Active {
    pub(super) model: PlacedModel,
    pub(super) loaded: BTreeMap<NodeId, u64>,
    pub(super) failed: Option<String>,
}

/// See the module.
pub struct Cluster {
    pub(super) me: Record,
    pub(super) node: NodeId,
    pub(super) wish: Wish,
    /// What is known of the ways between nodes.
    pub(super) links: Links,
    pub(super) wanted_model: Option<KnownModel>,
    pub(super) members: BTreeMap<NodeId, Record>,
    pub(super) suspected: BTreeSet<NodeId>,
    pub(super) active: Option<Active>,
    /// The last placement that was given up: it, and older ones, are not taken again.
    pub(super) abandoned: u64,
    /// Why there is no placement, as far as known.
    pub(super) waiting: String,
}

impl Cluster {
    /// A cluster of one: `me`.
    #[must_use]
    pub fn new(me: Record, wish: impl Into<Wish>) -> Self {
        let node = NodeId::from_bytes(me.node);
        let waiting = "no model was asked for (hint: exo-node run MODEL)".to_owned();
        Self {
            me,
            node,
            wish: wish.into(),
            links: Links::default(),
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

    /// A node says who it is. (Connections send the record first, so this is also how one joins.)
    pub fn handle_record(&mut self, record: Record) -> Vec<Action> {
        let node = NodeId::from_bytes(record.node);
        self.hear_of(record.placement_epoch);
        self.suspected.remove(&node);
        let is_new = self.members.insert(node, record).is_none();
        let mut actions = Vec::new();
        if let (true, Some(active)) = (is_new, &self.active) {
            // A node that comes late hears what holds, and that this node is ready.
            actions.push(Action::Send(node, ClusterMessage::Place(active.model.message())));
            if let Some(&bytes_read) = active.loaded.get(&self.node) {
                let placement_epoch = active.model.epoch;
                let loaded = ClusterMessage::Loaded { placement_epoch, bytes_read };
                actions.push(Action::Send(node, loaded));
            }
        }
        actions.extend(self.propose());
        actions
    }

    /// The ways between nodes, as measured by now.
    pub fn handle_links(&mut self, links: Links) {
        self.links = links;
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

    /// Whether a node holds layers of the placement in force.
    #[must_use]
    pub fn holds_layers(&self, node: NodeId) -> bool {
        self.placed().is_some_and(|placed| placed.placement.position(node).is_some())
    }

    /// Notes an epoch that a peer knows, unless it is one that no count of placements reaches.
    pub(super) fn hear_of(&mut self, epoch: u64) -> bool {
        let sane = epoch_count(epoch) <= epoch_count(self.me.placement_epoch) + EPOCH_LEAP_MAX;
        if sane {
            self.me.placement_epoch = self.me.placement_epoch.max(epoch);
        }
        sane
    }
}
