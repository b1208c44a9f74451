//! The header codec and the activation's archive: what every frame and every activation pays.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use exo_transport::{
    Lane, Region,
    wire::{
        activation::{self, ActivationMeta, Dtype, Phase, SequenceRows},
        header::{Flags, Header, Kind},
    },
};

fn header(c: &mut Criterion) {
    let header = Header {
        kind: Kind::Send,
        lane: Some(Lane::Activations),
        flags: Flags::LAST.with(Flags::IMMEDIATE),
        session: 0x0123_4567_89ab_cdef,
        epoch: 1,
        length: 16_456,
        sequence: 1_000_000,
        acknowledged: 999_999,
        credit: 1_000_008,
        immediate: activation::IMMEDIATE,
        remote_key: 0,
        offset: 0,
    };
    let bytes = header.encode();
    let mut group = c.benchmark_group("header");
    group.bench_function("encode", |b| b.iter(|| black_box(&header).encode()));
    group.bench_function("parse", |b| b.iter(|| Header::parse(black_box(&bytes)).unwrap()));
    group.finish();
}

fn archive(c: &mut Criterion) {
    let mut group = c.benchmark_group("activation");
    for (size, sequences) in [(16 << 10, 1), (256 << 10, 16), (4 << 20, 64)] {
        let tokens = sequences as u32;
        let hidden = (size / Dtype::F32.size() / sequences) as u32;
        let rows: Vec<_> = (0..sequences)
            .map(|at| SequenceRows {
                sequence: at as u64,
                attempt: 0,
                start: 100,
                tokens: 1,
                phase: Phase::Decode as u8,
            })
            .collect();
        let meta = ActivationMeta {
            placement_epoch: 1,
            step: 7,
            dtype: Dtype::F32,
            tokens,
            hidden,
            sequences: &rows,
        };
        let tail_len = activation::tail_len(size, sequences);
        let mut tail = Region::pages(tail_len);
        let named = |what| BenchmarkId::new(what, format!("{size} bytes, {sequences} sequences"));
        group.bench_function(named("encode_tail"), |b| {
            b.iter(|| activation::encode_tail(black_box(&meta), size, &mut tail).unwrap());
        });
        let mut whole = Region::pages(size + tail_len);
        whole.as_mut_slice()[size..].copy_from_slice(tail.as_slice());
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(named("access"), |b| {
            b.iter(|| activation::access(black_box(whole.as_slice())).unwrap().tokens());
        });
    }
    group.finish();
}

criterion_group!(wire, header, archive);
criterion_main!(wire);
