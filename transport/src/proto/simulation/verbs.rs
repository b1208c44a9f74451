//! What each verb does, with nothing going wrong but time.

use std::time::Duration;

use super::*;
use crate::memory::Granted;
use crate::proto::error::CloseCode;
use crate::queue::{ReadRefusal, WorkError, WorkId};

#[test]
fn every_cut_of_the_bytes_gives_the_same() {
    for sealed in [false, true] {
        for cut in (1..200).chain([4095, 4096, 5000]) {
            let mut world = World::new(sealed, 4096);
            for lane in [Lane::Activations, Lane::Urgent] {
                world.sides[1].recv(lane, 10_000, world.now);
                world.sides[1].recv(lane, 10_000, world.now);
                world.sides[0].send(lane, 9000, 3, None, world.now);
                world.sides[0].send(lane, 5, 1, None, world.now);
            }
            world.settle_late(cut).unwrap();
            assert_eq!(world.sides[0].collect().len(), 4, "cut {cut}");
            assert_eq!(world.sides[1].collect().len(), 4, "cut {cut}");
        }
    }
}

#[test]
fn plain_large_payloads_are_not_copied_and_small_ones_counted() {
    let mut world = World::new(false, 131_072);
    for _ in 0..20 {
        world.sides[1].recv(Lane::Activations, 20_000, world.now);
        world.sides[0].send(Lane::Activations, 16_384, 2, None, world.now);
        world.settle(usize::MAX).unwrap();
    }
    for side in &world.sides {
        assert_eq!(side.connection.counters().payload_copies, 0);
        assert_eq!(side.connection.counters().inlined_bytes, 0);
    }
    world.sides[1].recv(Lane::Activations, 100, world.now);
    world.sides[0].send(Lane::Activations, 64, 2, None, world.now);
    world.settle_late(usize::MAX).unwrap();
    assert_eq!(world.sides[0].connection.counters().inlined_bytes, 64);
    assert_eq!(world.sides[0].collect().len(), 21);
}

#[test]
fn a_deadline_of_begun_work_keeps_its_memory_until_it_is_acknowledged() {
    let mut world = World::new(false, 4096);
    world.sides[1].recv(Lane::Bulk, 60_000, world.now);
    world.settle(usize::MAX).unwrap();
    let deadline = Some(world.now.after(Duration::from_millis(5)));
    world.sides[0].send(Lane::Bulk, 60_000, 1, deadline, world.now);
    world.sides[0].write(&mut world.pipes[0], 100, world.now);
    world.pass(Duration::from_millis(6));
    world.time(0).unwrap();
    let late = world.sides[0].collect();
    assert_eq!(late[0].status, Err(WorkError::DeadlinePassed));
    assert_eq!(world.sides[0].connection.lane_depths()[Lane::Bulk.index()].1, 1, "still held");
    world.settle_late(usize::MAX).unwrap();
    assert!(world.sides[0].collect().is_empty(), "it completes once");
    assert_eq!(world.sides[1].collect().len(), 1, "no chunk is left half sent");
    assert_eq!(world.sides[0].connection.lane_depths()[Lane::Bulk.index()].2, 0);
}

#[test]
fn pings_that_wait_for_the_way_to_open_are_no_flood() {
    let mut world = World::new(true, 4096);
    world.settle(usize::MAX).unwrap();
    // Side 1 is not heard; what side 0 says lies in its kernel meanwhile.
    for _ in 0..39 {
        world.pass(TIMERS.keepalive);
        world.time(0).unwrap();
        let [out, _] = &mut world.pipes;
        world.sides[0].write(out, usize::MAX, world.now);
        assert!(world.sides[0].connection.poll_timeout() > world.now, "the timer stands");
    }
    world.settle(usize::MAX).unwrap();
    // It answers, and is asked again from now on.
    world.pass(TIMERS.keepalive);
    world.time(0).unwrap();
    let [out, _] = &mut world.pipes;
    assert!(world.sides[0].write(out, usize::MAX, world.now) > 0);
    world.settle(usize::MAX).unwrap();
}

#[test]
fn silence_is_suspected_then_lost_and_a_byte_in_time_recovers() {
    use crate::proto::connection::Notice;
    let mut world = World::new(true, 4096);
    world.settle(usize::MAX).unwrap();
    world.sides[0].collect();
    let notices = |world: &mut World| {
        let all = std::iter::from_fn(|| world.sides[0].connection.poll_notice());
        all.filter(|notice| !matches!(notice, Notice::RoundTrip { .. })).collect::<Vec<_>>()
    };
    world.pass(Duration::from_millis(999));
    world.time(0).unwrap();
    assert_eq!(notices(&mut world), []);
    world.pass(Duration::from_millis(1));
    world.time(0).unwrap();
    assert_eq!(notices(&mut world), [Notice::Suspected { silent: Duration::from_secs(1) }]);
    world.time(1).unwrap();
    world.settle(usize::MAX).unwrap();
    assert_eq!(notices(&mut world), [Notice::Recovered]);
    world.pass(Duration::from_secs(10));
    let cause = world.time(0).unwrap_err();
    assert_eq!(cause, LossCause::Silent { silent_ms: 10_000 });
    assert!(cause.to_string().contains("10.0 s"));
}

#[test]
fn a_close_says_why() {
    let mut world = World::new(true, 4096);
    world.sides[0].connection.close(CloseCode::ShuttingDown, "bye\u{7}");
    let cause = world.settle(usize::MAX).unwrap_err();
    let reason = "bye\u{fffd}".into();
    assert_eq!(cause, LossCause::ClosedByPeer { code: CloseCode::ShuttingDown, reason });
}

#[test]
fn a_write_lands_where_it_says_and_the_peer_hears_of_it_if_it_shall() {
    for sealed in [false, true] {
        let mut world = World::new(sealed, 4096);
        let key =
            world.sides[1].connection.grant(Granted::Write(Region::pages(20_000)), 3).unwrap();
        let to = RemoteRegion::new(key, 20_000);
        world.sides[1].recv(Lane::Bulk, 0, world.now);
        let payload = || Payload::from_slice(filled(Lane::Bulk, 1, 9000).freeze());
        world.sides[0].write_to(Lane::Bulk, to, 100, payload(), None, world.now);
        world.sides[0].write_to(Lane::Bulk, to, 9100, payload(), Some(7), world.now);
        world.settle(usize::MAX).unwrap();
        let told = world.sides[1].connection.poll_outcome().unwrap().completion;
        assert_eq!((told.opcode, told.immediate, told.bytes), (Opcode::RecvWrite, Some(7), 9000));
        assert_eq!(told.written, Some(key));
        assert!(world.sides[1].connection.poll_outcome().is_none(), "one of them is silent");
        assert_eq!(world.sides[0].collect().len(), 2);
        let Some(Granted::Write(region)) = world.sides[1].connection.revoke(key) else {
            panic!("the region comes back")
        };
        let right = |at: usize| filled(Lane::Bulk, 1, 9000).as_slice()[at];
        assert!((0..9000).all(|at| region.as_slice()[100 + at] == right(at)));
        assert!((0..9000).all(|at| region.as_slice()[9100 + at] == right(at)));
        assert_eq!(region.as_slice()[..100], [0; 100]);
        assert_eq!(region.as_slice()[18_100..], [0; 1900]);
        assert_eq!(world.sides[1].connection.counters().payload_copies, 0);
    }
}

#[test]
fn a_region_that_is_taken_back_is_written_no_more() {
    for sealed in [false, true] {
        // Before the write, and in the middle of each of its frames.
        for read in [0, 64, 1000, 5000, 9000] {
            let mut world = World::new(sealed, 4096);
            let connection = &mut world.sides[1].connection;
            let key = connection.grant(Granted::Write(Region::pages(20_000)), 3).unwrap();
            let to = RemoteRegion::new(key, 20_000);
            let payload = Payload::from_slice(filled(Lane::Bulk, 1, 9000).freeze());
            world.sides[0].write_to(Lane::Bulk, to, 0, payload, None, world.now);
            while world.sides[0].write(&mut world.pipes[0], usize::MAX, world.now) > 0 {}
            let mut left = read;
            while left > 0 {
                left -= world.sides[1].read(&mut world.pipes[0], left, world.now).unwrap();
            }
            let granted = world.sides[1].connection.revoke(key);
            let Some(Granted::Write(region)) = granted else { panic!("it comes back") };
            let before = region.as_slice().to_vec();
            world.settle_late(usize::MAX).unwrap();
            assert_eq!(region.as_slice(), before, "nothing lands after it was taken back");
            assert_eq!(world.sides[0].collect().len(), 1, "the write completes all the same");
            assert!(world.sides[1].connection.counters().discarded_bytes > 0);
        }
    }
}

#[test]
fn a_read_that_is_given_up_gives_its_region_back_and_nothing_lands_there() {
    for sealed in [false, true] {
        // Before the reply, and in the middle of each of its frames.
        for read in [0, 64, 1000, 5000, 9000] {
            let mut world = World::new(sealed, 4096);
            let bytes = filled(Lane::Bulk, 5, 9000).freeze();
            let key = world.sides[1].connection.grant(Granted::Read(bytes), 3).unwrap();
            let from = RemoteRegion::new(key, 9000);
            for _ in 0..2 {
                world.sides[0].read_from(Lane::Bulk, from, 0, 9000, world.now);
            }
            while world.sides[0].write(&mut world.pipes[0], usize::MAX, world.now) > 0 {}
            while world.sides[1].read(&mut world.pipes[0], usize::MAX, world.now).unwrap() > 0 {}
            while world.sides[1].write(&mut world.pipes[1], usize::MAX, world.now) > 0 {}
            let mut left = read;
            while left > 0 {
                left -= world.sides[0].read(&mut world.pipes[1], left, world.now).unwrap();
            }
            assert!(world.sides[0].connection.cancel(WorkId(1), world.now));
            assert!(!world.sides[0].connection.cancel(WorkId(1), world.now), "once");
            let given_up = world.sides[0].collect();
            assert_eq!(given_up[0].status, Err(WorkError::Cancelled));
            let region = given_up[0].region.as_ref().expect("it comes back at once");
            let before = region.as_slice().to_vec();
            world.settle(usize::MAX).unwrap();
            assert_eq!(region.as_slice(), before, "nothing lands after it came back");
            assert_eq!(world.sides[0].connection.counters().discarded_bytes, 9000 - done(read));
            let second = world.sides[0].collect();
            assert_eq!(second.len(), 1, "the other read is not hurt");
            let region = second[0].region.as_ref().unwrap();
            assert_eq!(region.as_slice(), filled(Lane::Bulk, 5, 9000).as_slice());
        }
    }
}

/// Bytes of whole frames of 4096 that had come by then, headers (and tags) included or not.
fn done(read: usize) -> u64 {
    (read / (4096 + 64 + 16) * 4096) as u64
}

#[test]
fn a_read_that_is_refused_hurts_nobody_else() {
    let mut world = World::new(true, 4096);
    let connection = &mut world.sides[1].connection;
    let key = connection.grant(Granted::Read(filled(Lane::Bulk, 5, 100).freeze()), 3).unwrap();
    let writable = connection.grant(Granted::Write(Region::pages(10)), 3).unwrap();
    let statuses = [
        (RemoteRegion::new(key, 100), 50, Ok(())),
        (RemoteRegion::new(key, 1000), 200, Err(ReadRefusal::OutOfRegion)),
        (RemoteRegion::new(key ^ 1 << 50, 100), 10, Err(ReadRefusal::NoRegion)),
        (RemoteRegion::new(writable, 10), 10, Err(ReadRefusal::NotReadable)),
        (RemoteRegion::new(key, 100), 100, Ok(())),
    ];
    for (from, len, _) in &statuses {
        world.sides[0].read_from(Lane::Bulk, *from, 0, *len, world.now);
    }
    world.settle(usize::MAX).unwrap();
    let completions = world.sides[0].collect();
    assert_eq!(completions.len(), statuses.len());
    for (completion, (_, len, expected)) in completions.iter().zip(&statuses) {
        let expected = expected.map_err(|refusal| WorkError::ReadRefused { refusal });
        assert_eq!(completion.status, expected);
        let region = completion.region.as_ref().expect("given back whatever became of it");
        if expected.is_ok() {
            assert_eq!(region.as_slice()[..*len], filled(Lane::Bulk, 5, 100).as_slice()[..*len]);
        }
    }
}

#[test]
fn what_is_cancelled_completes_once_and_is_never_torn() {
    let mut world = World::new(false, 4096);
    world.sides[1].recv(Lane::Bulk, 10_000, world.now);
    world.settle(usize::MAX).unwrap();
    world.sides[0].send(Lane::Bulk, 10_000, 1, None, world.now);
    world.sides[0].send(Lane::Bulk, 10, 1, None, world.now);
    world.sides[0].write(&mut world.pipes[0], 100, world.now);
    for id in [1, 2] {
        assert!(world.sides[0].connection.cancel(WorkId(id), world.now));
        assert!(!world.sides[0].connection.cancel(WorkId(id), world.now), "once");
    }
    let given_up = world.sides[0].collect();
    assert!(given_up.iter().all(|done| done.status == Err(WorkError::Cancelled)));
    assert_eq!(given_up.len(), 2);
    world.settle(usize::MAX).unwrap();
    assert_eq!(world.sides[1].collect().len(), 1, "what had begun arrives whole");
    assert!(world.sides[0].collect().is_empty());
}

#[test]
fn late_news_before_a_message_leave_it_in_its_place() {
    for sealed in [false, true] {
        let mut world = World::new(sealed, 131_072);
        for round in 0..30 {
            for side in &mut world.sides {
                side.recv(Lane::Activations, 16_384, world.now);
            }
            world.settle(usize::MAX).unwrap();
            world.sides[0].send(Lane::Activations, 16_384, 1, None, world.now);
            world.settle(usize::MAX).unwrap();
            if round % 3 == 2 {
                // The other side is late: what it says by itself first, and its message, lie in the
                // socket together.
                world.pass(TIMERS.ack_delay);
                world.sides[1].write(&mut world.pipes[1], usize::MAX, world.now);
                assert!(!world.pipes[1].is_empty(), "news go alone");
            }
            if round == 16 {
                world.settle_late(usize::MAX).unwrap();
                world.pass(TIMERS.keepalive);
                world.time(1).unwrap();
                world.sides[1].write(&mut world.pipes[1], usize::MAX, world.now);
                assert!(!world.pipes[1].is_empty(), "a sign of life");
            }
            world.sides[1].send(Lane::Activations, 16_384, 1, None, world.now);
            world.sides[1].write(&mut world.pipes[1], usize::MAX, world.now);
            world.settle(usize::MAX).unwrap();
            assert!(world.sides.iter_mut().all(|side| !side.collect().is_empty()));
        }
        for side in &world.sides {
            assert_eq!(side.connection.counters().payload_copies, 0, "sealed {sealed}");
        }
    }
}

#[test]
fn messages_that_take_turns_are_not_copied_each_time() {
    let mut world = World::new(false, 131_072);
    for _ in 0..50 {
        for lane in [Lane::Activations, Lane::Bulk] {
            world.sides[1].recv(lane, 16_384, world.now);
            world.settle(usize::MAX).unwrap();
            world.sides[0].send(lane, 16_384, 1, None, world.now);
            world.settle(usize::MAX).unwrap();
        }
    }
    assert_eq!(world.sides[1].collect().len(), 100);
    let copied = world.sides[1].connection.counters().payload_copies;
    assert!(copied <= 16_384, "{copied} bytes of 100 messages");
}

#[test]
fn a_message_like_the_last_is_taken_in_one_read_and_another_is_not_lost() {
    for sealed in [false, true] {
        let mut world = World::new(sealed, 131_072);
        let mut lengths = vec![16_384; 5];
        lengths.extend([20_000, 20_000, 5000, 16_384, 4096, 100, 16_384, 16_384]);
        for (at, &length) in lengths.iter().enumerate() {
            world.sides[1].recv(Lane::Activations, 20_000, world.now);
            world.settle(usize::MAX).unwrap();
            world.sides[0].send(Lane::Activations, length, 1, None, world.now);
            while world.sides[0].write(&mut world.pipes[0], usize::MAX, world.now) > 0 {}
            let mut reads = 0;
            while !world.pipes[0].is_empty() {
                world.sides[1].read(&mut world.pipes[0], usize::MAX, world.now).unwrap();
                reads += 1;
            }
            if at > 0 && lengths[at - 1] == length {
                assert_eq!(reads, 1, "message {at} of {length} bytes");
            }
            assert_eq!(world.sides[1].collect().len(), 1);
        }
        let copied = world.sides[1].connection.counters().payload_copies;
        assert_eq!(copied, 0, "what comes alone is where it belongs, expected or not");
    }
}

#[test]
fn news_wait_for_company_but_not_long() {
    let mut world = World::new(false, 131_072);
    for _ in 0..40 {
        world.sides[1].recv(Lane::Activations, 5000, world.now);
    }
    world.settle(usize::MAX).unwrap();
    let frames = |world: &World| world.sides[1].connection.counters().frames_out;
    let before = frames(&world);
    world.sides[0].send(Lane::Activations, 100, 1, None, world.now);
    world.settle(usize::MAX).unwrap();
    assert_eq!(frames(&world), before, "one message waits for a frame to ride on");
    assert!(world.sides[0].collect().is_empty());
    world.pass(Duration::from_micros(500));
    world.settle(usize::MAX).unwrap();
    assert_eq!(frames(&world), before + 1);
    assert_eq!(world.sides[0].collect().len(), 1);
    for _ in 0..2 {
        world.sides[0].send(Lane::Activations, 5000, 1, None, world.now);
    }
    world.settle(usize::MAX).unwrap();
    assert_eq!(frames(&world), before + 2, "two large ones do not wait");
    assert_eq!(world.sides[0].collect().len(), 2);
    for _ in 0..31 {
        world.sides[0].send(Lane::Activations, 100, 1, None, world.now);
    }
    world.settle(usize::MAX).unwrap();
    let small = frames(&world) - before - 2;
    assert!(small <= 2, "{small} frames for 31 small messages: only credit goes at once");
}

#[test]
fn a_goodbye_takes_the_news_along() {
    let mut world = World::new(true, 131_072);
    for _ in 0..4 {
        world.sides[1].recv(Lane::Activations, 100, world.now);
    }
    world.settle(usize::MAX).unwrap();
    world.sides[0].send(Lane::Activations, 100, 1, None, world.now);
    world.settle(usize::MAX).unwrap();
    assert!(world.sides[0].collect().is_empty(), "the acknowledgement waits for company");
    world.sides[1].connection.close(CloseCode::Done, "");
    assert!(matches!(world.settle(usize::MAX), Err(LossCause::ClosedByPeer { .. })));
    assert_eq!(world.sides[0].collect()[0].status, Ok(()), "it arrived, and that is said");
}

#[test]
fn a_new_socket_that_stays_silent_is_given_up_for_another() {
    let mut world = World::new(true, 4096);
    world.settle(usize::MAX).unwrap();
    world.pass(Duration::from_secs(1));
    world.time(0).unwrap();
    assert!(world.sides[0].connection.is_suspected() && world.sides[0].connection.is_down());
    world.sides[0].connection.attach(route(0, true, 2), world.now);
    let connection = &mut world.sides[0].connection;
    assert!(connection.is_suspected() && !connection.is_down(), "this one has its time");
    assert_eq!(connection.poll_timeout(), world.now.after(Duration::from_secs(1)));
    world.pass(Duration::from_secs(1));
    world.time(0).unwrap();
    assert!(world.sides[0].connection.is_down(), "and it is over");
    assert!(world.sides[0].connection.poll_timeout() > world.now, "nothing is due for ever");
}

#[test]
fn bulk_without_end_holds_up_neither_news_nor_what_is_urgent() {
    const CHUNK: usize = 4096;
    for sealed in [false, true] {
        let mut world = World::new(sealed, CHUNK);
        for _ in 0..200 {
            world.sides[1].recv(Lane::Bulk, 16_384, world.now);
        }
        world.sides[1].recv(Lane::Urgent, 64, world.now);
        world.sides[0].recv(Lane::Cluster, 64, world.now);
        world.settle_late(usize::MAX).unwrap();
        for _ in 0..200 {
            world.sides[0].send(Lane::Bulk, 16_384, 1, None, world.now);
        }
        // A frame is under way, and more are queued behind it.
        world.sides[0].write(&mut world.pipes[0], 100, world.now);
        world.sides[1].send(Lane::Cluster, 64, 1, None, world.now);
        world.sides[1].write(&mut world.pipes[1], usize::MAX, world.now);
        let [_, back] = &mut world.pipes;
        while !back.is_empty() {
            world.sides[0].read(back, usize::MAX, world.now).unwrap();
        }
        world.pass(TIMERS.ack_delay);
        world.sides[0].send(Lane::Urgent, 64, 1, None, world.now);
        // As much as what is under way, the acknowledgement and the urgent frame take.
        let mut left = crate::limits::RUN_BYTES_MAX + 2 * CHUNK;
        while left > 0 {
            let step = left.min(500);
            world.sides[0].write(&mut world.pipes[0], step, world.now);
            left -= step;
        }
        let [out, _] = &mut world.pipes;
        while !out.is_empty() {
            world.sides[1].read(out, usize::MAX, world.now).unwrap();
        }
        let heard = world.sides[1].collect();
        let has = |lane: Lane| heard.iter().any(|completion| completion.lane == lane);
        assert!(has(Lane::Cluster), "sealed {sealed}: its message is acknowledged");
        assert!(has(Lane::Urgent), "sealed {sealed}: the urgent message came");
        assert!(world.sides[0].connection.ack_due().is_none_or(|due| due > world.now));
    }
}

#[test]
fn what_is_urgent_is_awaited_from_when_it_goes_until_it_is_answered() {
    let mut world = World::new(false, 131_072);
    let source = Granted::Read(filled(Lane::Urgent, 5, 100).freeze());
    let key = world.sides[1].connection.grant(source, 3).unwrap();
    for lane in [Lane::Urgent, Lane::Bulk] {
        world.sides[1].recv(lane, 5000, world.now);
    }
    world.settle(usize::MAX).unwrap();
    let awaits = |world: &World| world.sides[0].connection.awaits_urgent();
    world.sides[0].send(Lane::Bulk, 5000, 1, None, world.now);
    world.sides[0].write(&mut world.pipes[0], usize::MAX, world.now);
    assert!(!awaits(&world), "bulk is not urgent");
    world.sides[0].send(Lane::Urgent, 64, 1, None, world.now);
    world.sides[0].write(&mut world.pipes[0], usize::MAX, world.now);
    assert!(awaits(&world));
    world.settle(usize::MAX).unwrap();
    world.pass(TIMERS.ack_delay);
    world.settle(usize::MAX).unwrap();
    assert!(!awaits(&world), "it is acknowledged");
    world.sides[0].read_from(Lane::Urgent, RemoteRegion::new(key, 100), 0, 100, world.now);
    world.sides[0].write(&mut world.pipes[0], usize::MAX, world.now);
    assert!(awaits(&world));
    world.settle(usize::MAX).unwrap();
    assert!(!awaits(&world), "the answer is there");
}

#[test]
fn what_a_message_acknowledges_is_told_after_it_and_is_lost_by_nothing_that_follows() {
    let after: [&dyn Fn(&mut World); 5] = [
        &|_| {},
        &|world| world.sides[0].connection.lose(&WorkError::Flushed, world.now),
        &|world| {
            world.sides[0].connection.cancel(WorkId(2), world.now);
        },
        &|world| {
            world.pass(Duration::from_millis(2));
            world.time(0).unwrap();
        },
        &|world| world.sides[0].connection.detach(),
    ];
    for (case, after) in after.iter().enumerate() {
        let mut world = World::new(false, 131_072);
        world.sides.iter_mut().for_each(|side| side.recv(Lane::Activations, 5000, Time::default()));
        world.settle(usize::MAX).unwrap();
        let deadline = Some(world.now.after(Duration::from_millis(1)));
        world.sides[0].send(Lane::Activations, 5000, 1, deadline, world.now);
        world.settle(usize::MAX).unwrap();
        world.sides[1].send(Lane::Activations, 5000, 1, None, world.now);
        world.settle(usize::MAX).unwrap();
        let connection = &mut world.sides[0].connection;
        let first = connection.poll_first_outcome().unwrap().completion;
        assert_eq!((first.opcode, first.status), (Opcode::Recv, Ok(())));
        assert!(connection.poll_first_outcome().is_none() && connection.has_later_outcomes());
        after(&mut world);
        let connection = &mut world.sides[0].connection;
        let then = connection.poll_outcome().unwrap().completion;
        assert_eq!((then.opcode, then.status), (Opcode::Send, Ok(())), "case {case}");
        assert!(connection.poll_outcome().is_none() && !connection.has_later_outcomes());
    }
}

#[test]
fn news_without_a_socket_wake_nobody() {
    let mut world = World::new(false, 131_072);
    world.sides[0].connection.detach();
    for _ in 0..3 {
        world.sides[0].recv(Lane::Bulk, 100, world.now);
    }
    assert_eq!(world.sides[0].connection.ack_due(), None);
    world.pass(TIMERS.ack_delay);
    assert!(world.sides[0].connection.poll_timeout() > world.now);
}
