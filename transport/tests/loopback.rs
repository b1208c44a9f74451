//! Two endpoints over real sockets on `lo`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::*;
use exo_transport::{
    CompletionQueue, Encrypt, Event, Lane, LossCause, Opcode, Payload, PostError, Region,
    RegionPool, Send, WorkError,
};

#[test]
fn messages_of_all_sizes_arrive_whole_plain_and_sealed() {
    for encrypt in [Encrypt::Off, Encrypt::On] {
        let two = two(encrypt);
        assert_eq!(two.ab.peer().encrypted, encrypt == Encrypt::On);
        assert_eq!(two.ba.peer().node, two.a.node_id());
        let (sent, received) =
            (CompletionQueue::with_capacity(64), CompletionQueue::with_capacity(64));
        for (at, len) in [0, 1, 63, 4095, 4096, 4097, 16_384, 131_072, 131_073, 1 << 20, 3 << 20]
            .into_iter()
            .enumerate()
        {
            let id =
                two.ba.post_recv(Lane::Activations, Region::pages(len + 5), &received).unwrap();
            let send = message(Lane::Activations, pattern(len, at as u8), at as u32);
            let sent_id = two.ab.post_send(send, &sent).unwrap();
            let arrived = wait(&received);
            assert_eq!((arrived.id, arrived.opcode, arrived.status), (id, Opcode::Recv, Ok(())));
            assert_eq!((arrived.bytes, arrived.immediate), (len, Some(at as u32)));
            assert_eq!(arrived.peer, two.a.node_id());
            let region = arrived.region.unwrap();
            assert!(region.as_slice()[..len] == *pattern(len, at as u8).as_slice());
            let done = wait(&sent);
            assert_eq!((done.id, done.opcode, done.status), (sent_id, Opcode::Send, Ok(())));
            assert_eq!((done.bytes, done.peer), (len, two.b.node_id()));
        }
    }
}

#[test]
fn plain_payloads_of_4_kib_and_more_are_never_copied() {
    let two = two(Encrypt::Off);
    let (sent, received) = (CompletionQueue::with_capacity(64), CompletionQueue::with_capacity(64));
    let pool = RegionPool::new(4, 1 << 20);
    for _ in 0..3 {
        two.ba.post_recv(Lane::Activations, pool.lease().unwrap(), &received).unwrap();
    }
    for round in 0..200u32 {
        let len = [4096, 5000, 16_384 + 96, 200_000, 1 << 20][round as usize % 5];
        let bulk = pattern(len - 96, round as u8).freeze();
        let tail = pattern(96, 1).freeze();
        let payload = Payload::from_slices([bulk, tail]);
        let send = Send { lane: Lane::Activations, payload, immediate: round, deadline: None };
        two.ab.post_send(send, &sent).unwrap();
        let arrived = wait(&received);
        assert_eq!((arrived.immediate, arrived.bytes), (Some(round), len));
        two.ba.post_recv(Lane::Activations, arrived.region.unwrap(), &received).unwrap();
        wait(&sent).status.unwrap();
    }
    for endpoint in [&two.a, &two.b] {
        let stats = &endpoint.stats().connections[0];
        assert_eq!(stats.payload_copies, 0);
        assert_eq!(stats.inlined_bytes, 0);
        assert!(stats.rtt.count > 0);
    }
    let stats = two.a.stats();
    assert_eq!(stats.connections[0].lanes[1].hop.count, 200, "each was acknowledged on its own");
    assert!(stats.connections[0].bytes_out > 40 << 20);
}

#[test]
fn a_lane_keeps_its_order_under_many_messages() {
    for encrypt in [Encrypt::Off, Encrypt::On] {
        let two = two(encrypt);
        let (sent, received) =
            (CompletionQueue::with_capacity(2048), CompletionQueue::with_capacity(2048));
        let total = 5_000u32;
        let (ab, ba) = (two.ab.clone(), two.ba.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..100 {
                    ba.post_recv(Lane::Urgent, Region::pages(9_000), &received).unwrap();
                }
                for expected in 0..total {
                    let arrived = wait(&received);
                    assert_eq!(arrived.immediate, Some(expected));
                    let len = arrived.bytes;
                    let region = arrived.region.unwrap();
                    let wanted = pattern(len, expected as u8);
                    assert!(region.as_slice()[..len] == *wanted.as_slice(), "message {expected}");
                    ba.post_recv(Lane::Urgent, region, &received).unwrap();
                }
            });
            scope.spawn(|| {
                let mut open = 0;
                for at in 0..total {
                    let len = [10, 0, 100, 8_500, 64][at as usize % 5];
                    let mut send = message(Lane::Urgent, pattern(len, at as u8), at);
                    while let Err((error, back)) = ab.post_send(send, &sent) {
                        assert_eq!(error, PostError::QueueFull);
                        wait(&sent).status.unwrap();
                        open -= 1;
                        send = back;
                    }
                    open += 1;
                }
                for _ in 0..open {
                    wait(&sent).status.unwrap();
                }
            });
        });
    }
}

#[test]
fn an_urgent_message_overtakes_bulk() {
    let two = two(Encrypt::Off);
    let (sent, received) = (CompletionQueue::with_capacity(64), CompletionQueue::with_capacity(64));
    for _ in 0..8 {
        two.ba.post_recv(Lane::Bulk, Region::pages(16 << 20), &received).unwrap();
    }
    two.ba.post_recv(Lane::Urgent, Region::pages(64), &received).unwrap();
    // Made before, so that all are posted long before the first has arrived.
    let bulk: Vec<_> = (0..8).map(|at| message(Lane::Bulk, pattern(16 << 20, 0), at)).collect();
    for send in bulk {
        two.ab.post_send(send, &sent).unwrap();
    }
    two.ab.post_send(message(Lane::Urgent, pattern(64, 1), 99), &sent).unwrap();
    let order: Vec<_> = (0..9).map(|_| wait(&received).immediate.unwrap()).collect();
    let urgent = order.iter().position(|&at| at == 99).unwrap();
    assert!(urgent < 4, "the urgent message came as number {urgent}: {order:?}");
    let bulk: Vec<_> = order.into_iter().filter(|&at| at != 99).collect();
    assert_eq!(bulk, (0..8).collect::<Vec<_>>());
}

#[test]
fn without_credit_the_sender_waits_and_other_lanes_go_on() {
    let two = two(Encrypt::Off);
    let (sent, received) = (CompletionQueue::with_capacity(64), CompletionQueue::with_capacity(64));
    two.ab.post_send(message(Lane::Bulk, pattern(1000, 1), 1), &sent).unwrap();
    two.ba.post_recv(Lane::Cluster, Region::pages(1000), &received).unwrap();
    two.ab.post_send(message(Lane::Cluster, pattern(1000, 2), 2), &sent).unwrap();
    assert_eq!(wait(&received).immediate, Some(2));
    assert_eq!(wait(&sent).lane, Lane::Cluster);
    assert!(sent.wait(Duration::from_millis(100)).is_err(), "no room was made for it");
    assert_eq!(two.a.stats().connections[0].lanes[2].sends_waiting, 1);
    two.ba.post_recv(Lane::Bulk, Region::pages(1000), &received).unwrap();
    assert_eq!(wait(&received).immediate, Some(1));
    assert_eq!(wait(&sent).lane, Lane::Bulk);
}

#[test]
fn a_deadline_passes_when_nobody_makes_room() {
    let two = two(Encrypt::Off);
    let (sent, received) = (CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8));
    let mut send = message(Lane::Urgent, pattern(10, 0), 1);
    send.deadline = Some(Duration::from_millis(50));
    two.ab.post_send(send, &sent).unwrap();
    let done = wait(&sent);
    assert_eq!(done.status, Err(WorkError::DeadlinePassed));
    assert!(done.elapsed >= Duration::from_millis(50) && done.elapsed < Duration::from_secs(2));
    // It was never begun, so it is not the one that takes the room made later.
    two.ab.post_send(message(Lane::Urgent, pattern(10, 0), 2), &sent).unwrap();
    two.ba.post_recv(Lane::Urgent, Region::pages(10), &received).unwrap();
    assert_eq!(wait(&received).immediate, Some(2));
}

#[test]
fn a_message_longer_than_its_region_ends_the_connection_by_name() {
    let two = two(Encrypt::Off);
    let (sent, received) = (CompletionQueue::with_capacity(8), CompletionQueue::with_capacity(8));
    two.ba.post_recv(Lane::Urgent, Region::pages(100), &received).unwrap();
    two.ab.post_send(message(Lane::Urgent, pattern(101, 0), 1), &sent).unwrap();
    let received = wait(&received);
    assert!(matches!(received.status, Err(WorkError::PeerLost(_))), "{received:?}");
    assert_eq!(received.region.unwrap().len(), 100);
    let Err(WorkError::PeerLost(lost)) = wait(&sent).status else { panic!("it cannot succeed") };
    let words = lost.to_string();
    assert!(words.contains("protocol error") && words.contains("region of 100"), "{words}");
    assert!(words.contains("on lo"), "{words}");
    assert!(matches!(next_event(&two.a), Event::Disconnected { .. }));
    assert!(matches!(next_event(&two.b), Event::Disconnected { .. }));
}

#[test]
fn closing_completes_all_work_at_both_sides() {
    let two = two(Encrypt::On);
    let queue = CompletionQueue::with_capacity(8);
    let far = CompletionQueue::with_capacity(8);
    two.ab.post_recv(Lane::Urgent, Region::pages(100), &queue).unwrap();
    two.ab.post_send(message(Lane::Bulk, pattern(9, 0), 0), &queue).unwrap();
    two.ba.post_recv(Lane::Urgent, Region::pages(100), &far).unwrap();
    two.ab.close();
    assert_eq!(wait(&queue).status, Err(WorkError::Flushed));
    assert_eq!(wait(&queue).status, Err(WorkError::Flushed));
    let Err(WorkError::PeerLost(lost)) = wait(&far).status else { panic!("it cannot succeed") };
    assert!(matches!(lost.cause, LossCause::ClosedByPeer { .. }), "{lost}");
    assert!(!two.ab.is_open());
    let (error, _) = two.ab.post_recv(Lane::Urgent, Region::pages(1), &queue).unwrap_err();
    assert_eq!(error, PostError::Disconnected);
    assert!(queue.poll().is_none(), "each completes once");
}

#[test]
fn an_endpoint_that_goes_away_is_named() {
    let two = two(Encrypt::Off);
    let queue = CompletionQueue::with_capacity(8);
    two.ab.post_recv(Lane::Urgent, Region::pages(100), &queue).unwrap();
    drop((two.b, two.ba));
    let Err(WorkError::PeerLost(lost)) = wait(&queue).status else { panic!("it cannot succeed") };
    assert_eq!(lost.name, "b");
    assert!(lost.to_string().contains("shutting down"), "{lost}");
    match next_event(&two.a) {
        Event::Disconnected { peer, cause } => {
            assert_eq!((peer.name.as_str(), cause), ("b", (*lost).clone()));
        }
        other => panic!("{other:?}"),
    }
    assert!(two.a.stats().connections.is_empty());
}

#[test]
fn queues_have_an_end_and_give_back_what_they_refuse() {
    let two = two(Encrypt::Off);
    let small = CompletionQueue::with_capacity(1);
    two.ab.post_recv(Lane::Urgent, Region::pages(1), &small).unwrap();
    let (error, region) = two.ab.post_recv(Lane::Urgent, Region::pages(77), &small).unwrap_err();
    assert_eq!((error, region.len()), (PostError::QueueFull, 77));
    let large = CompletionQueue::with_capacity(5000);
    let accepted = (0..2000)
        .take_while(|_| two.ab.post_recv(Lane::Urgent, Region::pages(1), &large).is_ok())
        .count();
    assert_eq!(accepted, exo_transport::limits::WORK_REQUESTS_MAX - 1);
}
