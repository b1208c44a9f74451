//! The header codec and the activation's archive: what every frame and every activation pays.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)]

mod samples;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use exo_transport::wire::{activation, header::Header};
use samples::Activation;

fn header(c: &mut Criterion) {
    let header = samples::header();
    let bytes = header.encode();
    let mut group = c.benchmark_group("header");
    group.bench_function("encode", |b| b.iter(|| black_box(&header).encode()));
    group.bench_function("parse", |b| b.iter(|| Header::parse(black_box(&bytes)).unwrap()));
    group.finish();
}

fn archive(c: &mut Criterion) {
    let mut group = c.benchmark_group("activation");
    for (size, sequences) in [(16 << 10, 1), (256 << 10, 16), (4 << 20, 64)] {
        let of = Activation::of(size, sequences);
        let mut tail = of.tail();
        let named = |what| BenchmarkId::new(what, format!("{size} bytes, {sequences} sequences"));
        group.bench_function(named("encode_tail"), |b| {
            b.iter(|| activation::encode_tail(black_box(&of.meta()), size, &mut tail).unwrap());
        });
        let whole = of.whole();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(named("access"), |b| {
            b.iter(|| activation::access(black_box(whole.as_slice())).unwrap().tokens());
        });
    }
    group.finish();
}

criterion_group!(wire, header, archive);
criterion_main!(wire);
