//! One message there, one of the same size back.

use std::{io, net::TcpStream, os::fd::AsRawFd as _, thread, time::Instant};

use anyhow::Context as _;
use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use serde::{Deserialize, Serialize};

use super::{
    PATIENCE, Threads,
    socket::{Message, Moved},
};
use crate::{
    histogram::{Durations, Percentiles},
    link::Mode,
};

/// Buffers of each side and direction, used in turns: as many as the transport has here.
const BUFFERS: usize = 3;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) size: usize,
    pub(super) count: u64,
    pub(super) warmup: u64,
    pub(super) mode: Mode,
    pub(super) threads: Threads,
}

impl Plan {
    fn rounds(&self) -> u64 {
        self.warmup + self.count
    }
}

/// What came of it, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PingPong {
    pub(crate) size: usize,
    pub(crate) count: u64,
    pub(crate) mode: Mode,
    pub(crate) threads: Threads,
    /// Of the whole round trip.
    pub(crate) rtt_us: Percentiles,
}

pub(super) fn client(mut socket: TcpStream, plan: Plan) -> anyhow::Result<PingPong> {
    let mut durations = Durations::new()?;
    let messages = messages(plan.size);
    let mut ear = Ear::new(&socket, plan)?;
    for (round, message) in (0..plan.rounds()).zip(messages.iter().cycle()) {
        let began = Instant::now();
        message.write_spinning(&mut socket)?;
        ear.hear()?;
        if round >= plan.warmup {
            durations.record(began.elapsed());
        }
    }
    let Plan { size, count, mode, threads, .. } = plan;
    Ok(PingPong { size, count, mode, threads, rtt_us: durations.percentiles() })
}

pub(super) fn server(mut socket: TcpStream, plan: Plan) -> anyhow::Result<()> {
    let messages = messages(plan.size);
    let mut ear = Ear::new(&socket, plan)?;
    for (_, message) in (0..plan.rounds()).zip(messages.iter().cycle()) {
        ear.hear()?;
        message.write_spinning(&mut socket)?;
    }
    Ok(())
}

fn messages(size: usize) -> Vec<Message> {
    (0..BUFFERS).map(|_| Message::new(size)).collect()
}

/// Where a side hears of the next message.
enum Ear {
    /// On the thread that writes.
    Here { reader: Reader, messages: Vec<Message>, heard: usize },
    /// From the thread that reads: full buffers come, empty ones go back.
    There { full: Receiver<Message>, empty: Sender<Message> },
}

impl Ear {
    fn new(socket: &TcpStream, plan: Plan) -> anyhow::Result<Self> {
        let mut reader = Reader::new(socket.try_clone()?, plan)?;
        if plan.threads == Threads::One {
            return Ok(Self::Here { reader, messages: messages(plan.size), heard: 0 });
        }
        let ((full_in, full), (empty, empty_out)) = (bounded(BUFFERS), bounded(BUFFERS));
        for message in messages(plan.size) {
            empty.send(message)?;
        }
        // It ends with its last message, or with an error, after which nobody waits for long.
        thread::spawn(move || -> anyhow::Result<()> {
            for _ in 0..plan.rounds() {
                let mut message = empty_out.recv()?;
                reader.read(&mut message)?;
                full_in.send(message)?;
            }
            Ok(())
        });
        Ok(Self::There { full, empty })
    }

    fn hear(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Here { reader, messages, heard } => {
                reader.read(&mut messages[*heard % BUFFERS])?;
                *heard += 1;
            }
            Self::There { full, empty } => {
                let message = full.recv_timeout(PATIENCE).context("the reader ended")?;
                // The reader may have ended with its last message.
                let _ = empty.send(message);
            }
        }
        Ok(())
    }
}

/// Reads whole messages, looking again and again or sleeping in epoll (kqueue on macOS).
struct Reader {
    socket: TcpStream,
    sleep: Option<(Poll, Events)>,
    /// Between two looks. A thread that shares its processor with the one it hands over to has to
    /// make way for it.
    between: fn(),
}

impl Reader {
    fn new(socket: TcpStream, plan: Plan) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let between = match plan.threads {
            Threads::One => std::hint::spin_loop,
            Threads::Two => thread::yield_now,
        };
        let sleep = match plan.mode {
            Mode::Spin => None,
            Mode::Wait => {
                let poll = Poll::new()?;
                let fd = socket.as_raw_fd();
                poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE)?;
                Some((poll, Events::with_capacity(4)))
            }
        };
        Ok(Self { socket, sleep, between })
    }

    fn read(&mut self, message: &mut Message) -> io::Result<()> {
        let Some((poll, events)) = &mut self.sleep else {
            return message.read_spinning(&mut self.socket, self.between);
        };
        let mut done = 0;
        loop {
            // One event a message: the bytes are looked for only after it.
            let stopped = match poll.poll(events, Some(PATIENCE)) {
                // Stopped and continued: an event may have come meanwhile.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    events.clear();
                    true
                }
                slept => slept.map(|()| false)?,
            };
            match message.read(&mut self.socket, done)? {
                Moved::Whole => return Ok(()),
                Moved::Part(more) if events.is_empty() && more == done && !stopped => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("nothing within {PATIENCE:?}"),
                    ));
                }
                Moved::Part(more) => done = more,
            }
        }
    }
}
