//! What becomes of the sequences that run through the stage: their caches, their steps, their tokens?

use std::time::{Duration, Instant};

use mlx_rs::Array;

use super::{Open, TIMES_EVERY, Worker, WorkerEvent};
use crate::{
    fabric::{
        NodeId,
        messages::{OpenSequence, StageMessage, TokenMessage},
    },
    request::{RequestId, TokenLogprobs},
    sampler::Sampler,
    scheduler::{Order, Source, Step, StepRows, times::StepKind},
    stage::{Rows, StageError, StageInput, StageOutput},
};

impl Worker {
    pub(super) fn handle_open(&mut self, about: OpenSequence) {
        let Some(loaded) = self.loaded.as_mut().filter(|l| l.epoch == Some(about.placement_epoch))
        else {
            return;
        };
        let sampler = Sampler::new(about.sampling.clone(), &about.prompt_tokens, &about.generated);
        let sequence = about.sequence;
        if let Some(after) = loaded.route.after.clone() {
            self.send_stage_message(&after, &StageMessage::Open(about.clone()));
        }
        if let Some(loaded) = &mut self.loaded {
            loaded.open.insert(sequence, Open { about, sampler });
        }
    }

    /// Does what stage 0 says of caches, and tells the next stage.
    pub(super) fn handle_order(&mut self, epoch: u64, order: Order) {
        let Some(loaded) = self.loaded.as_mut().filter(|loaded| loaded.epoch == Some(epoch)) else {
            return;
        };
        let placement_epoch = epoch;
        let message = match order {
            Order::Close { sequence, keep } => {
                loaded.open.remove(&sequence.0);
                if !keep {
                    loaded.stage.close(sequence.0);
                }
                StageMessage::Close { placement_epoch, sequence: sequence.0, keep }
            }
            Order::Forget(sequence) => {
                loaded.stage.close(sequence.0);
                StageMessage::Forget { placement_epoch, sequence: sequence.0 }
            }
            Order::Reuse {
                sequence,
                attempt,
                source: Source { sequence: source, tokens, take },
            } => {
                let (sequence, source, tokens) = (sequence.0, source.0, tokens as u32);
                match loaded.stage.reuse(sequence, attempt, (source, tokens), take) {
                    Ok(true) => {}
                    // Its rows will not fit what is here, and it fails by name.
                    Ok(false) => tracing::error!(sequence, source, "no cache to begin with"),
                    Err(error) => tracing::error!(sequence, %error, "cache not copied"),
                }
                StageMessage::Reuse { placement_epoch, sequence, attempt, source, tokens, take }
            }
        };
        if let Some(after) = loaded.route.after.clone() {
            self.send_stage_message(&after, &message);
        }
    }

    pub(super) fn handle_stage_message(&mut self, message: StageMessage) {
        let id = RequestId;
        match message {
            StageMessage::Open(open) => self.handle_open(open),
            StageMessage::Close { placement_epoch, sequence, keep } => {
                self.handle_order(placement_epoch, Order::Close { sequence: id(sequence), keep });
            }
            StageMessage::Forget { placement_epoch, sequence } => {
                self.handle_order(placement_epoch, Order::Forget(id(sequence)));
            }
            StageMessage::Reuse { placement_epoch, sequence, attempt, source, tokens, take } => {
                let tokens = tokens as usize;
                let source = Source { sequence: id(source), tokens, take };
                let order = Order::Reuse { sequence: id(sequence), attempt, source };
                self.handle_order(placement_epoch, order);
            }
        }
    }

    /// Whether a sequence was opened here and not closed: rows of others come late, and must not
    /// take others along.
    pub(super) fn is_open(&self, sequence: u64) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.open.contains_key(&sequence))
    }

    /// Stage 0 begins a step.
    pub(super) fn handle_step(&mut self, epoch: u64, step: &Step) {
        let open: Vec<&StepRows> =
            step.rows.iter().filter(|own| self.is_open(own.sequence.0)).collect();
        let tokens: Vec<u32> = open.iter().flat_map(|rows| rows.tokens.iter().copied()).collect();
        let rows: Vec<Rows> = open
            .iter()
            .map(|rows| Rows {
                sequence: rows.sequence.0,
                attempt: rows.attempt,
                start: rows.start,
                count: rows.tokens.len() as u32,
                wants_token: rows.wants_token,
            })
            .collect();
        if self.loaded.as_ref().is_some_and(|loaded| loaded.epoch == Some(epoch)) {
            self.step(StageInput::Tokens(&tokens), &rows, step.number);
        }
        self.report(WorkerEvent::StepDone { epoch });
    }

    pub(super) fn step(&mut self, input: StageInput<'_>, rows: &[Rows], number: u64) {
        let Some(loaded) = self.loaded.as_mut().filter(|_| !rows.is_empty()) else {
            return self.round(number);
        };
        self.computed = true;
        let begun = Instant::now();
        match loaded.stage.step(input, rows) {
            Ok(StageOutput::Hidden(hidden)) => {
                self.took(rows, begun.elapsed());
                self.send_activation(hidden, rows, number);
            }
            Ok(StageOutput::Logits(logits)) => {
                if let Some(logits) = logits {
                    self.sample(&logits, rows);
                }
                self.took(rows, begun.elapsed());
                self.round(number);
            }
            Err(error) => {
                self.give_up(rows, &error);
                self.round(number);
            }
        }
    }

    /// The last stage tells stage 0 that it is through with a step.
    fn round(&self, step: u64) {
        let Some(loaded) = &self.loaded else { return };
        if let (Some(epoch), None) = (loaded.epoch, &loaded.route.after) {
            self.report(WorkerEvent::Round { epoch, step });
        }
    }

    fn took(&mut self, rows: &[Rows], took: Duration) {
        let Some(loaded) = &mut self.loaded else { return };
        let decode = rows.iter().all(|own| own.count == 1);
        let kind = if decode { StepKind::Decode } else { StepKind::Prompt };
        loaded.times.record(kind, rows.iter().map(|own| own.count).sum(), took);
        if let Some(epoch) = loaded.epoch
            && loaded.times_told.elapsed() >= TIMES_EVERY
        {
            loaded.times_told = Instant::now();
            let counts = loaded.times.counts();
            self.report(WorkerEvent::StepTimes { epoch, counts });
        }
    }

    fn sample(&mut self, logits: &Array, rows: &[Rows]) {
        let Some(loaded) = &mut self.loaded else { return };
        let vocabulary = logits.dim(1) as usize;
        let numbers = logits.as_slice::<f32>();
        let wanting = rows.iter().filter(|own| own.wants_token);
        let mut events = Vec::new();
        for (own, logits) in wanting.zip(numbers.chunks_exact(vocabulary)) {
            let Some(open) = loaded.open.get_mut(&own.sequence) else { continue };
            let (sequence, attempt, index) = (own.sequence, own.attempt, open.sampler.index());
            let message = match open.sampler.choose(logits, &mut self.scratch) {
                Ok(chosen) => TokenMessage::Token {
                    sequence,
                    attempt,
                    index,
                    token: chosen.token,
                    logprobs: chosen.logprobs.map(|TokenLogprobs { chosen, top }| (chosen, top)),
                    finish: finish(&open.about, chosen.token, index + 1),
                },
                Err(error) => failed(&self.name, (sequence, attempt), error.to_string()),
            };
            events
                .push(WorkerEvent::Token { entry: NodeId::from_bytes(open.about.entry), message });
        }
        for event in events {
            self.report(event);
        }
    }

    fn give_up(&mut self, rows: &[Rows], error: &StageError) {
        tracing::error!(%error, "step not computed");
        let Some(loaded) = &mut self.loaded else { return };
        let mut events = Vec::new();
        for own in rows {
            loaded.stage.close(own.sequence);
            if let Some(open) = loaded.open.remove(&own.sequence) {
                let which = (own.sequence, own.attempt);
                let message = failed(&self.name, which, error.to_string());
                events.push(WorkerEvent::Token {
                    entry: NodeId::from_bytes(open.about.entry),
                    message,
                });
            }
        }
        for event in events {
            self.report(event);
        }
    }
}

fn failed(node: &str, (sequence, attempt): (u64, u32), cause: String) -> TokenMessage {
    TokenMessage::Failed { sequence, attempt, node: node.to_owned(), cause }
}

/// `finish` of a token: see [`TokenMessage::Token`].
fn finish(about: &OpenSequence, token: u32, generated: u32) -> u8 {
    if about.stop_tokens.contains(&token) {
        1
    } else if generated >= about.max_tokens {
        2
    } else {
        0
    }
}
