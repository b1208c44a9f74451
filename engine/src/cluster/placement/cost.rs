//! What some layers cost on a node: memory, time, and the way to it. All in whole numbers, so that
//! every machine comes to the same.

use std::collections::BTreeMap;

use super::Offer;
use crate::{
    fabric::NodeId,
    layers::LayerRange,
    model::{ModelShape, PartShape},
};

/// Memory kept free on every node beside weights and caches: scratch of a step, the program itself.
pub(super) const HEADROOM_BYTES: u64 = 128 << 20;
/// Tokens of cache that must fit beside the weights.
pub(super) const CACHE_TOKENS_MIN: u64 = 2048;
/// Sequences in a step where many requests run.
pub(super) const BATCH: u64 = 16;
/// A token's message: an id and what goes with it.
const TOKEN_MESSAGE_BYTES: u64 = 256;

/// How fast a node is at a model's step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeSpeed {
    /// Bytes of weights it reads in a second.
    pub bytes_per_s: u64,
    /// Multiplications, each with its addition, in a second.
    pub multiplies_per_s: u64,
}

/// How fast the way from one node to another is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSpeed {
    /// Until the first byte is there.
    pub latency_ns: u64,
    /// Bytes in a second.
    pub bytes_per_s: u64,
}

/// The ways between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    known: BTreeMap<(NodeId, NodeId), LinkSpeed>,
    /// Of a way that was not measured.
    otherwise: LinkSpeed,
}

impl LinkSpeed {
    /// A Thunderbolt cable between two Macs under TCP: a round trip of 0.3 ms, 16 Gb/s.
    pub const THUNDERBOLT: Self = Self { latency_ns: 150_000, bytes_per_s: 2_000_000_000 };
    /// Ethernet: a round trip of 0.4 ms, 1 Gb/s.
    pub const ETHERNET: Self = Self { latency_ns: 200_000, bytes_per_s: 118_000_000 };
    /// Wi-Fi while others use it: a round trip of 8 ms, 0.5 Gb/s.
    pub const WIFI: Self = Self { latency_ns: 4_000_000, bytes_per_s: 60_000_000 };

    /// How long so many bytes take to be there.
    fn carries_ns(self, bytes: u64) -> u64 {
        self.latency_ns.saturating_add(nanos(bytes, self.bytes_per_s))
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::assumed(LinkSpeed::THUNDERBOLT)
    }
}

impl Links {
    /// None is measured; all are taken to be like this one.
    #[must_use]
    pub fn assumed(otherwise: LinkSpeed) -> Self {
        Self { known: BTreeMap::new(), otherwise }
    }

    /// Notes what was measured from one node to another.
    pub fn insert(&mut self, from: NodeId, to: NodeId, speed: LinkSpeed) {
        self.known.insert((from, to), speed);
    }

    /// From one node to another: measured there, else measured the other way, else assumed.
    #[must_use]
    pub fn between(&self, from: NodeId, to: NodeId) -> LinkSpeed {
        let known = self.known.get(&(from, to)).or_else(|| self.known.get(&(to, from)));
        known.copied().unwrap_or(self.otherwise)
    }

    /// Whether any was measured.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        !self.known.is_empty()
    }
}

/// Nanoseconds for `amount` at so much a second; at nothing a second, longer than anybody waits.
fn nanos(amount: u64, per_second: u64) -> u64 {
    if per_second == 0 {
        return u64::from(u32::MAX) * 1_000;
    }
    (u128::from(amount) * 1_000_000_000 / u128::from(per_second)).try_into().unwrap_or(u64::MAX)
}

/// Bytes of keys and values that a layer must have room for.
fn cache_bytes(model: &ModelShape) -> u64 {
    CACHE_TOKENS_MIN.min(model.context) * model.kv_token_layer_bytes
}

/// Bytes of the ends of the model that a range has.
fn end_bytes(first: bool, last: bool, model: &ModelShape) -> u64 {
    match (first, last) {
        (true, true) if model.tied => model.head.bytes,
        _ => u64::from(first) * model.embedding_bytes + u64::from(last) * model.head.bytes,
    }
}

/// Bytes of weights a node holds for `range`.
pub(super) fn weight_bytes(range: LayerRange, model: &ModelShape) -> u64 {
    let (start, end) = (range.start() as usize, range.end() as usize);
    let layers = model.layers.get(start..end).unwrap_or_default();
    let ends = end_bytes(range.is_first(), range.is_last(model.layer_count()), model);
    layers.iter().map(|layer| layer.bytes).sum::<u64>() + ends
}

/// Bytes a node needs for `range`: weights, a cache worth having, headroom.
#[must_use]
pub fn needed_bytes(range: LayerRange, model: &ModelShape) -> u64 {
    let cache = cache_bytes(model) * u64::from(range.count());
    weight_bytes(range, model) + cache + HEADROOM_BYTES
}

/// Tokens whose keys and values a node of that memory has room for, beside its weights.
#[must_use]
pub fn cache_tokens(range: LayerRange, model: &ModelShape, memory: u64) -> u64 {
    let room = memory.saturating_sub(weight_bytes(range, model) + HEADROOM_BYTES);
    let token = model.kv_token_layer_bytes * u64::from(range.count());
    room / token.max(1)
}

/// The costs of one model over some nodes, looked up in constant time.
pub(super) struct Costs<'a> {
    pub(super) offers: &'a [&'a Offer],
    pub(super) model: &'a ModelShape,
    links: &'a Links,
    /// Bytes of weights and caches of the layers before each, and of all.
    bytes: Vec<u64>,
    /// For each node whose speed is known: the same of nanoseconds in a step of one sequence, and
    /// of [`BATCH`]; the head's time is last.
    one: Vec<Option<Times>>,
    many: Vec<Option<Times>>,
}

struct Times {
    before: Vec<u64>,
    head: u64,
}

impl Times {
    fn of(speed: NodeSpeed, model: &ModelShape, batch: u64) -> Self {
        // A step reads weights and multiplies at once: the slower of the two is its time.
        let time = |part: &PartShape| {
            let read = part.read_bytes.saturating_mul(batch).min(part.bytes);
            let multiplies = part.multiplies.saturating_mul(batch);
            nanos(read, speed.bytes_per_s).max(nanos(multiplies, speed.multiplies_per_s))
        };
        Self { before: sums(model.layers.iter().map(time)), head: time(&model.head) }
    }
}

/// The sum before each, and of all.
fn sums(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut sum = 0_u64;
    let mut sums = vec![0];
    sums.extend(values.map(|value| {
        sum = sum.saturating_add(value);
        sum
    }));
    sums
}

impl<'a> Costs<'a> {
    pub(super) fn new(offers: &'a [&'a Offer], model: &'a ModelShape, links: &'a Links) -> Self {
        let cache = cache_bytes(model);
        let times = |batch| {
            let of = |offer: &&Offer| offer.speed.map(|speed| Times::of(speed, model, batch));
            offers.iter().map(of).collect()
        };
        Self {
            offers,
            model,
            links,
            bytes: sums(model.layers.iter().map(|layer| layer.bytes + cache)),
            one: times(1),
            many: times(BATCH),
        }
    }

    pub(super) fn layers(&self) -> usize {
        self.model.layers.len()
    }

    /// Bytes that `start..end` needs, headroom not included.
    pub(super) fn held(&self, start: usize, end: usize) -> u64 {
        let ends = end_bytes(start == 0, end == self.layers(), self.model);
        self.bytes[end] - self.bytes[start] + ends
    }

    /// What a node has for that.
    pub(super) fn room(&self, node: usize) -> u64 {
        self.offers[node].memory.saturating_sub(HEADROOM_BYTES)
    }

    pub(super) fn fits(&self, node: usize, start: usize, end: usize) -> bool {
        self.held(start, end) <= self.room(node)
    }

    /// Nanoseconds of a step of one sequence; 0 if the node's speed is not known.
    pub(super) fn one_ns(&self, node: usize, start: usize, end: usize) -> u64 {
        self.time(&self.one[node], start, end)
    }

    /// Nanoseconds of a step of [`BATCH`] sequences; 0 if the node's speed is not known.
    pub(super) fn many_ns(&self, node: usize, start: usize, end: usize) -> u64 {
        self.time(&self.many[node], start, end)
    }

    fn time(&self, times: &Option<Times>, start: usize, end: usize) -> u64 {
        times.as_ref().map_or(0, |times| {
            let head = if end == self.layers() { times.head } else { 0 };
            (times.before[end] - times.before[start]).saturating_add(head)
        })
    }

    /// Nanoseconds until a token's hidden state is with the next stage.
    pub(super) fn hop_ns(&self, from: usize, to: usize) -> u64 {
        self.way(from, to).carries_ns(self.model.token_bytes)
    }

    /// Nanoseconds that the hidden states of [`BATCH`] tokens keep the way to the next stage busy.
    pub(super) fn carrying_ns(&self, from: usize, to: usize) -> u64 {
        nanos(self.model.token_bytes * BATCH, self.way(from, to).bytes_per_s)
    }

    /// Nanoseconds until a token is back with the first stage.
    pub(super) fn back_ns(&self, last: usize, first: usize) -> u64 {
        if last == first { 0 } else { self.way(last, first).carries_ns(TOKEN_MESSAGE_BYTES) }
    }

    fn way(&self, from: usize, to: usize) -> LinkSpeed {
        self.links.between(self.offers[from].node, self.offers[to].node)
    }
}
