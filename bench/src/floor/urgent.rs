//! A 64-byte frame behind bulk on the same socket: what an application gets that writes chunks of
//! bulk as fast as the socket takes them, and a small frame between two of them.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::ensure;
use exo_transport::limits::CHUNK_BYTES_DEFAULT;
use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use serde::{Deserialize, Serialize};

use super::PATIENCE;
use crate::histogram::{Durations, Percentiles};

/// Bytes of a frame's head, and of the small frame as a whole.
const SMALL: usize = 64;
const BULK: u8 = 1;
const URGENT: u8 = 2;
const OVER: u8 = 3;
/// Pause between two small frames.
const PAUSE: Duration = Duration::from_micros(200);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) count: u64,
}

/// What came of it, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Urgent {
    pub(crate) notsent_lowat: Option<u32>,
    pub(crate) idle_us: Percentiles,
    pub(crate) under_bulk_us: Percentiles,
    pub(crate) bulk_bytes_per_s: f64,
}

fn head(kind: u8) -> [u8; SMALL] {
    let mut head = [0; SMALL];
    head[0] = kind;
    head
}

pub(super) fn client(
    mut socket: TcpStream,
    plan: Plan,
    notsent_lowat: Option<u32>,
) -> anyhow::Result<Urgent> {
    #[cfg(target_os = "linux")]
    if let Some(bytes) = notsent_lowat {
        socket2::SockRef::from(&socket).set_tcp_notsent_lowat(bytes)?;
    }
    #[cfg(not(target_os = "linux"))]
    ensure!(notsent_lowat.is_none(), "--notsent-lowat is for Linux");
    let (mut idle, mut under_bulk) = (Durations::new()?, Durations::new()?);
    let mut echo = [0; SMALL];
    for _ in 0..plan.count {
        let began = Instant::now();
        socket.write_all(&head(URGENT))?;
        socket.read_exact(&mut echo)?;
        idle.record(began.elapsed());
        std::thread::sleep(PAUSE);
    }
    let bulk_bytes_per_s = under(&mut socket, plan.count, &mut under_bulk)?;
    ensure!(echo[0] == URGENT, "the echo is something else");
    Ok(Urgent {
        notsent_lowat,
        idle_us: idle.percentiles(),
        under_bulk_us: under_bulk.percentiles(),
        bulk_bytes_per_s,
    })
}

/// Keeps the socket full of bulk, and puts a small frame between two chunks when it is time.
fn under(socket: &mut TcpStream, count: u64, durations: &mut Durations) -> anyhow::Result<f64> {
    socket.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    let fd = socket.as_raw_fd();
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut SourceFd(&fd), Token(0), both)?;
    let mut events = Events::with_capacity(4);
    let mut chunk = vec![0; SMALL + CHUNK_BYTES_DEFAULT];
    chunk[0] = BULK;
    let (urgent, over) = (head(URGENT), head(OVER));
    let mut echo = [0; SMALL];
    let (mut heard, mut echoes, mut bulk) = (0, 0, 0_u64);
    let began = Instant::now();
    // What is being written, and since when the echo is waited for.
    let mut now: (&[u8], usize) = (&chunk, 0);
    let mut asked: Option<Instant> = None;
    let mut ask_at = began + PAUSE;
    loop {
        // One write, then one look for the echo: neither side starves the other.
        let full = match socket.write(&now.0[now.1..]) {
            Ok(len) => {
                now.1 += len;
                false
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => return Err(error.into()),
        };
        if now.1 == now.0.len() {
            bulk += if now.0.len() > SMALL { now.0.len() as u64 } else { 0 };
            let due = asked.is_none() && Instant::now() >= ask_at;
            now = if due { (&urgent, 0) } else { (&chunk, 0) };
            if due {
                // Its time began when its sender wanted to write it.
                asked = Some(ask_at);
            }
        }
        let quiet = match asked.map(|_| socket.read(&mut echo[heard..])) {
            Some(Ok(0)) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Some(Ok(len)) => {
                heard += len;
                false
            }
            Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            Some(Err(_)) | None => true,
        };
        if heard == SMALL {
            heard = 0;
            echoes += 1;
            durations.record(asked.take().map_or(Duration::ZERO, |at| at.elapsed()));
            ask_at = Instant::now() + PAUSE;
        }
        if echoes == count {
            break;
        }
        if full && quiet {
            poll.poll(&mut events, Some(PATIENCE))?;
            ensure!(!events.is_empty(), "the other side is silent");
        }
    }
    let rate = bulk as f64 / began.elapsed().as_secs_f64();
    socket.set_nonblocking(false)?;
    socket.write_all(&now.0[now.1..])?;
    socket.write_all(&over)?;
    Ok(rate)
}

pub(super) fn server(mut socket: TcpStream, _plan: Plan) -> anyhow::Result<()> {
    let mut frame = [0; SMALL];
    let mut chunk = vec![0; CHUNK_BYTES_DEFAULT];
    loop {
        socket.read_exact(&mut frame)?;
        match frame[0] {
            BULK => socket.read_exact(&mut chunk)?,
            URGENT => socket.write_all(&frame)?,
            OVER => return Ok(()),
            kind => anyhow::bail!("a frame of kind {kind}"),
        }
    }
}
