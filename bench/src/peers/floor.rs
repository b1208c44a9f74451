//! Bare TCP: `tbbench floor` on both sides.

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use super::{
    job::{Job, at},
    latency,
    section::Values,
};
use crate::{
    floor::{PingPong, Stream, Threads, Urgent},
    link::Mode,
    namespace::{Lab, Machine},
};

const PORT: u16 = 52_418;
/// Of the one with two threads, which may run beside the other.
const PORT_TWO: u16 = 52_419;

pub(super) fn half_round_trip(
    lab: &Lab,
    mode: Mode,
    threads: Threads,
    size: usize,
    count: u64,
) -> anyhow::Result<Values> {
    let (size, count) = (format!("{size}B"), count.to_string());
    let mode = if mode == Mode::Spin { "spin" } else { "wait" };
    let (threads, port) = match threads {
        Threads::One => ("one", PORT),
        Threads::Two => ("two", PORT_TWO),
    };
    let words = ["--size", &size, "--count", &count, "--mode", mode, "--threads", threads];
    let said: PingPong = measure(lab, port, "pingpong", &words)?;
    Ok(latency::halved(said.rtt_us.p50, Some(said.rtt_us.p99)))
}

pub(super) fn stream(lab: &Lab, size: usize, count: u64) -> anyhow::Result<Values> {
    let (size, count) = (format!("{size}B"), count.to_string());
    let said: Stream = measure(lab, PORT, "stream", &["--size", &size, "--count", &count])?;
    let [sender, receiver] = said.cpu_s_per_gb;
    Ok(Values::from([
        ("GB/s", said.gb_per_s),
        ("CPU s/GB", sender + receiver),
        ("CPU s/GB out", sender),
        ("CPU s/GB in", receiver),
    ]))
}

pub(super) fn urgent(lab: &Lab, count: u64, notsent_lowat: Option<u32>) -> anyhow::Result<Urgent> {
    let count = count.to_string();
    let lowat = notsent_lowat.map(|bytes| bytes.to_string());
    let mut words = vec!["--count", &count];
    words.extend(lowat.iter().flat_map(|bytes| ["--notsent-lowat", bytes]));
    measure(lab, PORT, "urgent", &words)
}

fn measure<T: DeserializeOwned>(
    lab: &Lab,
    port: u16,
    job: &str,
    words: &[&str],
) -> anyhow::Result<T> {
    let own = std::env::current_exe().context("the way to this program")?;
    let addr = at(Machine::B, port);
    let mut server = lab.command(Machine::B, &own);
    server.args(["floor", "serve", &addr]);
    let mut client = lab.command(Machine::A, &own);
    client.args(["floor", job, &addr]).args(words);
    let said = Job { server, port: Some(port), client, server_ends: true }.run()?;
    serde_json::from_str(&said.client)
        .with_context(|| format!("tbbench floor {job} said otherwise"))
}
