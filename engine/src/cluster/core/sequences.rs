//! What runs on the ring: stage 0 takes requests and schedules them; tokens come back.

use super::{
    Core, Out, Work,
    stage0::{For, RingFacts, Stage0},
};
use crate::{
    fabric::{
        NodeId,
        messages::{OpenSequence, Submit, TokenMessage},
    },
    request::RequestId,
    sampler,
    scheduler::{
        Refused, Scheduler, Submission,
        times::{StepCount, StepTimes},
    },
};

impl Core {
    /// This node holds layer 0 of the placement in force.
    pub fn handle_ring(&mut self, epoch: u64, facts: RingFacts) {
        if self.cluster.placed().is_none_or(|placed| placed.epoch != epoch) {
            return;
        }
        self.stage0 = Some(Stage0 {
            epoch,
            scheduler: Scheduler::new(self.policy, facts.ring),
            busy: false,
            sequences: [].into(),
            facts,
        });
    }

    /// An entry node wants a request run.
    pub fn handle_submit(&mut self, from: NodeId, submit: Submit) {
        let Submit { mut open, prompt, priority } = submit;
        let (sequence, attempt) = (RequestId(open.sequence), open.attempt);
        let entry = NodeId::from_bytes(open.entry);
        if entry != from {
            return self.put(Out::CutOff(from, "a request in another node's name"));
        }
        // An entry node that had lost sight of the ring starts again what may still run.
        let before = self.stage0.as_ref().and_then(|stage0| stage0.sequences.get(&sequence));
        if let Some(&For { attempt: before, .. }) =
            before.filter(|before| before.entry == entry && before.attempt < attempt)
        {
            self.end_sequence(sequence, before, true);
        }
        let stage0 = self.stage0.as_mut().filter(|stage0| stage0.epoch == open.placement_epoch);
        let Some(stage0) = stage0.filter(|_| self.cluster.loss().is_none()) else {
            return self.deliver(entry, TokenMessage::Moved { sequence: sequence.0, attempt });
        };
        let node = &self.name;
        let failed = |cause| {
            let (sequence, node) = (sequence.0, node.clone());
            TokenMessage::Failed { sequence, attempt, node, cause }
        };
        let taken = stage0.check(&open, &prompt).map_err(failed).and_then(|()| {
            open.prompt_tokens = sampler::prompt_tokens(&open.sampling, &prompt);
            let prompt = [prompt.as_slice(), &open.generated].concat();
            let max_tokens = open.max_tokens - open.generated.len() as u32;
            let submission = Submission { sequence, attempt, prompt, max_tokens, priority };
            stage0.scheduler.handle_submit(submission).map_err(|refused| match refused {
                Refused::Full { retry_after_s } => {
                    TokenMessage::Busy { sequence: sequence.0, attempt, retry_after_s }
                }
                other => failed(other.to_string()),
            })
        });
        match taken {
            Ok(more) => {
                stage0.sequences.insert(sequence, For { entry, attempt });
                let max_tokens = open.generated.len() as u32 + more;
                self.put(Out::Stage(Work::Open(OpenSequence { max_tokens, ..open })));
                self.pump();
            }
            Err(message) => self.deliver(entry, message),
        }
    }

    /// An entry node's client is gone.
    pub fn handle_cancelled(&mut self, from: NodeId, sequence: RequestId) {
        let own = self.stage0.as_ref().and_then(|stage0| stage0.sequences.get(&sequence));
        if let Some(&For { attempt, .. }) = own.filter(|own| own.entry == from) {
            self.end_sequence(sequence, attempt, false);
        }
    }

    /// The stage is through with the step it was given.
    pub fn handle_step_done(&mut self, epoch: u64) {
        if let Some(stage0) = self.stage0.as_mut().filter(|stage0| stage0.epoch == epoch) {
            stage0.busy = false;
        }
        self.pump();
    }

    /// This node's stage, the last, has chosen a token; or some stage gives a sequence up.
    pub fn handle_chosen(&mut self, entry: NodeId, message: TokenMessage) {
        let first = self.cluster.placed().map(|placed| placed.placement.first());
        if let Some(first) = first.filter(|&first| first != entry) {
            self.deliver(first, message.clone());
        }
        self.deliver(entry, message);
    }

    /// This node's stage, the last, is through with a step.
    pub fn handle_round(&mut self, epoch: u64, step: u64) {
        let placed = self.cluster.placed().filter(|placed| placed.epoch == epoch);
        if let Some(first) = placed.map(|placed| placed.placement.first()) {
            self.deliver(first, TokenMessage::Round { placement_epoch: epoch, step });
        }
    }

    /// How long a stage's steps take.
    pub fn handle_steps(&mut self, node: NodeId, epoch: u64, counts: Vec<StepCount>) {
        let placed = self.cluster.placed().filter(|placed| placed.epoch == epoch);
        let Some(stage) = placed.and_then(|placed| placed.placement.position(node)) else { return };
        if let Some(stage0) = self.stage0.as_mut().filter(|stage0| stage0.epoch == epoch) {
            stage0.scheduler.handle_times(stage, StepTimes::of(&counts));
        }
        self.steps.insert(node, counts);
    }

    /// Another node tells of a token: this one holds layer 0, or its client waits, or both.
    pub fn handle_token_of(&mut self, from: NodeId, message: TokenMessage) {
        let placed = self.cluster.placed();
        let believed = match message {
            TokenMessage::Token { .. } | TokenMessage::Round { .. } => {
                placed.is_some_and(|placed| placed.placement.last() == from)
            }
            TokenMessage::Failed { .. } | TokenMessage::Busy { .. } => {
                self.cluster.holds_layers(from)
            }
            // It may know less of the placement than this node: what it says ends nothing.
            TokenMessage::Moved { .. } => true,
        };
        if believed {
            self.handle_token(message);
        }
    }

    pub(super) fn deliver(&mut self, to: NodeId, message: TokenMessage) {
        if to == self.node {
            self.handle_token(message);
        } else {
            self.put(Out::Token(to, message));
        }
    }

    fn handle_token(&mut self, message: TokenMessage) {
        match &message {
            // It goes on with the others of its step: once that has come round.
            TokenMessage::Token { sequence, attempt, token, finish: 0, .. } => {
                if let Some(stage0) = &mut self.stage0 {
                    stage0.scheduler.handle_token(RequestId(*sequence), *attempt, *token);
                }
            }
            TokenMessage::Token { sequence, attempt, .. }
            | TokenMessage::Busy { sequence, attempt, .. } => {
                self.end_sequence(RequestId(*sequence), *attempt, false);
            }
            TokenMessage::Failed { sequence, attempt, .. } => {
                self.end_sequence(RequestId(*sequence), *attempt, true);
            }
            TokenMessage::Moved { .. } => {}
            &TokenMessage::Round { placement_epoch, step } => {
                let stage0 = self.stage0.as_mut();
                if let Some(stage0) = stage0.filter(|stage0| stage0.epoch == placement_epoch) {
                    stage0.scheduler.handle_round(step);
                }
                return self.pump();
            }
        }
        self.tell_client(message);
    }

    /// A start of a sequence is over; `failed` if a stage gave it up.
    pub(super) fn end_sequence(&mut self, sequence: RequestId, attempt: u32, failed: bool) {
        let now = self.now;
        let Some(stage0) = self.stage0.as_mut().filter(|own| own.runs(sequence, attempt)) else {
            return;
        };
        stage0.sequences.remove(&sequence);
        if stage0.scheduler.handle_end(sequence, failed, now) {
            self.pump();
        }
    }

    /// The clients of a node that is gone wait no more.
    pub(super) fn end_sequences_of(&mut self, entry: NodeId) {
        let Some(stage0) = &self.stage0 else { return };
        let theirs = stage0.sequences.iter().filter(|(_, own)| own.entry == entry);
        let theirs: Vec<(RequestId, u32)> = theirs.map(|(&id, own)| (id, own.attempt)).collect();
        for (sequence, attempt) in theirs {
            self.end_sequence(sequence, attempt, false);
        }
    }

    /// Hands the stage its next step, if it is free and there is one; and what it has to do with
    /// its caches.
    fn pump(&mut self) {
        let Some(stage0) = &mut self.stage0 else { return };
        let step = if stage0.busy { None } else { stage0.scheduler.next_step() };
        stage0.busy |= step.is_some();
        let (epoch, orders) = (stage0.epoch, stage0.scheduler.take_orders());
        for order in orders {
            self.put(Out::Stage(Work::Order { epoch, order }));
        }
        if let Some(step) = step {
            self.put(Out::Stage(Work::Step { epoch, step }));
        }
    }
}
