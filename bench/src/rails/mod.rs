//! `tbbench rails`: what do two links give over one? Two veth pairs between two namespaces, each
//! limited by the kernel's token bucket, so that it is the links that are full and not this machine;
//! either alone and both as `Rails`, in turns, in one run.
//!
//! `end` is what either side does.

pub(crate) mod end;

use std::net::Ipv4Addr;

use anyhow::{Context as _, ensure};
use bytesize::ByteSize;
use comfy_table::{Table, presets};
use serde::Serialize;

use self::end::{FIRST_PORT, Received};
use crate::{
    emulator::{Machines, profile::rate},
    figures::{Figure, paired_ratio},
    job::{self, Job},
    namespace::ip,
};

/// What two equal links should give at least, of one.
const WANTED: f64 = 1.9;
/// The token bucket: a few hundred microseconds at these rates.
const BURST: &str = "256k";
const LATENCY: &str = "20ms";

/// What `tbbench rails` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Megabits per second of each link.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "2000,2000")]
    mbps: Vec<u64>,
    /// Bytes of a message.
    #[arg(long, default_value = "8MiB")]
    size: ByteSize,
    /// Messages of one measurement.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..=10_000))]
    count: u64,
    /// How often each is measured, in turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    repeats: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    mbps: Vec<u64>,
    size: u64,
    /// Gigabits per second of each link alone, in order.
    alone: Vec<Figure>,
    together: Figure,
    /// Of both together, by what each alone gave in the same round, added up.
    of_the_sum: f64,
    /// Of both together, by the faster alone.
    of_the_faster: f64,
    /// The share of the bytes that went over each when both were there.
    shares: Vec<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.mbps.len() == 2 && args.mbps.iter().all(|mbps| *mbps > 0), "--mbps: two rates");
    job::catch_interrupts()?;
    let machines = Machines::new("tbbench-rails", 2)?;
    for (link, mbps) in args.mbps.iter().enumerate() {
        lay(&machines, link, *mbps)?;
    }
    let keys = tempfile::tempdir()?;
    let key = keys.path().join("key");
    crate::cluster_key::write(&key)?;
    let sets: [&[usize]; 3] = [&[0], &[1], &[0, 1]];
    let mut gbps = [Vec::new(), Vec::new(), Vec::new()];
    let mut shares = vec![0.0; 2];
    // The first round warms up.
    for round in 0..=args.repeats {
        eprintln!("round {round} of {}", args.repeats);
        for (set, gbps) in sets.iter().zip(&mut gbps) {
            let received = measure(args, &machines, &key, set)?;
            if round > 0 {
                gbps.push(received.gbps);
                if set.len() == 2 {
                    let all: u64 = received.bytes.iter().sum();
                    let each = received.bytes.iter().map(|own| *own as f64 / all as f64);
                    shares.iter_mut().zip(each).for_each(|(sum, own)| *sum += own);
                }
            }
        }
    }
    shares.iter_mut().for_each(|share| *share /= args.repeats as f64);
    tell(args, &Report::of(args, gbps, shares))
}

impl Report {
    fn of(args: &Args, [first, second, both]: [Vec<f64>; 3], shares: Vec<f64>) -> Self {
        let pairs = || first.iter().zip(&second);
        let sums: Vec<f64> = pairs().map(|(first, second)| first + second).collect();
        let faster: Vec<f64> = pairs().map(|(first, second)| first.max(*second)).collect();
        Self {
            mbps: args.mbps.clone(),
            size: args.size.as_u64(),
            of_the_sum: paired_ratio(&both, &sums),
            of_the_faster: paired_ratio(&both, &faster),
            alone: vec![Figure::of(first), Figure::of(second)],
            together: Figure::of(both),
            shares,
        }
    }
}

fn tell(args: &Args, report: &Report) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "Gb/s, median (least–most)", ""]);
    for (link, (alone, mbps)) in report.alone.iter().zip(&report.mbps).enumerate() {
        let limit = format!("limited to {}", rate(*mbps as f64));
        table.add_row([format!("link {} alone", link + 1), alone.to_string(), limit]);
    }
    let shares: Vec<_> =
        report.shares.iter().map(|share| format!("{:.0} %", 100.0 * share)).collect();
    let shares = format!("over them: {}", shares.join(", "));
    table.add_row(["both as rails".into(), report.together.to_string(), shares]);
    println!("{table}");
    println!(
        "\n{:.2} × the faster alone, {:.0} % of both added up",
        report.of_the_faster,
        100.0 * report.of_the_sum
    );
    if args.mbps[0] == args.mbps[1] {
        let holds = if report.of_the_faster >= WANTED { "holds" } else { "FALLS SHORT" };
        println!("wanted: {WANTED} × of two equal links: {holds}");
    }
    Ok(())
}

/// What a link is called in both namespaces.
fn interface(link: usize) -> String {
    format!("cable{link}")
}

fn address(link: usize, machine: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 2 + link as u8, 1 + machine as u8)
}

fn lay(machines: &Machines, link: usize, mbps: u64) -> anyhow::Result<()> {
    let names = machines.names();
    let name = interface(link);
    let pair = ["type", "veth", "peer", "name", &name, "netns", names[1]];
    ip(&[&["link", "add", &name, "netns", names[0]], &pair[..]].concat())?;
    for (machine, namespace) in names.iter().enumerate() {
        let address = format!("{}/24", address(link, machine));
        ip(&["-n", namespace, "address", "add", &address, "dev", &name])?;
        ip(&["-n", namespace, "link", "set", &name, "up"])?;
        let rate = format!("{mbps}mbit");
        let mut tc = machines.command(machine, "tc");
        tc.args(["qdisc", "add", "dev", &name, "root", "tbf", "rate", &rate]);
        tc.args(["burst", BURST, "latency", LATENCY]);
        let said = tc.output().context("`tc` does not run; hint: it is in the package iproute2")?;
        let complaint = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "the kernel limits no link: {complaint}");
    }
    Ok(())
}

fn measure(
    args: &Args,
    machines: &Machines,
    key: &std::path::Path,
    links: &[usize],
) -> anyhow::Result<Received> {
    let own = std::env::current_exe().context("the way to this program")?;
    let end = |machine: usize| {
        let mut command = machines.command(machine, &own);
        command.arg("rails-end").arg("--cluster-key-file").arg(key);
        command.args(["--size", &args.size.as_u64().to_string()]);
        command.args(["--count", &args.count.to_string()]);
        for link in links {
            command.args(["--link", &interface(*link)]);
        }
        command
    };
    let (server, mut client) = (end(1), end(0));
    for (number, link) in links.iter().enumerate() {
        let peer = format!("{}:{}", address(*link, 1), FIRST_PORT + number as u16);
        client.args(["--peer", &peer]);
    }
    let last = FIRST_PORT + links.len() as u16 - 1;
    let said = Job { server, port: Some(last), client, server_ends: true }.run()?;
    serde_json::from_str(&said.server).context("what the receiving end tells")
}
