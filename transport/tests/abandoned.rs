//! Connections that are opened and abandoned, in every state, leave nothing behind: no memory, no
//! descriptor.
#![allow(unsafe_code)] // an allocator is unsafe by its trait
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use common::*;
use exo_transport::{Encrypt, Endpoint, Event};

struct Counting;

/// Bytes that are allocated now.
static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is the system allocator's; only a number is counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A connection that gets so far and then ends.
fn abandon(endpoint: &Endpoint, number: usize) {
    let preamble = b"EXO-TBN\n\x01\0\x01\0\x01\0\0\0";
    let mut first = preamble.to_vec();
    first.extend([0x30, 0]);
    first.extend([0x42; 48]);
    match number % 10 {
        // A peer that is let in, and leaves without a word of its session.
        0 => {
            let peer = open(config("b", Encrypt::On));
            peer.connect(endpoint.local_addr()).unwrap();
            drop(connected(&peer));
            drop(peer);
        }
        state => {
            let words: &[u8] = match state {
                1..4 => &[],
                4 => &preamble[..9],
                5 => preamble,
                6 => &first[..40],
                7 => &first,
                _ => b"GET / HTTP/1.1\r\n\r\n",
            };
            let mut socket = TcpStream::connect(endpoint.local_addr()).unwrap();
            // It may be shown out before it has said all.
            let _ = socket.write_all(words);
        }
    }
}

/// Abandons so many, one after the other, and waits until the endpoint has noticed each.
fn abandon_all(endpoint: &Endpoint, count: usize) {
    for number in 0..count {
        abandon(endpoint, number);
        loop {
            match next_event(endpoint) {
                Event::Connected { queue_pair } => drop(queue_pair),
                Event::Refused { .. } | Event::Disconnected { .. } => break,
                _ => {}
            }
        }
    }
    eventually("the endpoint is empty", || endpoint.stats().connections.is_empty());
    // A goodbye may take half a second.
    std::thread::sleep(Duration::from_millis(700));
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn a_thousand_abandoned_connections_leave_nothing_behind() {
    let endpoint = open(config("a", Encrypt::On));
    // What is allocated once, and for good, is allocated now.
    abandon_all(&endpoint, 100);
    let (bytes, open) = (LIVE.load(Ordering::SeqCst), descriptors());
    abandon_all(&endpoint, 1_000);
    let (after, open_after) = (LIVE.load(Ordering::SeqCst), descriptors());
    let more = after.saturating_sub(bytes);
    println!("{more} bytes more; {open} descriptors before, {open_after} after");
    // A byte for each would be a leak; what a table keeps as room is not.
    assert!(more < 1_000, "{more} bytes more");
    assert!(open_after <= open + 2, "{open} descriptors before, {open_after} after");
}
