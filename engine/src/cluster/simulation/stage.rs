//! What does a stage do, and what would it notice? The model is made up: a token follows from those
//! before it. Every stage keeps the tokens as its cache, so what it is given must continue them.

use std::collections::{BTreeMap, VecDeque};

use super::{Ms, mix, net::Packet};
use crate::{
    cluster::core::Work,
    fabric::messages::{OpenSequence, StageMessage, TokenMessage},
    scheduler::{
        Order,
        times::{StepCount, StepKind, StepTimes},
    },
    stage::Rows,
};

/// Tokens of the vocabulary; the last ends an answer.
pub(super) const VOCABULARY: u32 = 32;

/// The token that follows.
pub(super) fn follows(tokens: &[u32]) -> u32 {
    let sum = tokens.iter().fold(tokens.len() as u64, |sum, &token| mix(sum ^ u64::from(token)));
    (sum % u64::from(VOCABULARY)) as u32
}

/// What a stage has to do, in order.
#[derive(Debug, Clone)]
pub(super) enum Job {
    Load(Held),
    Unload,
    FreeCaches(u64),
    Work(Work),
    Message((usize, u64), Packet),
}

/// What a stage holds for a placement.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    pub(super) epoch: u64,
    /// The neighbours, and the sessions with them that it goes over.
    pub(super) before: Option<(usize, u64)>,
    pub(super) after: Option<(usize, u64)>,
    pub(super) open: BTreeMap<u64, OpenSequence>,
    pub(super) generated: BTreeMap<u64, u32>,
    pub(super) caches: BTreeMap<u64, (u32, Vec<u32>)>,
}

/// What it reports, and sends.
#[derive(Debug)]
pub(super) enum Said {
    Loaded(u64),
    StepDone(u64),
    Chosen([u8; 16], TokenMessage),
    Round(u64, u64),
    Steps(u64, Vec<StepCount>),
    Send((usize, u64), Packet),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) held: Option<Held>,
    pub(super) jobs: VecDeque<Job>,
    /// Until when it computes.
    pub(super) busy: Option<Ms>,
    times: StepTimes,
}

impl Stage {
    /// How long its next job takes, if it has one.
    pub(super) fn next_takes(&self, speed: Ms, load: Ms) -> Option<Ms> {
        self.jobs.front().map(|job| match job {
            Job::Load(_) => load,
            Job::Work(Work::Step { .. }) | Job::Message(_, Packet::Activation { .. }) => speed,
            _ => 0,
        })
    }

    /// Does its next job.
    pub(super) fn work(&mut self, took: Ms) -> Vec<Said> {
        let mut said = Vec::new();
        match self.jobs.pop_front() {
            None => {}
            Some(Job::Load(held)) => {
                said.push(Said::Loaded(held.epoch));
                self.held = Some(held);
                self.times = StepTimes::default();
            }
            Some(Job::Unload) => self.held = None,
            Some(Job::FreeCaches(epoch)) => {
                if let Some(held) = self.held.as_mut().filter(|held| held.epoch <= epoch) {
                    *held = Held { before: held.before, after: held.after, ..Held::default() };
                }
            }
            Some(Job::Work(Work::Open(open))) => self.open(open, &mut said),
            Some(Job::Work(Work::Order { epoch, order })) => self.order(epoch, order, &mut said),
            Some(Job::Work(Work::Step { epoch, step })) => {
                if self.held.as_ref().is_some_and(|held| held.epoch == epoch) {
                    let rows = step.rows.iter().map(|own| Rows {
                        sequence: own.sequence.0,
                        attempt: own.attempt,
                        start: own.start,
                        count: own.tokens.len() as u32,
                        wants_token: own.wants_token,
                    });
                    let tokens = step.rows.iter().flat_map(|own| own.tokens.clone()).collect();
                    self.step(rows.collect(), tokens, step.number, took, &mut said);
                }
                said.push(Said::StepDone(epoch));
            }
            Some(Job::Message(from, packet)) => {
                let held = self.held.as_ref().filter(|held| held.before == Some(from));
                match (held.map(|held| held.epoch), packet) {
                    (None, _) => {}
                    (_, Packet::Stage(message)) => self.message(message, &mut said),
                    (Some(own), Packet::Activation { epoch, step, rows, tokens }) => {
                        if own == epoch {
                            self.step(rows, tokens, step, took, &mut said);
                        }
                    }
                    (_, other) => panic!("not a stage's business: {other:?}"),
                }
            }
        }
        said
    }

    fn message(&mut self, message: StageMessage, said: &mut Vec<Said>) {
        use crate::{request::RequestId, scheduler::Source};
        match message {
            StageMessage::Open(open) => self.open(open, said),
            StageMessage::Close { placement_epoch, sequence, keep } => {
                let order = Order::Close { sequence: RequestId(sequence), keep };
                self.order(placement_epoch, order, said);
            }
            StageMessage::Forget { placement_epoch, sequence } => {
                self.order(placement_epoch, Order::Forget(RequestId(sequence)), said);
            }
            StageMessage::Reuse { placement_epoch, sequence, attempt, source, tokens, take } => {
                let source = Source { sequence: RequestId(source), tokens: tokens as usize, take };
                let order = Order::Reuse { sequence: RequestId(sequence), attempt, source };
                self.order(placement_epoch, order, said);
            }
        }
    }

    fn open(&mut self, open: OpenSequence, said: &mut Vec<Said>) {
        let Some(held) = self.held.as_mut().filter(|held| held.epoch == open.placement_epoch)
        else {
            return;
        };
        if let Some(after) = held.after {
            said.push(Said::Send(after, Packet::Stage(StageMessage::Open(open.clone()))));
        }
        held.generated.insert(open.sequence, open.generated.len() as u32);
        held.open.insert(open.sequence, open);
    }

    fn order(&mut self, epoch: u64, order: Order, said: &mut Vec<Said>) {
        let Some(held) = self.held.as_mut().filter(|held| held.epoch == epoch) else { return };
        let message = match order {
            Order::Close { sequence, keep } => {
                held.open.remove(&sequence.0);
                held.generated.remove(&sequence.0);
                if !keep {
                    held.caches.remove(&sequence.0);
                }
                StageMessage::Close { placement_epoch: epoch, sequence: sequence.0, keep }
            }
            Order::Forget(sequence) => {
                held.caches.remove(&sequence.0);
                StageMessage::Forget { placement_epoch: epoch, sequence: sequence.0 }
            }
            Order::Reuse { sequence, attempt, source } => {
                held.caches.remove(&sequence.0);
                let from = held.caches.get(&source.sequence.0).cloned();
                let (_, mut tokens) = from.expect("a cache to begin with");
                if source.take {
                    held.caches.remove(&source.sequence.0);
                }
                assert!(tokens.len() >= source.tokens, "a cache shorter than stage 0 believes");
                tokens.truncate(source.tokens);
                held.caches.insert(sequence.0, (attempt, tokens));
                StageMessage::Reuse {
                    placement_epoch: epoch,
                    sequence: sequence.0,
                    attempt,
                    source: source.sequence.0,
                    tokens: source.tokens as u32,
                    take: source.take,
                }
            }
        };
        if let Some(after) = held.after {
            said.push(Said::Send(after, Packet::Stage(message)));
        }
    }

    fn step(
        &mut self,
        rows: Vec<Rows>,
        tokens: Vec<u32>,
        step: u64,
        took: Ms,
        said: &mut Vec<Said>,
    ) {
        let Some(held) = &mut self.held else { return };
        let (mut kept, mut next) = (Vec::new(), 0);
        let mut left = Vec::new();
        for own in rows {
            let range = next..next + own.count as usize;
            next = range.end;
            let Some(open) = held.open.get(&own.sequence) else { continue };
            let (attempt, cache) = held.caches.entry(own.sequence).or_default();
            if *attempt != own.attempt || own.start == 0 {
                (*attempt, *cache) = (own.attempt, Vec::new());
            }
            assert_eq!(cache.len(), own.start as usize, "rows that do not continue: {own:?}");
            cache.extend(&tokens[range.clone()]);
            if held.after.is_none() && own.wants_token {
                let index = held.generated.get_mut(&own.sequence).expect("open");
                let token = follows(cache);
                let finish = match () {
                    () if open.stop_tokens.contains(&token) => 1,
                    () if *index + 1 >= open.max_tokens => 2,
                    () => 0,
                };
                let message = TokenMessage::Token {
                    sequence: own.sequence,
                    attempt: own.attempt,
                    index: *index,
                    token,
                    logprobs: None,
                    finish,
                };
                *index += 1;
                said.push(Said::Chosen(open.entry, message));
            }
            left.extend(&tokens[range]);
            kept.push(own);
        }
        if !kept.is_empty() {
            let decode = kept.iter().all(|own| own.count == 1);
            let kind = if decode { StepKind::Decode } else { StepKind::Prompt };
            let count = kept.iter().map(|own| own.count).sum();
            self.times.record(kind, count, super::ms(took.max(1)));
            if step.is_multiple_of(4) {
                said.push(Said::Steps(held.epoch, self.times.counts()));
            }
        }
        match held.after {
            Some(_) if kept.is_empty() => {}
            Some(after) => {
                let (rows, tokens) = (kept, left);
                let epoch = held.epoch;
                said.push(Said::Send(after, Packet::Activation { epoch, step, rows, tokens }));
            }
            None => said.push(Said::Round(held.epoch, step)),
        }
    }
}
