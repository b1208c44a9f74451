//! What follows from what the cluster decides? Nodes come and go, layers are loaded, and requests
//! with them.

use std::time::Duration;

use super::{Core, Out};
use crate::{
    cluster::{Action, KnownModel, Links, PlacedModel},
    fabric::{
        NodeId,
        messages::{ClusterMessage, Record},
    },
    request::RequestId,
};

/// A node that leaves waits so long for others to take its layers.
pub const LEAVE_MAX: Duration = Duration::from_secs(30);
/// And so long, if they have, for its own clients' answers.
const ANSWERS_MAX: Duration = Duration::from_secs(10);

impl Core {
    /// This node is asked to have a model placed.
    pub fn handle_want(&mut self, model: KnownModel) {
        let actions = self.cluster.handle_want(model);
        self.act(actions);
    }

    /// The ways between nodes, as measured by now.
    pub fn handle_links(&mut self, links: Links) {
        self.cluster.handle_links(links);
    }

    /// A node has connected, and says who it is; or says it anew.
    pub fn handle_record(&mut self, record: Record) {
        let actions = self.cluster.handle_record(record);
        self.act(actions);
    }

    /// A node has been silent for too long; or it is heard again.
    pub fn handle_suspected(&mut self, node: NodeId, suspected: bool) {
        let actions = self.cluster.handle_suspected(node, suspected);
        self.act(actions);
    }

    /// The session with a node is over.
    pub fn handle_lost(&mut self, node: NodeId, cause: &str) {
        self.end_sequences_of(node);
        let actions = self.cluster.handle_lost(node, cause);
        self.act(actions);
    }

    /// What a node says of the cluster. Gives back what is not decided here.
    pub fn handle_cluster(
        &mut self,
        from: NodeId,
        message: ClusterMessage,
    ) -> Option<ClusterMessage> {
        let actions = match message {
            ClusterMessage::Place(place) => self.cluster.handle_place(from, &place),
            ClusterMessage::Prepare(place) => self.cluster.handle_prepare(from, &place),
            ClusterMessage::Prepared { placement_epoch } => {
                self.cluster.handle_prepared(from, placement_epoch, Ok(()))
            }
            ClusterMessage::NotPrepared { placement_epoch, cause } => {
                self.cluster.handle_prepared(from, placement_epoch, Err(cause))
            }
            ClusterMessage::Superseded { placement_epoch, by } => {
                self.cluster.handle_superseded(placement_epoch, by)
            }
            ClusterMessage::Loaded { placement_epoch, bytes_read } => {
                self.cluster.handle_load(from, placement_epoch, Ok(bytes_read))
            }
            ClusterMessage::LoadFailed { placement_epoch, cause } => {
                self.cluster.handle_load(from, placement_epoch, Err(cause))
            }
            ClusterMessage::Hearing(hearing) => self.cluster.handle_hearing(from, hearing),
            ClusterMessage::Submit(submit) => {
                self.handle_submit(from, submit);
                return None;
            }
            ClusterMessage::Cancel { sequence } => {
                self.handle_cancelled(from, RequestId(sequence));
                return None;
            }
            ClusterMessage::Steps { placement_epoch, counts } => {
                self.handle_steps(from, placement_epoch, counts);
                return None;
            }
            other => return Some(other),
        };
        self.act(actions);
        None
    }

    /// This node's layers are loaded, or cannot be.
    pub fn handle_loaded(&mut self, epoch: u64, result: Result<u64, String>) {
        let actions = self.cluster.handle_own_load(epoch, result);
        if self.lost == Some(epoch) {
            self.lost = None; // it was lost before it was loaded
        }
        self.act(actions);
    }

    /// What this node lacked for a placement is loaded beside what it holds, or cannot be.
    pub fn handle_prepared(&mut self, epoch: u64, result: Result<(), String>) {
        let actions = self.cluster.handle_own_prepared(epoch, result);
        self.act(actions);
    }

    /// This node is to leave: its layers go to others first, and its clients get their answers.
    /// [`may_leave`](Self::may_leave) says when.
    pub fn handle_leave(&mut self) {
        self.leaving.get_or_insert(self.now);
        let actions = self.cluster.handle_leave();
        self.act(actions);
    }

    /// Whether a node that is to leave need not wait any more.
    #[must_use]
    pub fn may_leave(&self) -> bool {
        let Some(since) = self.leaving else { return false };
        let waited = self.now.saturating_sub(since);
        let alone = self.cluster.members().next().is_none();
        let free = alone || self.cluster.may_leave();
        let answered = self.entry.running() == 0 || waited > ANSWERS_MAX;
        free && answered || waited > LEAVE_MAX
    }

    /// What this node tells the others every second, for whoever missed it.
    pub fn remind(&mut self) {
        let reminders: Vec<ClusterMessage> = self.cluster.reminders().collect();
        for message in reminders {
            self.put(Out::Broadcast(message));
        }
        if let (Some(placed), Some(counts)) = (self.cluster.placed(), self.steps.get(&self.node)) {
            let (placement_epoch, counts) = (placed.epoch, counts.clone());
            self.put(Out::Broadcast(ClusterMessage::Steps { placement_epoch, counts }));
        }
    }

    pub(super) fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(to, message) => self.put(Out::Tell(to, message)),
                Action::Broadcast(message) => self.put(Out::Broadcast(message)),
                Action::Load(model) => {
                    self.entry.park(self.now);
                    self.stage0 = None;
                    self.steps.clear();
                    if !self.cluster.has_served() {
                        self.not_ready();
                    }
                    self.put(Out::Load(Box::new(model)));
                }
                Action::Prepare(model) => self.put(Out::Prepare(Box::new(model))),
                Action::Ready => {
                    let Some(placed) = self.cluster.placed().cloned() else { continue };
                    self.is_ready = true;
                    self.put(Out::Ready(Box::new(placed)));
                    // What ran before, if this node only lost sight of the ring, runs no more.
                    self.entry.park(self.now);
                    self.submit();
                }
            }
        }
        self.look_after_prepared();
        self.look_after_lost();
    }

    /// Lets go of the caches of a placement that has lost a node: its requests begin anew on the next
    /// one, and that may be long in coming.
    fn look_after_lost(&mut self) {
        let lost = self.cluster.loss().and(self.cluster.placed()).map(|placed| placed.epoch);
        if let Some(epoch) = lost.filter(|_| self.lost != lost) {
            self.lost = lost;
            if self.cluster.holds_layers(self.node) {
                self.put(Out::FreeCaches(epoch));
            }
        }
    }

    /// Lets go of what was prepared for a placement that did not come to be.
    fn look_after_prepared(&mut self) {
        let epoch = |placed: Option<&PlacedModel>| placed.map(|placed| placed.epoch);
        let cluster = &self.cluster;
        let (placed, next) = (epoch(cluster.placed()), epoch(cluster.next()));
        let before = std::mem::replace(&mut self.preparing, next);
        if before.is_some() && next.is_none() && before != placed {
            self.put(Out::PrepareNoMore);
        }
    }

    /// Says that no requests may come, once.
    pub(super) fn not_ready(&mut self) {
        if std::mem::take(&mut self.is_ready) {
            self.put(Out::NotReady);
        }
    }
}
