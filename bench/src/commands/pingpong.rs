//! `tbbench pingpong`: how long a message takes there and back.

use bytesize::ByteSize;
use exo_netconfig::LinkKind;
use serde::{Deserialize, Serialize};

use super::{With, allocations_per_message, bytes, calls_per_message};
use crate::{
    exercise::{Side, Spent, pingpong},
    histogram::Percentiles,
    link::{Arrangement, Mode, Node},
};

/// What `tbbench pingpong` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    with: With,
    /// Bytes of a message; from 4 KiB on it is an activation with so many bytes of numbers.
    #[arg(long, default_value = "16KiB")]
    size: ByteSize,
    /// Round trips to measure, after a tenth as many to warm up.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// What `--json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) size: usize,
    pub(crate) count: u64,
    pub(crate) mode: Mode,
    /// Of the whole round trip.
    pub(crate) rtt_us: Percentiles,
    /// Bytes of both sides' payloads of 4 KiB and more that were copied in user space.
    pub(crate) payload_copies: u64,
    /// Of both sides together.
    pub(crate) allocations_per_message: f64,
    /// That moved bytes, per way: 1 is one write by the sender and one read by the receiver.
    pub(crate) syscalls_per_message: f64,
    pub(crate) arrangement: Arrangement,
    pub(crate) encrypted: bool,
    pub(crate) interface: String,
    pub(crate) link_kind: LinkKind,
    /// Of this side and of the other, over the measured round trips.
    pub(crate) spent: [Spent; 2],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let node = Node::open(&args.with.link, 0)?;
    let mut side = Side::new(&node.endpoint, node.connect(args.with.peer)?)?;
    let size = bytes(args.size);
    let plan = pingpong::Plan { size, count: args.count, warmup: (args.count / 10).max(100) };
    let outcome = pingpong::client(&mut side, plan)?;
    let messages = 2 * args.count;
    let report = Report {
        size,
        count: args.count,
        mode: args.with.link.mode,
        rtt_us: outcome.rtt_us,
        payload_copies: outcome.spent.iter().map(|spent| spent.payload_copies).sum(),
        allocations_per_message: allocations_per_message(&outcome.spent, messages),
        syscalls_per_message: calls_per_message(&outcome.spent, messages),
        arrangement: args.with.link.arrangement,
        encrypted: side.encrypted(),
        interface: node.endpoint.link().name().into(),
        link_kind: node.endpoint.link().kind(),
        spent: outcome.spent,
    };
    args.with.tell(&report, || print(&report, args.size))
}

fn print(report: &Report, size: ByteSize) {
    let rtt = &report.rtt_us;
    let sealed = if report.encrypted { "encrypted" } else { "plain" };
    println!("{} over {} ({}), {sealed}", size, report.interface, report.link_kind);
    println!(
        "round trip µs   min {:.1}   p50 {:.1}   p90 {:.1}   p99 {:.1}   p99.9 {:.1}   max {:.1}",
        rtt.min, rtt.p50, rtt.p90, rtt.p99, rtt.p999, rtt.max
    );
    println!(
        "per message     {:.3} system calls each way   {:.4} allocations   {} payload bytes copied in all",
        report.syscalls_per_message, report.allocations_per_message, report.payload_copies
    );
}
