//! Endpoints that spin for long, and then sleep after all.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]
mod common;

use std::time::Duration;

use common::{PATIENCE, connected, message, open, pattern, two_with};
use exo_transport::{CompletionQueue, Drive, Encrypt, EndpointConfig, Lane, Region, Timing};

/// Enough that the socket takes no more.
const BULK_BYTES: usize = 16 << 20;
const BULK: u32 = 8;
const OVER: u32 = 99;

/// Microseconds of spinning: shorter than the pause that the other side makes, and so long that nobody
/// sleeps.
const SHORT: u64 = 20_000;
const LONG: u64 = 60_000_000;

/// What a packet wakes is awake by then.
const WOKEN_WITHIN: Duration = Duration::from_secs(2);
/// The transport's own thread looks, too, once in so many milliseconds: that is too late.
const KEEPALIVE_MS: u64 = 4_000;

fn config(name: &str, drive: Drive, spin_us: u64) -> EndpointConfig {
    let (keepalive_ms, suspect_ms) = (KEEPALIVE_MS, 2 * KEEPALIVE_MS);
    let timing = Timing { keepalive_ms, suspect_ms, ..Timing::default() };
    EndpointConfig { drive, spin_us, timing, ..common::config(name, Encrypt::Off) }
}

/// Where what comes is found without sleep, again and again, the sockets are watched no more: a packet
/// must wake who sleeps then all the same, and room for more must still be told.
fn spin_sleep_and_be_woken(drive: Drive, spin_us: u64) {
    let two = two_with(config("a", drive, spin_us), config("b", drive, spin_us));
    let rounds = 3_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (sent, received) =
                (CompletionQueue::with_capacity(16), CompletionQueue::with_capacity(16));
            two.ba.post_recv(Lane::Activations, Region::pages(64), &received).unwrap();
            for round in 0..=rounds {
                let came = two.b.wait(&received, PATIENCE).unwrap();
                let region = came.region.unwrap();
                two.ba.post_recv(Lane::Activations, region, &received).unwrap();
                if round == rounds {
                    for _ in 0..BULK {
                        let region = Region::pages(BULK_BYTES);
                        two.ba.post_recv(Lane::Bulk, region, &received).unwrap();
                    }
                    two.ba.post_recv(Lane::Urgent, Region::pages(64), &received).unwrap();
                    // Longer than the other side spins.
                    std::thread::sleep(Duration::from_millis(100));
                }
                let ball = message(Lane::Activations, pattern(64, 1), round);
                two.ba.post_send(ball, &sent).unwrap();
                two.b.wait(&sent, PATIENCE).unwrap().status.unwrap();
            }
            for at in 0..BULK {
                assert_eq!(two.b.wait(&received, PATIENCE).unwrap().immediate, Some(at));
            }
            // What is owed to the other side goes while somebody waits.
            assert_eq!(two.b.wait(&received, PATIENCE).unwrap().immediate, Some(OVER));
        });
        let (sent, received) =
            (CompletionQueue::with_capacity(16), CompletionQueue::with_capacity(16));
        two.ab.post_recv(Lane::Activations, Region::pages(64), &received).unwrap();
        for round in 0..=rounds {
            let ball = message(Lane::Activations, pattern(64, 2), round);
            two.ab.post_send(ball, &sent).unwrap();
            let back = two.a.wait(&received, WOKEN_WITHIN).expect("the packet wakes who sleeps");
            assert_eq!(back.immediate, Some(round));
            two.ab.post_recv(Lane::Activations, back.region.unwrap(), &received).unwrap();
            two.a.wait(&sent, PATIENCE).unwrap().status.unwrap();
        }
        let bulk: Vec<_> =
            (0..BULK).map(|at| message(Lane::Bulk, pattern(BULK_BYTES, at as u8), at)).collect();
        for send in bulk {
            two.ab.post_send(send, &sent).unwrap();
        }
        for _ in 0..BULK {
            let done = two.a.wait(&sent, WOKEN_WITHIN).expect("room wakes who sleeps");
            done.status.unwrap();
        }
        two.ab.post_send(message(Lane::Urgent, pattern(64, 3), OVER), &sent).unwrap();
    });
}

#[test]
fn threads_that_wait_sleep_after_long_spinning() {
    spin_sleep_and_be_woken(Drive::Inline, SHORT);
    spin_sleep_and_be_woken(Drive::Inline, LONG);
}

#[test]
fn the_transports_own_thread_sleeps_after_long_spinning() {
    spin_sleep_and_be_woken(Drive::Background, SHORT);
    spin_sleep_and_be_woken(Drive::Background, LONG);
}

/// Of many sessions the event queue says which has something to be read: it must watch those, too, that
/// were not watched while they were few.
#[test]
fn who_comes_to_a_thread_that_spins_keeps_it_from_nobody() {
    let two = two_with(config("a", Drive::Background, 0), config("b", Drive::Background, LONG));
    let (sent, received) = (CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8));
    let send = |round| {
        two.ba.post_recv(Lane::Activations, Region::pages(64), &received).unwrap();
        two.ab.post_send(message(Lane::Activations, pattern(64, 1), round), &sent).unwrap();
        let came = two.b.wait(&received, WOKEN_WITHIN).expect("it is read");
        assert_eq!(came.immediate, Some(round));
        two.a.wait(&sent, WOKEN_WITHIN).expect("its answer is read").status.unwrap();
    };
    (0..3_000).for_each(send);
    let others: Vec<_> = (0..6)
        .map(|_| {
            let other = open(config("other", Drive::Background, 0));
            other.connect(two.b.local_addr()).unwrap();
            (connected(&other), connected(&two.b), other)
        })
        .collect();
    (0..100).for_each(send);
    drop(others);
    (0..100).for_each(send);
}
