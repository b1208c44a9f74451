//! The commands that measure the transport between two machines: `serve` on one, the others on the
//! other.

pub(crate) mod burst;
#[cfg(target_os = "linux")]
pub(crate) mod lab;
pub(crate) mod pingpong;
pub(crate) mod serve;
pub(crate) mod stream;
pub(crate) mod urgent;

use bytesize::ByteSize;
use serde::Serialize;

use crate::{
    exercise::Spent,
    link::{LinkArgs, Peer},
};

/// Whom a command measures with, over which link, and how it tells.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct With {
    /// Where `tbbench serve` listens.
    #[arg(value_name = "PEER")]
    peer: Peer,
    #[command(flatten)]
    link: LinkArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl With {
    /// Prints the report as it was asked for.
    fn tell(&self, report: &impl Serialize, in_words: impl FnOnce()) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        } else {
            in_words();
        }
        Ok(())
    }
}

/// `--size` in bytes.
fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// System calls that moved bytes, per message and way: 1 is one write here and one read there.
fn calls_per_message(spent: &[Spent; 2], messages: u64) -> f64 {
    let calls: u64 = spent.iter().map(|side| side.reads + side.writes).sum();
    calls as f64 / (2 * messages) as f64
}

fn allocations_per_message(spent: &[Spent; 2], messages: u64) -> f64 {
    let allocations: u64 = spent.iter().map(|side| side.allocations).sum();
    allocations as f64 / messages as f64
}
