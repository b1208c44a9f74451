//! How does a model move while requests go on? The next ring's layers are loaded beside those of the
//! ring that runs; when all are there, the next placement takes over at once.

use std::{collections::BTreeSet, time::Duration};

use super::{Action, PlacedModel, needed_bytes, state::Cluster};
use crate::{
    fabric::{
        NodeId,
        messages::{ClusterMessage, Place},
    },
    layers::LayerRange,
};

/// How long the layers of a placement that is being prepared may take to come.
const PREPARE_MAX: Duration = Duration::from_secs(900);

/// A placement that is being prepared.
pub(super) struct Next {
    pub(super) model: PlacedModel,
    /// Who has what it needs: only whoever proposes it counts them.
    prepared: BTreeSet<NodeId>,
    since: Duration,
}

impl Cluster {
    /// Has a placement prepared by all of its nodes, beside the one that runs.
    pub(super) fn prepare(&mut self, model: PlacedModel) -> Vec<Action> {
        self.me.placement_epoch = self.me.placement_epoch.max(model.epoch);
        let message = ClusterMessage::Prepare(model.message(&self.wish));
        let mut actions = vec![Action::Broadcast(message)];
        if model.placement.position(self.node).is_some() {
            actions.push(Action::Prepare(model.clone()));
        }
        self.next = Some(Next { model, prepared: BTreeSet::new(), since: self.now });
        actions
    }

    /// What a node has had prepared, if so, will not take over.
    pub(super) fn prepare_no_more_of(&mut self, proposer: NodeId) {
        if self.next.as_ref().is_some_and(|next| next.model.proposer == proposer) {
            self.next = None;
        }
    }

    /// Another node wants a placement prepared.
    pub fn handle_prepare(&mut self, from: NodeId, place: &Place) -> Vec<Action> {
        if place.proposer != *from.as_bytes() {
            return Vec::new();
        }
        let Some(model) = self.newer(place) else { return Vec::new() };
        let superseded = |placement_epoch, proposer, by| {
            Action::Send(proposer, ClusterMessage::Superseded { placement_epoch, by })
        };
        let mut actions = Vec::new();
        if let Some(Next { model: other, .. }) = &self.next
            && other.proposer != self.node
        {
            if other.epoch >= model.epoch {
                return vec![superseded(model.epoch, from, other.epoch)];
            }
            if other.proposer != from {
                actions.push(superseded(other.epoch, other.proposer, model.epoch));
            }
        }
        if model.placement.position(self.node).is_some() {
            actions.push(Action::Prepare(model.clone()));
        }
        self.next = Some(Next { model, prepared: BTreeSet::new(), since: self.now });
        actions
    }

    /// A node prepares another placement than the one this node wanted prepared.
    pub fn handle_superseded(&mut self, epoch: u64, by: u64) -> Vec<Action> {
        self.hear_of(by);
        let ours = |next: &Next| next.model.epoch == epoch && next.model.proposer == self.node;
        if self.next.as_ref().is_some_and(ours) {
            self.next = None; // if it is still wanted, it is once more, under a higher epoch
        }
        Vec::new()
    }

    /// This node holds what it needs for a placement that is being prepared, or cannot.
    pub fn handle_own_prepared(&mut self, epoch: u64, result: Result<(), String>) -> Vec<Action> {
        let Some(next) = self.next.as_ref().filter(|next| next.model.epoch == epoch) else {
            return Vec::new();
        };
        if next.model.proposer == self.node {
            return self.handle_prepared(self.node, epoch, result);
        }
        let (proposer, placement_epoch) = (next.model.proposer, epoch);
        let message = match result {
            Ok(()) => ClusterMessage::Prepared { placement_epoch },
            Err(cause) => ClusterMessage::NotPrepared { placement_epoch, cause },
        };
        vec![Action::Send(proposer, message)]
    }

    /// A node holds what it needs for a placement that this one has prepared, or cannot.
    pub fn handle_prepared(
        &mut self,
        from: NodeId,
        epoch: u64,
        result: Result<(), String>,
    ) -> Vec<Action> {
        let ours = |next: &&mut Next| {
            next.model.epoch == epoch
                && next.model.proposer == self.node
                && next.model.placement.position(from).is_some()
        };
        let Some(next) = self.next.as_mut().filter(ours) else { return Vec::new() };
        match result {
            Ok(()) => {
                next.prepared.insert(from);
            }
            Err(cause) => {
                tracing::warn!(node = self.name(from), cause, "not prepared");
                self.next = None;
                self.is_unfit(from);
            }
        }
        self.look_again()
    }

    /// Whether it is time for the placement that is being prepared, or for none.
    pub(super) fn go_on_preparing(&mut self) -> Vec<Action> {
        let Some(next) = &self.next else { return Vec::new() };
        if next.model.proposer != self.node {
            return Vec::new(); // until it is withdrawn, or its proposer is lost
        }
        let ring = next.model.placement.assignments();
        let waits: Vec<NodeId> = ring
            .iter()
            .map(|part| part.node)
            .filter(|node| !next.prepared.contains(node))
            .collect();
        if waits.is_empty() {
            let model = next.model.clone();
            return self.place_now(model);
        }
        if !ring.iter().all(|part| self.is_sound(part.node)) {
            self.next = None;
        } else if self.now.saturating_sub(next.since) > PREPARE_MAX {
            self.next = None;
            waits.into_iter().for_each(|node| self.is_unfit(node));
        }
        Vec::new()
    }

    /// Whether every node has room for its next layers beside those it holds.
    pub(super) fn fits_beside(&self, next: &PlacedModel) -> bool {
        let Some(active) = &self.active else { return true };
        next.placement.assignments().iter().all(|part| {
            let Some(record) = self.member(part.node) else { return false };
            let held = active.model.placement.assignments();
            let held = held.iter().find(|held| held.node == part.node).map(|held| held.range);
            let needed = |range| needed_bytes(range, &next.shape);
            let both = match held {
                None => needed(part.range),
                Some(held) => match joined(held, part.range) {
                    Some(range) => needed(range),
                    None => needed(held) + needed(part.range),
                },
            };
            both <= record.memory
        })
    }
}

/// Two ranges as one, if no layer lies between them.
fn joined(a: LayerRange, b: LayerRange) -> Option<LayerRange> {
    let touch = a.start() <= b.end() && b.start() <= a.end();
    let joined = LayerRange::checked(a.start().min(b.start()), a.end().max(b.end()));
    joined.ok().filter(|_| touch)
}
