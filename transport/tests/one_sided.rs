//! Writes and reads into granted regions, cancelled work, tasks that wait, and threads that drive
//! their own sockets: over real sockets on `lo`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use common::*;
use exo_transport::{
    CompletionQueue, Encrypt, Lane, Opcode, Payload, PostError, Read, ReadRefusal, Region,
    RegionSlice, RemoteRegion, WorkError, Write,
};

#[test]
fn a_file_is_read_by_a_peer_as_it_lies() {
    for encrypt in [Encrypt::Off, Encrypt::On] {
        let two = two(encrypt);
        let bytes = pattern(3 << 20, 9);
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes.as_slice()).unwrap();
        // SAFETY: the file is this test's own and nobody else knows of it.
        #[allow(unsafe_code)]
        let shard = unsafe { RegionSlice::map_file(&file) }.unwrap();
        let granted = two.ba.grant_read(shard).unwrap();
        let from = RemoteRegion::from_bytes(granted.remote().to_bytes());
        let queue = CompletionQueue::with_capacity(64);
        // More at once than may be under way: the rest waits its turn.
        let part = 64 << 10;
        for at in 0..48usize {
            let into = Region::pages(part);
            let offset = (at * part) as u64;
            let read = Read { lane: Lane::Bulk, from, offset, len: part, into, deadline: None };
            two.ab.post_read(read, &queue).unwrap();
        }
        for at in 0..48 {
            let done = wait(&queue);
            assert_eq!((done.opcode, done.status, done.bytes), (Opcode::Read, Ok(()), part));
            let wanted = &bytes.as_slice()[at * part..(at + 1) * part];
            assert!(done.region.unwrap().as_slice() == wanted, "part {at}");
        }
        if encrypt == Encrypt::Off {
            for endpoint in [&two.a, &two.b] {
                assert_eq!(endpoint.stats().connections[0].payload_copies, 0);
            }
        }
        drop(granted);
        let into = Region::pages(10);
        let read = Read { lane: Lane::Bulk, from, offset: 0, len: 10, into, deadline: None };
        two.ab.post_read(read, &queue).unwrap();
        let refused = wait(&queue);
        let refusal = ReadRefusal::NoRegion;
        assert_eq!(refused.status, Err(WorkError::ReadRefused { refusal }));
        assert!(two.ab.is_open() && refused.region.is_some());
    }
}

#[test]
fn what_is_written_is_there_when_the_immediate_says_so() {
    let two = two(Encrypt::Off);
    let (near, far) = (CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8));
    let granted = two.ba.grant_write(Region::pages(1 << 20)).unwrap();
    two.ba.post_recv(Lane::Activations, Region::pages(0), &far).unwrap();
    let to = granted.remote();
    let payload = Payload::from_slice(pattern(600_000, 3).freeze());
    let lane = Lane::Activations;
    let write = Write { lane, payload, to, offset: 1000, immediate: Some(42), deadline: None };
    two.ab.post_write(write, &near).unwrap();
    let told = wait(&far);
    assert_eq!((told.opcode, told.immediate, told.bytes), (Opcode::RecvWrite, Some(42), 600_000));
    assert_eq!(told.written, Some(to.key()));
    let done = wait(&near);
    assert_eq!((done.opcode, done.status), (Opcode::Write, Ok(())));
    let region = granted.revoke();
    assert!(region.as_slice()[1000..601_000] == *pattern(600_000, 3).as_slice());

    // Too late: it goes nowhere, and hurts nobody.
    let payload = Payload::from_slice(pattern(5000, 4).freeze());
    let late = Write { lane, payload, to, offset: 0, immediate: None, deadline: None };
    two.ab.post_write(late.clone(), &near).unwrap();
    assert_eq!(wait(&near).status, Ok(()));
    assert_eq!(two.b.stats().connections[0].discarded_bytes, 5000);
    let beyond = Write { offset: (1 << 20) - 4999, ..late };
    let (error, _) = two.ab.post_write(beyond, &near).unwrap_err();
    assert!(matches!(error, PostError::OutOfRegion { len: 5000, .. }), "{error}");
}

#[test]
fn a_write_to_what_was_never_granted_ends_the_session_by_name() {
    let two = two(Encrypt::On);
    let queue = CompletionQueue::with_capacity(8);
    let to = RemoteRegion::new(77 << 32 | 5, 100);
    let payload = Payload::from_slice(pattern(10, 4).freeze());
    let lane = Lane::Bulk;
    let write = Write { lane, payload, to, offset: 0, immediate: None, deadline: None };
    two.ab.post_write(write, &queue).unwrap();
    let status = wait(&queue).status.unwrap_err().to_string();
    assert!(status.contains("not granted to write"), "{status}");
}

#[test]
fn a_batch_of_small_messages_shares_system_calls() {
    let two = two(Encrypt::Off);
    let (near, far) = (CompletionQueue::with_capacity(256), CompletionQueue::with_capacity(256));
    for _ in 0..200 {
        two.ba.post_recv(Lane::Urgent, Region::pages(64), &far).unwrap();
    }
    // Until the peer has told of its room nothing can go.
    eventually("credit", || two.a.stats().connections[0].lanes[0].credits >= 100);
    let before = two.a.stats().connections[0].clone();
    let batch = two.ab.batch();
    for at in 0..100 {
        two.ab.post_send(message(Lane::Urgent, pattern(64, at), at.into()), &near).unwrap();
    }
    assert!(two.ab.is_open());
    drop(batch);
    for at in 0..100 {
        assert_eq!(wait(&far).immediate, Some(at));
        wait(&near).status.unwrap();
    }
    let after = &two.a.stats().connections[0];
    let (frames, writes) = (after.frames_out - before.frames_out, after.writes - before.writes);
    assert!(frames >= 100 && writes <= 10, "{writes} writes for {frames} frames");
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest runtime there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(PATIENCE),
        }
    }
}

#[test]
fn a_task_hears_of_completions_in_any_runtime() {
    let two = two(Encrypt::Off);
    let (near, far) = (CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8));
    for at in 0..100 {
        two.ba.post_recv(Lane::Urgent, Region::pages(10), &far).unwrap();
        two.ab.post_send(message(Lane::Urgent, pattern(10, at), at.into()), &near).unwrap();
        let (arrived, done) = block_on(async { (far.next().await, near.next().await) });
        assert_eq!((arrived.immediate, done.status), (Some(at.into()), Ok(())));
    }
}
