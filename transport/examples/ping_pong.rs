//! Half a round trip over `lo`, posted and completed on the caller's threads.
//!
//! `cargo run --release --example ping_pong -- [BYTES] [COUNT] [on|off] [SPIN_US]`
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use exo_netconfig::{InterfaceChoice, Link};
use exo_transport::{
    ClusterKey, Completion, CompletionQueue, Encrypt, Endpoint, EndpointConfig, Event, Identity,
    Lane, Payload, QueuePair, Region, Send, Trust,
};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |or: u64| args.next().map_or(or, |text| text.parse().expect("a number"));
    let (len, count) = (number(16_384) as usize, number(20_000) as usize);
    let spin_us = number(0);
    let encrypt = if number(0) == 1 { Encrypt::On } else { Encrypt::Off };
    let open = |name: &str| {
        let link = Link::open(&InterfaceChoice::Named("lo".into())).expect("lo");
        let trust = Trust::ClusterKey(ClusterKey::from_bytes([1; 32]));
        let config = EndpointConfig { encrypt, spin_us, ..EndpointConfig::new(name, trust) };
        Endpoint::open(link, Identity::generate(), config).expect("an endpoint")
    };
    let (a, b) = (open("a"), open("b"));
    a.connect(b.local_addr()).expect("room for a wish");
    let pair = |endpoint: &Endpoint| loop {
        if let Event::Connected { queue_pair } = endpoint.events().recv().expect("an event") {
            return queue_pair;
        }
    };
    let (ab, ba) = (pair(&a), pair(&b));
    let echo = std::thread::spawn(move || side(&ba, len, count, false));
    let mut times = side(&ab, len, count, true);
    echo.join().expect("no panic");
    times.sort_unstable();
    let half = |quantile: f64| {
        times[((times.len() - 1) as f64 * quantile) as usize].as_nanos() as f64 / 2000.0
    };
    let stats = &a.stats().connections[0];
    println!(
        "{len} bytes, encrypted {}: half round trip µs min {:.1} p50 {:.1} p99 {:.1} p99.9 {:.1}",
        stats.encrypted,
        half(0.0),
        half(0.5),
        half(0.99),
        half(0.999)
    );
    println!(
        "payload_copies {} inlined {} | per frame in: {:.2} reads, per frame out: {:.2} writes, dry calls {:.2} | hop p50 {:.1} µs",
        stats.payload_copies,
        stats.inlined_bytes,
        stats.reads as f64 / stats.frames_in as f64,
        stats.writes as f64 / stats.frames_out as f64,
        stats.dry_calls as f64 / stats.frames_out as f64,
        stats.lanes[1].hop.p50_us
    );
}

fn next(queue: &CompletionQueue) -> Completion {
    queue.wait(Duration::from_secs(10)).expect("a completion")
}

fn side(pair: &QueuePair, len: usize, count: usize, first: bool) -> Vec<Duration> {
    let (sent, received) = (CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8));
    for _ in 0..2 {
        pair.post_recv(Lane::Activations, Region::pages(len), &received).expect("room");
    }
    let bytes = Region::pages(len).freeze();
    let send = || Send {
        lane: Lane::Activations,
        payload: Payload::from_slice(bytes.clone()),
        immediate: 1,
        deadline: None,
    };
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        if first {
            pair.post_send(send(), &sent).expect("room");
        }
        let arrived = next(&received);
        pair.post_recv(Lane::Activations, arrived.region.expect("a region"), &received)
            .expect("room");
        if !first {
            pair.post_send(send(), &sent).expect("room");
        }
        times.push(began.elapsed());
        while sent.poll().is_some() {}
    }
    while sent.wait(Duration::from_millis(50)).is_ok() {}
    times
}
