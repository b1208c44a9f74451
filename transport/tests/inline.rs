//! Endpoints that are driven by the threads that wait for their completions.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]
mod common;

use common::{PATIENCE, Two, config, message, pattern, two_with};
use exo_transport::{
    Completion, CompletionQueue, Drive, Encrypt, Endpoint, EndpointConfig, Lane, QueuePair, Region,
};

/// Long enough that all is posted before it has arrived.
const BULK_BYTES: usize = 16 << 20;
const BULK: u32 = 8;
const URGENT: u32 = 99;

fn inline(encrypt: Encrypt, spin_us: u64) -> Two {
    let config = |name| EndpointConfig { drive: Drive::Inline, spin_us, ..config(name, encrypt) };
    two_with(config("a"), config("b"))
}

fn next(endpoint: &Endpoint, queue: &CompletionQueue) -> Completion {
    endpoint.wait(queue, PATIENCE).expect("a completion in time")
}

/// Room for everything of the tests below.
fn make_room(pair: &QueuePair, received: &CompletionQueue) {
    for _ in 0..BULK {
        pair.post_recv(Lane::Bulk, Region::pages(BULK_BYTES), received).unwrap();
    }
    pair.post_recv(Lane::Urgent, Region::pages(64), received).unwrap();
}

fn post_bulk(pair: &QueuePair, sent: &CompletionQueue) {
    let bulk: Vec<_> =
        (0..BULK).map(|at| message(Lane::Bulk, pattern(BULK_BYTES, at as u8), at)).collect();
    for send in bulk {
        pair.post_send(send, sent).unwrap();
    }
}

#[test]
fn an_urgent_message_there_and_back_overtakes_bulk() {
    for spin_us in [0, 10_000_000] {
        let two = inline(Encrypt::Off, spin_us);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (sent, received) =
                    (CompletionQueue::with_capacity(16), CompletionQueue::with_capacity(16));
                make_room(&two.ba, &received);
                for _ in 0..=BULK {
                    if next(&two.b, &received).immediate == Some(URGENT) {
                        let echo = message(Lane::Urgent, pattern(64, 2), URGENT);
                        two.ba.post_send(echo, &sent).unwrap();
                    }
                }
                next(&two.b, &sent).status.unwrap();
            });
            // The sends and the echo in the order in which they complete.
            let queue = CompletionQueue::with_capacity(16);
            two.ab.post_recv(Lane::Urgent, Region::pages(64), &queue).unwrap();
            post_bulk(&two.ab, &queue);
            two.ab.post_send(message(Lane::Urgent, pattern(64, 1), URGENT), &queue).unwrap();
            let order: Vec<_> = (0..BULK + 2)
                .map(|_| {
                    let done = next(&two.a, &queue);
                    done.status.clone().unwrap();
                    done.region.is_some()
                })
                .collect();
            let echo = order.iter().position(|&is_echo| is_echo).unwrap();
            assert!(echo < 5, "the echo came as number {echo}, spinning for {spin_us} µs");
        });
    }
}

#[test]
fn what_was_posted_goes_on_when_nobody_waits() {
    let two = inline(Encrypt::Off, 0);
    let (sent, received) = (CompletionQueue::with_capacity(16), CompletionQueue::with_capacity(16));
    make_room(&two.ba, &received);
    post_bulk(&two.ab, &sent);
    // Only the receiver waits.
    for at in 0..BULK {
        let came = next(&two.b, &received);
        assert_eq!(came.immediate, Some(at));
        let (region, expected) = (came.region.unwrap(), pattern(BULK_BYTES, at as u8));
        assert!(region.as_slice() == expected.as_slice(), "message {at} is another");
    }
    for _ in 0..BULK {
        next(&two.a, &sent).status.unwrap();
    }
}

#[test]
fn threads_that_wait_drive_their_own_sockets() {
    for (encrypt, spin_us) in [(Encrypt::Off, 0), (Encrypt::On, 0), (Encrypt::Off, 2_000)] {
        let two = inline(encrypt, spin_us);
        let rounds = 500u32;
        let play = |first: bool| {
            let (endpoint, pair) = if first { (&two.a, &two.ab) } else { (&two.b, &two.ba) };
            let (sent, received) =
                (CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8));
            let next = |queue: &CompletionQueue| next(endpoint, queue);
            for _ in 0..2 {
                pair.post_recv(Lane::Activations, Region::pages(16_384), &received).unwrap();
            }
            for round in 0..rounds {
                let ball = message(Lane::Activations, pattern(16_384, round as u8), round);
                if first {
                    pair.post_send(ball, &sent).unwrap();
                    let back = next(&received);
                    assert_eq!(back.immediate, Some(round));
                    pair.post_recv(Lane::Activations, back.region.unwrap(), &received).unwrap();
                } else {
                    let came = next(&received);
                    let region = came.region.unwrap();
                    assert!(region.as_slice() == pattern(16_384, round as u8).as_slice());
                    pair.post_recv(Lane::Activations, region, &received).unwrap();
                    pair.post_send(ball, &sent).unwrap();
                }
                next(&sent).status.unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| play(true));
            scope.spawn(|| play(false));
        });
        // Where news may come right before a message, it is not read together with its header. A
        // thread that is kept waiting between its look at the clock and the read may be wrong.
        let stats = &two.a.stats().connections[0];
        let moved = stats.payload_copies / 16_384;
        assert!(moved < u64::from(rounds) / 10, "{moved} of {rounds} messages were moved");
        let seen = two.a.wait(&CompletionQueue::with_capacity(1), std::time::Duration::ZERO);
        assert!(seen.is_err(), "waiting ends");
    }
}
