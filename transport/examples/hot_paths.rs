//! What a message costs, to be counted instead of timed: `cargo xtask guard` runs this under callgrind
//! and holds the counts against those that were agreed on.
//!
//! `hot_paths PATH COUNT` goes one path so often and prints nothing; two counts tell what once costs.
//! `hot_paths paths` names them, `hot_paths counts` prints what messages over `lo` cost in system
//! calls and copies.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a failure is to be seen, and it waits

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../benches/samples/mod.rs"]
mod samples;

use std::hint::black_box;

use common::{two, wait};
use exo_transport::{
    CompletionQueue, Encrypt, Endpoint, Lane, Payload, Region, RegionPool, Send,
    wire::{
        activation::{self, Dtype},
        header::Header,
    },
};
use samples::{Activation, header};

/// Goes its path so often.
type Path = fn(u64);

const PATHS: &[(&str, Path)] = &[
    ("header/encode", encode_header),
    ("header/parse", parse_header),
    ("activation/encode_tail 1", |count| encode_tail(count, 1)),
    ("activation/encode_tail 64", |count| encode_tail(count, 64)),
    ("activation/access 1", |count| access(count, 1)),
    ("activation/access 64", |count| access(count, 64)),
    ("memory/lease", lease),
    ("memory/payload", payload),
    ("queue/poll", poll),
];
/// Numbers in a row of the activations.
const HIDDEN: usize = 4096;
/// Messages that are counted, each way.
const ROUNDS: u64 = 1000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["paths"] => PATHS.iter().for_each(|(name, _)| println!("{name}")),
        ["counts"] => messages(),
        [path, count] => {
            let (_, go) = PATHS.iter().find(|(name, _)| *name == path).expect("a path by its name");
            go(count.parse().expect("a count"));
        }
        _ => panic!("hot_paths PATH COUNT | paths | counts"),
    }
}

fn encode_header(count: u64) {
    let header = header();
    for _ in 0..count {
        black_box(black_box(&header).encode());
    }
}

fn parse_header(count: u64) {
    let bytes = header().encode();
    for _ in 0..count {
        black_box(Header::parse(black_box(&bytes)).unwrap());
    }
}

fn encode_tail(count: u64, sequences: usize) {
    let of = activation_of(sequences);
    let mut tail = of.tail();
    for _ in 0..count {
        activation::encode_tail(black_box(&of.meta()), of.bulk_bytes, &mut tail).unwrap();
    }
}

fn access(count: u64, sequences: usize) {
    let whole = activation_of(sequences).whole();
    for _ in 0..count {
        black_box(activation::access(black_box(whole.as_slice())).unwrap().tokens());
    }
}

fn activation_of(sequences: usize) -> Activation {
    Activation::of(sequences * HIDDEN * Dtype::F32.size(), sequences)
}

fn lease(count: u64) {
    let pool = RegionPool::new(8, 16 << 10);
    for _ in 0..count {
        black_box(pool.lease().unwrap().freeze().len());
    }
}

fn payload(count: u64) {
    let slice = Region::pages(16 << 10).freeze();
    for _ in 0..count {
        black_box(Payload::from_slices([slice.slice(..8192), slice.slice(8192..)]).len());
    }
}

fn poll(count: u64) {
    let queue = CompletionQueue::with_capacity(16);
    for _ in 0..count {
        black_box(queue.poll().is_none());
    }
}

/// One message there and one back, in turns: per message, what both ends did.
fn messages() {
    for len in [64, 16 << 10, 256 << 10] {
        let two = two(Encrypt::Off);
        let queues = [CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8)];
        let lane = if len < 4096 { Lane::Urgent } else { Lane::Activations };
        for (pair, queue) in [(&two.ab, &queues[0]), (&two.ba, &queues[1])] {
            for _ in 0..2 {
                pair.post_recv(lane, Region::pages(len), queue).unwrap();
            }
        }
        let bytes = Region::pages(len).freeze();
        let round = || {
            for (near, far, sent, arrives) in [
                (&two.ab, &two.ba, &queues[0], &queues[1]),
                (&two.ba, &two.ab, &queues[1], &queues[0]),
            ] {
                let payload = Payload::from_slice(bytes.clone());
                near.post_send(Send { lane, payload, immediate: 1, deadline: None }, sent).unwrap();
                let arrived = wait(arrives);
                far.post_recv(lane, arrived.region.unwrap(), arrives).unwrap();
                wait(sent).status.unwrap();
            }
        };
        (0..50).for_each(|_| round());
        let before = spent(&two.a) + spent(&two.b);
        (0..ROUNDS).for_each(|_| round());
        let all = spent(&two.a) + spent(&two.b);
        let each = |now: u64, then: u64| (now - then) as f64 / (2 * ROUNDS) as f64;
        println!("message of {len}/system calls\t{}", each(all.calls, before.calls));
        println!("message of {len}/bytes copied\t{}", each(all.copied, before.copied));
    }
}

/// Counts of one end.
struct Spent {
    /// System calls that moved bytes.
    calls: u64,
    /// Bytes of payloads that were copied in user space.
    copied: u64,
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, copied: self.copied + other.copied }
    }
}

fn spent(endpoint: &Endpoint) -> Spent {
    let connections = endpoint.stats().connections;
    Spent {
        calls: connections.iter().map(|one| one.reads + one.writes).sum(),
        copied: connections.iter().map(|one| one.payload_copies + one.inlined_bytes).sum(),
    }
}
