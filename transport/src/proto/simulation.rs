//! Two connections in one thread, joined by pipes that cut, delay and stop as a seed says.
//!
//! The same state machines as on a cable: what is checked is that every message arrives whole, once
//! and in order, that every work request completes once, and that nobody hangs. A failure names its
//! seed: `EXO_SEED=<n> cargo test -p exo-transport simulation` runs that one alone.

use std::collections::VecDeque;
use std::io::Read as _;
use std::time::Duration;

use super::connection::{Agreed, Connection, Timers};
use super::error::{CloseCode, LossCause, ProtocolError};
use super::time::Time;
use crate::NodeId;
use crate::limits::{HEADER_BYTES, TAG_BYTES};
use crate::memory::Region;
use crate::queue::{
    Completion, CompletionQueue, Opcode, Payload, RecvWork, SendWork, WorkError, WorkId,
};
use crate::wire::header::{Flags, Header, Kind, Lane};

const TIMERS: Timers = Timers {
    keepalive: Duration::from_millis(250),
    suspect: Duration::from_secs(1),
    resume_window: Duration::from_secs(10),
};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose faults.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn connection(number: u8, sealed: bool, chunk_bytes: usize) -> Connection {
    let (one, two) = ([1; 32], [2; 32]);
    let keys = if number == 0 { (one, two) } else { (two, one) };
    let agreed = Agreed {
        peer: NodeId::from_bytes([1 - number; 16]),
        session: 77,
        epoch: 1,
        keys: sealed.then_some(keys),
        chunk_bytes,
        frame_payload_max: 1 << 20,
    };
    Connection::new(agreed, TIMERS, Time::default())
}

/// Byte `at` of message `number` of `lane`.
fn byte(lane: Lane, number: u32, at: usize) -> u8 {
    (at as u8) ^ (at >> 8) as u8 ^ (number as u8).wrapping_mul(17) ^ (lane as u8) << 6
}

fn filled(lane: Lane, number: u32, len: usize) -> Region {
    let mut region = Region::pages(len);
    for (at, place) in region.as_mut_slice().iter_mut().enumerate() {
        *place = byte(lane, number, at);
    }
    region
}

/// One side: its connection, and what it was promised.
struct Side {
    connection: Connection,
    queue: CompletionQueue,
    next_id: u64,
    open: usize,
    sent: [u32; 4],
    arrived: [u32; 4],
}

impl Side {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            queue: CompletionQueue::with_capacity(10_000),
            next_id: 0,
            open: 0,
            sent: [0; 4],
            arrived: [0; 4],
        }
    }

    fn id(&mut self) -> WorkId {
        assert!(self.queue.promise());
        self.open += 1;
        self.next_id += 1;
        WorkId(self.next_id)
    }

    fn send(&mut self, lane: Lane, len: usize, parts: usize, deadline: Option<Time>, now: Time) {
        let id = self.id();
        let number = self.sent[lane.index()];
        self.sent[lane.index()] += 1;
        let slice = filled(lane, number, len).freeze();
        let payload = Payload::from_slices(
            (0..parts).map(|part| slice.slice(len * part / parts..len * (part + 1) / parts)),
        );
        let queue = Some(self.queue.clone());
        let work = SendWork { id, lane, payload, immediate: number, posted: now, deadline, queue };
        self.connection.post_send(work);
    }

    fn recv(&mut self, lane: Lane, len: usize, now: Time) {
        let id = self.id();
        let (region, queue) = (Region::pages(len), self.queue.clone());
        self.connection.post_recv(RecvWork { id, lane, region, posted: now, queue });
    }

    /// Takes completions and checks the messages among them.
    fn collect(&mut self) -> Vec<Completion> {
        while let Some(outcome) = self.connection.poll_outcome() {
            crate::queue::complete(outcome);
        }
        while self.connection.poll_notice().is_some() {}
        let mut all = Vec::new();
        while let Some(completion) = self.queue.poll() {
            self.open -= 1;
            if completion.opcode == Opcode::Recv && completion.status.is_ok() {
                let (lane, region) = (completion.lane, completion.region.as_ref().unwrap());
                let number = self.arrived[lane.index()];
                self.arrived[lane.index()] += 1;
                assert_eq!(completion.immediate, Some(number), "order on {lane}");
                let bytes = &region.as_slice()[..completion.bytes];
                let right = bytes.iter().enumerate().all(|(at, &b)| b == byte(lane, number, at));
                assert!(right, "bytes of message {number} on {lane}");
            }
            all.push(completion);
        }
        all
    }

    /// Moves up to `len` bytes into the pipe.
    fn write(&mut self, pipe: &mut VecDeque<u8>, len: usize, now: Time) -> usize {
        self.connection.poll_transmit(now);
        let mut moved = 0;
        self.connection.with_slices(|slices| {
            for slice in slices {
                let part = slice.len().min(len - moved);
                pipe.extend(&slice[..part]);
                moved += part;
            }
        });
        self.connection.handle_written(moved);
        moved
    }

    /// Moves up to `len` bytes out of the pipe.
    fn read(&mut self, pipe: &mut VecDeque<u8>, len: usize, now: Time) -> Result<usize, LossCause> {
        let mut moved = 0;
        let mut room = 0;
        for space in &mut self.connection.read_space() {
            room += space.len();
            let part = space.len().min(len - moved).min(pipe.len());
            pipe.read_exact(&mut space[..part]).unwrap();
            moved += part;
        }
        self.connection.handle_read(moved, now)?;
        if moved < room {
            self.connection.handle_dry();
        }
        Ok(moved)
    }
}

/// Both sides and the pipes between them.
struct World {
    sides: [Side; 2],
    /// `pipes[n]` leads away from side `n`.
    pipes: [VecDeque<u8>; 2],
    now: Time,
}

impl World {
    fn new(sealed: bool, chunk_bytes: usize) -> Self {
        Self {
            sides: [0, 1].map(|number| Side::new(connection(number, sealed, chunk_bytes))),
            pipes: Default::default(),
            now: Time::default(),
        }
    }

    fn pass(&mut self, wait: Duration) {
        self.now = self.now.after(wait);
    }

    fn time(&mut self, side: usize) -> Result<(), LossCause> {
        if self.sides[side].connection.poll_timeout() <= self.now {
            self.sides[side].connection.handle_timeout(self.now)?;
        }
        Ok(())
    }

    /// Moves everything, `cut` bytes at a time, until nothing moves.
    fn settle(&mut self, cut: usize) -> Result<(), LossCause> {
        loop {
            let mut moved = 0;
            for side in 0..2 {
                let [a, b] = &mut self.pipes;
                let (out, back) = if side == 0 { (a, b) } else { (b, a) };
                moved += self.sides[side].write(out, cut, self.now);
                while !back.is_empty() {
                    moved += self.sides[side].read(back, cut, self.now)?;
                }
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let sealed = random.below(2) == 0;
    let mut world = World::new(sealed, [4096, 5000, 16_384, 131_072][random.below(4)]);
    let largest = [100, 5000, 40_000, 300_000][random.below(4)];
    let pipe_max = [1, 100, 10_000, 1 << 20][random.below(4)].max(largest / 50);
    let mut posted = [[0u32; 4]; 2];
    let mut recvs = [[0u32; 4]; 2];
    let total = if largest > 10_000 { 6 } else { 20 };
    let mut idle = 0;
    while idle < 2_000 {
        let side = random.below(2);
        let other = 1 - side;
        let lane = Lane::ALL[random.below(4)];
        let now = world.now;
        let mut moved = 0;
        match random.below(10) {
            0 if posted[side][lane.index()] < total => {
                let len = random.below(largest + 1) >> random.below(12);
                let parts = 1 + random.below(4);
                world.sides[side].send(lane, len, parts, None, now);
                posted[side][lane.index()] += 1;
                moved = 1;
            }
            1 if recvs[side][lane.index()] < total => {
                let room = largest + random.below(10);
                world.sides[side].recv(lane, room, now);
                recvs[side][lane.index()] += 1;
                moved = 1;
            }
            2..=5 => {
                let room = pipe_max.saturating_sub(world.pipes[side].len());
                let len = random.below(room + 1);
                moved = world.sides[side].write(&mut world.pipes[side], len, now);
            }
            6..=8 => {
                let len = 1 + random.below(pipe_max);
                let pipe = &mut world.pipes[other];
                while !pipe.is_empty() && random.below(8) > 0 {
                    moved += world.sides[side].read(pipe, len, now).unwrap();
                }
            }
            _ => {
                world.pass(Duration::from_micros(random.below(1000) as u64));
                world.time(side).unwrap();
            }
        }
        world.sides[side].collect();
        // Pings go on for ever; only work that is left keeps the world going.
        let done = |side: usize| {
            posted[side] == [total; 4] && recvs[side] == [total; 4] && world.sides[side].open == 0
        };
        if done(0) && done(1) {
            break;
        }
        idle = if moved > 0 { 0 } else { idle + 1 };
    }
    for side in 0..2 {
        assert_eq!(world.sides[side].arrived, [total; 4], "side {side}");
        assert_eq!(world.sides[side].open, 0, "side {side} has open work");
    }
    for side in &world.sides {
        assert_eq!(sealed, side.connection.counters().sealed_bytes > 0);
    }
}

#[test]
fn simulation_of_500_seeds() {
    if let Some(seed) = std::env::var("EXO_SEED").ok().and_then(|text| text.parse().ok()) {
        return run(seed);
    }
    for seed in 0..500 {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed} failed: EXO_SEED={seed} cargo test -p exo-transport simulation");
            std::panic::resume_unwind(panic);
        }
    }
}

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
            world.settle(cut).unwrap();
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
    world.settle(usize::MAX).unwrap();
    assert_eq!(world.sides[0].connection.counters().inlined_bytes, 64);
    assert_eq!(world.sides[0].collect().len(), 21);
}

#[test]
fn a_deadline_of_begun_work_keeps_its_memory_until_it_is_acknowledged() {
    let mut world = World::new(false, 4096);
    world.sides[1].recv(Lane::Bulk, 10_000, world.now);
    world.settle(usize::MAX).unwrap();
    let deadline = Some(world.now.after(Duration::from_millis(5)));
    world.sides[0].send(Lane::Bulk, 10_000, 1, deadline, world.now);
    world.sides[0].write(&mut world.pipes[0], 100, world.now);
    world.pass(Duration::from_millis(6));
    world.time(0).unwrap();
    let late = world.sides[0].collect();
    assert_eq!(late[0].status, Err(WorkError::DeadlinePassed));
    assert_eq!(world.sides[0].connection.lane_depths()[Lane::Bulk.index()].1, 1, "still held");
    world.settle(usize::MAX).unwrap();
    assert!(world.sides[0].collect().is_empty(), "it completes once");
    assert_eq!(world.sides[1].collect().len(), 1, "no chunk is left half sent");
    assert_eq!(world.sides[0].connection.lane_depths()[Lane::Bulk.index()].2, 0);
}

#[test]
fn silence_is_suspected_then_lost_and_a_byte_in_time_recovers() {
    use super::connection::Notice;
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
    assert!(matches!(refused(Header { kind: Kind::Write, ..good }), E::Unsupported { .. }));
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
