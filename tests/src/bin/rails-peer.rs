//! One end of a stream of large, numbered, checksummed messages over two links at once, each way:
//! what the test of rails runs in each namespace.
//!
//! `rails-peer INTERFACE ADDRESS|- INTERFACE ADDRESS|-`: connects over each interface to the address,
//! or waits. It says on its standard output, one JSON object a line, how far it has come. The first
//! line on its standard input ends the stream; it then says `report` and waits for the end of its
//! input.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use exo_netconfig::{InterfaceChoice, Link};
use exo_tests::lines::{read_input, tell};
use exo_transport::{
    ClusterKey, Encrypt, Endpoint, EndpointConfig, Event, Identity, Opcode, QueuePair, Rails,
    RailsCompletion, RailsConfig, Region, Timing, Trust,
};
use serde_json::{Value, json};

const PORT: u16 = 52_414;
const MESSAGE: usize = 2 << 20;
const STRIPE: usize = 256 << 10;
/// Messages on their way, and regions given.
const WINDOW: usize = 4;
/// The immediate of the last message.
const LAST: u32 = u32::MAX;
/// Lost quickly, so that the test sees both: a rail that comes back and one that is made anew.
const TIMING: Timing = Timing {
    handshake_ms: 1_000,
    keepalive_ms: 75,
    suspect_ms: 300,
    resume_window_ms: 2_000,
    ack_delay_us: 500,
};
const TELL_EVERY: Duration = Duration::from_millis(50);
const REDIAL_EVERY: Duration = Duration::from_millis(300);

/// One link of this machine.
struct Side {
    endpoint: Endpoint,
    dials: Option<SocketAddr>,
    connected: bool,
    dialled: Instant,
}

impl Side {
    fn open(identity: &Identity, interface: &str, peer: &str) -> Result<Self> {
        let link = Link::open(&InterfaceChoice::Named(interface.to_owned()))?;
        let trust = Trust::ClusterKey(ClusterKey::from_bytes([7; 32]));
        let config = EndpointConfig {
            listen: PORT,
            encrypt: Encrypt::Off,
            timing: TIMING,
            ..EndpointConfig::new("rails", trust)
        };
        let endpoint = Endpoint::open(link, identity.clone(), config)?;
        let dials = (peer != "-").then(|| format!("{peer}:{PORT}").parse()).transpose()?;
        let dialled = Instant::now() - REDIAL_EVERY;
        Ok(Self { endpoint, dials, connected: false, dialled })
    }

    /// A new session, if there is one; dials while there is none.
    fn look(&mut self) -> Result<Option<QueuePair>> {
        for event in self.endpoint.events().try_iter() {
            match event {
                Event::Connected { queue_pair } => {
                    self.connected = true;
                    return Ok(Some(queue_pair));
                }
                Event::Disconnected { .. } => self.connected = false,
                _ => {}
            }
        }
        if let Some(addr) = self.dials.filter(|_| !self.connected)
            && self.dialled.elapsed() >= REDIAL_EVERY
        {
            self.dialled = Instant::now();
            self.endpoint.connect(addr)?;
        }
        Ok(None)
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [one, to_one, other, to_other] = &words[..] else {
        bail!("rails-peer INTERFACE ADDRESS|- INTERFACE ADDRESS|-");
    };
    let identity = Identity::generate();
    let mut sides = [
        Side::open(&identity, one, to_one).context("the first link")?,
        Side::open(&identity, other, to_other).context("the second link")?,
    ];
    let mut first = None;
    while first.is_none() {
        first = sides[0].look()?;
        thread::sleep(Duration::from_millis(5));
    }
    let first = first.context("a first rail")?;
    let rails = Rails::new(RailsConfig { stripe_bytes: STRIPE, ..RailsConfig::default() }, first);
    let mut stream = Stream::new(rails)?;
    tell(&json!({ "event": "connected" }));
    let input = read_input();
    let mut next_tell = Instant::now();
    while !stream.is_over() {
        for side in &mut sides {
            if let Some(pair) = side.look()? {
                stream.rails.add(pair)?;
            }
        }
        stream.ending |= input.try_recv().is_ok();
        stream.send()?;
        if let Some(done) = stream.rails.wait(Duration::from_millis(5)) {
            stream.take(done)?;
        }
        if Instant::now() >= next_tell {
            next_tell = Instant::now() + TELL_EVERY;
            tell(&stream.told("progress"));
        }
    }
    tell(&stream.told("report"));
    while input.recv().is_ok() {}
    Ok(())
}

struct Stream {
    rails: Rails,
    ending: bool,
    said_last: bool,
    heard_last: bool,
    flying: usize,
    sent: u32,
    received: u32,
    order_errors: u64,
    checksum_errors: u64,
}

impl Stream {
    fn new(mut rails: Rails) -> Result<Self> {
        for _ in 0..WINDOW {
            rails.post_recv(Region::pages(MESSAGE)).map_err(|(error, _)| error)?;
        }
        Ok(Self {
            rails,
            ending: false,
            said_last: false,
            heard_last: false,
            flying: 0,
            sent: 0,
            received: 0,
            order_errors: 0,
            checksum_errors: 0,
        })
    }

    fn is_over(&self) -> bool {
        self.said_last && self.heard_last && self.flying == 0
    }

    fn send(&mut self) -> Result<()> {
        while self.flying < WINDOW && !self.said_last {
            let immediate = if self.ending { LAST } else { self.sent };
            let slice = message(self.sent).freeze();
            self.rails.post_send(slice, immediate).map_err(|(error, _)| error)?;
            self.said_last = self.ending;
            self.sent += 1;
            self.flying += 1;
        }
        Ok(())
    }

    fn take(&mut self, done: RailsCompletion) -> Result<()> {
        done.status.with_context(|| format!("{:?} {}", done.opcode, done.number))?;
        if done.opcode == Opcode::Send {
            self.flying -= 1;
            return Ok(());
        }
        let region = done.region.context("a receive gives its region back")?;
        ensure!(done.bytes == MESSAGE, "{} bytes", done.bytes);
        let number = u32::from_le_bytes(region.as_slice()[..4].try_into()?);
        self.order_errors += u64::from(number != self.received || self.heard_last);
        self.checksum_errors += u64::from(region.as_slice() != message(number).as_slice());
        self.received += 1;
        self.heard_last |= done.immediate == LAST;
        self.rails.post_recv(region).map_err(|(error, _)| error)?;
        Ok(())
    }

    fn told(&self, event: &str) -> Value {
        let rails: Vec<Value> = (self.rails.stats().into_iter())
            .map(|rail| {
                json!({
                    "interface": rail.interface, "live": rail.live, "stripes": rail.stripes,
                    "moved": rail.moved,
                })
            })
            .collect();
        json!({
            "event": event,
            "sent": self.sent,
            "received": self.received,
            "order_errors": self.order_errors,
            "checksum_errors": self.checksum_errors,
            "rails": rails,
        })
    }
}

/// Every word of a message is its own, so that a stripe in a wrong place, or from another message,
/// is seen.
fn message(number: u32) -> Region {
    let mut region = Region::pages(MESSAGE);
    for (at, word) in region.as_mut_slice().chunks_exact_mut(4).enumerate() {
        let mixed = (at as u32).wrapping_mul(0x9e37_79b1) ^ number.wrapping_mul(0x85eb_ca6b);
        let value = if at == 0 { number } else { mixed };
        word.copy_from_slice(&value.to_le_bytes());
    }
    region
}
