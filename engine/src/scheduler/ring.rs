//! A ring in virtual time: stages that take as long as a curve says, hops between them, and clients.
//! It holds the scheduler to what every stage relies on, at every step.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Duration,
};

use super::{
    Order, Policy, Ring, Scheduler, Step, Submission,
    cache::blocks,
    times::{StepKind, StepTimes},
};
use crate::request::{Priority, RequestId};

/// Microseconds of a step.
pub(super) type Curve = fn(stage: usize, step: &Step) -> f64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit(usize),
    Cancel(usize),
    /// A stage has computed a step.
    Computed(usize, u64),
    /// A step has come to a stage.
    Came(usize, u64),
    /// It has come round.
    Round(u64),
}

/// One client.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) at_us: u64,
    pub(super) prompt: Vec<u32>,
    pub(super) tokens: u32,
    pub(super) priority: Priority,
    /// When it goes away by itself.
    pub(super) leaves_us: Option<u64>,
}

impl Client {
    pub(super) fn new(at_us: u64, prompt: Vec<u32>, tokens: u32) -> Self {
        Self { at_us, prompt, tokens, priority: Priority::Normal, leaves_us: None }
    }
}

/// What a client heard, and when.
#[derive(Debug, Default, Clone)]
pub(super) struct Heard {
    pub(super) at_us: Vec<u64>,
    pub(super) ended: bool,
    pub(super) refused: bool,
}

pub(super) struct Simulation {
    pub(super) scheduler: Scheduler,
    curve: Curve,
    hop_us: u64,
    clients: Vec<Client>,
    pub(super) heard: Vec<Heard>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    now: u64,
    times: Vec<StepTimes>,
    queues: Vec<VecDeque<u64>>,
    busy: Vec<bool>,
    steps: BTreeMap<u64, Step>,
    /// Tokens in each cache of stage 0.
    caches: BTreeMap<RequestId, usize>,
    live: BTreeMap<RequestId, usize>,
    memory: u64,
    /// Tokens of prompts that were computed.
    pub(super) computed: usize,
}

impl Simulation {
    pub(super) fn new(policy: Policy, ring: Ring, curve: Curve, hop_us: u64) -> Self {
        Self {
            scheduler: Scheduler::new(policy, ring),
            curve,
            hop_us,
            clients: Vec::new(),
            heard: Vec::new(),
            events: BinaryHeap::new(),
            count: 0,
            now: 0,
            times: vec![StepTimes::default(); ring.stages],
            queues: vec![VecDeque::new(); ring.stages],
            busy: vec![false; ring.stages],
            steps: BTreeMap::new(),
            caches: BTreeMap::new(),
            live: BTreeMap::new(),
            memory: ring.cache_tokens,
            computed: 0,
        }
    }

    pub(super) fn add(&mut self, client: Client) -> usize {
        let number = self.clients.len();
        let (at, leaves) = (self.now + client.at_us, client.leaves_us);
        self.clients.push(client);
        self.heard.push(Heard::default());
        self.at(at, Event::Submit(number));
        if let Some(leaves) = leaves {
            self.at(at + leaves, Event::Cancel(number));
        }
        number
    }

    fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((time, self.count, event)));
    }

    /// Until nothing is left to happen.
    pub(super) fn run(&mut self) {
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Submit(client) => self.submit(client),
                Event::Cancel(client) => self.end(client, false),
                Event::Came(stage, step) => {
                    self.queues[stage].push_back(step);
                    self.begin(stage);
                }
                Event::Computed(stage, step) => self.computed(stage, step),
                Event::Round(step) => self.round(step),
            }
            self.pump();
        }
        assert!(self.steps.is_empty(), "a step is nowhere");
        assert!(self.heard.iter().all(|heard| heard.ended || heard.refused), "a client waits");
        assert_eq!(self.scheduler.running(), 0);
        let kept: u64 = self.caches.values().map(|&tokens| blocks(tokens)).sum();
        assert_eq!(self.scheduler.memory(), (self.caches.len(), kept), "a cache is forgotten");
    }

    fn submit(&mut self, client: usize) {
        let Client { prompt, tokens, priority, .. } = self.clients[client].clone();
        let sequence = RequestId(client as u64);
        let submission = Submission { sequence, attempt: 0, prompt, max_tokens: tokens, priority };
        match self.scheduler.handle_submit(submission) {
            Ok(tokens) => {
                self.clients[client].tokens = tokens;
                self.live.insert(sequence, client);
            }
            Err(_) => self.heard[client].refused = true,
        }
    }

    fn end(&mut self, client: usize, _done: bool) {
        let sequence = RequestId(client as u64);
        if self.live.remove(&sequence).is_some() {
            self.heard[client].ended = true;
            assert!(self.scheduler.handle_end(sequence, false, Duration::from_micros(self.now)));
        }
    }

    fn pump(&mut self) {
        self.obey();
        if self.busy[0] {
            return;
        }
        let step = self.scheduler.next_step();
        self.obey();
        let Some(step) = step else { return };
        self.check(&step);
        let number = step.number;
        self.steps.insert(number, step);
        self.queues[0].push_back(number);
        self.begin(0);
    }

    fn obey(&mut self) {
        for order in self.scheduler.take_orders() {
            match order {
                Order::Reuse { sequence, source, .. } => {
                    let has = self.caches.get(&source.sequence).copied().unwrap_or(0);
                    assert!(has >= source.tokens && source.tokens > 0, "{source:?}: it has {has}");
                    if source.take {
                        self.caches.remove(&source.sequence);
                    }
                    self.caches.insert(sequence, source.tokens);
                }
                Order::Forget(sequence) => {
                    self.caches.remove(&sequence);
                }
                Order::Close { sequence, keep } => {
                    if !keep {
                        self.caches.remove(&sequence);
                    }
                }
            }
        }
    }

    fn check(&mut self, step: &Step) {
        let mut seen = Vec::new();
        for own in &step.rows {
            assert!(!seen.contains(&own.sequence), "twice in a step");
            seen.push(own.sequence);
            let client = self.live.get(&own.sequence).expect("only sequences that run");
            let has = self.caches.entry(own.sequence).or_default();
            assert_eq!(*has, own.start as usize, "rows that do not continue the cache");
            let prompt = &self.clients[*client].prompt;
            let of_prompt = own.tokens.iter().zip(prompt.iter().skip(*has));
            assert!(of_prompt.clone().all(|(own, prompt)| own == prompt), "another's tokens");
            self.computed += of_prompt.count();
            *has += own.tokens.len();
        }
        let used: u64 = self.caches.values().map(|&tokens| blocks(tokens)).sum();
        assert!(used <= self.memory, "{used} tokens of memory used");
    }

    fn begin(&mut self, stage: usize) {
        if self.busy[stage] {
            return;
        }
        let Some(number) = self.queues[stage].pop_front() else { return };
        self.busy[stage] = true;
        let step = &self.steps[&number];
        let us = (self.curve)(stage, step);
        let decode = step.rows.iter().all(|own| own.tokens.len() == 1);
        let kind = if decode { StepKind::Decode } else { StepKind::Prompt };
        let rows = step.rows.iter().map(|own| own.tokens.len() as u32).sum();
        self.times[stage].record(kind, rows, Duration::from_secs_f64(us / 1e6));
        self.scheduler.handle_times(stage, self.times[stage].clone());
        self.at(self.now + us as u64, Event::Computed(stage, number));
    }

    fn computed(&mut self, stage: usize, step: u64) {
        self.busy[stage] = false;
        let next = self.now + self.hop_us;
        if stage + 1 < self.queues.len() {
            self.at(next, Event::Came(stage + 1, step));
        } else if stage == 0 {
            self.round(step);
        } else {
            self.at(next, Event::Round(step));
        }
        self.begin(stage);
    }

    fn round(&mut self, step: u64) {
        let step = self.steps.remove(&step).expect("a step comes round once");
        for own in step.rows.iter().filter(|own| own.wants_token) {
            let Some(&client) = self.live.get(&own.sequence) else { continue };
            self.heard[client].at_us.push(self.now);
            if self.heard[client].at_us.len() as u32 == self.clients[client].tokens {
                self.end(client, true);
            } else {
                self.scheduler.handle_token(own.sequence, own.attempt, 1 + client as u32);
            }
        }
        self.scheduler.handle_round(step.number);
    }

    /// Microseconds from a client's request to its first token.
    pub(super) fn first_us(&self, client: usize) -> u64 {
        self.heard[client].at_us[0] - self.clients[client].at_us
    }

    /// Tokens per second while all of `clients` decode.
    pub(super) fn rate(&self, clients: std::ops::Range<usize>) -> f64 {
        let of = &self.heard[clients];
        let begun = of.iter().filter_map(|heard| heard.at_us.first()).max().expect("a token");
        let ended = of.iter().filter_map(|heard| heard.at_us.last()).min().expect("a token");
        assert!(begun < ended, "they did not decode together");
        let all = of.iter().flat_map(|heard| &heard.at_us);
        let count = all.filter(|&at| at > begun && at <= ended).count();
        count as f64 / (ended - begun) as f64 * 1e6
    }
}
