//! What runs on the ring: stage 0 takes requests and schedules them; tokens come back.

use super::run::Node;
use crate::{
    fabric::{
        Lane, NodeId,
        messages::{self, ClusterMessage, Submit, TokenMessage},
    },
    request::RequestId,
    sampler,
    scheduler::times::StepCount,
    stage::worker::{Job, WorkerEvent},
};

impl Node {
    pub(super) fn handle_submit(&mut self, from: NodeId, submit: Submit) {
        let Submit { mut open, prompt } = submit;
        let sequence = RequestId(open.sequence);
        if NodeId::from_bytes(open.entry) != from {
            return self.cut_off(from, "a request in another node's name");
        }
        let stage0 = self.stage0.as_mut().filter(|stage0| stage0.epoch == open.placement_epoch);
        let failed = |cause| {
            let node = self.name.clone();
            TokenMessage::Failed { sequence: sequence.0, node, cause }
        };
        let taken = match stage0 {
            Some(stage0) => stage0.check(&open, &prompt).map_err(failed).and_then(|()| {
                let taken = stage0.scheduler.handle_submit(sequence, open.attempt, &prompt);
                taken.map_err(|_full| TokenMessage::Busy { sequence: sequence.0 })
            }),
            None => Err(failed("the model has been placed anew meanwhile".into())),
        };
        match taken {
            Ok(()) => {
                if let Some(stage0) = &mut self.stage0 {
                    stage0.entries.insert(sequence, NodeId::from_bytes(open.entry));
                }
                open.prompt_tokens = sampler::prompt_tokens(&open.sampling, &prompt);
                self.job(Job::Open(open));
                self.pump();
            }
            Err(message) => self.deliver(NodeId::from_bytes(open.entry), message),
        }
    }

    /// Hands the worker its next step, if it is free and there is one.
    pub(super) fn pump(&mut self) {
        let Some(stage0) = self.stage0.as_mut().filter(|stage0| !stage0.busy) else { return };
        if let Some(step) = stage0.scheduler.next_step() {
            stage0.busy = true;
            let epoch = stage0.epoch;
            self.job(Job::Step { epoch, step });
        }
    }

    pub(super) fn end_sequence(&mut self, sequence: RequestId) {
        let Some(stage0) = &mut self.stage0 else { return };
        stage0.entries.remove(&sequence);
        if stage0.scheduler.handle_end(sequence) {
            self.job(Job::Close(sequence.0));
        }
    }

    /// The clients of a node that is gone wait no more.
    pub(super) fn end_sequences_of(&mut self, entry: NodeId) {
        let Some(stage0) = &self.stage0 else { return };
        let theirs = stage0.entries.iter().filter(|&(_, &node)| node == entry);
        let theirs: Vec<RequestId> = theirs.map(|(&sequence, _)| sequence).collect();
        for sequence in theirs {
            self.end_sequence(sequence);
        }
    }

    pub(super) fn handle_worker(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::StepDone { epoch } => {
                if let Some(stage0) = self.stage0.as_mut().filter(|stage0| stage0.epoch == epoch) {
                    stage0.busy = false;
                }
                self.pump();
            }
            WorkerEvent::Token { entry, message } => {
                let first = self.cluster.placed().map(|placed| placed.placement.first());
                if let Some(first) = first.filter(|&first| first != entry) {
                    self.deliver(first, message.clone());
                }
                self.deliver(entry, message);
            }
            WorkerEvent::Loading { epoch, bytes_read } => {
                if self.cluster.placed().is_some_and(|placed| placed.epoch == epoch) {
                    self.loading_bytes = bytes_read;
                }
            }
            WorkerEvent::Loaded { epoch, result } => {
                match &result {
                    Ok(bytes) => {
                        tracing::info!(epoch, bytes_read = bytes, "layers are loaded");
                    }
                    Err(error) => tracing::error!(epoch, error, "layers cannot be loaded"),
                }
                let actions = self.cluster.handle_own_load(epoch, result);
                self.act(actions);
                self.publish();
            }
            WorkerEvent::StepTimes { epoch, counts } => {
                self.handle_steps(self.node, epoch, counts.clone());
                if let Some(first) = self.first.filter(|&first| first != self.node) {
                    self.tell(first, &ClusterMessage::Steps { placement_epoch: epoch, counts });
                }
            }
            WorkerEvent::Misbehaved { node, what } => self.cut_off(node, &what),
        }
    }

    /// How long a stage's steps take.
    pub(super) fn handle_steps(&mut self, node: NodeId, epoch: u64, counts: Vec<StepCount>) {
        let placed = self.cluster.placed().filter(|placed| placed.epoch == epoch);
        if placed.is_some_and(|placed| placed.placement.position(node).is_some()) {
            self.steps.insert(node, counts);
        }
    }

    /// A token message for a node: over the link, or here.
    pub(super) fn deliver(&mut self, to: NodeId, message: TokenMessage) {
        if to == self.node {
            self.handle_token(message);
        } else {
            self.fabric.send(to, Lane::Urgent, messages::TOKEN, &message);
        }
    }

    /// A token came: this node holds layer 0, or its client waits, or both.
    pub(super) fn handle_token(&mut self, message: TokenMessage) {
        match &message {
            TokenMessage::Token { sequence, attempt, token, finish: 0, .. } => {
                let id = RequestId(*sequence);
                if let Some(stage0) = &mut self.stage0 {
                    stage0.scheduler.handle_token(id, *attempt, *token);
                }
                self.pump();
            }
            TokenMessage::Token { sequence, .. }
            | TokenMessage::Failed { sequence, .. }
            | TokenMessage::Busy { sequence } => {
                self.end_sequence(RequestId(*sequence));
            }
        }
        if let Some(gone) = self.entry.handle_token(message) {
            self.cancel(gone);
        }
    }
}
