//! Do independent tools see what was asked? ping sees delay, jitter and loss there and back, iperf3
//! loss one way and rate.

use std::{
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::Value;

use super::{
    Joint, Machines, Plan, ceiling, lay,
    path::{Character, Loss},
    profile::rate,
    switch::ETHERNET_HEADER_BYTES,
};
use crate::job::{self, Job};

/// What a link is asked for and what was seen of it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    by: &'static str,
    unit: &'static str,
    asked: f64,
    seen: f64,
    /// How far it may be off.
    allowed: f64,
    holds: bool,
}

/// Everything of one check.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What the relay carries at these MTUs, in megabits per second.
    pub(crate) ceiling_mbps: Vec<(u16, f64)>,
    pub(crate) rows: Vec<Row>,
}

/// A share of what was asked.
const SHARE: f64 = 0.05;
/// How far a delay may be off, however short it is, in milliseconds.
const DELAY_MS: f64 = 0.05;
const IPERF_PORT: u16 = 5201;
const MTUS: [u16; 3] = [1500, 9000, 65_518];
const JOINT_NET: [u8; 3] = [192, 168, 8];

impl Row {
    fn new(
        what: impl Into<String>,
        by: &'static str,
        unit: &'static str,
        [asked, seen]: [f64; 2],
        least: f64,
    ) -> Self {
        let allowed = (SHARE * asked).max(least);
        let holds = (seen - asked).abs() <= allowed;
        Self { what: what.into(), by, unit, asked, seen, allowed, holds }
    }

    /// Cells of a table.
    pub(crate) fn cells(&self) -> [String; 6] {
        let Self { what, by, unit, asked, seen, allowed, holds } = self;
        [
            what.clone(),
            (*by).into(),
            format!("{asked:.3} {unit}"),
            format!("{seen:.3} {unit}"),
            format!("± {allowed:.3}"),
            if *holds { "holds" } else { "OFF" }.into(),
        ]
    }
}

impl Report {
    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds)
    }
}

/// Checks the emulator on this machine.
pub(crate) fn run(seed: u64) -> anyhow::Result<Report> {
    let machines = Machines::new("tbbench-check", 2)?;
    let mut ceiling_mbps = Vec::new();
    for mtu in MTUS {
        eprintln!("the relay's ceiling at MTU {mtu}");
        ceiling_mbps.push((mtu, ceiling::measure(&machines, mtu)?));
    }
    let mut report = Report { ceiling_mbps, rows: Vec::new() };
    let bench = Bench { machines, seed };
    let ms = Duration::from_millis;
    for (delay, jitter) in [(ms(5), ms(1)), (ms(25), ms(2)), (Duration::from_micros(150), ms(0))] {
        report.rows.extend(bench.delay(delay, jitter)?);
    }
    for (share, burst) in [(0.02, 1.0), (0.02, 3.0)] {
        report.rows.push(bench.loss(share, burst)?);
    }
    for mbps in [100.0, 500.0] {
        report.rows.push(bench.rate(1500, mbps)?);
    }
    if let Some((mtu, ceiling)) = report.ceiling_mbps.last().copied() {
        report.rows.push(bench.rate(mtu, (ceiling / 2.0).round())?);
    }
    Ok(report)
}

struct Bench {
    machines: Machines,
    seed: u64,
}

impl Bench {
    fn plan(&self, mtu: u16, character: Character) -> Plan<'static> {
        let joint = Joint { there: character, back: character, ..Joint::CLEAR };
        Plan { interface: "check0", net: JOINT_NET, mtu, joint, seed: self.seed }
    }

    /// ping's mean, and its deviation where there is jitter: two ways' variances add up.
    fn delay(&self, delay: Duration, jitter: Duration) -> anyhow::Result<Vec<Row>> {
        let plan = self.plan(1500, Character { delay, jitter, ..Character::CLEAR });
        let _link = lay(&self.machines.names(), &plan)?;
        let what = match jitter.as_micros() {
            0 => format!("{delay:?} each way"),
            _ => format!("{delay:?} ± {jitter:?} each way"),
        };
        eprintln!("delay: {what}");
        // Far enough apart that hardly any would have overtaken its predecessor.
        let every = (6 * jitter).max(Duration::from_millis(2));
        let pinged = self.ping(&plan, 1500, every)?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let mean = [2.0 * ms(delay), pinged.mean_ms];
        // A direction may be off by so much, and ping sees two.
        let mut rows = vec![Row::new(&what, "ping, mean", "ms", mean, 2.0 * DELAY_MS)];
        if !jitter.is_zero() {
            let deviation = [2_f64.sqrt() * ms(jitter), pinged.deviation_ms];
            rows.push(Row::new(what, "ping, deviation", "ms", deviation, DELAY_MS));
        }
        Ok(rows)
    }

    /// One way, by iperf3's datagrams.
    fn loss(&self, share: f64, burst: f64) -> anyhow::Result<Row> {
        let loss = Loss { share, burst };
        let character = Character { delay: Duration::from_millis(1), loss, ..Character::CLEAR };
        let there = self.plan(1500, character);
        let joint = Joint { there: character, ..Joint::CLEAR };
        let _link = lay(&self.machines.names(), &Plan { joint, ..there })?;
        let what = format!("{} % lost, {burst} in a row", 100.0 * share);
        eprintln!("loss: {what}");
        let words = ["-u", "-b", "24M", "-l", "200", "-t", "8", "-w", "2M"];
        let said = self.iperf3(&there, &words)?;
        let seen = said["end"]["sum"]["lost_percent"].as_f64().context("iperf3 tells no loss")?;
        // Bursts of three make three times the variance: what chance alone may do is allowed as well.
        let sent = said["end"]["sum"]["packets"].as_f64().context("iperf3 tells no packets")?;
        let by_chance = 300.0 * (share * (2.0 * burst - 1.0) / sent).sqrt();
        Ok(Row::new(what, "iperf3 UDP", "%", [100.0 * share, seen], by_chance))
    }

    /// iperf3's goodput, of which the rate of whole frames follows.
    fn rate(&self, mtu: u16, mbps: f64) -> anyhow::Result<Row> {
        let rate_bps = Some((mbps * 1e6) as u64);
        // A queue of 20 ms: enough for TCP to fill the link, not so much that it takes long to.
        let queue_bytes = ((mbps * 1e6 / 8.0 * 0.02) as u64).max(8 * u64::from(mtu));
        let delay = Duration::from_micros(200);
        let character = Character { rate_bps, queue_bytes, delay, ..Character::CLEAR };
        let plan = self.plan(mtu, character);
        let _link = lay(&self.machines.names(), &plan)?;
        let what = format!("{} at MTU {mtu}", rate(mbps));
        eprintln!("rate: {what}");
        let said = self.iperf3(&plan, &["-t", "4", "-O", "1"])?;
        let goodput = said["end"]["sum_received"]["bits_per_second"].as_f64();
        let goodput = goodput.context("iperf3 tells no rate")? / 1e6;
        // IPv4's and TCP's headers with time stamps are 52 bytes.
        let mtu = f64::from(mtu);
        let seen = goodput * (mtu + ETHERNET_HEADER_BYTES as f64) / (mtu - 52.0);
        Ok(Row::new(what, "iperf3 TCP", "Mb/s", [mbps, seen], 0.0))
    }

    fn iperf3(&self, plan: &Plan<'_>, words: &[&str]) -> anyhow::Result<Value> {
        let mut server = self.tool(1, "iperf3");
        server.args(["-s", "-1"]);
        let mut client = self.tool(0, "iperf3");
        let address = plan.address(1).to_string();
        client.args(["-c", &address, "-J"]).args(words);
        let job = Job { server, port: Some(IPERF_PORT), client, server_ends: true };
        let said = job.run().context("hint: apt-get install iperf3")?;
        serde_json::from_str(&said.client).context("iperf3's JSON")
    }

    /// Before others, where that may be: what is looked at is the link, not who else computes here.
    fn tool(&self, machine: usize, program: &str) -> Command {
        let mut command = self.machines.command(machine, "nice");
        command.args(["-n", "-10", program]);
        command
    }

    fn ping(&self, plan: &Plan<'_>, count: u32, every: Duration) -> anyhow::Result<Pinged> {
        let address = plan.address(1).to_string();
        let mut command = self.tool(0, "ping");
        let (count, every) = (count.to_string(), every.as_secs_f64().to_string());
        let output = ends(command.args(["-q", "-c", &count, "-i", &every, &address]))?;
        if job::interrupted() {
            bail!("interrupted");
        }
        let said = String::from_utf8_lossy(&output.stdout);
        Pinged::parse(&said).with_context(|| format!("ping said: {said}"))
    }
}

fn ends(command: &mut Command) -> anyhow::Result<Output> {
    command.output().context("ping does not run; hint: apt-get install iputils-ping")
}

/// What ping's last line says.
#[derive(Debug, PartialEq)]
struct Pinged {
    mean_ms: f64,
    deviation_ms: f64,
}

impl Pinged {
    fn parse(said: &str) -> Option<Self> {
        // rtt min/avg/max/mdev = 9.803/10.030/10.254/0.107 ms
        let line = said.lines().find(|line| line.starts_with("rtt "))?;
        let values = line.split_once(" = ")?.1.split_whitespace().next()?;
        let values: Vec<f64> = values.split('/').map_while(|value| value.parse().ok()).collect();
        let [_, mean_ms, _, deviation_ms] = values[..] else { return None };
        Some(Self { mean_ms, deviation_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_is_understood() {
        let said = "2 packets transmitted\nrtt min/avg/max/mdev = 9.8/10.03/10.25/0.107 ms, pipe 2";
        let pinged = Pinged::parse(said).unwrap();
        assert_eq!(pinged, Pinged { mean_ms: 10.03, deviation_ms: 0.107 });
        assert_eq!(Pinged::parse("100% packet loss"), None);
    }

    #[test]
    fn what_is_off_by_more_than_a_twentieth_does_not_hold() {
        let row = |seen| Row::new("a link", "a tool", "ms", [10.0, seen], 0.1);
        assert!(row(10.49).holds && row(9.51).holds);
        assert!(!row(10.51).holds && !row(9.49).holds);
        assert!(Row::new("a short one", "a tool", "ms", [0.3, 0.38], 0.1).holds);
    }
}
