//! The thread that carries frames between TAP devices and the switch: all of the emulator's input and
//! output in time.
//!
//! A frame has to leave within microseconds of when it is due. The system wakes a sleeper too late
//! for that, so the thread sleeps (on the devices and on a timer) until shortly before, and looks
//! again and again for the rest.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tun_rs::SyncDevice;

use super::switch::Switch;
use crate::priority;

/// So long before a frame is due the thread stops sleeping.
const AWAKE_BEFORE: Duration = Duration::from_micros(30);
/// So long after the last frame it goes on looking for the next.
const AWAKE_AFTER: Duration = Duration::from_micros(20);
/// Frames read from one port before the others get their turn.
const FRAMES_PER_TURN: usize = 32;

const STOP: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// A relay that runs. It ends, and its devices with it, when this is dropped.
pub(crate) struct Relay {
    stop: Waker,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Shared>,
}

/// What the relay has seen, for others to read.
#[derive(Default)]
struct Shared {
    taken: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
}

impl Relay {
    /// Starts carrying frames between the devices, which are the switch's ports in order.
    pub(crate) fn start(devices: Vec<SyncDevice>, switch: Switch) -> anyhow::Result<Self> {
        let poll = Poll::new().context("an epoll")?;
        for (port, device) in devices.iter().enumerate() {
            device.set_nonblocking(true)?;
            let source = device.as_raw_fd();
            poll.registry().register(&mut SourceFd(&source), Token(port), Interest::READABLE)?;
        }
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let source = timer.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&source), TIMER, Interest::READABLE)?;
        let stop = Waker::new(poll.registry(), STOP)?;
        let counts = Arc::new(Shared::default());
        let carrier = Carrier { poll, timer, devices, switch, counts: Arc::clone(&counts) };
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || carrier.run())
            .context("the relay's thread")?;
        Ok(Self { stop, thread: Some(thread), counts })
    }

    /// Frames taken in, lost by chance, and lost because a queue was full.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let Shared { taken, lost, overflowed } = &*self.counts;
        [taken, lost, overflowed].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.stop.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Carrier {
    poll: Poll,
    timer: TimerFd,
    devices: Vec<SyncDevice>,
    switch: Switch,
    counts: Arc<Shared>,
}

impl Carrier {
    fn run(mut self) {
        priority::before_others(); // a cable does not wait for its turn either
        let began = Instant::now();
        let mut events = Events::with_capacity(16);
        let mut last_frame = Duration::ZERO;
        loop {
            self.deliver(began);
            if self.collect(began) {
                last_frame = began.elapsed();
                continue;
            }
            let now = began.elapsed();
            let due = self.switch.next_due();
            let near = due.is_some_and(|due| due < now + AWAKE_BEFORE);
            if near || now < last_frame + AWAKE_AFTER {
                std::hint::spin_loop();
                continue;
            }
            self.tell();
            if self.set_timer(due.map(|due| due - now - AWAKE_BEFORE)).is_err() {
                return;
            }
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
            if events.iter().any(|event| event.token() == STOP) {
                return;
            }
        }
    }

    fn deliver(&mut self, began: Instant) {
        while let Some((port, frame)) = self.switch.poll_due(began.elapsed()) {
            // A device that is down takes nothing: to its machine that is a cable pulled out.
            let _ = self.devices[port].send(frame.bytes());
            self.switch.recycle(frame);
        }
    }

    /// Takes in what lies ready; whether there was any.
    fn collect(&mut self, began: Instant) -> bool {
        let mut any = false;
        for (port, device) in self.devices.iter().enumerate() {
            for _ in 0..FRAMES_PER_TURN {
                let mut frame = self.switch.buffer();
                if frame.fill(|buffer| device.recv(buffer)).is_err() {
                    self.switch.recycle(frame);
                    break;
                }
                any = true;
                self.switch.handle_frame(began.elapsed(), port, frame);
            }
        }
        any
    }

    fn set_timer(&self, after: Option<Duration>) -> nix::Result<()> {
        match after {
            // A timer of zero would never go off.
            Some(after) => {
                let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
                self.timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())
            }
            None => self.timer.unset(),
        }
    }

    fn tell(&self) {
        let counts = self.switch.counts();
        self.counts.taken.store(counts.taken, Ordering::Relaxed);
        self.counts.lost.store(counts.lost, Ordering::Relaxed);
        self.counts.overflowed.store(counts.overflowed, Ordering::Relaxed);
    }
}
