//! Messages one way, as fast as they go, on blocking sockets.

use std::{io, net::TcpStream, time::Instant};

use serde::{Deserialize, Serialize};

use super::{
    hear, say,
    socket::{Message, Moved},
};
use crate::process;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) size: usize,
    pub(super) count: u64,
    pub(super) warmup: u64,
    pub(super) buffers: usize,
}

/// What came of it, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) size: usize,
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// Thousands of millions of bytes of bulk per second.
    pub(crate) gb_per_s: f64,
    /// Processor seconds of the sender and of the receiver for so many bytes.
    pub(crate) cpu_s_per_gb: [f64; 2],
}

pub(super) fn client(mut socket: TcpStream, plan: Plan) -> anyhow::Result<Stream> {
    let messages: Vec<_> = (0..plan.buffers).map(|_| Message::new(plan.size)).collect();
    let mut send = |count: u64| -> anyhow::Result<f64> {
        for message in messages.iter().cycle().take(count as usize) {
            whole(message.write(&mut socket, 0)?)?;
        }
        // The receiver has read them all: this is the last acknowledgement.
        hear(&mut socket)
    };
    send(plan.warmup)?;
    let (before, began) = (process::cpu_s(), Instant::now());
    let theirs = send(plan.count)?;
    let (seconds, ours) = (began.elapsed().as_secs_f64(), process::cpu_s() - before);
    let gigabytes = plan.size as f64 * plan.count as f64 / 1e9;
    Ok(Stream {
        size: plan.size,
        count: plan.count,
        seconds,
        gb_per_s: gigabytes / seconds,
        cpu_s_per_gb: [ours / gigabytes, theirs / gigabytes],
    })
}

pub(super) fn server(mut socket: TcpStream, plan: Plan) -> anyhow::Result<()> {
    let mut messages: Vec<_> = (0..plan.buffers).map(|_| Message::new(plan.size)).collect();
    for count in [plan.warmup, plan.count] {
        let before = process::cpu_s();
        for at in 0..count as usize {
            whole(messages[at % plan.buffers].read(&mut socket, 0)?)?;
        }
        say(&mut socket, &(process::cpu_s() - before))?;
    }
    Ok(())
}

/// A blocking socket moves all of a message, or its time-out has passed.
fn whole(moved: Moved) -> io::Result<()> {
    match moved {
        Moved::Whole => Ok(()),
        Moved::Part(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the other side is silent")),
    }
}
