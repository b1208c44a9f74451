//! A peer that was let in and means harm: it knows the keys and the protocol, keeps to it for a
//! while, then not. Whatever it says in whatever order: no panic, no byte outside of what it may
//! touch, no timer that stands, and every work request completes once.
//!
//! A failure names its seed: `EXO_SEED=<n>` runs that one alone. `EXO_FUZZ_SECONDS=<n>` goes on
//! for so long, from a seed that is another each time.

use std::collections::HashSet;

use super::*;
use crate::limits::{HEADER_BYTES, PING_BYTES, RESUME_BYTES, TAG_BYTES};
use crate::memory::{Granted, RegionSlice, fenced};
use crate::proto::seal::Keys;
use crate::queue::{ReadRefusal, WorkError, complete};
use crate::wire::header::{Flags, Header, Kind};

const FILL: u8 = 0xaa;
const CHUNK: usize = 4096;

/// What of a message the peer has sent.
#[derive(Clone, Copy)]
enum Begun {
    Send { offset: usize, room: usize },
    Write { key: u64, offset: u64, told: bool },
    Reply { offset: usize },
}

/// One direction of a lane as the peer knows it.
#[derive(Default)]
struct Spoken {
    sequence: u64,
    acknowledged: u64,
    credit: u32,
    /// Last sequence that the victim sent.
    heard: u64,
    begun: Option<Begun>,
    /// Receives of the victim that are not used up.
    rooms: VecDeque<usize>,
    /// Sequence of the victim's last read.
    asked: u64,
    /// The victim's reads: sequence and length.
    reads: VecDeque<(u64, usize)>,
}

/// A region that the peer may write, or might.
struct Writable {
    key: u64,
    len: usize,
    /// Bytes that a frame of the peer's has named.
    named: Vec<bool>,
}

struct Attack {
    random: Random,
    side: Side,
    sealed: bool,
    epoch: u32,
    keys: Option<Keys>,
    control: u64,
    lanes: [Spoken; 4],
    now: Time,
    writable: Vec<Writable>,
    readable: (u64, RegionSlice),
    /// Regions that were taken back, as they were then.
    revoked: Vec<(Region, Vec<u8>)>,
    /// What the victim has said and the peer not looked at.
    said: VecDeque<u8>,
    /// A frame of a lane that a socket took with it.
    cut: Option<(Header, Vec<u8>)>,
    completed: HashSet<WorkId>,
    posted: u64,
    accepted: u64,
}

impl Attack {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let sealed = random.below(2) == 0;
        let mut side = Side::new(connection(1, sealed, CHUNK));
        let bytes = filled(Lane::Bulk, 9, 3000).freeze();
        let key = side.connection.grant(Granted::Read(bytes.clone()), seed as u32).expect("room");
        Self {
            random,
            side,
            sealed,
            epoch: 1,
            keys: keys(sealed, 1),
            control: 0,
            lanes: Default::default(),
            now: Time::default(),
            writable: Vec::new(),
            readable: (key, bytes),
            revoked: Vec::new(),
            said: VecDeque::new(),
            cut: None,
            completed: HashSet::new(),
            posted: 0,
            accepted: 0,
        }
    }

    // ---- the victim's own doings -----------------------------------------------------------------

    fn id(&mut self) -> WorkId {
        self.posted += 1;
        self.side.id()
    }

    fn post(&mut self) {
        let lane = Lane::ALL[self.random.below(4)];
        let len = self.random.below(12_000) >> self.random.below(8);
        let id = self.id();
        let queue = Some(self.side.queue.clone());
        let late = self.now.after(Duration::from_micros(self.random.below(3_000) as u64));
        let deadline = (self.random.below(4) == 0).then_some(late);
        let to = self.random.next();
        let (verb, payload) = match self.random.below(5) {
            0 | 1 => {
                let region = fenced::region(len, FILL);
                self.lanes[lane.index()].rooms.push_back(len);
                let (posted, queue) = (self.now, self.side.queue.clone());
                let work = RecvWork { id, lane, region, posted, queue };
                return self.side.connection.post_recv(work, self.now);
            }
            2 => (Verb::Send, Payload::from_slice(fenced::region(len, 1).freeze())),
            3 => {
                let payload = Payload::from_slice(fenced::region(len, 2).freeze());
                (Verb::Write { key: to, offset: 7 }, payload)
            }
            _ => {
                let into = Some(fenced::region(len, FILL));
                let verb = Verb::ReadRequest { key: to, offset: 7, len: len as u32, into };
                (verb, Payload::empty())
            }
        };
        let immediate = matches!(verb, Verb::Send).then_some(3);
        let posted = self.now;
        let work = OutWork { id, lane, verb, payload, immediate, posted, deadline, queue };
        self.side.connection.post(work);
    }

    fn grant(&mut self) {
        let len = 1 + self.random.below(9_000);
        let salt = self.random.next() as u32;
        let region = fenced::region(len, FILL);
        let key = self.side.connection.grant(Granted::Write(region), salt).expect("room");
        self.writable.push(Writable { key, len, named: vec![false; len] });
    }

    fn revoke(&mut self) {
        if self.writable.is_empty() {
            return;
        }
        let at = self.random.below(self.writable.len());
        let key = self.writable[at].key;
        if let Some(Granted::Write(region)) = self.side.connection.revoke(key) {
            check_named(&region, &self.writable[at]);
            let then = region.as_slice().to_vec();
            self.revoked.push((region, then));
        }
    }

    /// Lets the victim say all it has to say.
    fn listen(&mut self) {
        let mut turns = 0;
        while self.side.write(&mut self.said, usize::MAX, self.now) > 0 {
            turns += 1;
            assert!(turns < 10_000, "it never has said all");
        }
        let tag = if self.sealed { TAG_BYTES } else { 0 };
        while self.said.len() >= HEADER_BYTES {
            let bytes: Vec<u8> = self.said.drain(..HEADER_BYTES).collect();
            let header = Header::parse(bytes[..].try_into().expect("64 bytes")).expect("its own");
            drop(self.said.drain(..header.length as usize + tag));
            let Some(lane) = header.lane.filter(|_| header.kind.is_of_lane()) else { continue };
            let lane = &mut self.lanes[lane.index()];
            lane.heard = header.sequence;
            if header.kind == Kind::ReadRequest && header.sequence > lane.asked {
                lane.asked = header.sequence;
                lane.reads.push_back((header.sequence, header.immediate as usize));
            }
        }
    }

    // ---- the peer's ------------------------------------------------------------------------------

    fn header(&mut self, kind: Kind) -> Header {
        let number = self.random.below(4);
        let of_lane = kind.is_of_lane() || kind == Kind::Ack;
        let spoken = &mut self.lanes[number];
        let news = of_lane && self.random.below(2) == 0;
        if news {
            let more = spoken.heard.saturating_sub(spoken.acknowledged) as usize;
            spoken.acknowledged += self.random.below(more + 1) as u64;
            spoken.credit = spoken.credit.wrapping_add(self.random.below(3) as u32);
        }
        let last = if kind.is_of_lane() { spoken.sequence } else { self.control };
        Header {
            kind,
            lane: of_lane.then_some(Lane::ALL[number]),
            flags: if self.sealed { Flags::SEALED } else { Flags::NONE },
            session: 77,
            epoch: self.epoch,
            length: 0,
            sequence: last.wrapping_add(1),
            acknowledged: if of_lane { spoken.acknowledged } else { 0 },
            credit: if of_lane { spoken.credit } else { 0 },
            immediate: 0,
            remote_key: 0,
            offset: 0,
        }
    }

    /// A frame that was cut goes again on the next socket, as it was.
    fn again(&mut self) -> Option<(Header, Vec<u8>)> {
        let (mut header, payload) = self.cut.take()?;
        let spoken = &self.lanes[header.lane?.index()];
        header.epoch = self.epoch;
        (header.acknowledged, header.credit) = (spoken.acknowledged, spoken.credit);
        Some((header, payload))
    }

    /// The next frame as an honest peer might send it, or nearly.
    fn frame(&mut self) -> (Header, Vec<u8>) {
        if let Some(again) = self.again() {
            return again;
        }
        let kinds = [Kind::Send, Kind::Write, Kind::ReadRequest, Kind::ReadReply, Kind::Ack];
        let kind = match self.random.below(40) {
            0 => Kind::Ping,
            1 => Kind::Pong,
            2 if self.random.below(8) == 0 => Kind::Close,
            3 if self.random.below(8) == 0 => Kind::Resume,
            n => kinds[n % kinds.len()],
        };
        let mut header = self.header(kind);
        let Some(lane) = header.lane else {
            return match kind {
                Kind::Resume => (header, self.standing()),
                Kind::Close => (header, b"bye".to_vec()),
                _ => (header, self.noise(PING_BYTES)),
            };
        };
        let last = self.random.below(2) == 0;
        let wanted = self.random.below(CHUNK) >> self.random.below(8);
        let spoken = &self.lanes[lane.index()];
        let begun = spoken.begun.filter(|_| kind != Kind::Ack);
        let mut length = 0;
        header.kind = match (begun, kind) {
            (Some(Begun::Send { .. }), _) => Kind::Send,
            (Some(Begun::Write { .. }), _) => Kind::Write,
            (Some(Begun::Reply { .. }), _) => Kind::ReadReply,
            (None, Kind::Send) if spoken.rooms.is_empty() => Kind::Ack,
            (None, Kind::Write) if self.writable.is_empty() => Kind::Ack,
            (None, Kind::ReadReply) if spoken.reads.is_empty() => Kind::Ack,
            (None, kind) => kind,
        };
        match header.kind {
            Kind::Send => {
                let (offset, room) = match begun {
                    Some(Begun::Send { offset, room }) => (offset, room),
                    _ => (0, spoken.rooms[0]),
                };
                header.offset = offset as u64;
                // A header that was spoilt on its way may say anything, and be taken for payload.
                length = wanted.min(room.saturating_sub(offset));
                if last || length == 0 {
                    header.flags = header.flags.with(Flags::LAST).with(Flags::IMMEDIATE);
                }
            }
            Kind::Write => {
                let (key, offset, told) = match begun {
                    Some(Begun::Write { key, offset, told }) => (key, offset, told),
                    _ => {
                        let region = &self.writable[self.random.below(self.writable.len())];
                        let told = !spoken.rooms.is_empty() && wanted.is_multiple_of(2);
                        (region.key, self.random.below(region.len) as u64, told)
                    }
                };
                let region = self.writable.iter().find(|region| region.key == key);
                let len = region.map_or(0, |region| region.len);
                (header.remote_key, header.offset) = (key, offset);
                length = wanted.min(len.saturating_sub(offset as usize));
                if told {
                    header.flags = header.flags.with(Flags::IMMEDIATE);
                }
                if last || length == 0 {
                    header.flags = header.flags.with(Flags::LAST);
                }
            }
            Kind::ReadRequest => {
                header.flags = header.flags.with(Flags::LAST);
                let keys = [self.readable.0, 3, self.random.next()];
                header.remote_key = keys[self.random.below(5).saturating_sub(2)];
                header.offset = self.random.below(3_100) as u64;
                header.immediate = self.random.below(3_100) as u32;
            }
            Kind::ReadReply => {
                let (request, len) = spoken.reads[0];
                let offset = match begun {
                    Some(Begun::Reply { offset }) => offset,
                    _ => 0,
                };
                (header.remote_key, header.offset) = (request, offset as u64);
                let left = len.saturating_sub(offset);
                length = wanted.min(left);
                let refuses = self.random.below(8) == 0;
                if refuses {
                    header.immediate = ReadRefusal::NoRegion as u32;
                }
                if refuses || length == left {
                    header.flags = header.flags.with(Flags::LAST);
                } else if length == 0 {
                    length = 1;
                }
            }
            _ => header.sequence = self.control.wrapping_add(1),
        }
        if header.kind.is_of_lane() {
            header.sequence = self.lanes[lane.index()].sequence.wrapping_add(1);
        }
        (header, self.noise(length))
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.random.next() as u8).collect()
    }

    fn standing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RESUME_BYTES);
        for lane in &mut self.lanes {
            let more = lane.heard.saturating_sub(lane.acknowledged) as usize;
            lane.acknowledged += self.random.below(more + 1) as u64;
            if self.random.below(200) == 0 {
                lane.acknowledged = self.random.next();
            }
            // The victim goes back to there.
            lane.heard = lane.acknowledged;
            bytes.extend(lane.acknowledged.to_le_bytes());
            bytes.extend(lane.credit.to_le_bytes());
        }
        bytes
    }

    /// Spoils one field.
    fn spoil(&mut self, header: &mut Header, payload: &mut Vec<u8>) {
        let near = |value: u64, random: &mut Random| match random.below(6) {
            0 => value.wrapping_add(1),
            1 => value.wrapping_sub(1),
            2 => u64::MAX,
            3 => 0,
            4 => 1 << random.below(64),
            _ => random.next(),
        };
        let random = &mut self.random;
        match random.below(12) {
            0 => header.session = near(header.session, random),
            1 => header.epoch = near(header.epoch.into(), random) as u32,
            2 => header.sequence = near(header.sequence, random),
            3 => header.acknowledged = near(header.acknowledged, random),
            4 => header.credit = near(header.credit.into(), random) as u32,
            5 => header.immediate = near(header.immediate.into(), random) as u32,
            6 => header.remote_key = near(header.remote_key, random),
            7 => header.offset = near(header.offset, random),
            8 => header.lane = header.lane.map(|_| Lane::ALL[random.below(4)]),
            9 => header.flags = header.flags.with([Flags::LAST, Flags::IMMEDIATE][random.below(2)]),
            10 => payload.push(random.next() as u8),
            _ => header.length = near(header.length.into(), random) as u32,
        }
    }

    /// Sends a frame, cut at random. An error is the victim's verdict.
    fn speak(&mut self) -> Result<(), LossCause> {
        let (mut header, mut payload) = self.frame();
        header.length = payload.len() as u32;
        let kept = header.length;
        let spoilt = self.random.below(60) == 0;
        if spoilt {
            self.spoil(&mut header, &mut payload);
            if header.length == kept {
                header.length = payload.len() as u32;
            }
        }
        self.name(&header);
        let mut encoded = header.encode();
        let tag = self.keys.as_ref().map(|keys| keys.seal(&header, &encoded, &mut payload));
        let noisy = self.random.below(200) == 0;
        if noisy {
            encoded[self.random.below(HEADER_BYTES)] ^= 1 << self.random.below(8);
            if let Ok(header) = Header::parse(&encoded) {
                self.name(&header);
            }
        }
        let mut pipe: VecDeque<u8> =
            encoded.into_iter().chain(payload).chain(tag.into_iter().flatten()).collect();
        while !pipe.is_empty() {
            let cut = 1 + (self.random.below(9_000) >> self.random.below(13));
            self.side.read(&mut pipe, cut, self.now)?;
            if self.random.below(20) == 0 {
                self.revoke();
            }
        }
        self.accepted += 1;
        self.note(&Header::parse(&encoded).unwrap_or(header));
        Ok(())
    }

    /// The bytes of a region that this header names may be written from now on.
    fn name(&mut self, header: &Header) {
        if header.kind != Kind::Write {
            return;
        }
        for region in self.writable.iter_mut().filter(|region| region.key == header.remote_key) {
            let end = header.offset.saturating_add(header.length.into());
            if end <= region.len as u64 {
                region.named[header.offset as usize..end as usize].fill(true);
            }
        }
    }

    /// A frame was taken: what comes next follows from it.
    fn note(&mut self, header: &Header) {
        let Some(lane) = header.lane.filter(|_| header.kind.is_of_lane()) else {
            self.control = header.sequence;
            return;
        };
        let lane = &mut self.lanes[lane.index()];
        lane.sequence = header.sequence;
        let end = header.offset.saturating_add(header.length.into());
        let last = header.flags.has(Flags::LAST);
        let begins = lane.begun.is_none();
        let told = header.kind == Kind::Write && header.flags.has(Flags::IMMEDIATE);
        let mut room = 0;
        if begins && (header.kind == Kind::Send || told) {
            room = lane.rooms.pop_front().unwrap_or_default();
        } else if let Some(Begun::Send { room: known, .. }) = lane.begun {
            room = known;
        }
        lane.begun = match header.kind {
            Kind::Send if !last => Some(Begun::Send { offset: end as usize, room }),
            Kind::Write if !last => {
                Some(Begun::Write { key: header.remote_key, offset: end, told })
            }
            Kind::ReadReply if !last => Some(Begun::Reply { offset: end as usize }),
            _ => None,
        };
        if header.kind == Kind::ReadReply && last {
            lane.reads.pop_front();
        }
    }

    /// The socket goes and another comes. A frame may have been cut anywhere.
    fn reconnect(&mut self) -> Result<(), LossCause> {
        let (mut header, payload) = self.frame();
        header.length = payload.len() as u32;
        self.name(&header);
        let bytes = [&header.encode()[..], &payload].concat();
        let cut = self.random.below(bytes.len());
        let mut pipe: VecDeque<u8> = bytes[..cut].iter().copied().collect();
        while !pipe.is_empty() {
            self.side.read(&mut pipe, usize::MAX, self.now)?;
        }
        if header.kind.is_of_lane() {
            self.cut = Some((header, payload));
        }
        self.said.clear();
        self.side.connection.detach();
        self.time()?;
        self.epoch += 1;
        self.control = 0;
        self.keys = keys(self.sealed, self.epoch);
        assert!(self.side.connection.may_attach(self.epoch, false));
        self.side.connection.attach(route(1, self.sealed, self.epoch), self.now);
        self.listen();
        if self.random.below(20) == 0 {
            return self.speak();
        }
        let mut header = self.header(Kind::Resume);
        let mut payload = self.standing();
        header.length = payload.len() as u32;
        let encoded = header.encode();
        let tag = self.keys.as_ref().map(|keys| keys.seal(&header, &encoded, &mut payload));
        let mut pipe: VecDeque<u8> =
            encoded.into_iter().chain(payload).chain(tag.into_iter().flatten()).collect();
        while !pipe.is_empty() {
            self.side.read(&mut pipe, usize::MAX, self.now)?;
        }
        self.note(&header);
        Ok(())
    }

    fn time(&mut self) -> Result<(), LossCause> {
        self.now = self.now.after(Duration::from_micros(self.random.below(4_000) as u64));
        if self.side.connection.poll_timeout() <= self.now {
            self.side.connection.handle_timeout(self.now)?;
        }
        if self.side.connection.is_attached() {
            self.listen();
        }
        let next = self.side.connection.poll_timeout();
        assert!(next > self.now, "the timer stands at {next:?}");
        Ok(())
    }

    fn collect(&mut self) {
        while let Some(outcome) = self.side.connection.poll_outcome() {
            complete(outcome);
        }
        while self.side.connection.poll_notice().is_some() {}
        while let Some(completion) = self.side.queue.poll() {
            assert!(self.completed.insert(completion.id), "{:?} completed twice", completion.id);
        }
    }

    fn run(mut self) -> u64 {
        for _ in 0..300 {
            let step = match self.random.below(24) {
                0..=4 => {
                    self.post();
                    Ok(())
                }
                5 => {
                    self.grant();
                    Ok(())
                }
                6 => {
                    let id = WorkId(1 + self.random.below(self.posted as usize + 1) as u64);
                    self.side.connection.cancel(id, self.now);
                    Ok(())
                }
                7 => self.time(),
                8 => self.reconnect(),
                9..=11 => {
                    self.listen();
                    Ok(())
                }
                _ => self.speak(),
            };
            self.collect();
            if step.is_err() {
                break;
            }
        }
        self.side.connection.lose(&WorkError::Flushed, self.now);
        self.collect();
        assert_eq!(self.completed.len() as u64, self.posted, "work that never completed");
        for (region, then) in &self.revoked {
            assert!(region.as_slice() == then, "a region was written after it was taken back");
        }
        let bytes = filled(Lane::Bulk, 9, 3000);
        assert!(self.readable.1.as_slice() == bytes.as_slice(), "what may be read was written");
        for known in &self.writable {
            if let Some(Granted::Write(region)) = self.side.connection.revoke(known.key) {
                check_named(&region, known);
            }
        }
        self.accepted
    }
}

fn keys(sealed: bool, epoch: u32) -> Option<Keys> {
    let keys = route(0, sealed, epoch).keys;
    keys.map(|(sealing, opening)| Keys::new(&sealing, &opening))
}

/// Only bytes that a frame has named were written.
fn check_named(region: &Region, known: &Writable) {
    let mut bytes = region.as_slice().iter().zip(&known.named);
    let untouched = bytes.all(|(&byte, &named)| named || byte == FILL);
    assert!(untouched, "bytes that no frame named were written");
}

#[test]
fn whatever_a_hostile_peer_says_nothing_breaks() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("EXO_SEED") {
        Attack::new(seed).run();
        return;
    }
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let until = number("EXO_FUZZ_SECONDS").map(|long| since + Duration::from_secs(long));
    let first = until.map_or(0, |_| since.as_millis() as u64 * 1_000_000);
    let (mut attacks, mut accepted) = (0, 0);
    loop {
        let over = match until {
            Some(until) => std::time::UNIX_EPOCH.elapsed().expect("after 1970") >= until,
            None => attacks == 2_000,
        };
        if over {
            break;
        }
        let seed = first + attacks;
        match std::panic::catch_unwind(|| Attack::new(seed).run()) {
            Ok(more) => accepted += more,
            Err(panic) => {
                eprintln!("EXO_SEED={seed} cargo test -p exo-transport hostile_peer");
                std::panic::resume_unwind(panic);
            }
        }
        attacks += 1;
    }
    println!("{attacks} attacks, {accepted} frames taken");
    // An attack that is refused at once reaches nothing.
    assert!(accepted > 10 * attacks, "{accepted} frames taken of {attacks} attacks");
}
