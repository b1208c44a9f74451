//! Bare TCP with the same buffers, written out: what any transport over TCP is held against.
//!
//! Two processes, one socket, nothing but reads and writes: a 64-byte header, the numbers and the
//! tail of an activation are written by one vectored write and read by one vectored read into
//! buffers that stand. No checks, no credits, no acknowledgements.
//!
//! `socket` connects and moves whole messages, `pingpong`, `stream` and `urgent` are the jobs, and
//! each of them has both of its sides in one file.

mod pingpong;
mod socket;
mod stream;
mod urgent;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use clap::{Subcommand, ValueEnum};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[cfg(target_os = "linux")] // for `peers`
pub(crate) use self::{pingpong::PingPong, stream::Stream, urgent::Urgent};
use crate::link::Mode;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `tbbench floor` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand, Clone, Debug)]
enum Job {
    /// The other end of the three others; ends after one.
    Serve {
        /// Where to listen.
        addr: SocketAddr,
    },
    /// A message there and one back. Prints JSON.
    Pingpong {
        /// Where `floor serve` listens.
        addr: SocketAddr,
        /// Bytes of a message's bulk.
        #[arg(long, default_value = "16KiB")]
        size: ByteSize,
        /// Round trips to measure.
        #[arg(long, default_value_t = 20_000)]
        count: u64,
        /// How both sides wait.
        #[arg(long, value_enum, default_value = "wait")]
        mode: Mode,
        /// Which thread does what, on both sides.
        #[arg(long, value_enum, default_value = "one")]
        threads: Threads,
    },
    /// Messages one way. Prints JSON.
    Stream {
        /// Where `floor serve` listens.
        addr: SocketAddr,
        /// Bytes of a message's bulk.
        #[arg(long, default_value = "4MiB")]
        size: ByteSize,
        /// Messages to measure.
        #[arg(long, default_value_t = 500)]
        count: u64,
        /// Buffers that either side rotates.
        #[arg(long, default_value_t = 8)]
        buffers: usize,
    },
    /// A 64-byte frame, alone and behind bulk on the same socket. Prints JSON.
    Urgent {
        /// Where `floor serve` listens.
        addr: SocketAddr,
        /// Small frames to measure, alone and behind bulk.
        #[arg(long, default_value_t = 2_000)]
        count: u64,
        /// `TCP_NOTSENT_LOWAT`; without it the kernel takes what its buffers hold.
        #[arg(long)]
        notsent_lowat: Option<u32>,
    },
}

/// Which threads a side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Threads {
    /// One reads and writes.
    One,
    /// One reads and hands over, one is handed and writes: as an engine has it.
    Two,
}

/// What the client asks of the server, before the job begins.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Plan {
    PingPong(pingpong::Plan),
    Stream(stream::Plan),
    Urgent(urgent::Plan),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let bytes = |size: ByteSize| size.as_u64() as usize;
    let said = match args.job.clone() {
        Job::Serve { addr } => return serve(addr),
        Job::Pingpong { addr, size, count, mode, threads } => {
            let warmup = (count / 10).max(100);
            let plan = pingpong::Plan { size: bytes(size), count, warmup, mode, threads };
            let socket = begin(addr, Plan::PingPong(plan))?;
            serde_json::to_string(&pingpong::client(socket, plan)?)?
        }
        Job::Stream { addr, size, count, buffers } => {
            let warmup = (count / 10).max(2 * buffers as u64);
            let plan = stream::Plan { size: bytes(size), count, warmup, buffers };
            let socket = begin(addr, Plan::Stream(plan))?;
            serde_json::to_string(&stream::client(socket, plan)?)?
        }
        Job::Urgent { addr, count, notsent_lowat } => {
            let plan = urgent::Plan { count };
            let socket = begin(addr, Plan::Urgent(plan))?;
            serde_json::to_string(&urgent::client(socket, plan, notsent_lowat)?)?
        }
    };
    println!("{said}");
    Ok(())
}

fn begin(addr: SocketAddr, plan: Plan) -> anyhow::Result<TcpStream> {
    let mut socket = socket::connect(addr)?;
    say(&mut socket, &plan)?;
    Ok(socket)
}

fn serve(addr: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(addr).with_context(|| format!("cannot listen on {addr}"))?;
    eprintln!("listening on {addr}");
    let (mut socket, _) = listener.accept()?;
    socket::tune(&socket)?;
    match hear(&mut socket)? {
        Plan::PingPong(plan) => pingpong::server(socket, plan),
        Plan::Stream(plan) => stream::server(socket, plan),
        Plan::Urgent(plan) => urgent::server(socket, plan),
    }
}

/// A line of JSON, between the jobs.
fn say(socket: &mut TcpStream, what: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    Ok(())
}

/// Reads a line by single bytes: whatever follows it belongs to the job.
fn hear<T: DeserializeOwned>(socket: &mut TcpStream) -> anyhow::Result<T> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        socket.read_exact(&mut byte).context("the other side says nothing")?;
        if byte[0] == b'\n' {
            return Ok(serde_json::from_slice(&line)?);
        }
        line.push(byte[0]);
        if line.len() > 4096 {
            bail!("the other side speaks something else");
        }
    }
}
