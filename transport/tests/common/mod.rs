//! Two nodes on `lo`.
#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::time::{Duration, Instant};

use exo_netconfig::{InterfaceChoice, Link};
use exo_transport::{
    ClusterKey, Completion, CompletionQueue, Encrypt, Endpoint, EndpointConfig, Event, Identity,
    Lane, Payload, QueuePair, Region, Send, Timing, Trust,
};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn lo() -> Link {
    Link::open(&InterfaceChoice::Named("lo".into())).expect("lo is up")
}

pub fn config(name: &str, encrypt: Encrypt) -> EndpointConfig {
    EndpointConfig {
        encrypt,
        ..EndpointConfig::new(name, Trust::ClusterKey(ClusterKey::from_bytes([7; 32])))
    }
}

pub fn quick(encrypt: Encrypt) -> EndpointConfig {
    EndpointConfig {
        timing: Timing {
            handshake_ms: 600,
            keepalive_ms: 50,
            suspect_ms: 200,
            resume_window_ms: 800,
            ack_delay_us: 500,
        },
        ..config("quick", encrypt)
    }
}

pub fn open(config: EndpointConfig) -> Endpoint {
    Endpoint::open(lo(), Identity::generate(), config).unwrap()
}

pub fn next_event(endpoint: &Endpoint) -> Event {
    endpoint.events().recv_timeout(PATIENCE).expect("an event in time")
}

pub fn connected(endpoint: &Endpoint) -> QueuePair {
    match next_event(endpoint) {
        Event::Connected { queue_pair } => queue_pair,
        other => panic!("{other:?} instead of Connected"),
    }
}

/// Two endpoints, connected, with the queue pair of each.
pub struct Two {
    pub a: Endpoint,
    pub b: Endpoint,
    pub ab: QueuePair,
    pub ba: QueuePair,
}

pub fn two_with(config_a: EndpointConfig, config_b: EndpointConfig) -> Two {
    let (a, b) = (open(config_a), open(config_b));
    a.connect(b.local_addr()).unwrap();
    let (ab, ba) = (connected(&a), connected(&b));
    Two { a, b, ab, ba }
}

pub fn two(encrypt: Encrypt) -> Two {
    two_with(config("a", encrypt), config("b", encrypt))
}

pub fn pattern(len: usize, seed: u8) -> Region {
    let mut region = Region::pages(len);
    for (at, byte) in region.as_mut_slice().iter_mut().enumerate() {
        *byte = (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed;
    }
    region
}

pub fn message(lane: Lane, region: Region, immediate: u32) -> Send {
    Send { lane, payload: Payload::from_slice(region.freeze()), immediate, deadline: None }
}

pub fn wait(queue: &CompletionQueue) -> Completion {
    queue.wait(PATIENCE).expect("a completion in time")
}

/// Waits until `holds`, or panics with `what`.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
