//! `tbbench urgent`: how long a small frame takes while bulk is in flight.

use bytesize::ByteSize;

use super::{With, bytes};
use crate::{
    exercise::{Side, urgent},
    link::Node,
};

/// What `tbbench urgent` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    with: With,
    /// Bytes of bulk that are kept in flight.
    #[arg(long, default_value = "64MiB")]
    bulk: ByteSize,
    /// Small frames to measure, alone and under bulk.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let node = Node::open(&args.with.link, 0)?;
    let mut side = Side::new(&node.endpoint, node.connect(args.with.peer)?)?;
    let plan = urgent::Plan { bulk_bytes: bytes(args.bulk), count: args.count };
    let outcome = urgent::client(&mut side, plan)?;
    args.with.tell(&outcome, || {
        for (when, us) in [("idle", outcome.idle_us), ("under bulk", outcome.under_bulk_us)] {
            println!("64 bytes, {when:<10}  round trip µs   p50 {:.1}   p99 {:.1}", us.p50, us.p99);
        }
        println!("bulk meanwhile: {:.2} GB/s", outcome.bulk_bytes_per_s / 1e9);
    })
}
