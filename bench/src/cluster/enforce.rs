//! What a quota of a millisecond needs to be kept to: the kernel looks at who runs often enough, and
//! hands processor time out in small pieces.
//!
//! Left to itself it charges a thread that runs only at its tick, 4 ms apart at 250 Hz. A node that
//! always computes then overdraws a quota of 1 ms fourfold and is held back while refills, of which
//! one at most is kept, are lost: it gets a third of a processor instead of half. One that waits for
//! its neighbours loses none, so a ring gains 1.17 × from nothing. And what a processor was handed and
//! did not use, up to 1 ms, waits there for the node's next turn: 1.10 ×. With both mended the
//! synthetic ring is within a few percent of 1.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::priority;

/// From one look at who runs to the next.
const LOOK: Duration = Duration::from_micros(250);
/// Processor time that a processor is handed at once, in microseconds, of all groups of this machine.
const SLICE_FILE: &str = "/proc/sys/kernel/sched_cfs_bandwidth_slice_us";
const SLICE_US: u64 = 100;

/// Quotas are kept to within [`LOOK`] while this is there.
pub(super) struct Enforced {
    /// What it was.
    slice: Option<String>,
    stop: Arc<AtomicBool>,
    metronomes: Vec<JoinHandle<()>>,
}

impl Enforced {
    /// From now on. What may not be changed here is told, and the control shows what that does.
    pub(super) fn start() -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let slice = set_slice()
            .inspect_err(|error| eprintln!("quotas are kept less exactly: {error:#}"))
            .ok();
        let mut enforced = Self { slice, stop, metronomes: Vec::new() };
        let usable = sched_getaffinity(Pid::from_raw(0)).context("which processors are there?")?;
        for processor in 0..CpuSet::count() {
            if !usable.is_set(processor).unwrap_or(false) {
                continue;
            }
            let mut only = CpuSet::new();
            only.set(processor)?;
            let stop = Arc::clone(&enforced.stop);
            let thread = thread::Builder::new().name(format!("metronome{processor}"));
            enforced.metronomes.push(thread.spawn(move || beat(&only, &stop))?);
        }
        Ok(enforced)
    }
}

impl Drop for Enforced {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.metronomes.drain(..) {
            let _ = thread.join();
        }
        if let Some(before) = &self.slice {
            let _ = fs::write(SLICE_FILE, before);
        }
    }
}

/// Gives what it was.
fn set_slice() -> anyhow::Result<String> {
    let before = fs::read_to_string(SLICE_FILE).context(SLICE_FILE)?;
    fs::write(SLICE_FILE, SLICE_US.to_string()).context(SLICE_FILE)?;
    Ok(before)
}

/// Wants one processor for a moment again and again: each time the kernel takes it from who runs, and
/// charges that thread.
fn beat(processor: &CpuSet, stop: &AtomicBool) {
    let _ = sched_setaffinity(Pid::from_raw(0), processor);
    priority::before_all();
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        next = (next + LOOK).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
