//! Large messages over several sessions at once, of which some end in the middle: over real sockets
//! on `lo`, where an endpoint of its own stands for each link.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::*;
use exo_transport::{
    Encrypt, Endpoint, Identity, Opcode, QueuePair, Rails, RailsCompletion, RailsConfig,
    RailsError, Region, WorkError,
};

/// What one node needs to make rails: its key, and an endpoint for each link.
struct Node {
    identity: Identity,
    endpoints: Vec<Endpoint>,
}

impl Node {
    fn new() -> Self {
        Self { identity: Identity::generate(), endpoints: Vec::new() }
    }

    fn open(&mut self, name: &str, encrypt: Encrypt) -> &Endpoint {
        let endpoint = Endpoint::open(lo(), self.identity.clone(), config(name, encrypt)).unwrap();
        self.endpoints.push(endpoint);
        self.endpoints.last().unwrap()
    }
}

/// Another rail between two nodes.
fn rail(a: &mut Node, b: &mut Node, encrypt: Encrypt) -> (QueuePair, QueuePair) {
    let (near, far) = (a.open("a", encrypt), b.open("b", encrypt));
    near.connect(far.local_addr()).unwrap();
    (connected(near), connected(far))
}

const STRIPE: usize = 256 << 10;

fn set(pair: QueuePair) -> Rails {
    Rails::new(RailsConfig { stripe_bytes: STRIPE, ..RailsConfig::default() }, pair)
}

/// Whichever end has something to tell, until both have told `count` things in all.
fn collect(a: &mut Rails, b: &mut Rails, count: usize) -> Vec<RailsCompletion> {
    let begun = std::time::Instant::now();
    let mut all = Vec::new();
    while all.len() < count {
        assert!(begun.elapsed() < PATIENCE, "{} of {count} completions", all.len());
        for rails in [&mut *a, &mut *b] {
            all.extend(rails.wait(std::time::Duration::from_millis(1)));
        }
    }
    all
}

fn length(number: usize) -> usize {
    [3 << 20, 100_000, 0, STRIPE, 2 * STRIPE + 1][number % 5]
}

/// Sends 20 messages; `disturb` is called with both sets before each.
fn exchange(
    a: &mut Rails,
    b: &mut Rails,
    mut disturb: impl FnMut(usize, &mut Rails, &mut Rails),
) -> Vec<RailsCompletion> {
    let mut all = Vec::new();
    for number in 0..20 {
        disturb(number, a, b);
        b.post_recv(Region::pages(3 << 20)).unwrap();
        let slice = pattern(length(number), number as u8).freeze();
        a.post_send(slice, number as u32).unwrap();
        let few = if number % 2 == 0 { 0 } else { 4 };
        all.extend(collect(a, b, few));
    }
    all
}

fn check(all: &[RailsCompletion]) {
    for opcode in [Opcode::Send, Opcode::Recv] {
        let of = all.iter().filter(|done| done.opcode == opcode);
        let numbers: Vec<u64> = of.map(|done| done.number).collect();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>(), "{opcode:?}: once each, in order");
    }
    for done in all {
        assert_eq!(done.status, Ok(()));
        let number = done.number as usize - 1;
        assert_eq!(done.bytes, length(number));
        if let Some(region) = &done.region {
            assert_eq!(done.immediate, number as u32);
            let wanted = pattern(length(number), number as u8);
            assert!(region.as_slice()[..done.bytes] == *wanted.as_slice(), "message {number}");
        }
    }
}

#[test]
fn messages_come_over_both_rails_whole_and_in_order() {
    for encrypt in [Encrypt::Off, Encrypt::On] {
        let (mut a, mut b) = (Node::new(), Node::new());
        let (ab, ba) = rail(&mut a, &mut b, encrypt);
        let (mut near, mut far) = (set(ab), set(ba));
        let (ab, ba) = rail(&mut a, &mut b, encrypt);
        near.add(ab).unwrap();
        far.add(ba).unwrap();
        check(&exchange(&mut near, &mut far, |_, _, _| ()));
        let stats = far.stats();
        assert!(stats.iter().all(|rail| rail.stripes > 0 && rail.moved == 0), "{stats:?}");
        let bytes: u64 = stats.iter().map(|rail| rail.bytes).sum();
        assert_eq!(bytes, (0..20).map(|number| length(number) as u64).sum::<u64>());
        if encrypt == Encrypt::Off {
            for endpoint in a.endpoints.iter().chain(&b.endpoints) {
                assert_eq!(endpoint.stats().connections[0].payload_copies, 0);
            }
        }
    }
}

#[test]
fn a_rail_that_ends_in_the_middle_costs_nothing_and_another_can_join() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (first, first_far) = rail(&mut a, &mut b, Encrypt::Off);
    let (second, second_far) = rail(&mut a, &mut b, Encrypt::Off);
    let (mut near, mut far) = (set(first.clone()), set(first_far));
    near.add(second).unwrap();
    far.add(second_far).unwrap();
    let mut third = Some(rail(&mut a, &mut b, Encrypt::Off));
    let all = exchange(&mut near, &mut far, |number, near, far| match number {
        // Two messages are offered and half read.
        5 | 6 => {
            far.progress();
            if number == 6 {
                first.close();
            }
        }
        12 => {
            let (ab, ba) = third.take().unwrap();
            near.add(ab).unwrap();
            far.add(ba).unwrap();
        }
        _ => (),
    });
    check(&all);
    assert!(!first.is_open());
    let stats = far.stats();
    let live = stats.iter().filter(|rail| rail.live).count();
    assert!(live == 2 && stats.iter().all(|rail| rail.stripes > 0), "{stats:?}");
}

#[test]
fn when_the_last_rail_ends_all_that_is_pending_ends_with_the_reason() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (ab, ba) = rail(&mut a, &mut b, Encrypt::Off);
    let (mut near, mut far) = (set(ab.clone()), set(ba));
    near.post_send(pattern(1 << 20, 1).freeze(), 1).unwrap();
    far.post_recv(Region::pages(3)).unwrap();
    // The message is longer than its region: the far end ends the set.
    let all = collect(&mut near, &mut far, 2);
    assert!(all.iter().all(|done| done.status.is_err()), "{all:?}");
    assert!(all.iter().any(|done| matches!(done.status, Err(WorkError::PeerLost(_)))), "{all:?}");
    let received = all.iter().find(|done| done.opcode == Opcode::Recv).unwrap();
    assert!(received.region.is_some(), "the region comes back");
    let (error, slice) = near.post_send(pattern(10, 1).freeze(), 1).unwrap_err();
    assert_eq!((error, slice.len()), (RailsError::Over, 10));
    assert_eq!(far.post_recv(Region::pages(3)).unwrap_err().0, RailsError::Over);
    assert_eq!(near.add(ab).unwrap_err(), RailsError::Over);
}

#[test]
fn a_rail_to_somebody_else_is_refused() {
    let (mut a, mut b, mut c) = (Node::new(), Node::new(), Node::new());
    let (ab, _ba) = rail(&mut a, &mut b, Encrypt::Off);
    let (ac, _ca) = rail(&mut a, &mut c, Encrypt::Off);
    let error = set(ab).add(ac).unwrap_err();
    assert!(matches!(error, RailsError::OtherPeer { .. }), "{error}");
}
