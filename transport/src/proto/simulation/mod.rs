//! Two sessions' ends in one thread, joined by pipes that cut, delay, stop and break as a seed says.
//!
//! The same state machines as on a cable. Layout: this file is the world, `verbs` says what each
//! verb does in it, `faults` breaks it at random, `hostile` and `fuzz` are
//! peers that mean harm: by hand and at random.

mod faults;
mod fuzz;
mod hostile;
mod verbs;

use std::collections::VecDeque;
use std::io::Read as _;
use std::time::Duration;

use super::connection::{Agreed, Connection, Route, Timers};
use super::error::LossCause;
use super::time::{Span, Time};
use crate::NodeId;
use crate::memory::{Region, RemoteRegion};
use crate::queue::{Completion, CompletionQueue, Opcode, OutWork, Payload, RecvWork, Verb, WorkId};
use crate::wire::header::Lane;

const TIMERS: Timers = Timers {
    keepalive: Span::from_millis(250),
    suspect: Span::from_millis(1_000),
    resume_window: Span::from_millis(10_000),
    ack_delay: Span::from_micros(500),
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

/// Side `number`'s view of socket `epoch`: each has keys of its own.
fn route(number: u8, sealed: bool, epoch: u32) -> Route {
    let (one, two) = ([epoch as u8; 32], [!(epoch as u8); 32]);
    let keys = if number == 0 { (one, two) } else { (two, one) };
    Route { epoch, keys: sealed.then_some(keys) }
}

fn connection(number: u8, sealed: bool, chunk_bytes: usize) -> Connection {
    let agreed = Agreed {
        peer: NodeId::from_bytes([1 - number; 16]),
        session: 77,
        chunk_bytes,
        frame_payload_max: 1 << 20,
    };
    Connection::new(agreed, route(number, sealed, 1), TIMERS, Time::default())
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
        self.connection.post(OutWork {
            id,
            lane,
            verb: Verb::Send,
            payload,
            immediate: Some(number),
            posted: now,
            deadline,
            queue: Some(self.queue.clone()),
        });
    }

    fn write_to(
        &mut self,
        lane: Lane,
        to: RemoteRegion,
        offset: u64,
        payload: Payload,
        immediate: Option<u32>,
        now: Time,
    ) {
        let id = self.id();
        let verb = Verb::Write { key: to.key(), offset };
        let queue = Some(self.queue.clone());
        let (posted, deadline) = (now, None);
        self.connection.post(OutWork {
            id,
            lane,
            verb,
            payload,
            immediate,
            posted,
            deadline,
            queue,
        });
    }

    fn read_from(&mut self, lane: Lane, from: RemoteRegion, offset: u64, len: usize, now: Time) {
        let id = self.id();
        let into = Some(Region::pages(len));
        let verb = Verb::ReadRequest { key: from.key(), offset, len: len as u32, into };
        self.connection.post(OutWork {
            id,
            lane,
            verb,
            payload: Payload::empty(),
            immediate: None,
            posted: now,
            deadline: None,
            queue: Some(self.queue.clone()),
        });
    }

    fn recv(&mut self, lane: Lane, len: usize, now: Time) {
        let id = self.id();
        let (region, queue) = (Region::pages(len), self.queue.clone());
        self.connection.post_recv(RecvWork { id, lane, region, posted: now, queue }, now);
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
        if self.connection.queued() == 0 {
            assert!(!self.connection.has_overlooked(now), "there was something to be sent");
        }
        let mut moved = 0;
        self.connection.with_slices(usize::MAX, |slices| {
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
        for space in &mut self.connection.read_space(now) {
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

    fn pass(&mut self, wait: impl Into<Span>) {
        self.now = self.now.after(wait);
    }

    fn time(&mut self, side: usize) -> Result<(), LossCause> {
        if self.sides[side].connection.poll_timeout() <= self.now {
            self.sides[side].connection.handle_timeout(self.now)?;
        }
        Ok(())
    }

    /// As [`settle`](Self::settle), and then what waited for company.
    fn settle_late(&mut self, cut: usize) -> Result<(), LossCause> {
        self.settle(cut)?;
        self.pass(TIMERS.ack_delay);
        self.settle(cut)
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
