//! Bytes from outside, made out of good ones and spoilt: every parser says no or gives something
//! that holds what it promises, and none panics. (The session's state machine has a fuzzer of its
//! own, beside its simulation.)
//!
//! `EXO_FUZZ_SECONDS=<n>` goes on for so long, from a seed that is another each time; `EXO_SEED=<n>`
//! repeats one input.
#![allow(clippy::disallowed_methods, reason = "a long run ends by the clock")]

use std::panic::catch_unwind;
use std::time::{Duration, Instant, UNIX_EPOCH};

use exo_transport::wire::activation::{self, ActivationMeta, Dtype, SequenceRows};
use exo_transport::wire::header::{Flags, Header, Kind, Lane};
use exo_transport::wire::hello::Hello;
use exo_transport::wire::preamble::{self, Pattern};
use exo_transport::{Region, limits};

/// SplitMix64 (Steele, Lea, Flood 2014).
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

    /// Spoils up to four places: a bit, a byte, or a whole word, which is what lengths and relative
    /// pointers are.
    fn spoil(&mut self, bytes: &mut [u8]) {
        for _ in 0..self.below(5) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => bytes[at] = self.next() as u8,
                _ => {
                    let at = at & !3;
                    let word = [0, 1, u32::MAX, 1 << 31, self.below(200) as u32, !0 - 63];
                    let word = word[self.below(word.len())].to_le_bytes();
                    let end = bytes.len().min(at + 4);
                    bytes[at..end].copy_from_slice(&word[..end - at]);
                }
            }
        }
    }
}

/// Runs `one` on seed after seed. Gives how many inputs it took for good, and how many for bad.
fn fuzz(name: &str, usual: u64, one: fn(&mut Random) -> bool) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("EXO_SEED") {
        one(&mut Random(seed));
        return;
    }
    let until = number("EXO_FUZZ_SECONDS").map(|n| Instant::now() + Duration::from_secs(n));
    let now = UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
    let first = until.map_or(0, |_| now);
    let (mut good, mut bad) = (0u64, 0u64);
    for seed in first.. {
        let over = match until {
            Some(until) => seed.is_multiple_of(1024) && Instant::now() >= until,
            None => seed == usual,
        };
        if over {
            break;
        }
        match catch_unwind(|| one(&mut Random(seed))) {
            Ok(true) => good += 1,
            Ok(false) => bad += 1,
            Err(panic) => {
                eprintln!("EXO_SEED={seed} cargo test -p exo-transport --test fuzz {name}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{name}: {good} inputs taken, {bad} refused");
    assert!(good > 0 && bad > 0, "inputs of one sort only: {good} good, {bad} bad");
}

#[test]
fn headers() {
    fuzz("headers", 50_000, |random| {
        let kinds = [Kind::Send, Kind::Write, Kind::ReadRequest, Kind::ReadReply, Kind::Ack];
        let header = Header {
            kind: kinds[random.below(kinds.len())],
            lane: Some(Lane::ALL[random.below(4)]),
            flags: [Flags::NONE, Flags::LAST, Flags::SEALED][random.below(3)],
            session: random.next(),
            epoch: random.next() as u32,
            length: random.next() as u32,
            sequence: random.next(),
            acknowledged: random.next(),
            credit: random.next() as u32,
            immediate: random.next() as u32,
            remote_key: random.next(),
            offset: random.next(),
        };
        let mut bytes = header.encode();
        random.spoil(&mut bytes);
        match Header::parse(&bytes) {
            Ok(parsed) => {
                assert_eq!(parsed.encode(), bytes, "nothing of it is passed over");
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}

#[test]
fn preambles() {
    fuzz("preambles", 50_000, |random| {
        let pattern = |random: &mut Random| {
            if random.below(2) == 0 { Pattern::ClusterKey } else { Pattern::FirstUse }
        };
        let mut bytes = preamble::encode(pattern(random));
        random.spoil(&mut bytes);
        match preamble::check(&bytes, pattern(random)) {
            Ok(version) => {
                assert_eq!(version, preamble::VERSION);
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}

#[test]
fn hellos() {
    fuzz("hellos", 50_000, |random| {
        let text = |random: &mut Random, max| "ü\u{1b}x".repeat(random.below(max / 3));
        let hello = Hello {
            node: [random.next() as u8; 16],
            session: random.below(2) as u64,
            epoch: 1 + random.below(2) as u32,
            port: random.next() as u16,
            encrypt: random.below(2) as u8,
            frame_payload_max: 1 << 17,
            name: text(random, limits::NODE_NAME_BYTES_MAX + 20),
            software: text(random, limits::SOFTWARE_BYTES_MAX + 10),
        };
        let mut bytes = hello.encode().to_vec();
        random.spoil(&mut bytes);
        match random.below(10) {
            0 => bytes.truncate(random.below(bytes.len() + 1)),
            1 => bytes.extend([7; 9]),
            2 => bytes.resize(random.below(3000), 1),
            _ => {}
        }
        let Ok(read) = Hello::decode(&bytes) else { return false };
        let max = limits::FRAME_PAYLOAD_BYTES_MIN..=limits::FRAME_PAYLOAD_BYTES_MAX;
        assert!(max.contains(&(read.frame_payload_max as usize)));
        assert!(!read.name.chars().chain(read.software.chars()).any(char::is_control));
        assert_eq!(read.session == 0, read.epoch == 1);
        true
    });
}

#[test]
fn activations() {
    fuzz("activations", 30_000, |random| {
        let rows = |at: usize, random: &mut Random| SequenceRows {
            sequence: at as u64,
            attempt: 1,
            start: random.next() as u32,
            tokens: random.below(4) as u32,
            phase: random.below(2) as u8,
        };
        let sequences: Vec<_> = (0..random.below(6)).map(|at| rows(at, random)).collect();
        let dtype = [Dtype::F32, Dtype::F16, Dtype::Bf16][random.below(3)];
        let tokens = sequences.iter().map(|rows| rows.tokens).sum();
        let hidden = random.below(20) as u32;
        let (placement_epoch, step) = (random.next(), random.next());
        let sequences = &sequences[..];
        let meta = ActivationMeta { placement_epoch, step, dtype, tokens, hidden, sequences };
        let bulk_len = (tokens * hidden) as usize * dtype.size();
        let mut tail = Region::pages(activation::tail_len(bulk_len, sequences.len()));
        let tail_len = activation::encode_tail(&meta, bulk_len, &mut tail).expect("it is sound");
        // It arrives in a region that is longer, and of which only the first bytes are its own.
        let mut whole = Region::pages(bulk_len + tail_len + 16);
        let bytes = &mut whole.as_mut_slice()[..bulk_len + tail_len];
        bytes[bulk_len..].copy_from_slice(&tail.as_slice()[..tail_len]);
        random.spoil(&mut bytes[bulk_len..]);
        let moved = [0, 0, 0, 0, 8, 1][random.below(6)];
        let end = bulk_len + tail_len - [0, 0, 0, 8, 3][random.below(5)].min(bulk_len + tail_len);
        let Some(bytes) = whole.as_slice().get(moved..end) else { return false };
        let Ok(read) = activation::access(bytes) else { return false };
        let numbers = u64::from(read.tokens()) * u64::from(read.hidden());
        assert_eq!(read.bulk().len() as u64, numbers * read.dtype().size() as u64);
        assert_eq!(read.bulk().as_ptr(), bytes.as_ptr(), "the numbers come first");
        assert!(read.bulk().len() <= bytes.len());
        let sum: u64 = read.sequences().map(|rows| u64::from(rows.tokens)).sum();
        assert_eq!(sum, u64::from(read.tokens()), "every row is somebody's");
        true
    });
}
