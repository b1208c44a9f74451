//! `tbbench burst`: how many small frames share a system call.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{With, allocations_per_message, bytes, calls_per_message};
use crate::{
    exercise::{Side, Spent, burst},
    link::Node,
};

/// What `tbbench burst` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    with: With,
    /// Bytes of a message.
    #[arg(long, default_value = "64B")]
    size: ByteSize,
    /// Messages to measure.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Messages in flight at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=500))]
    window: u64,
}

/// What `--json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) size: usize,
    pub(crate) count: u64,
    pub(crate) allocations_per_message: f64,
    /// That moved bytes, per way.
    pub(crate) syscalls_per_message: f64,
    /// Of the sender and of the receiver.
    pub(crate) spent: [Spent; 2],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let node = Node::open(&args.with.link, 0)?;
    let mut side = Side::new(&node.endpoint, node.connect(args.with.peer)?)?;
    let (size, window) = (bytes(args.size), args.window as usize);
    let spent = burst::client(&mut side, burst::Plan { size, count: args.count, window })?;
    let report = Report {
        size,
        count: args.count,
        allocations_per_message: allocations_per_message(&spent, args.count),
        syscalls_per_message: calls_per_message(&spent, args.count),
        spent,
    };
    args.with.tell(&report, || {
        println!(
            "{} × {}: {:.3} system calls and {:.4} allocations per message",
            args.count, args.size, report.syscalls_per_message, report.allocations_per_message
        );
    })
}
