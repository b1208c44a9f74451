//! Endpoints that spin for long, and then sleep after all.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]
mod common;

use std::time::Duration;

use common::{PATIENCE, config, message, pattern, two_with};
use exo_transport::{CompletionQueue, Drive, Encrypt, EndpointConfig, Lane, Region, Timing};

/// Enough that the socket takes no more.
const BULK_BYTES: usize = 16 << 20;
const BULK: u32 = 8;
const OVER: u32 = 99;

/// Microseconds of spinning: shorter than the pause that the other side makes, and so long that nobody
/// sleeps.
const SHORT: u64 = 20_000;
const LONG: u64 = 60_000_000;

/// Where what comes is found without sleep, again and again, the sockets are watched no more: a packet
/// must wake who sleeps then all the same, and room for more must still be told.
fn spin_sleep_and_be_woken(drive: Drive, spin_us: u64) {
    // The transport's own thread looks, too, once in a keepalive: here that is too late.
    let (woken_within, keepalive_ms) = (Duration::from_secs(2), 4_000);
    let timing = Timing { keepalive_ms, suspect_ms: 2 * keepalive_ms, ..Timing::default() };
    let config = |name| EndpointConfig { drive, spin_us, timing, ..config(name, Encrypt::Off) };
    let two = two_with(config("a"), config("b"));
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
            let back = two.a.wait(&received, woken_within).expect("the packet wakes who sleeps");
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
            let done = two.a.wait(&sent, woken_within).expect("room wakes who sleeps");
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
