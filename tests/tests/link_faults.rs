//! A stream between two processes in two network namespaces, whose cable is pulled out, made anew,
//! set down or silently cut while it runs: nothing is lost, doubled or out of order.
//!
//! `EXO_FAULTS=100` is the long run; `EXO_SEED=<n>` repeats one.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use exo_tests::namespaces::{Cable, Machines, must};
use serde_json::Value;

const CABLE: Cable = Cable { name: "thunderbolt0", net: "192.168.2" };
const ADDRESSES: [&str; 2] = ["192.168.2.1", "192.168.2.2"];
const PATIENCE: Duration = Duration::from_secs(20);
/// Quick to suspect, so that many faults fit into little time.
const SUSPECT_MS: u64 = 300;

/// A `stream-peer` in a namespace, and what it has said.
struct Peer {
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Value>,
    received: u64,
    /// Names of events, without the progress.
    heard: Vec<String>,
}

impl Peer {
    fn start(machines: &Machines, machine: usize, to: &str, seal: bool, suspect_ms: u64) -> Self {
        let within = machines.within(machine);
        let seal = if seal { "on" } else { "off" };
        let mut process = Command::new(&within[0])
            .args(&within[1..])
            .arg(env!("CARGO_BIN_EXE_stream-peer"))
            .args([CABLE.name, to, seal, &suspect_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (line, lines) = channel();
        thread::spawn(move || {
            for text in output.lines().map_while(Result::ok) {
                let _ = line.send(serde_json::from_str(&text).unwrap());
            }
        });
        let input = process.stdin.take();
        Self { process, input, lines, received: 0, heard: Vec::new() }
    }

    /// The next thing it says that is one of `names`.
    fn next(&mut self, names: &[&str], patience: Duration) -> Value {
        let end = Instant::now() + patience;
        loop {
            let line = match self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("no {names:?}; heard {:?}", self.heard),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended before {names:?}; heard {:?}", self.heard)
                }
            };
            let name = line["event"].as_str().unwrap();
            assert!(name != "disconnected" || names.contains(&name), "{line}");
            if name == "progress" {
                self.received = line["received"].as_u64().unwrap();
            } else {
                self.heard.push(name.to_owned());
            }
            if names.contains(&name) {
                return line;
            }
        }
    }

    /// Waits until more has come than had now.
    fn wait_for_more(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            if line["event"] == "progress" {
                self.received = line["received"].as_u64().unwrap();
            } else {
                self.heard.push(line["event"].as_str().unwrap().to_owned());
            }
        }
        let (before, begun) = (self.received, Instant::now());
        while self.received <= before {
            self.next(&["progress"], PATIENCE);
            assert!(begun.elapsed() < PATIENCE, "the stream stands; heard {:?}", self.heard);
        }
    }

    fn end_stream(&mut self) {
        writeln!(self.input.as_ref().unwrap(), "end").unwrap();
    }

    fn heard(&self, name: &str) -> usize {
        self.heard.iter().filter(|heard| *heard == name).count()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn two(machines: &Machines, seal: bool, suspect_ms: u64) -> [Peer; 2] {
    let mut b = Peer::start(machines, 1, "-", seal, suspect_ms);
    // It listens a moment after it has started; one that connects too early is told so.
    let mut tries = 0;
    let a = loop {
        let mut a = Peer::start(machines, 0, ADDRESSES[1], seal, suspect_ms);
        if a.next(&["connected", "other"], PATIENCE)["event"] == "connected" {
            break a;
        }
        tries += 1;
        assert!(tries < 100, "never connected");
        thread::sleep(Duration::from_millis(50));
    };
    b.next(&["connected"], PATIENCE);
    [a, b]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The interface is deleted and made anew: another index, another hardware address.
    Anew,
    /// It is down for longer than a peer may be silent.
    LongDown,
    /// One end sends every packet to nobody, without an error.
    Silent,
    ShortDown,
}

/// So many faults in the order of a seed: 40 % anew, 30 % long, 10 % silent, the rest short.
fn faults(count: usize, random: &mut Random) -> Vec<Fault> {
    let kinds = [(Fault::Anew, 4), (Fault::LongDown, 3), (Fault::Silent, 1)];
    let mut all: Vec<_> = kinds
        .into_iter()
        .flat_map(|(fault, tenths)| vec![fault; (count * tenths).div_ceil(10)])
        .collect();
    all.resize(count.max(all.len()), Fault::ShortDown);
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at as u64 + 1) as usize);
    }
    all
}

fn index(machines: &Machines) -> u64 {
    let output = machines.ip(0, &["-j", "link", "show", CABLE.name]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json[0]["ifindex"].as_u64().unwrap()
}

fn inflict(machines: &Machines, fault: Fault, random: &mut Random) {
    let end = random.below(2) as usize;
    let mut pause = |from, to| thread::sleep(Duration::from_millis(from + random.below(to - from)));
    let link = |state| machines.ip(end, &["link", "set", CABLE.name, state]);
    match fault {
        Fault::Anew => {
            let before = index(machines);
            machines.ip(end, &["link", "del", CABLE.name]);
            pause(0, 600);
            machines.plug_in(&CABLE);
            assert_ne!(index(machines), before, "a new interface has a new index");
        }
        Fault::LongDown => {
            link("down");
            pause(SUSPECT_MS + 100, SUSPECT_MS + 900);
            link("up");
        }
        Fault::Silent => {
            // A neighbour that nobody is: works on every kernel, and no error tells of it.
            let neighbour = [ADDRESSES[1 - end], "dev", CABLE.name];
            let nobody = ["lladdr", "02:00:00:00:00:99", "nud", "permanent"];
            machines.ip(end, &[&["neigh", "replace"], &neighbour[..], &nobody].concat());
            pause(SUSPECT_MS + 100, SUSPECT_MS + 900);
            machines.ip(end, &[&["neigh", "del"], &neighbour[..]].concat());
        }
        Fault::ShortDown => {
            link("down");
            pause(1, 100);
            link("up");
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_over_a_cable_that_fails() {
    let Some(machines) = Machines::joined_by(&[CABLE]) else { return };
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let seed = number("EXO_SEED").unwrap_or(now);
    let count = number("EXO_FAULTS").unwrap_or(6) as usize;
    // Shown if the test fails.
    println!("EXO_SEED={seed} EXO_FAULTS={count} cargo test -p exo-tests --test link_faults");
    let mut random = Random(seed);
    let seal = random.below(2) == 0;
    let [mut a, mut b] = two(&machines, seal, SUSPECT_MS);
    let faults = faults(count, &mut random);
    for (at, &fault) in faults.iter().enumerate() {
        a.wait_for_more();
        b.wait_for_more();
        thread::sleep(Duration::from_millis(random.below(200)));
        println!("fault {at}: {fault:?}");
        inflict(&machines, fault, &mut random);
    }
    a.wait_for_more();
    b.wait_for_more();
    a.end_stream();
    b.end_stream();
    let reports = [&mut a, &mut b].map(|peer| peer.next(&["report"], PATIENCE));
    let mut sums = [0, 0];
    for (report, other) in [(&reports[0], &reports[1]), (&reports[1], &reports[0])] {
        assert_eq!(report["sent"], other["received"], "{report} {other}");
        assert_eq!(report["order_errors"], 0, "{report}");
        assert_eq!(report["checksum_errors"], 0, "{report}");
        assert_eq!(report["encrypted"], seal);
        for (sum, what) in sums.iter_mut().zip(["resumes", "replayed_frames"]) {
            *sum += report[what].as_u64().unwrap();
        }
        println!("{report}");
    }
    // A socket does not outlive its interface, so each new one is a new socket, at both ends.
    let anew = faults.iter().filter(|&&fault| fault == Fault::Anew).count() as u64;
    assert!(sums[0] >= 2 * anew, "{} resumed sockets for {anew} new interfaces", sums[0]);
    assert!(sums[1] > 0, "no frame was sent again");
    assert!(a.heard("suspected") + b.heard("suspected") > 0);
    assert!(a.heard("link-changed") > 0 && b.heard("link-changed") > 0);
}

/// Ends or stops machine 1's process by a signal: machine 0 names it within 1.5 s.
fn named_after(signal: &str) {
    let Some(machines) = Machines::joined_by(&[CABLE]) else { return };
    let [mut a, mut b] = two(&machines, true, 1_000);
    a.wait_for_more();
    b.wait_for_more();
    let pid = b.process.id().to_string();
    must("kill", &[signal, &pid]);
    let event = a.next(&["suspected", "disconnected"], Duration::from_millis(1_500));
    let words = event["words"].as_str().unwrap();
    assert!(words.contains("stream") && words.contains(ADDRESSES[1]), "{words}");
    assert!(words.contains(CABLE.name), "{words}");
}

#[test]
fn a_killed_peer_is_named() {
    named_after("-KILL");
}

#[test]
fn a_stopped_peer_is_named() {
    named_after("-STOP");
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
