//! On whom can layers be placed? Who is heard, by whom, and whether that is going to last.
//!
//! Every node says whom it hears. So whoever places a model knows of two nodes that cannot talk to
//! each other although both talk to it, and does not put them on one ring.

use std::{collections::BTreeSet, time::Duration};

use super::{Action, handover::Next, state::Cluster};
use crate::fabric::{
    NodeId,
    messages::{ClusterMessage, Hearing, Record},
};

/// A node that came back is given layers again after so long, and twice as long each time.
const STEADY_MIN: Duration = Duration::from_secs(3);
const STEADY_MAX: Duration = Duration::from_secs(60);
/// After so long without going away again, a node's earlier returns are forgotten.
const STEADY_FORGETS: Duration = Duration::from_secs(600);

/// For so long nothing is placed on a node that could not load its layers.
const UNFIT_FOR: Duration = Duration::from_secs(60);

/// How often a node came back, and when last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Returns {
    count: u32,
    at: Duration,
}

impl Returns {
    fn steady_at(self) -> Duration {
        match self.count {
            0 => self.at,
            count => self.at + (STEADY_MIN * 2u32.pow(count.min(8) - 1)).min(STEADY_MAX),
        }
    }
}

impl Cluster {
    /// A node has been silent for too long; or it is heard again.
    pub fn handle_suspected(&mut self, node: NodeId, suspected: bool) -> Vec<Action> {
        let changed = if suspected {
            let changed = self.members.contains_key(&node) && self.suspected.insert(node);
            if changed {
                self.went(node);
            }
            changed
        } else {
            let changed = self.suspected.remove(&node);
            if changed {
                self.came(node);
            }
            changed
        };
        if changed { self.look_again() } else { Vec::new() }
    }

    /// A member says whom it hears, and what it has given up.
    pub fn handle_hearing(&mut self, from: NodeId, hearing: Hearing) -> Vec<Action> {
        if !self.members.contains_key(&from) || self.hearings.get(&from) == Some(&hearing) {
            return Vec::new();
        }
        // Only a node of the ring can say that the ring is broken.
        if let Some(placed) = self.placed()
            && hearing.given_up >= placed.epoch
            && placed.placement.position(from).is_some()
        {
            let (name, cause) = hearing.cause.split_once('\n').unwrap_or(("a node", "lost"));
            let (name, cause) = (name.to_owned(), cause.to_owned());
            self.lose(&name, &cause);
        }
        let preparing = hearing.preparing;
        self.hearings.insert(from, hearing);
        let withdrawn = |next: &Next| next.model.proposer == from && next.model.epoch != preparing;
        if self.next.as_ref().is_some_and(withdrawn) {
            self.next = None;
        }
        self.look_again()
    }

    /// This node is about to leave: layers move away from it.
    pub fn handle_leave(&mut self) -> Vec<Action> {
        if std::mem::replace(&mut self.me.leaving, true) {
            return Vec::new();
        }
        let mut actions = vec![Action::Broadcast(ClusterMessage::Record(self.me.clone()))];
        actions.extend(self.look_again());
        actions
    }

    /// Whether nothing depends on this node any more, or nothing can be done about it: nobody else
    /// is there, or the model does not fit without it.
    #[must_use]
    pub fn may_leave(&self) -> bool {
        let in_use = self.holds_layers(self.node) && self.loss.is_none();
        !(in_use && self.fits_without_leavers())
    }

    /// Says whom this node hears, if that is news.
    pub(super) fn say_whom_it_hears(&mut self) -> Option<Action> {
        let hearing = self.hearing();
        if hearing == self.said {
            return None;
        }
        self.said = hearing.clone();
        Some(Action::Broadcast(ClusterMessage::Hearing(hearing)))
    }

    /// Whom this node hears.
    pub(super) fn hearing(&self) -> Hearing {
        let heard = self.members.keys().filter(|&node| !self.suspected.contains(node));
        let (given_up, cause) = match (&self.active, &self.loss) {
            (Some(active), Some(loss)) => {
                (active.model.epoch, format!("{}\n{}", loss.node, loss.cause))
            }
            _ => (0, String::new()),
        };
        let preparing = match &self.next {
            Some(next) if next.model.proposer == self.node => next.model.epoch,
            _ => 0,
        };
        let nodes = heard.map(|node| *node.as_bytes()).collect();
        let placed = self.placed().map_or(0, |placed| placed.epoch);
        Hearing { nodes, placed, given_up, cause, preparing }
    }

    /// Whether two nodes hear each other, as far as they have said so.
    pub(super) fn hear_each_other(&self, a: NodeId, b: NodeId) -> bool {
        let hears = |from: NodeId, to: NodeId| {
            if from == self.node {
                self.members.contains_key(&to) && !self.suspected.contains(&to)
            } else if to == self.node {
                true // what it says of this node comes from it: it is heard, or it is suspected
            } else {
                let said = self.hearings.get(&from);
                said.is_none_or(|hearing| hearing.nodes.contains(to.as_bytes()))
            }
        };
        a == b || hears(a, b) && hears(b, a)
    }

    /// Whether a node is here, heard, and is going to stay.
    pub(super) fn is_sound(&self, node: NodeId) -> bool {
        self.member(node).is_some_and(|record| !record.leaving)
            && !self.suspected.contains(&node)
            && !self.unfit.contains_key(&node)
    }

    /// Whether a sound node has been here for long enough to move layers to it from a ring that runs.
    pub(super) fn is_steady(&self, node: NodeId) -> bool {
        let steady = |returns: &Returns| self.now >= returns.steady_at();
        self.is_sound(node) && self.returns.get(&node).is_none_or(steady)
    }

    /// Sound nodes that all hear each other: where two do not, the one that fewer hear is left out.
    pub(super) fn company(&self) -> Vec<NodeId> {
        let everyone = self.members.keys().copied().chain([self.node]);
        let mut nodes: BTreeSet<NodeId> = everyone.filter(|&node| self.is_sound(node)).collect();
        loop {
            let deaf = |&node: &NodeId| {
                nodes.iter().filter(|&&other| !self.hear_each_other(node, other)).count()
            };
            let worst = nodes
                .iter()
                .filter(|&&node| node != self.node)
                .map(|node| (deaf(node), *node))
                .max()
                .filter(|(count, _)| *count > 0);
            match worst {
                Some((_, node)) => nodes.remove(&node),
                None => return nodes.into_iter().collect(),
            };
        }
    }

    pub(super) fn records<'a>(
        &'a self,
        nodes: &'a [NodeId],
    ) -> impl Iterator<Item = &'a Record> + 'a {
        nodes.iter().filter_map(|&node| self.member(node))
    }

    /// Nothing is placed on a node that could not load its layers, for a while.
    pub(super) fn is_unfit(&mut self, node: NodeId) {
        self.unfit.insert(node, self.now + UNFIT_FOR);
    }

    pub(super) fn came(&mut self, node: NodeId) {
        if let Some(returns) = self.returns.get_mut(&node) {
            returns.at = self.now;
        }
    }

    pub(super) fn went(&mut self, node: NodeId) {
        let now = self.now;
        let returns = self.returns.entry(node).or_insert(Returns { count: 0, at: now });
        if now.saturating_sub(returns.at) > STEADY_FORGETS {
            returns.count = 0;
        }
        *returns = Returns { count: returns.count.saturating_add(1), at: now };
        // Nodes that are not coming back are not remembered for ever.
        if self.returns.len() > 1024 {
            self.returns.retain(|_, old| now.saturating_sub(old.at) <= STEADY_FORGETS);
        }
    }
}
