//! Which placement holds? Who proposes it, and who has loaded it.
//!
//! Whoever has the lowest number among the nodes that are heard and know the model proposes: when a
//! ring has lost a node, or a node of it is silent, at once, and with the nodes that are left if the
//! model fits on them; when a node comes or leaves by itself, after the layers that move have been
//! loaded beside the ring that runs (`handover`).

use std::collections::BTreeMap;

use super::{
    Action, Assignment, KnownModel, NodeSpeed, NodesWanted, Offer, Phase, PlacedModel, Placement,
    PlacementError, Wish, epoch_count, place,
    state::{Active, Cluster},
};
use crate::{
    fabric::{
        NodeId,
        messages::{ClusterMessage, Place, Record},
    },
    layers::LayerRange,
};

/// Ranges that one placement may have.
const RANGES_MAX: usize = 1024;

/// How a placement that is wanted has to come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Nothing runs, or nothing that can go on.
    AtOnce,
    /// A ring runs, and goes on until the next one is loaded.
    Prepared,
}

impl Cluster {
    /// This node is asked to have a model placed.
    pub fn handle_want(&mut self, model: KnownModel) -> Vec<Action> {
        self.unfit.clear();
        self.served = false;
        let mut actions = self.know(model);
        actions.extend(self.propose());
        actions
    }

    /// Another node says which placement holds.
    pub fn handle_place(&mut self, from: NodeId, place: &Place) -> Vec<Action> {
        let theirs = (place.placement_epoch, NodeId::from_bytes(place.proposer));
        if let (Some(active), None) = (&self.active, &self.loss)
            && theirs < (active.model.epoch, active.model.proposer)
        {
            // Who holds to an older one has not heard of this.
            let ours = active.model.message(&self.wish);
            return vec![Action::Send(from, ClusterMessage::Place(ours))];
        }
        match self.newer(place) {
            Some(model) => self.activate(model, place.wish.clone()),
            None => Vec::new(),
        }
    }

    /// Whether the ring that this node has lost a node of runs all the same, as all its nodes say: one
    /// that is not on it may only have lost sight of it.
    fn finds_ring_again(&self) -> bool {
        let (Some(active), Some(_)) = (&self.active, &self.loss) else { return false };
        let goes_by_it = |part: &Assignment| {
            self.hearings.get(&part.node).is_some_and(|hearing| {
                hearing.placed == active.model.epoch && hearing.given_up < active.model.epoch
            })
        };
        !self.holds_layers(self.node)
            && active.model.placement.assignments().iter().all(goes_by_it)
            && !self.is_broken(&active.model)
    }

    /// What a peer says of a placement, if it can be so and is newer than what holds.
    pub(super) fn newer(&mut self, place: &Place) -> Option<PlacedModel> {
        let proposer = NodeId::from_bytes(place.proposer);
        let possible = epoch_count(place.placement_epoch) > 0
            && place.ranges.len() <= RANGES_MAX
            && place.shape.is_possible()
            && place.shape.layer_count() == place.layers
            && place.wish.is_possible();
        if !possible || !self.hear_of(place.placement_epoch) {
            return None;
        }
        if let Some(active) = &self.active
            && (place.placement_epoch, proposer) <= (active.model.epoch, active.model.proposer)
        {
            return None;
        }
        let ranges: Option<Vec<Assignment>> = place
            .ranges
            .iter()
            .map(|&(node, start, end)| {
                let range = LayerRange::checked(start, end).ok()?;
                Some(Assignment { node: NodeId::from_bytes(node), range })
            })
            .collect();
        Some(PlacedModel {
            epoch: place.placement_epoch,
            proposer,
            name: place.model.clone(),
            fingerprint: place.fingerprint,
            placement: Placement::checked(ranges?, place.layers).ok()?,
            shape: place.shape.clone(),
        })
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
        let name = self.name(node);
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
            Err(cause) => {
                active.failed = Some(format!("{name}: {cause}"));
                self.is_unfit(node);
                return self.propose();
            }
        }
        if was_ready || self.phase() != Phase::Ready {
            return Vec::new();
        }
        self.served = true;
        let mut actions = vec![Action::Ready];
        actions.extend(self.propose());
        actions
    }

    /// What this node tells the others now and then, so that whoever missed it hears it.
    pub fn reminders(&self) -> impl Iterator<Item = ClusterMessage> {
        let loaded = self.active.as_ref().and_then(|active| {
            let &bytes_read = active.loaded.get(&self.node)?;
            Some(ClusterMessage::Loaded { placement_epoch: active.model.epoch, bytes_read })
        });
        loaded.into_iter().chain([ClusterMessage::Hearing(self.hearing())])
    }

    pub(super) fn activate(&mut self, model: PlacedModel, wish: Wish) -> Vec<Action> {
        self.me.placement_epoch = self.me.placement_epoch.max(model.epoch);
        let known = KnownModel {
            name: model.name.clone(),
            fingerprint: model.fingerprint,
            shape: model.shape.clone(),
        };
        if self.wanted_model.as_ref().is_some_and(|known| known.fingerprint != model.fingerprint) {
            self.served = false;
        }
        self.wish = wish;
        self.loss = None;
        if self.next.as_ref().is_some_and(|next| next.model.epoch <= model.epoch) {
            self.next = None;
        }
        self.waiting.clear();
        let loaded = BTreeMap::new();
        self.active = Some(Active { model: model.clone(), loaded, failed: None });
        let mut actions = self.know(known);
        actions.push(Action::Load(model));
        actions
    }

    /// This node can place the model from now on, and says so.
    fn know(&mut self, model: KnownModel) -> Vec<Action> {
        let wants = Some((model.name.clone(), model.fingerprint));
        self.wanted_model = Some(model);
        if self.me.wants == wants {
            return Vec::new();
        }
        self.me.wants = wants;
        vec![Action::Broadcast(ClusterMessage::Record(self.me.clone()))]
    }

    /// Proposes a placement if this node knows a model, is the one to propose it, and none holds
    /// that is as wanted.
    pub(super) fn propose(&mut self) -> Vec<Action> {
        let Some(wanted) = self.wanted_model.clone() else { return Vec::new() };
        if self.finds_ring_again() {
            self.loss = None;
            if self.phase() == Phase::Ready {
                return vec![Action::Ready];
            }
        }
        let Some(change) = self.change(&wanted) else {
            self.prepare_no_more_of(self.node);
            return Vec::new();
        };
        if !self.is_to_propose(&wanted, change) {
            self.prepare_no_more_of(self.node);
            if self.active.is_none() || self.loss.is_some() {
                "another node places the model".clone_into(&mut self.waiting);
            }
            return Vec::new();
        }
        if change == Change::Prepared && self.next.is_some() {
            return self.go_on_preparing();
        }
        self.next = None;
        let steady = |node: &NodeId| change == Change::AtOnce || self.keeps(*node);
        let nodes: Vec<NodeId> = self.company().into_iter().filter(steady).collect();
        match self.place_on(&nodes, &wanted) {
            Ok(placement) => {
                let model = self.next_model(&wanted, placement);
                match change {
                    Change::Prepared if self.is_as_placed(&model.placement) => Vec::new(),
                    Change::Prepared if self.fits_beside(&model) => self.prepare(model),
                    _ => self.place_now(model),
                }
            }
            Err(why) => {
                if change == Change::AtOnce {
                    self.waiting = why.to_string();
                }
                Vec::new()
            }
        }
    }

    pub(super) fn place_now(&mut self, model: PlacedModel) -> Vec<Action> {
        let message = ClusterMessage::Place(model.message(&self.wish));
        let mut actions = vec![Action::Broadcast(message)];
        actions.extend(self.activate(model, self.wish.clone()));
        actions
    }

    /// Whether a placement is to be made, and how.
    fn change(&self, wanted: &KnownModel) -> Option<Change> {
        let Some(active) = &self.active else { return Some(Change::AtOnce) };
        let other = active.model.fingerprint != wanted.fingerprint;
        if other || active.failed.is_some() {
            return Some(Change::AtOnce);
        }
        if self.loss.is_some() || self.is_broken(&active.model) {
            return self.can_judge(&active.model).then_some(Change::AtOnce);
        }
        let ring = &active.model.placement;
        let leaves = ring
            .assignments()
            .iter()
            .any(|part| self.member(part.node).is_some_and(|record| record.leaving));
        (leaves || self.grows(ring)).then_some(Change::Prepared)
    }

    /// Whether this node knows what a ring can do that it believes to be broken. A node that is not
    /// on the ring may only have lost sight of it, or not have met all of it yet: then those count
    /// that are on it, as long as there are any.
    fn can_judge(&self, model: &PlacedModel) -> bool {
        if model.placement.position(self.node).is_some() {
            return true;
        }
        let ring = model.placement.assignments();
        let heard = |node: &NodeId| self.members.contains_key(node) && !self.is_suspected(*node);
        let mut witnesses = ring.iter().map(|part| part.node).filter(heard).peekable();
        witnesses.peek().is_none()
            || witnesses.filter_map(|node| self.hearings.get(&node)).any(|hearing| {
                let deaf = |part: &Assignment| !hearing.nodes.contains(part.node.as_bytes());
                hearing.placed < model.epoch
                    || hearing.given_up >= model.epoch
                    || ring.iter().filter(|part| deaf(part)).count() > 1
            })
    }

    /// Whether nodes of a ring do not hear each other.
    fn is_broken(&self, model: &PlacedModel) -> bool {
        let ring = model.placement.assignments();
        let missing = |node| {
            node != self.node && (!self.members.contains_key(&node) || self.is_suspected(node))
        };
        let next = ring.iter().cycle().skip(1);
        ring.iter()
            .zip(next)
            .any(|(one, other)| missing(one.node) || !self.hear_each_other(one.node, other.node))
    }

    /// Whether a ring that runs is to have another node.
    fn grows(&self, ring: &Placement) -> bool {
        let company = self.company();
        let more =
            company.iter().any(|&node| ring.position(node).is_none() && self.is_steady(node));
        let fewer = |count: usize| ring.assignments().len() < count && company.len() >= count;
        more && match self.wish.nodes {
            _ if self.wish.rebalance || self.wish.by_hand.is_some() => true,
            NodesWanted::All => true,
            NodesWanted::Exactly(count) => fewer(count),
            NodesWanted::Smallest => false,
        }
    }

    /// Whether layers stay on a node, or may move to it, while a ring runs.
    fn keeps(&self, node: NodeId) -> bool {
        self.is_steady(node) || self.is_sound(node) && self.holds_layers(node)
    }

    /// Whether nobody else has to propose this model.
    fn is_to_propose(&self, wanted: &KnownModel, change: Change) -> bool {
        let knows = |record: &Record| {
            record.wants.as_ref().is_some_and(|(_, print)| *print == wanted.fingerprint)
        };
        // Who goes by an older placement does not know that this one cannot go on.
        let epoch = self.placed().map_or(0, |placed| placed.epoch);
        let goes_by_it = |node: NodeId| {
            change == Change::Prepared
                || self.hearings.get(&node).is_none_or(|hearing| hearing.placed >= epoch)
        };
        let rank = |node: NodeId, record: &Record| (record.leaving, node);
        let mine = rank(self.node, &self.me);
        !self.members.iter().any(|(&node, record)| {
            knows(record)
                && goes_by_it(node)
                && !self.is_suspected(node)
                && self.hear_each_other(node, self.node)
                && rank(node, record) < mine
        })
    }

    /// The model over these nodes, as the user wants it; where it has run already, and that cannot
    /// be had any more, as it can be had.
    fn place_on(&self, nodes: &[NodeId], wanted: &KnownModel) -> Result<Placement, PlacementError> {
        let offers: Vec<Offer> = self
            .records(nodes)
            .map(|record| Offer {
                node: NodeId::from_bytes(record.node),
                name: record.name.clone(),
                memory: record.memory,
                speed: record.facts.speed.map(|(bytes_per_s, multiplies_per_s)| NodeSpeed {
                    bytes_per_s,
                    multiplies_per_s,
                }),
            })
            .collect();
        let place = |wish: &Wish| place(&offers, &wanted.shape, wish, &self.links);
        if self.wish.rebalance
            && self.wish.nodes == NodesWanted::Smallest
            && let Ok(placement) = place(&self.wish.of_all())
        {
            return Ok(placement);
        }
        let error = match place(&self.wish) {
            Err(error) if self.served => error,
            result => return result,
        };
        let fewest = Wish { nodes: NodesWanted::Smallest, ..self.wish.of_all() };
        let by_memory = Wish::from(NodesWanted::Smallest);
        let ways = [self.wish.of_all(), fewest, by_memory];
        let placed = ways.iter().find_map(|wish| place(wish).ok());
        placed.ok_or(match place(&Wish::from(NodesWanted::Smallest)) {
            Err(does_not_fit) => does_not_fit,
            Ok(_) => error,
        })
    }

    /// Whether the model in force fits on the nodes that stay.
    pub(super) fn fits_without_leavers(&self) -> bool {
        let Some(wanted) = &self.wanted_model else { return false };
        self.place_on(&self.company(), wanted).is_ok()
    }

    fn next_model(&self, wanted: &KnownModel, placement: Placement) -> PlacedModel {
        let [a, b, c, d, ..] = *self.node.as_bytes();
        let count = epoch_count(self.me.placement_epoch) + 1;
        PlacedModel {
            epoch: count << 32 | u64::from(u32::from_be_bytes([a, b, c, d])),
            proposer: self.node,
            name: wanted.name.clone(),
            fingerprint: wanted.fingerprint,
            placement,
            shape: wanted.shape.clone(),
        }
    }

    fn is_as_placed(&self, placement: &Placement) -> bool {
        self.placed().is_some_and(|placed| placed.placement == *placement)
    }
}
