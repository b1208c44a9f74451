//! `tbbench stream`: how much goes one way, and what it costs.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{With, allocations_per_message, bytes, calls_per_message};
use crate::{
    exercise::{Side, Spent, stream},
    link::{Arrangement, Mode, Node},
};

/// What `tbbench stream` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    with: With,
    /// Bytes of a message.
    #[arg(long, default_value = "4MiB")]
    size: ByteSize,
    /// Messages to measure, after a tenth as many to warm up.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Buffers that the sender rotates, and regions that the receiver recycles.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    buffers: u64,
}

/// What `--json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) size: usize,
    pub(crate) count: u64,
    pub(crate) mode: Mode,
    pub(crate) seconds: f64,
    /// Thousands of millions of bytes of numbers per second.
    pub(crate) gb_per_s: f64,
    /// Processor seconds of the sender and of the receiver for so many bytes.
    pub(crate) cpu_s_per_gb: [f64; 2],
    pub(crate) payload_copies: u64,
    pub(crate) allocations_per_message: f64,
    pub(crate) syscalls_per_message: f64,
    pub(crate) arrangement: Arrangement,
    pub(crate) encrypted: bool,
    pub(crate) spent: [Spent; 2],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let node = Node::open(&args.with.link, 0)?;
    let mut side = Side::new(&node.endpoint, node.connect(args.with.peer)?)?;
    let (size, buffers) = (bytes(args.size), args.buffers as usize);
    let warmup = (args.count / 10).max(2 * args.buffers);
    let plan = stream::Plan { size, count: args.count, warmup, buffers };
    let outcome = stream::client(&mut side, plan)?;
    let gigabytes = size as f64 * args.count as f64 / 1e9;
    let spent = outcome.spent;
    let report = Report {
        size,
        count: args.count,
        mode: args.with.link.mode,
        seconds: outcome.seconds,
        gb_per_s: gigabytes / outcome.seconds,
        cpu_s_per_gb: spent.map(|spent| spent.cpu_s / gigabytes),
        payload_copies: spent.iter().map(|spent| spent.payload_copies).sum(),
        allocations_per_message: allocations_per_message(&spent, args.count),
        syscalls_per_message: calls_per_message(&spent, args.count),
        arrangement: args.with.link.arrangement,
        encrypted: side.encrypted(),
        spent,
    };
    args.with.tell(&report, || {
        let sealed = if report.encrypted { "encrypted" } else { "plain" };
        let [ours, theirs] = report.cpu_s_per_gb;
        println!("{} × {}, {sealed}: {:.2} GB/s", args.count, args.size, report.gb_per_s);
        println!("processor seconds per GB: sender {ours:.3}, receiver {theirs:.3}");
    })
}
