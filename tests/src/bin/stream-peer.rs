//! One end of a stream of numbered, checksummed messages, each way and on several lanes: what the
//! tests of link faults run in each namespace.
//!
//! `stream-peer INTERFACE ADDRESS|- on|off SUSPECT_MS`: connects to the address, or waits. It says
//! on its standard output, one JSON object a line, what happens and how far it has come. The first
//! line on its standard input ends the stream; it then says `report` and waits for the end of its
//! input, so that the other side hears the last acknowledgement.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use exo_netconfig::{InterfaceChoice, Link};
use exo_tests::lines::{read_input, tell};
use exo_transport::{
    ClusterKey, Completion, CompletionQueue, Encrypt, Endpoint, EndpointConfig, Event, Identity,
    Lane, Opcode, Payload, QueuePair, Region, Send, Timing, Trust,
};
use serde_json::{Value, json};

/// Each namespace has all ports to itself.
const PORT: u16 = 52_414;
const LANES: [Lane; 3] = [Lane::Urgent, Lane::Activations, Lane::Bulk];
const LENGTHS_MAX: [usize; 3] = [200, 40_000, 400_000];
/// Messages of a lane on their way, and receives posted for it.
const WINDOW: usize = 4;
/// Number, then checksum, then what they are about.
const HEAD: usize = 12;
/// The immediate of a lane's last message.
const LAST: u32 = u32::MAX;
const PACE: Duration = Duration::from_millis(1);
const TELL_EVERY: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [interface, peer, encrypt, suspect_ms] = &words[..] else {
        bail!("stream-peer INTERFACE ADDRESS|- on|off SUSPECT_MS");
    };
    let encrypt = if encrypt == "on" { Encrypt::On } else { Encrypt::Off };
    let link = Link::open(&InterfaceChoice::Named(interface.clone())).context("the link")?;
    let trust = Trust::ClusterKey(ClusterKey::from_bytes([7; 32]));
    let suspect_ms = suspect_ms.parse().context("SUSPECT_MS")?;
    let timing = Timing { keepalive_ms: suspect_ms / 4, suspect_ms, ..Timing::default() };
    let config =
        EndpointConfig { listen: PORT, encrypt, timing, ..EndpointConfig::new("stream", trust) };
    let endpoint = Endpoint::open(link, Identity::generate(), config)?;
    let peer = (peer != "-").then(|| format!("{peer}:{PORT}").parse()).transpose()?;
    if let Some(peer) = peer {
        endpoint.connect(peer)?;
    }
    let pair = loop {
        match endpoint.events().recv()? {
            Event::Connected { queue_pair } => break queue_pair,
            event => tell(&told(&event)),
        }
    };
    tell(&json!({ "event": "connected" }));
    let input = read_input();
    let mut stream = Stream::new(&pair)?;
    let mut next_tell = Instant::now();
    while !stream.is_over() {
        for event in endpoint.events().try_iter() {
            tell(&told(&event));
        }
        if input.try_recv().is_ok() {
            stream.ending = true;
        }
        stream.send()?;
        while let Some(completion) = stream.queue.poll() {
            stream.take(completion)?;
        }
        if Instant::now() >= next_tell {
            next_tell = Instant::now() + TELL_EVERY;
            tell(&json!({ "event": "progress", "received": stream.received.iter().sum::<u32>() }));
        }
        thread::sleep(PACE);
    }
    let stats = &endpoint.stats().connections[0];
    tell(&json!({
        "event": "report",
        "sent": stream.sent,
        "received": stream.received,
        "order_errors": stream.order_errors,
        "checksum_errors": stream.checksum_errors,
        "resumes": stats.resumes,
        "replayed_frames": stats.replayed_frames,
        "encrypted": stats.encrypted,
    }));
    // Nobody else holds the other end of the channel when there is no more input.
    while input.recv().is_ok() {}
    Ok(())
}

fn told(event: &Event) -> Value {
    let name = match event {
        Event::Suspected { .. } => "suspected",
        Event::Recovered { .. } => "recovered",
        Event::Resumed { .. } => "resumed",
        Event::LinkChanged { .. } => "link-changed",
        Event::Disconnected { .. } => "disconnected",
        _ => "other",
    };
    json!({ "event": name, "words": format!("{event:?}") })
}

struct Stream<'a> {
    pair: &'a QueuePair,
    queue: CompletionQueue,
    ending: bool,
    /// Lanes whose last message went out, and whose last came in.
    said_last: [bool; 3],
    heard_last: [bool; 3],
    flying: [usize; 3],
    sent: [u32; 3],
    received: [u32; 3],
    order_errors: u64,
    checksum_errors: u64,
}

impl<'a> Stream<'a> {
    fn new(pair: &'a QueuePair) -> Result<Self> {
        let queue = CompletionQueue::with_capacity(4 * WINDOW * LANES.len());
        for (at, lane) in LANES.into_iter().enumerate() {
            for _ in 0..WINDOW {
                post_recv(pair, lane, Region::pages(LENGTHS_MAX[at]), &queue)?;
            }
        }
        Ok(Self {
            pair,
            queue,
            ending: false,
            said_last: [false; 3],
            heard_last: [false; 3],
            flying: [0; 3],
            sent: [0; 3],
            received: [0; 3],
            order_errors: 0,
            checksum_errors: 0,
        })
    }

    fn is_over(&self) -> bool {
        self.said_last == [true; 3] && self.heard_last == [true; 3] && self.flying == [0; 3]
    }

    fn send(&mut self) -> Result<()> {
        for (at, lane) in LANES.into_iter().enumerate() {
            if self.flying[at] == WINDOW || self.said_last[at] {
                continue;
            }
            let number = self.sent[at];
            let last = self.ending;
            let payload = Payload::from_slice(message(at, number).freeze());
            let immediate = if last { LAST } else { number };
            let send = Send { lane, payload, immediate, deadline: None };
            self.pair.post_send(send, &self.queue).map_err(|(error, _)| error)?;
            self.said_last[at] = last;
            self.sent[at] += 1;
            self.flying[at] += 1;
        }
        Ok(())
    }

    fn take(&mut self, completion: Completion) -> Result<()> {
        let lane = completion.lane;
        completion.status.with_context(|| format!("{:?} on {lane}", completion.opcode))?;
        let at = LANES.iter().position(|&other| other == lane).context("a lane of ours")?;
        if completion.opcode == Opcode::Send {
            ensure!(self.flying[at] > 0, "a send on {lane} completed twice");
            self.flying[at] -= 1;
            return Ok(());
        }
        let region = completion.region.context("a receive gives its region back")?;
        let bytes = &region.as_slice()[..completion.bytes];
        let number = u32::from_le_bytes(bytes[..4].try_into()?);
        let last = completion.immediate == Some(LAST);
        let expected = self.received[at];
        self.order_errors += u64::from(number != expected || self.heard_last[at]);
        let whole = bytes.len() == length(at, expected);
        let sum = u64::from_le_bytes(bytes[4..HEAD].try_into()?);
        self.checksum_errors += u64::from(!whole || sum != checksum(&bytes[HEAD..]));
        self.received[at] += 1;
        self.heard_last[at] |= last;
        post_recv(self.pair, lane, region, &self.queue)
    }
}

fn post_recv(pair: &QueuePair, lane: Lane, region: Region, queue: &CompletionQueue) -> Result<()> {
    pair.post_recv(lane, region, queue).map_err(|(error, _)| error)?;
    Ok(())
}

/// Bytes of message `number` of the lane at `at`: all sorts.
fn length(at: usize, number: u32) -> usize {
    let spread = number.wrapping_mul(2_654_435_761) as usize % (LENGTHS_MAX[at] - HEAD);
    HEAD + (spread >> (number % 5))
}

fn message(at: usize, number: u32) -> Region {
    let mut region = Region::pages(length(at, number));
    let (head, body) = region.as_mut_slice().split_at_mut(HEAD);
    for (at, byte) in body.iter_mut().enumerate() {
        *byte = (at as u32 ^ at as u32 >> 8 ^ number.wrapping_mul(167)) as u8;
    }
    head[..4].copy_from_slice(&number.to_le_bytes());
    head[4..].copy_from_slice(&checksum(body).to_le_bytes());
    region
}

/// FNV-1a, 64 bits: enough to see a byte in a wrong place.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
