//! Which placement holds? Who proposes it, who has loaded it, when it is given up.

use std::collections::BTreeMap;

use super::{
    Action, Assignment, KnownModel, NodeSpeed, NodesWanted, Offer, Phase, PlacedModel, Placement,
    epoch_count, place,
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

impl Cluster {
    /// This node is asked to have a model placed.
    pub fn handle_want(&mut self, model: KnownModel) -> Vec<Action> {
        self.me.wants = Some((model.name.clone(), model.fingerprint));
        self.wanted_model = Some(model);
        let mut actions = vec![Action::Broadcast(ClusterMessage::Record(self.me.clone()))];
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
            return vec![Action::Send(from, ClusterMessage::Place(active.model.message()))];
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

    /// Gives the placement up. A node of the ring does so for all; another one only stops using it.
    pub(super) fn abandon(&mut self, node: &str, cause: &str) -> Vec<Action> {
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

    pub(super) fn activate(&mut self, model: PlacedModel) -> Vec<Action> {
        self.me.placement_epoch = self.me.placement_epoch.max(model.epoch);
        let loaded = BTreeMap::new();
        self.active = Some(Active { model: model.clone(), loaded, failed: None });
        vec![Action::Load(model)]
    }

    /// Proposes a placement if this node wants a model, is the one to propose it, and none holds.
    pub(super) fn propose(&mut self) -> Vec<Action> {
        let Some(wanted) = &self.wanted_model else { return Vec::new() };
        let holds = self.active.as_ref().is_some_and(|active| {
            let ring = active.model.placement.assignments().len();
            let grows = self.wish.nodes == NodesWanted::All && self.members.len() + 1 > ring;
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
                speed: record.facts.speed.map(|(bytes_per_s, multiplies_per_s)| NodeSpeed {
                    bytes_per_s,
                    multiplies_per_s,
                }),
            })
            .collect();
        match place(&offers, &wanted.shape, &self.wish, &self.links) {
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
                let mut actions = vec![Action::Broadcast(ClusterMessage::Place(model.message()))];
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
