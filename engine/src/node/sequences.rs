//! What runs on the ring: stage 0 takes requests and schedules them; tokens come back.

use super::run::Node;
use crate::{
    fabric::{
        Lane, NodeId,
        messages::{self, ClusterMessage, OpenSequence, Submit, TokenMessage},
    },
    request::RequestId,
    sampler,
    scheduler::{
        Refused, Submission,
        times::{StepCount, StepTimes},
    },
    stage::worker::{Job, WorkerEvent},
};

impl Node {
    pub(super) fn handle_submit(&mut self, from: NodeId, submit: Submit) {
        let Submit { mut open, prompt, priority } = submit;
        let sequence = RequestId(open.sequence);
        let entry = NodeId::from_bytes(open.entry);
        if entry != from {
            return self.cut_off(from, "a request in another node's name");
        }
        let stage0 = self.stage0.as_mut().filter(|stage0| stage0.epoch == open.placement_epoch);
        let failed = |cause| {
            let node = self.name.clone();
            TokenMessage::Failed { sequence: sequence.0, node, cause }
        };
        let taken = match stage0 {
            Some(stage0) => stage0.check(&open, &prompt).map_err(failed).and_then(|()| {
                open.prompt_tokens = sampler::prompt_tokens(&open.sampling, &prompt);
                let (attempt, max_tokens) = (open.attempt, open.max_tokens);
                let submission = Submission { sequence, attempt, prompt, max_tokens, priority };
                stage0.scheduler.handle_submit(submission).map_err(|refused| match refused {
                    Refused::Full { retry_after_s } => {
                        TokenMessage::Busy { sequence: sequence.0, retry_after_s }
                    }
                    other => failed(other.to_string()),
                })
            }),
            None => Err(failed("the model has been placed anew meanwhile".into())),
        };
        match taken {
            Ok(max_tokens) => {
                if let Some(stage0) = &mut self.stage0 {
                    stage0.entries.insert(sequence, entry);
                }
                self.job(Job::Open(OpenSequence { max_tokens, ..open }));
                self.pump();
            }
            Err(message) => self.deliver(entry, message),
        }
    }

    /// Hands the worker its next step, if it is free and there is one; and what it has to do with
    /// its caches.
    pub(super) fn pump(&mut self) {
        let Some(stage0) = &mut self.stage0 else { return };
        let step = if stage0.busy { None } else { stage0.scheduler.next_step() };
        stage0.busy |= step.is_some();
        let (epoch, orders) = (stage0.epoch, stage0.scheduler.take_orders());
        for order in orders {
            self.job(Job::Order { epoch, order });
        }
        if let Some(step) = step {
            self.job(Job::Step { epoch, step });
        }
    }

    /// A sequence is over; `failed` if a stage gave it up.
    pub(super) fn end_sequence(&mut self, sequence: RequestId, failed: bool) {
        let Some(stage0) = &mut self.stage0 else { return };
        stage0.entries.remove(&sequence);
        let now = stage0.begun.elapsed();
        if stage0.scheduler.handle_end(sequence, failed, now) {
            self.pump();
        }
    }

    /// The clients of a node that is gone wait no more.
    pub(super) fn end_sequences_of(&mut self, entry: NodeId) {
        let Some(stage0) = &self.stage0 else { return };
        let theirs = stage0.entries.iter().filter(|&(_, &node)| node == entry);
        let theirs: Vec<RequestId> = theirs.map(|(&sequence, _)| sequence).collect();
        for sequence in theirs {
            self.end_sequence(sequence, false);
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
            // Nothing is prepared yet.
            WorkerEvent::Prepared { .. } => {}
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
            WorkerEvent::Round { epoch, step } => {
                let placed = self.cluster.placed().filter(|placed| placed.epoch == epoch);
                if let Some(first) = placed.map(|placed| placed.placement.first()) {
                    let placement_epoch = epoch;
                    self.deliver(first, TokenMessage::Round { placement_epoch, step });
                }
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
        let Some(stage) = placed.and_then(|placed| placed.placement.position(node)) else { return };
        if let Some(stage0) = self.stage0.as_mut().filter(|stage0| stage0.epoch == epoch) {
            stage0.scheduler.handle_times(stage, StepTimes::of(&counts));
        }
        self.steps.insert(node, counts);
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
            // It goes on with the others of its step: once that has come round.
            TokenMessage::Token { sequence, attempt, token, finish: 0, .. } => {
                if let Some(stage0) = &mut self.stage0 {
                    stage0.scheduler.handle_token(RequestId(*sequence), *attempt, *token);
                }
            }
            TokenMessage::Token { sequence, .. } | TokenMessage::Busy { sequence, .. } => {
                self.end_sequence(RequestId(*sequence), false);
            }
            TokenMessage::Failed { sequence, .. } => {
                self.end_sequence(RequestId(*sequence), true);
            }
            &TokenMessage::Round { placement_epoch, step } => {
                let stage0 = self.stage0.as_mut();
                if let Some(stage0) = stage0.filter(|stage0| stage0.epoch == placement_epoch) {
                    stage0.scheduler.handle_round(step);
                }
                return self.pump();
            }
        }
        if let Some(gone) = self.entry.handle_token(message) {
            self.cancel(gone);
        }
    }
}
