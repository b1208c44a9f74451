//! The questions of `tbbench peers`, each with its contestants and with what has to hold.

use super::{
    aead, floor, latency,
    section::{Claim, Contestant, Derived, Limit, Round, Section, Values},
    strace,
    transport::{self, Setup},
};
use crate::{
    exercise::Spent,
    floor::Threads,
    link::{Arrangement, Mode},
};

/// Bytes of the activation whose latency is measured.
pub(super) const SMALL: usize = 16 << 10;
/// Bytes of the activations that are streamed.
pub(super) const LARGE: usize = 4 << 20;
/// What thunderbolt-net's packets may hold; veth takes it too.
pub(super) const MTU: u32 = 65_518;

const FLOOR: &str = "bare TCP";
const FLOOR_TWO: &str = "bare TCP, two threads";
const INLINE: &str = "transport, inline";
const ENGINE: &str = "transport, engine's threads";
const TRANSPORT: &str = "transport";

/// How much is measured in one run of a contestant.
#[derive(Clone, Copy)]
pub(super) struct Amount {
    pub(super) round_trips: u64,
    pub(super) messages: u64,
    pub(super) small_frames: u64,
    pub(super) burst: u64,
}

impl Amount {
    /// Round trips of those that are measured in turns with each other: enough turns for each.
    pub(super) fn in_turns(self) -> u64 {
        3 * self.round_trips
    }
}

fn claim(
    subject: &'static str,
    metric: &'static str,
    against: &'static str,
    limit: Limit,
) -> Claim {
    Claim { subject, metric, against: Some((against, metric)), limit }
}

fn bare(mode: Mode, amount: Amount) -> [Contestant; 2] {
    [(FLOOR, Threads::One), (FLOOR_TWO, Threads::Two)].map(|(name, threads)| {
        Contestant::new(name, move |lab| {
            floor::half_round_trip(lab, mode, threads, SMALL, amount.in_turns())
        })
        .in_turns()
    })
}

fn ours(mode: Mode, amount: Amount) -> [Contestant; 2] {
    let each = [(INLINE, Arrangement::Inline), (ENGINE, Arrangement::Engine)];
    each.map(|(name, arrangement)| {
        let setup = Setup { mode, arrangement, encrypted: false };
        Contestant::new(name, move |lab| {
            transport::half_round_trip(lab, setup, SMALL, amount.in_turns())
        })
        .in_turns()
    })
}

/// Half a round trip, both sides looking for work all the time.
pub(super) fn spin(amount: Amount, peers: Vec<Contestant>) -> Section {
    use Limit::AtMost;
    let mut contestants = Vec::from(bare(Mode::Spin, amount));
    contestants.extend(ours(Mode::Spin, amount));
    contestants.extend(peers);
    Section {
        id: "spin",
        title: format!("Half round trip of a {SMALL}-byte activation, spinning, MTU {MTU}"),
        metrics: latency::METRICS,
        mtu: MTU,
        contestants,
        derived: Vec::new(),
        claims: vec![
            claim(INLINE, "p50 µs", FLOOR, AtMost(1.10)),
            claim(INLINE, "p99 µs", FLOOR, AtMost(1.25)),
            claim(INLINE, "p50 µs", "UCX", AtMost(1.0)),
            claim(INLINE, "p50 µs", "MLX ring", AtMost(0.45)),
            claim(INLINE, "p50 µs", "tonic gRPC", AtMost(0.25)),
            claim(ENGINE, "p50 µs", FLOOR_TWO, AtMost(1.10)),
            claim(ENGINE, "p99 µs", FLOOR_TWO, AtMost(1.25)),
        ],
    }
}

/// The same, both sides sleeping until something comes.
pub(super) fn wait(amount: Amount, peers: Vec<Contestant>) -> Section {
    let mut contestants = Vec::from(bare(Mode::Wait, amount));
    contestants.extend(ours(Mode::Wait, amount));
    contestants.extend(peers);
    Section {
        id: "wait",
        title: format!("Half round trip of a {SMALL}-byte activation, waiting, MTU {MTU}"),
        metrics: latency::METRICS,
        mtu: MTU,
        contestants,
        derived: Vec::new(),
        claims: vec![
            claim(INLINE, "p50 µs", FLOOR, Limit::AtMost(1.15)),
            claim(ENGINE, "p50 µs", FLOOR_TWO, Limit::AtMost(1.15)),
        ],
    }
}

/// One way, as fast as it goes.
pub(super) fn stream(mtu: u32, amount: Amount, peers: Vec<Contestant>) -> Section {
    let messages = amount.messages;
    let mut contestants = vec![
        Contestant::new(FLOOR, move |lab| floor::stream(lab, LARGE, messages)),
        Contestant::new(TRANSPORT, move |lab| {
            transport::stream(lab, Setup::PLAIN, LARGE, messages)
        }),
    ];
    contestants.extend(peers);
    Section {
        id: match mtu {
            1500 => "stream-1500",
            9000 => "stream-9000",
            _ => "stream-65518",
        },
        title: format!("Stream of {LARGE}-byte activations, waiting, MTU {mtu}"),
        metrics: &["GB/s", "CPU s/GB", "CPU s/GB out", "CPU s/GB in"],
        mtu,
        contestants,
        derived: Vec::new(),
        claims: vec![
            claim(TRANSPORT, "GB/s", FLOOR, Limit::AtLeast(0.97)),
            claim(TRANSPORT, "CPU s/GB", FLOOR, Limit::AtMost(1.1)),
            claim(TRANSPORT, "GB/s", "MLX ring", Limit::AtLeast(1.3)),
        ],
    }
}

/// What sealing costs a stream, against what it must cost.
pub(super) fn encrypted(amount: Amount) -> Section {
    const BOUND: &str = "1/(1/AEAD + 1/plain)";
    const SEALED: &str = "transport, encrypted";
    let stream = move |encrypted| {
        let setup = Setup { encrypted, ..Setup::PLAIN };
        move |lab: &_| transport::stream(lab, setup, LARGE, amount.messages)
    };
    Section {
        id: "encrypted",
        title: format!("Stream of {LARGE}-byte activations, sealed, MTU {MTU}"),
        metrics: &["GB/s", "CPU s/GB"],
        mtu: MTU,
        contestants: vec![
            Contestant::new("AES-256-GCM, one core", |_| aead::seal()),
            Contestant::new(TRANSPORT, stream(false)),
            Contestant::new(SEALED, stream(true)),
        ],
        derived: vec![Derived {
            name: BOUND,
            of: |round: &Round<'_>| {
                let aead = round.value("AES-256-GCM, one core", "GB/s")?;
                let plain = round.value(TRANSPORT, "GB/s")?;
                Some(Values::from([("GB/s", 1.0 / (1.0 / aead + 1.0 / plain))]))
            },
        }],
        claims: vec![claim(SEALED, "GB/s", BOUND, Limit::AtLeast(0.9))],
    }
}

/// A small frame behind 64 MiB of bulk.
pub(super) fn urgent(amount: Amount) -> Section {
    const BOUND: &str = "3 × idle p99 + one chunk";
    const UNDER: &str = "p99 under bulk µs";
    let count = amount.small_frames;
    let bare = |name, lowat| {
        Contestant::new(name, move |lab| {
            let said = floor::urgent(lab, count, lowat)?;
            let (idle, under) = (said.idle_us, said.under_bulk_us);
            Ok(small_frame(idle.p99, under.p50, under.p99, said.bulk_bytes_per_s))
        })
    };
    Section {
        id: "urgent",
        title: format!(
            "A 64-byte frame there and back while 64 MiB of bulk is in flight, MTU {MTU}"
        ),
        metrics: &["p99 idle µs", "p50 under bulk µs", UNDER, "chunk µs", "bulk GB/s"],
        mtu: MTU,
        contestants: vec![
            Contestant::new(TRANSPORT, move |lab| {
                let said = transport::urgent(lab, Setup::PLAIN, count)?;
                let (idle, under) = (said.idle_us, said.under_bulk_us);
                Ok(small_frame(idle.p99, under.p50, under.p99, said.bulk_bytes_per_s))
            }),
            bare("bare TCP, default buffers", None),
            bare("bare TCP, NOTSENT_LOWAT 128 KiB", Some(128 << 10)),
        ],
        derived: vec![Derived {
            name: BOUND,
            of: |round: &Round<'_>| {
                let idle = round.value(TRANSPORT, "p99 idle µs")?;
                let chunk = round.value(TRANSPORT, "chunk µs")?;
                Some(Values::from([(UNDER, 3.0 * idle + chunk)]))
            },
        }],
        claims: vec![claim(TRANSPORT, UNDER, BOUND, Limit::AtMost(1.0))],
    }
}

fn small_frame(idle_p99: f64, p50: f64, p99: f64, bulk_bytes_per_s: f64) -> Values {
    let chunk = exo_transport::limits::CHUNK_BYTES_DEFAULT as f64;
    Values::from([
        ("p99 idle µs", idle_p99),
        ("p50 under bulk µs", p50),
        ("p99 under bulk µs", p99),
        ("chunk µs", chunk / bulk_bytes_per_s * 1e6),
        ("bulk GB/s", bulk_bytes_per_s / 1e9),
    ])
}

/// Copies, allocations and system calls of a message.
pub(super) fn counts(amount: Amount) -> Section {
    const PINGPONG: &str = "16 KiB there and back";
    const BURST: &str = "64-byte burst";
    const CALLS: &str = "calls/message";
    const ALLOCATIONS: &str = "allocations/message";
    const COPIED: &str = "payload bytes copied";
    let absolute = |subject, metric, limit| Claim { subject, metric, against: None, limit };
    // A first full queue or a first parked thread may allocate: a handful in all, not one a message.
    let none = Limit::AtMost(0.01);
    Section {
        id: "counts",
        title:
            "Calls that moved bytes (per way: 1 is one write there, one read here), allocations, \
                copies"
                .into(),
        metrics: &[CALLS, "writes/frame", "reads/frame", "dry calls/frame", ALLOCATIONS, COPIED],
        mtu: MTU,
        contestants: vec![
            Contestant::new(PINGPONG, move |lab| {
                let said = transport::pingpong(lab, Setup::PLAIN, SMALL, amount.round_trips)?;
                let copied = said.payload_copies as f64;
                let mut values = per_frame(&said.spent);
                values.extend([(CALLS, said.syscalls_per_message), (COPIED, copied)]);
                values.extend([(ALLOCATIONS, said.allocations_per_message)]);
                Ok(values)
            }),
            Contestant::new(BURST, move |lab| {
                let said = transport::burst(lab, Setup::PLAIN, amount.burst)?;
                let mut values = per_frame(&said.spent);
                values.extend([(CALLS, said.syscalls_per_message)]);
                values.extend([(ALLOCATIONS, said.allocations_per_message)]);
                Ok(values)
            }),
            strace::pingpong(1_000),
        ],
        derived: Vec::new(),
        claims: vec![
            absolute(PINGPONG, CALLS, Limit::AtMost(1.05)),
            absolute("strace, 16 KiB there and back", CALLS, Limit::AtMost(1.05)),
            absolute(PINGPONG, ALLOCATIONS, none),
            absolute(PINGPONG, COPIED, Limit::AtMost(0.0)),
            absolute(BURST, CALLS, Limit::AtMost(0.2)),
            absolute(BURST, ALLOCATIONS, none),
        ],
    }
}

/// Of both sides together, acknowledgements among the frames.
fn per_frame(spent: &[Spent; 2]) -> Values {
    let sum = |of: fn(&Spent) -> u64| spent.iter().map(of).sum::<u64>() as f64;
    let (out, into) = (sum(|spent| spent.frames_out), sum(|spent| spent.frames_in));
    Values::from([
        ("writes/frame", sum(|spent| spent.writes) / out),
        ("reads/frame", sum(|spent| spent.reads) / into),
        ("dry calls/frame", sum(|spent| spent.dry_calls) / into),
    ])
}
