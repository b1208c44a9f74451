//! Large messages between two processes over two cables at once, of which one is pulled out, set
//! down for long, and plugged in again, while the stream runs: it never stops, and nothing is lost,
//! doubled or out of order.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use exo_tests::namespaces::{Cable, Machines};
use serde_json::Value;

const CABLES: [Cable; 2] = [
    Cable { name: "thunderbolt0", net: "192.168.2" },
    Cable { name: "thunderbolt1", net: "192.168.3" },
];
/// How often the cable is pulled out at most.
const PULLS_MAX: usize = 30;
const PATIENCE: Duration = Duration::from_secs(30);

struct Peer {
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(machines: &Machines, machine: usize, to: [&str; 2]) -> Self {
        let within = machines.within(machine);
        let mut process = Command::new(&within[0])
            .args(&within[1..])
            .arg(env!("CARGO_BIN_EXE_rails-peer"))
            .args([CABLES[0].name, to[0], CABLES[1].name, to[1]])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, input, output }
    }

    /// The next line of which `wanted` holds. The process says something every 50 ms, so the wait
    /// ends.
    fn next(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < end {
            let line =
                self.output.next().unwrap_or_else(|| panic!("it ended before {what}: {last}"));
            last = serde_json::from_str(&line.unwrap()).unwrap();
            if wanted(&last) {
                return last;
            }
        }
        panic!("no {what} in time: {last}");
    }

    fn received(&mut self) -> u64 {
        self.next("progress", |line| line["event"] == "progress")["received"].as_u64().unwrap()
    }

    /// Waits until so many more messages have come.
    fn receives(&mut self, more: u64) -> Value {
        let before = self.received();
        self.next("more", |line| line["received"].as_u64().is_some_and(|now| now >= before + more))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn live(line: &Value) -> usize {
    line["rails"].as_array().unwrap().iter().filter(|rail| rail["live"] == true).count()
}

fn sum(line: &Value, what: &str, interface: &str) -> u64 {
    let rails = line["rails"].as_array().unwrap().iter();
    let of = rails.filter(|rail| rail["interface"] == interface);
    of.map(|rail| rail[what].as_u64().unwrap()).sum()
}

#[test]
fn a_stream_over_two_cables_outlives_either() {
    let Some(machines) = Machines::joined_by(&CABLES) else { return };
    let mut b = Peer::start(&machines, 1, ["-", "-"]);
    let mut a = Peer::start(&machines, 0, ["192.168.2.2", "192.168.3.2"]);
    for peer in [&mut a, &mut b] {
        peer.next("both rails", |line| line["rails"].is_array() && live(line) == 2);
        peer.receives(5);
    }
    // Pulled out and plugged in, until it was in the middle of stripes: each time a new interface,
    // the same session.
    let pulls = (1..=PULLS_MAX).find(|_| {
        machines.ip(0, &["link", "del", CABLES[0].name]);
        b.receives(5);
        machines.plug_in(&CABLES[0]);
        let lines = [a.receives(5), b.receives(5)];
        lines.iter().any(|line| sum(line, "moved", CABLES[0].name) > 0)
    });
    assert!(pulls.is_some(), "no stripe had to be moved to the other cable");
    // Down until its session is over, then made anew.
    machines.ip(1, &["link", "set", CABLES[1].name, "down"]);
    for peer in [&mut a, &mut b] {
        peer.next("the loss", |line| live(line) == 1);
        peer.receives(5);
    }
    machines.ip(1, &["link", "set", CABLES[1].name, "up"]);
    for peer in [&mut a, &mut b] {
        let line = peer.next("its return", |line| live(line) == 2);
        let before = sum(&line, "stripes", CABLES[1].name);
        peer.next("use of it", |line| sum(line, "stripes", CABLES[1].name) > before + 5);
    }
    for peer in [&mut a, &mut b] {
        writeln!(peer.input.as_ref().unwrap(), "end").unwrap();
    }
    let reports =
        [&mut a, &mut b].map(|peer| peer.next("report", |line| line["event"] == "report"));
    for (report, other) in [(&reports[0], &reports[1]), (&reports[1], &reports[0])] {
        println!("{report}");
        assert_eq!(report["sent"], other["received"]);
        assert_eq!((&report["order_errors"], &report["checksum_errors"]), (&0.into(), &0.into()));
        // How many is a matter of their speed, which here is that of the processors they share.
        for cable in CABLES {
            assert!(sum(report, "stripes", cable.name) > 0, "{} was used", cable.name);
        }
    }
}
