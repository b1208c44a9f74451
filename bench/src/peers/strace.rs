//! strace as a second witness: how many system calls moved bytes of the socket?
//!
//! The same measurement is run twice, once with twice as many round trips, and the difference is
//! taken: so nothing of start, handshake and warm-up is left in it.

use std::fs;

use anyhow::Context as _;

use super::{
    section::{Contestant, Values},
    sections::SMALL,
    tools,
    transport::{self, Key, Setup},
};
use crate::{
    link::{Arrangement, Mode},
    namespace::{Lab, Machine},
};

/// As the first question has it. strace holds up every call for tens of microseconds: with a sleep and
/// a wake-up on each side too, a round trip takes half as long as news wait for company, and a message
/// is then not read together with its header.
const SETUP: Setup = Setup { mode: Mode::Spin, arrangement: Arrangement::Inline, encrypted: false };

/// What sockets are read and written by; plain `read` and `write` are of the waker.
const CALLS: &[&str] = &["readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg"];

pub(super) fn pingpong(round_trips: u64) -> Contestant {
    Contestant::new("strace, 16 KiB there and back", move |lab| {
        let (once, twice) = (count(lab, round_trips)?, count(lab, 2 * round_trips)?);
        // The round trips to warm up are a tenth, and grow with the others.
        let more = (warm(2 * round_trips) - warm(round_trips)) as f64;
        Ok(Values::from([("calls/message", (twice - once) / (4.0 * more))]))
    })
    .unless(tools::missing("strace", "strace"))
}

fn warm(round_trips: u64) -> u64 {
    round_trips + (round_trips / 10).max(100)
}

/// Calls of both sides.
fn count(lab: &Lab, round_trips: u64) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let file = |machine: Machine| folder.path().join(format!("{machine:?}"));
    let around = |machine| {
        let file = file(machine).to_string_lossy().into_owned();
        ["strace", "-f", "-c", "-o", &file].map(str::to_owned).to_vec()
    };
    let (size, count) = (format!("{SMALL}B"), round_trips.to_string());
    let words = ["--size", &size, "--count", &count];
    let key = Key::new()?;
    transport::job(lab, &key, SETUP, "pingpong", &words, &around)?.run()?;
    let mut calls = 0;
    for machine in Machine::BOTH {
        let file = file(machine);
        let table = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        calls += moved(&table);
    }
    Ok(calls as f64)
}

/// Of strace's table: `% time, seconds, usecs/call, calls[, errors], syscall`.
fn moved(table: &str) -> u64 {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let known = words.last().is_some_and(|name| CALLS.contains(name));
        let errors = if words.len() == 6 { number(4)? } else { 0 };
        known.then_some(number(3)? - errors)
    };
    table.lines().filter_map(row).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn failed_and_foreign_calls_are_left_out() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.060000           6     10000           writev
 30.00    0.030000           3     12000      2000 readv
 10.00    0.010000           5      2000           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.100000           4     24000      2000 total
";
        assert_eq!(super::moved(table), 20_000);
    }
}
