//! Posting and completing: what a message costs its caller, and what its memory costs.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // the tests' helpers wait

#[path = "../tests/common/mod.rs"]
mod common;

use common::{two, wait};
use criterion::{Criterion, criterion_group, criterion_main};
use exo_transport::{CompletionQueue, Encrypt, Lane, Payload, Region, RegionPool, Send};

fn memory(c: &mut Criterion) {
    let pool = RegionPool::new(8, 16 << 10);
    let slice = Region::pages(16 << 10).freeze();
    let mut group = c.benchmark_group("memory");
    group.bench_function("lease, freeze, give back", |b| {
        b.iter(|| pool.lease().unwrap().freeze().len());
    });
    group.bench_function("slice and payload", |b| {
        b.iter(|| Payload::from_slices([slice.slice(..8192), slice.slice(8192..)]).len());
    });
    group.finish();
}

/// A message over `lo` from post to both completions: the queues with a whole connection behind them.
fn messages(c: &mut Criterion) {
    let two = two(Encrypt::Off);
    let (sent, received) = (CompletionQueue::with_capacity(16), CompletionQueue::with_capacity(16));
    let bytes = Region::pages(64).freeze();
    for _ in 0..8 {
        two.ba.post_recv(Lane::Urgent, Region::pages(64), &received).unwrap();
    }
    let mut group = c.benchmark_group("queue");
    group.bench_function("poll an empty queue", |b| b.iter(|| sent.poll().is_none()));
    group.bench_function("post, deliver and complete 64 bytes", |b| {
        b.iter(|| {
            let payload = Payload::from_slice(bytes.clone());
            let send = Send { lane: Lane::Urgent, payload, immediate: 1, deadline: None };
            two.ab.post_send(send, &sent).unwrap();
            let arrived = wait(&received);
            two.ba.post_recv(Lane::Urgent, arrived.region.unwrap(), &received).unwrap();
            wait(&sent).status.unwrap();
        });
    });
    group.finish();
}

criterion_group!(queue, memory, messages);
criterion_main!(queue);
