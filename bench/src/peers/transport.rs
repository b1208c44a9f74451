//! Ourselves: `tbbench serve` on one side, the measuring commands on the other, as a user runs them.

use std::{path::Path, process::Command};

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use super::{
    job::{Job, at},
    latency,
    section::Values,
};
use crate::{
    commands, exercise,
    link::{Arrangement, LISTEN_PORT, Mode},
    namespace::{INTERFACE, Lab, Machine},
};

/// Where the one that is driven inline listens: the other may run at the same time.
const INLINE_PORT: u16 = 52_420;

/// How both sides are set up.
#[derive(Clone, Copy)]
pub(super) struct Setup {
    pub(super) mode: Mode,
    pub(super) arrangement: Arrangement,
    pub(super) encrypted: bool,
}

impl Setup {
    pub(super) const PLAIN: Self =
        Self { mode: Mode::Wait, arrangement: Arrangement::Engine, encrypted: false };

    fn words(self) -> [&'static str; 8] {
        let mode = match self.mode {
            Mode::Spin => "spin",
            Mode::Wait => "wait",
        };
        let arrangement = match self.arrangement {
            Arrangement::Engine => "engine",
            Arrangement::Inline => "inline",
        };
        let encrypt = if self.encrypted { "on" } else { "off" };
        let link = ["--interface", INTERFACE, "--mode", mode];
        let rest = ["--arrangement", arrangement, "--encrypt", encrypt];
        std::array::from_fn(|at| if at < 4 { link[at] } else { rest[at - 4] })
    }
}

/// Half round trips of activations of `size` bytes.
pub(super) fn half_round_trip(
    lab: &Lab,
    setup: Setup,
    size: usize,
    count: u64,
) -> anyhow::Result<Values> {
    let report = pingpong(lab, setup, size, count)?;
    Ok(latency::halved(report.rtt_us.p50, Some(report.rtt_us.p99)))
}

/// What `tbbench pingpong --json` says.
pub(super) fn pingpong(
    lab: &Lab,
    setup: Setup,
    size: usize,
    count: u64,
) -> anyhow::Result<commands::pingpong::Report> {
    let (size, count) = (format!("{size}B"), count.to_string());
    measure(lab, setup, "pingpong", &["--size", &size, "--count", &count])
}

/// One way, as fast as it goes.
pub(super) fn stream(lab: &Lab, setup: Setup, size: usize, count: u64) -> anyhow::Result<Values> {
    let (size, count) = (format!("{size}B"), count.to_string());
    let report: commands::stream::Report =
        measure(lab, setup, "stream", &["--size", &size, "--count", &count])?;
    let [sender, receiver] = report.cpu_s_per_gb;
    Ok(Values::from([
        ("GB/s", report.gb_per_s),
        ("CPU s/GB", sender + receiver),
        ("CPU s/GB out", sender),
        ("CPU s/GB in", receiver),
    ]))
}

/// Many small frames at once.
pub(super) fn burst(
    lab: &Lab,
    setup: Setup,
    count: u64,
) -> anyhow::Result<commands::burst::Report> {
    measure(lab, setup, "burst", &["--count", &count.to_string()])
}

/// A small frame, alone and behind bulk.
pub(super) fn urgent(
    lab: &Lab,
    setup: Setup,
    count: u64,
) -> anyhow::Result<exercise::urgent::Outcome> {
    measure(lab, setup, "urgent", &["--count", &count.to_string()])
}

fn measure<T: DeserializeOwned>(
    lab: &Lab,
    setup: Setup,
    command: &str,
    words: &[&str],
) -> anyhow::Result<T> {
    let key = Key::new()?;
    let said = job(lab, &key, setup, command, words, &|_| Vec::new())?.run()?;
    serde_json::from_str(&said.client).with_context(|| format!("tbbench {command} said otherwise"))
}

/// Both sides of a measurement, behind what `around` says for the machine, such as `strace`.
pub(super) fn job(
    lab: &Lab,
    key: &Key,
    setup: Setup,
    command: &str,
    words: &[&str],
    around: &dyn Fn(Machine) -> Vec<String>,
) -> anyhow::Result<Job> {
    let own = std::env::current_exe().context("the way to this program")?;
    let own = own.to_string_lossy().into_owned();
    let start = |machine, words: &[&str]| -> Command {
        let mut line = around(machine);
        line.push(own.clone());
        let mut command = lab.command(machine, &line[0]);
        command.args(&line[1..]).args(words).args(setup.words());
        command.args(["--cluster-key-file", &key.path()]);
        command
    };
    let port = match setup.arrangement {
        Arrangement::Engine => LISTEN_PORT,
        Arrangement::Inline => INLINE_PORT,
    };
    let server = start(Machine::B, &["serve", "--once", "--listen", &port.to_string()]);
    let peer = at(Machine::B, port);
    let client = start(Machine::A, &[&[command, &peer, "--json"], words].concat());
    Ok(Job { server, port: Some(port), client, server_ends: true })
}

/// A cluster key for one measurement: a veth pair is a link chosen by hand.
pub(super) struct Key(tempfile::TempDir);

impl Key {
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = Self(tempfile::tempdir()?);
        crate::cluster_key::write(Path::new(&key.path()))?;
        Ok(key)
    }

    fn path(&self) -> String {
        self.0.path().join("key").to_string_lossy().into_owned()
    }
}
