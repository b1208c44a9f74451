//! A counting allocator under a ping-pong: in steady state no message allocates, on any thread.
#![allow(unsafe_code)] // an allocator is unsafe by its trait
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use exo_transport::{CompletionQueue, Encrypt, Lane, Payload, Region, Send};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system allocator's; only a number is counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn no_message_allocates() {
    for (encrypt, len) in [
        (Encrypt::Off, 64),
        (Encrypt::Off, 16_384),
        (Encrypt::Off, 1 << 20),
        (Encrypt::On, 64),
        (Encrypt::On, 16_384),
    ] {
        let two = two(encrypt);
        let (at_a, at_b) = (CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8));
        for _ in 0..2 {
            two.ab.post_recv(Lane::Activations, Region::pages(len), &at_a).unwrap();
            two.ba.post_recv(Lane::Activations, Region::pages(len), &at_b).unwrap();
        }
        let bytes = Region::pages(len).freeze();
        let round = || {
            for (pair, far, near, queue) in
                [(&two.ab, &two.ba, &at_a, &at_b), (&two.ba, &two.ab, &at_b, &at_a)]
            {
                let send = Send {
                    lane: Lane::Activations,
                    payload: Payload::from_slice(bytes.clone()),
                    immediate: 1,
                    deadline: None,
                };
                pair.post_send(send, near).unwrap();
                let arrived = wait(queue);
                far.post_recv(Lane::Activations, arrived.region.unwrap(), queue).unwrap();
                wait(near).status.unwrap();
            }
        };
        (0..50).for_each(|_| round());
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        let rounds = if len > 100_000 { 50 } else { 300 };
        (0..rounds).for_each(|_| round());
        let allocated = ALLOCATIONS.load(Ordering::SeqCst) - before;
        // The first park of a thread, the first full queue: a handful in all, not one a message.
        assert!(
            allocated <= rounds / 20,
            "{allocated} allocations for {rounds} rounds of {len} bytes, {encrypt:?}"
        );
    }
}
