//! A peer that means harm: what it sends is refused by name, and nothing is written where it may not.

use std::collections::VecDeque;

use super::*;
use crate::limits::{HEADER_BYTES, TAG_BYTES};
use crate::proto::error::ProtocolError;
use crate::queue::WorkError;
use crate::wire::header::{Flags, Header, Kind};

/// What side 1 of a plain connection with one region of 100 bytes says to these bytes.
fn verdict(bytes: &[u8]) -> Result<(), LossCause> {
    let mut world = World::new(false, 4096);
    world.sides[1].recv(Lane::Urgent, 100, world.now);
    let mut pipe: VecDeque<u8> = bytes.iter().copied().collect();
    while !pipe.is_empty() {
        world.sides[1].read(&mut pipe, usize::MAX, world.now)?;
    }
    Ok(())
}

#[test]
fn every_field_of_a_hostile_header_is_refused_by_name() {
    let good = Header {
        kind: Kind::Send,
        lane: Some(Lane::Urgent),
        flags: Flags::LAST,
        session: 77,
        epoch: 1,
        length: 0,
        sequence: 1,
        acknowledged: 0,
        credit: 0,
        immediate: 0,
        remote_key: 0,
        offset: 0,
    };
    assert_eq!(verdict(&good.encode()), Ok(()));
    let refused = |header: Header| match verdict(&header.encode()) {
        Err(LossCause::Protocol(error)) => error,
        other => panic!("{other:?} for {header:?}"),
    };
    use ProtocolError as E;
    let lane = Lane::Urgent;
    assert!(matches!(refused(Header { session: 78, ..good }), E::Session { found: 78, .. }));
    assert!(matches!(refused(Header { epoch: 2, ..good }), E::Epoch { found: 2, .. }));
    assert!(matches!(refused(Header { sequence: 2, ..good }), E::Sequence { expected: 1, .. }));
    assert!(matches!(refused(Header { sequence: 0, ..good }), E::Sequence { .. }));
    assert!(matches!(refused(Header { length: u32::MAX, ..good }), E::Length { .. }));
    assert!(matches!(refused(Header { length: 101, ..good }), E::RoomExceeded { room: 100, .. }));
    assert!(matches!(refused(Header { offset: 1, ..good }), E::Offset { expected: 0, .. }));
    assert!(matches!(refused(Header { offset: u64::MAX, ..good }), E::Offset { .. }));
    assert!(matches!(refused(Header { acknowledged: 1, ..good }), E::Acknowledged { .. }));
    assert_eq!(refused(Header { credit: 1 << 31, ..good }), E::CreditBackwards { lane });
    let bulk = Some(Lane::Bulk);
    assert_eq!(refused(Header { lane: bulk, ..good }), E::CreditExceeded { lane: Lane::Bulk });
    assert_eq!(refused(Header { flags: Flags::NONE, ..good }), E::Empty);
    let sealed = Flags::LAST.with(Flags::SEALED);
    assert_eq!(refused(Header { flags: sealed, ..good }), E::Sealing { sealed: true });
    let write = Header { kind: Kind::Write, remote_key: 1 << 40 | 9, ..good };
    assert_eq!(refused(write), E::Access { key: 1 << 40 | 9 });
    let reply = Header { kind: Kind::ReadReply, ..good };
    assert_eq!(refused(reply), E::Interleaved { kind: Kind::ReadReply });
    let request = Header { kind: Kind::ReadRequest, ..good };
    assert!(matches!(refused(Header { length: 1, ..request }), E::Length { max: 0, .. }));
    let resume = Header { kind: Kind::Resume, lane: None, ..good };
    assert_eq!(refused(resume), E::Resume { kind: Kind::Resume, due: false });
    let ping = Header { kind: Kind::Ping, lane: None, ..good };
    assert!(matches!(refused(Header { length: 9, ..ping }), E::Length { found: 9, .. }));
    let close = Header { kind: Kind::Close, lane: None, immediate: 99, ..good };
    assert_eq!(refused(close), E::CloseCode { found: 99 });
    assert!(matches!(refused(Header { length: 257, ..close }), E::Length { max: 256, .. }));
}

#[test]
fn a_flood_of_pings_is_refused() {
    let mut world = World::new(false, 4096);
    let mut pipe = VecDeque::new();
    for sequence in 1..100u64 {
        let header = Header {
            kind: Kind::Ping,
            lane: None,
            flags: Flags::NONE,
            session: 77,
            epoch: 1,
            length: 8,
            sequence,
            acknowledged: 0,
            credit: 0,
            immediate: 0,
            remote_key: 0,
            offset: 0,
        };
        pipe.extend(header.encode());
        pipe.extend([0; 8]);
    }
    let cause = loop {
        if let Err(cause) = world.sides[1].read(&mut pipe, usize::MAX, world.now) {
            break cause;
        }
        assert!(!pipe.is_empty(), "never refused");
    };
    assert_eq!(cause, LossCause::Protocol(ProtocolError::PingFlood));
}

#[test]
fn no_flipped_bit_of_a_sealed_frame_is_believed() {
    let mut world = World::new(true, 4096);
    world.sides[0].send(Lane::Urgent, 40, 1, None, world.now);
    world.sides[1].recv(Lane::Urgent, 100, world.now);
    // Side 0 learns of the room; what it then says is side 1's input.
    world.sides[0].write(&mut world.pipes[0], usize::MAX, world.now);
    world.sides[1].write(&mut world.pipes[1], usize::MAX, world.now);
    let mut prefix: VecDeque<u8> = std::mem::take(&mut world.pipes[0]);
    let start = prefix.len();
    while !world.pipes[1].is_empty() {
        let [_, back] = &mut world.pipes;
        world.sides[0].read(back, usize::MAX, world.now).unwrap();
    }
    world.sides[0].write(&mut prefix, usize::MAX, world.now);
    assert!(prefix.len() >= start + HEADER_BYTES + 40 + TAG_BYTES);
    for bit in start * 8..prefix.len() * 8 {
        let mut spoilt = prefix.clone();
        spoilt[bit / 8] ^= 1 << (bit % 8);
        let mut side = Side::new(connection(1, true, 4096));
        side.recv(Lane::Urgent, 100, world.now);
        let mut failed = false;
        while !spoilt.is_empty() && !failed {
            failed = side.read(&mut spoilt, usize::MAX, world.now).is_err();
        }
        let arrived = side.collect().iter().any(|completion| completion.status.is_ok());
        assert!(failed || !arrived, "bit {bit} does not matter");
    }
}

#[test]
fn random_bytes_never_panic() {
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let sealed = seed % 2 == 0;
        let mut side = Side::new(connection(1, sealed, 4096));
        for lane in Lane::ALL {
            side.recv(lane, 100, Time::default());
        }
        let mut pipe = VecDeque::new();
        for sequence in 1..20u64 {
            // Nearly right headers come further than noise does.
            let mut header = Header {
                kind: [Kind::Send, Kind::Ack, Kind::Ping, Kind::Pong][random.below(4)],
                lane: Some(Lane::ALL[random.below(4)]),
                flags: if random.below(2) == 0 { Flags::LAST } else { Flags::NONE },
                session: 77,
                epoch: 1,
                length: random.below(40) as u32,
                sequence: 1 + random.below(sequence as usize) as u64,
                acknowledged: random.below(2) as u64,
                credit: random.below(3) as u32,
                immediate: 0,
                remote_key: 0,
                offset: random.below(2) as u64 * 20,
            };
            if sealed {
                header.flags = header.flags.with(Flags::SEALED);
            }
            let mut bytes = header.encode().to_vec();
            bytes.extend((0..header.length + 16).map(|_| random.next() as u8));
            if random.below(4) == 0 {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            pipe.extend(bytes);
        }
        while !pipe.is_empty()
            && side.read(&mut pipe, 1 + random.below(90), Time::default()).is_ok()
        {}
        side.connection.lose(&WorkError::Flushed, Time::default());
        let outcomes = std::iter::from_fn(|| side.connection.poll_outcome()).count();
        assert_eq!(outcomes, side.open, "seed {seed}: every work request completes once");
    }
}
