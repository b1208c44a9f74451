//! What does stage 0 compute next? Pure: requests, tokens, times in; steps and orders out.
//!
//! | file | question |
//! |---|---|
//! | `terms` | what goes in, and what comes out? |
//! | `times` | how long does a step take, on which stage? |
//! | `plan` | how many groups travel round the ring, and how much of a prompt goes with them? |
//! | `cache` | whose keys and values lie in memory, and who may use them? |
//!
//! A sequence is *waiting* for memory, has a *prompt* to be computed, is *ready* for its next token,
//! or waits for one that travels round the ring. [`Scheduler::next_step`] is asked whenever stage 0
//! is free.
//!
//! - **Groups.** Sequences that decode go in groups, as many at once as the measured step times make
//!   worth it. The tokens of a step come back together, so a group stays one.
//! - **Prompts** go in parts. While others decode, a part goes along in their steps, which reads the
//!   weights once for both, and is as long as [`Policy::token_delay`] allows. Prompts share these
//!   parts fairly: each is due by what it has had, weighted by its priority, so a short one does not
//!   wait for a long one.
//! - **Memory.** A sequence is let in when its cache fits; one that grows beyond what there is gives
//!   its cache up, waits, and is computed again. Caches of sequences that are over are kept while
//!   there is room, and given to whoever begins with the same tokens.
//! - **Orders** ([`Scheduler::take_orders`]) concern caches and go to every stage in order with the
//!   steps: that is how all stages agree.

mod cache;
mod plan;
#[cfg(test)]
mod ring;
mod terms;
#[cfg(test)]
mod tests;
pub mod times;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

pub use self::{
    cache::{BLOCK_TOKENS, Reuse, Source},
    terms::{Order, Policy, Refused, Ring, Step, StepRows, Submission},
};
use self::{
    cache::{Pool, blocks, longest},
    plan::{Groups, PROMPT_TOKENS_MIN, Stages},
    times::StepTimes,
};
use crate::request::{Priority, RequestId};

/// Longest part of a prompt in one step, in tokens.
pub const PREFILL_CHUNK_TOKENS: usize = 512;
/// Most sequences in one step.
pub const STEP_SEQUENCES_MAX: usize = 64;
/// Most sequences at once, those that wait for memory among them.
pub const SEQUENCES_MAX: usize = 256;

/// Tokens that a new sequence is expected to generate: so much memory is set aside for it, and more
/// when it needs it.
const EXPECTED_TOKENS: u32 = 256;
/// How many earlier requests one of the next higher priority may overtake.
const OVERTAKES: i64 = 64;
/// The weight of the last interval in the mean time between two ends.
const INTERVAL_WEIGHT: f64 = 0.2;
/// Each so manieth part of a prompt is longer than planned, so that it is known how long such steps
/// take.
const LOOK_FURTHER_EVERY: u64 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For memory.
    Waiting,
    /// Some of its tokens are yet to be computed.
    Prompt,
    /// Its last token is.
    Ready,
    /// All are, or are being.
    Flying,
}

#[derive(Debug)]
struct Sequence {
    attempt: u32,
    /// All that are known: the prompt and what was generated.
    tokens: Vec<u32>,
    /// Of which so many were given to stage 0, or lay in a cache.
    fed: usize,
    generated: u32,
    max_tokens: u32,
    priority: Priority,
    /// Lower is earlier.
    place: i64,
    /// What its prompt has had, in tokens weighted by priority.
    had: f64,
    /// Tokens of memory set aside.
    reserved: u64,
    phase: Phase,
}

#[derive(Debug)]
struct Flight {
    members: Vec<RequestId>,
    decodes: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    ring: Ring,
    stages: Stages,
    pool: Pool,
    sequences: BTreeMap<RequestId, Sequence>,
    ready: VecDeque<RequestId>,
    flying: BTreeMap<u64, Flight>,
    orders: Vec<Order>,
    steps: u64,
    arrivals: i64,
    /// Groups until now.
    groups: usize,
    /// What a prompt that comes now is taken to have had.
    had: f64,
    prompt_steps: u64,
    prompt_last: bool,
    /// Tokens of prompts that the last step had room for: none, if there was no prompt, or nobody
    /// decoded.
    prompt_room: Option<usize>,
    ended_at: Option<Duration>,
    /// Seconds between two ends.
    interval_s: f64,
}

impl Scheduler {
    /// A scheduler for a ring.
    #[must_use]
    pub fn new(policy: Policy, ring: Ring) -> Self {
        Self {
            policy,
            ring,
            stages: Stages::new(ring.stages),
            pool: Pool::new(ring.cache_tokens, ring.reuse),
            sequences: BTreeMap::new(),
            ready: VecDeque::new(),
            flying: BTreeMap::new(),
            orders: Vec::new(),
            steps: 0,
            arrivals: 0,
            groups: ring.stages.max(1),
            had: 0.0,
            prompt_steps: 0,
            prompt_last: false,
            prompt_room: None,
            ended_at: None,
            interval_s: 1.0,
        }
    }

    /// Takes a sequence on: a prompt of at least one token. Says how many tokens it may generate: no
    /// more than fit.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn handle_submit(&mut self, submission: Submission) -> Result<u32, Refused> {
        let Submission { sequence, attempt, prompt, max_tokens, priority } = submission;
        if self.sequences.contains_key(&sequence) {
            return Err(Refused::Known);
        }
        if self.sequences.len() >= SEQUENCES_MAX {
            let retry_after_s = (self.interval_s.ceil() as u32).clamp(1, 60);
            return Err(Refused::Full { retry_after_s });
        }
        let room = longest(self.pool.capacity());
        let left = room.saturating_sub(prompt.len() as u64);
        if left == 0 {
            return Err(Refused::TooLong { prompt: prompt.len(), room });
        }
        let max_tokens = max_tokens.min(u32::try_from(left).unwrap_or(u32::MAX));
        // An earlier start of it may have ended here, unheard: one number, one cache.
        if self.pool.taken(sequence) {
            self.orders.push(Order::Forget(sequence));
        }
        self.arrivals += 1;
        let of = Sequence {
            attempt,
            tokens: prompt,
            fed: 0,
            generated: 0,
            max_tokens,
            priority,
            place: self.arrivals - OVERTAKES * priority.rank(),
            had: 0.0,
            reserved: 0,
            phase: Phase::Waiting,
        };
        self.sequences.insert(sequence, of);
        Ok(max_tokens)
    }

    /// A token came round the ring. One of a sequence that is gone, or of another attempt, is
    /// dropped.
    pub fn handle_token(&mut self, sequence: RequestId, attempt: u32, token: u32) {
        let Some(of) = self.sequences.get_mut(&sequence) else { return };
        if of.attempt != attempt || of.phase != Phase::Flying {
            return;
        }
        of.tokens.push(token);
        of.generated += 1;
        of.phase = Phase::Ready;
        self.ready.push_back(sequence);
        if blocks(of.tokens.len()) > of.reserved {
            of.reserved += BLOCK_TOKENS;
            self.pool.reserve(BLOCK_TOKENS);
            self.give_way();
        }
    }

    /// A step has gone all the way round.
    pub fn handle_round(&mut self, step: u64) {
        self.flying.remove(&step);
    }

    /// How long the steps of a stage take.
    pub fn handle_times(&mut self, stage: usize, times: StepTimes) {
        self.stages.set(stage, times);
    }

    /// The sequence is over, or nobody wants it any more; `failed` if some stage lost its cache.
    /// Says whether it was known.
    pub fn handle_end(&mut self, sequence: RequestId, failed: bool, now: Duration) -> bool {
        let Some(of) = self.sequences.remove(&sequence) else { return false };
        if let Some(before) = self.ended_at.replace(now) {
            let interval = now.saturating_sub(before).as_secs_f64();
            self.interval_s += (interval - self.interval_s) * INTERVAL_WEIGHT;
        }
        self.ready.retain(|&other| other != sequence);
        self.flying.retain(|_, flight| {
            flight.members.retain(|&member| member != sequence);
            !flight.members.is_empty()
        });
        self.pool.release(of.reserved);
        let mut has = of.tokens;
        has.truncate(of.fed);
        let (keep, gone) = if failed { (false, vec![]) } else { self.pool.keep(sequence, has) };
        self.orders.push(Order::Close { sequence, keep });
        self.forget(gone);
        true
    }

    /// What every stage has to do before the next step, in this order.
    #[must_use]
    pub fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// How many sequences there are.
    #[must_use]
    pub fn running(&self) -> usize {
        self.sequences.len()
    }

    /// Sequences that are over and whose caches are kept; and tokens of memory in use, those of
    /// sequences that run among them.
    #[must_use]
    pub fn memory(&self) -> (usize, u64) {
        (self.pool.kept(), self.pool.used())
    }

    /// The next step, or none if there is nothing to do before something comes round the ring.
    /// [`take_orders`](Self::take_orders) come before it.
    pub fn next_step(&mut self) -> Option<Step> {
        self.admit();
        let decoding = self.decoding();
        let cap = self.policy.step_sequences.clamp(1, STEP_SEQUENCES_MAX);
        let groups = self.stages.groups(decoding, cap, self.groups);
        if decoding > 0 {
            self.groups = groups.groups;
        }
        let prompts = self.sequences.values().any(|of| of.phase == Phase::Prompt);
        let steps_max = match decoding {
            // One more than stages, so that the first never waits for the last.
            0 => self.ring.stages + 1,
            _ => self.ring.stages.max(groups.groups),
        };
        if !prompts || decoding == 0 {
            self.prompt_room = None;
        }
        let may_prompt = prompts && self.flying.len() < steps_max;
        let mut decodes = self.group(groups, cap);
        if decodes == cap && may_prompt && !self.prompt_last {
            decodes = 0; // there is room for one kind only: they take turns
        }
        let mut rows = self.take_ready(decodes);
        if may_prompt && rows.len() < cap {
            let usual = (decoding > 0).then_some(groups);
            let delay = self.policy.token_delay;
            let most = self.ring.chunk_tokens;
            let mut tokens = self.stages.prompt_tokens(rows.len(), steps_max, delay, usual, most);
            self.prompt_steps += 1;
            if decoding > 0 {
                // What is known may be of long ago, and of other prompts.
                tokens = match self.prompt_room {
                    None => tokens.div_ceil(2).max(PROMPT_TOKENS_MIN),
                    Some(before) => tokens.min(before + before.div_ceil(4)),
                };
                self.prompt_room = Some(tokens);
            }
            if self.prompt_steps.is_multiple_of(LOOK_FURTHER_EVERY) {
                tokens = (tokens + tokens / 16 + 1).min(most);
            }
            self.take_prompts(&mut rows, tokens, cap);
        }
        if rows.is_empty() {
            return None;
        }
        self.prompt_last = rows.len() > decodes;
        self.steps += 1;
        let members = rows.iter().map(|own| own.sequence).collect();
        self.flying.insert(self.steps, Flight { members, decodes: decodes > 0 });
        Some(Step { number: self.steps, rows })
    }

    /// Sequences that decode, the next token of some being on its way.
    fn decoding(&self) -> usize {
        let decodes =
            |of: &&Sequence| of.generated > 0 && matches!(of.phase, Phase::Ready | Phase::Flying);
        self.sequences.values().filter(decodes).count()
    }

    /// How many of those that are ready go now.
    fn group(&self, groups: Groups, cap: usize) -> usize {
        let flying = self.flying.values().filter(|flight| flight.decodes).count();
        match groups.groups.saturating_sub(flying) {
            0 => 0,
            free => self.ready.len().div_ceil(free).min(groups.rows).min(cap),
        }
    }

    fn take_ready(&mut self, count: usize) -> Vec<StepRows> {
        let mut rows = Vec::with_capacity(count);
        for id in self.ready.drain(..count.min(self.ready.len())) {
            let Some(of) = self.sequences.get_mut(&id) else { continue };
            rows.push(of.feed(id, 1));
        }
        rows
    }

    /// Adds parts of prompts, the one that is due first; `tokens` in all, `cap` sequences at most.
    fn take_prompts(&mut self, rows: &mut Vec<StepRows>, mut tokens: usize, cap: usize) {
        while tokens > 0 && rows.len() < cap {
            let taken = |id: &RequestId| rows.iter().any(|own| own.sequence == *id);
            let due = self
                .sequences
                .iter_mut()
                .filter(|(id, of)| of.phase == Phase::Prompt && !taken(id))
                .min_by(|(_, a), (_, b)| a.had.total_cmp(&b.had).then(a.place.cmp(&b.place)));
            let Some((&id, of)) = due else { break };
            let count = (of.tokens.len() - of.fed).min(tokens);
            self.had = of.had;
            of.had += count as f64 / of.priority.weight();
            rows.push(of.feed(id, count));
            tokens -= count;
        }
    }

    /// Lets in who waits, as long as there is memory.
    fn admit(&mut self) {
        loop {
            let waiting = self.sequences.iter().filter(|(_, of)| of.phase == Phase::Waiting);
            let Some((&id, of)) = waiting.min_by_key(|(_, of)| of.place) else { return };
            let left = of.max_tokens.saturating_sub(of.generated);
            let need = blocks(of.tokens.len() + left.min(EXPECTED_TOKENS) as usize);
            let need = need.min(self.pool.capacity() / BLOCK_TOKENS * BLOCK_TOKENS);
            let running = self.sequences.iter().map(|(&id, of)| (id, &of.tokens[..of.fed]));
            let mut source = self.pool.find(&of.tokens, running);
            let mut gone = self.pool.make_room(need, source);
            if !self.pool.fits(need, source) {
                source = None;
                gone.extend(self.pool.make_room(need, None));
            }
            self.forget(gone);
            if !self.pool.fits(need, source) {
                return;
            }
            if let Some(taken) = source.filter(|source| source.take) {
                self.pool.taken(taken.sequence);
            }
            self.pool.reserve(need);
            let had = self.had;
            let Some(of) = self.sequences.get_mut(&id) else { return };
            (of.reserved, of.phase, of.had) = (need, Phase::Prompt, of.had.max(had));
            if let Some(source) = source {
                of.fed = source.tokens;
                self.orders.push(Order::Reuse { sequence: id, attempt: of.attempt, source });
            }
        }
    }

    /// After a sequence has grown: if memory is short, what is kept goes, then the cache of whoever
    /// came last and has nothing under way.
    fn give_way(&mut self) {
        let gone = self.pool.make_room(0, None);
        self.forget(gone);
        while !self.pool.fits(0, None) {
            let mine = self.sequences.iter().filter(|(_, of)| of.reserved > 0);
            if mine.clone().count() <= 1 {
                return; // alone: it was promised no more than fits
            }
            let idle = mine.filter(|(_, of)| matches!(of.phase, Phase::Ready | Phase::Prompt));
            let Some(id) = idle.max_by_key(|(_, of)| of.place).map(|(&id, _)| id) else { return };
            let Some(of) = self.sequences.get_mut(&id) else { return };
            self.pool.release(of.reserved);
            (of.reserved, of.fed, of.phase) = (0, 0, Phase::Waiting);
            self.ready.retain(|&other| other != id);
            self.orders.push(Order::Forget(id));
        }
    }

    fn forget(&mut self, gone: Vec<RequestId>) {
        self.orders.extend(gone.into_iter().map(Order::Forget));
    }
}

impl Sequence {
    /// Its next `count` tokens go.
    fn feed(&mut self, id: RequestId, count: usize) -> StepRows {
        let (start, end) = (self.fed, self.fed + count);
        self.fed = end;
        let wants_token = end == self.tokens.len();
        if wants_token {
            self.phase = Phase::Flying;
        }
        StepRows {
            sequence: id,
            attempt: self.attempt,
            start: start as u32,
            tokens: self.tokens[start..end].to_vec(),
            wants_token,
        }
    }
}
