//! What does this node know of the others, and of the placement in force? See the module above.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Action, KnownModel, Links, Phase, PlacedModel, Wish, company::Returns, epoch_count,
    handover::Next,
};
use crate::fabric::{
    NodeId,
    messages::{ClusterMessage, Hearing, Record},
};

/// How often it is looked whether the placement should be another, if nothing has happened.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Counts that a peer's epoch may be ahead of ours: one that lies must not use the numbers up.
const EPOCH_LEAP_MAX: u64 = 1 << 20;

pub(super) struct Active {
    pub(super) model: PlacedModel,
    pub(super) loaded: BTreeMap<NodeId, u64>,
    pub(super) failed: Option<String>,
}

/// Why the placement in force cannot go on, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// When it was noticed.
    pub at: Duration,
    /// Name of the node that is gone.
    pub node: String,
    /// What happened.
    pub cause: String,
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
    /// Whom the others hear, and what they have given up.
    pub(super) hearings: BTreeMap<NodeId, Hearing>,
    /// What was said last of whom this node hears.
    pub(super) said: Hearing,
    /// Who could not load its layers, until when: nothing is placed there before.
    pub(super) unfit: BTreeMap<NodeId, Duration>,
    /// Who has come back, how often, and when last.
    pub(super) returns: BTreeMap<NodeId, Returns>,
    pub(super) active: Option<Active>,
    /// Set once the placement in force has lost a node: it does not come back under this epoch.
    pub(super) loss: Option<Loss>,
    /// Whether the wanted model has been ready: then it is kept running with whoever is left.
    pub(super) served: bool,
    /// What is being loaded beside it.
    pub(super) next: Option<Next>,
    /// Why there is no placement, as far as known.
    pub(super) waiting: String,
    pub(super) now: Duration,
    looked: Duration,
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
            hearings: BTreeMap::new(),
            said: Hearing::default(),
            unfit: BTreeMap::new(),
            returns: BTreeMap::new(),
            active: None,
            loss: None,
            served: false,
            next: None,
            waiting,
            now: Duration::ZERO,
            looked: Duration::ZERO,
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

    /// What people call a node.
    #[must_use]
    pub fn name(&self, node: NodeId) -> String {
        self.member(node).map_or_else(|| node.to_string(), |record| record.name.clone())
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

    /// The placement that is being prepared beside it.
    #[must_use]
    pub fn next(&self) -> Option<&PlacedModel> {
        self.next.as_ref().map(|next| &next.model)
    }

    /// Why the placement in force cannot go on, if so.
    #[must_use]
    pub fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// Whether the model has been ready: requests wait then, while it is placed anew.
    #[must_use]
    pub fn has_served(&self) -> bool {
        self.served
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
        if let Some(Loss { node, cause, .. }) = &self.loss {
            let why = if self.waiting.is_empty() { "placing it anew" } else { &self.waiting };
            return Phase::Waiting(format!("{node} is gone ({cause}); {why}"));
        }
        if let Some(why) = &active.failed {
            return Phase::Failed(why.clone());
        }
        let missing: Vec<String> = active
            .model
            .placement
            .assignments()
            .iter()
            .filter(|assignment| !active.loaded.contains_key(&assignment.node))
            .map(|assignment| self.name(assignment.node))
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
        if is_new {
            self.came(node);
        }
        if let (true, None, Some(active)) = (is_new, &self.loss, &self.active) {
            // A node that comes late hears what holds, and that this node is ready.
            actions
                .push(Action::Send(node, ClusterMessage::Place(active.model.message(&self.wish))));
            if let Some(&bytes_read) = active.loaded.get(&self.node) {
                let placement_epoch = active.model.epoch;
                let loaded = ClusterMessage::Loaded { placement_epoch, bytes_read };
                actions.push(Action::Send(node, loaded));
            }
        }
        actions.extend(self.propose());
        actions.extend(self.say_whom_it_hears());
        actions
    }

    /// The ways between nodes, as measured by now.
    pub fn handle_links(&mut self, links: Links) {
        self.links = links;
    }

    /// Time goes on: what only time decides.
    pub fn handle_time(&mut self, now: Duration) -> Vec<Action> {
        self.now = now;
        if now.saturating_sub(self.looked) < LOOK_EVERY {
            return Vec::new();
        }
        self.looked = now;
        self.unfit.retain(|_, until| *until > now);
        self.look_again()
    }

    /// A node is gone.
    pub fn handle_lost(&mut self, node: NodeId, cause: &str) -> Vec<Action> {
        self.suspected.remove(&node);
        self.hearings.remove(&node);
        self.unfit.remove(&node);
        let Some(record) = self.members.remove(&node) else { return Vec::new() };
        self.went(node);
        self.prepare_no_more_of(node);
        if self.holds_layers(node) {
            self.lose(&record.name, cause);
        }
        self.look_again()
    }

    /// Whether a node holds layers of the placement in force.
    #[must_use]
    pub fn holds_layers(&self, node: NodeId) -> bool {
        self.placed().is_some_and(|placed| placed.placement.position(node).is_some())
    }

    /// The placement in force has lost a node: only a new one can be ready again.
    pub(super) fn lose(&mut self, node: &str, cause: &str) {
        if self.loss.is_none() && self.active.is_some() {
            let (at, node, cause) = (self.now, node.to_owned(), cause.to_owned());
            self.loss = Some(Loss { at, node, cause });
        }
    }

    /// After something changed that a placement stands on.
    pub(super) fn look_again(&mut self) -> Vec<Action> {
        let mut actions = self.propose();
        actions.extend(self.say_whom_it_hears());
        actions
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
