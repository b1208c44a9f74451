//! MLX's ring: `mx.distributed.send` and `recv` over its TCP backend, in Python as its users have it.

use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    job::{Job, at},
    latency,
    section::{Contestant, Values},
    sections::{LARGE, SMALL},
    tools::{self, Tools},
};
use crate::namespace::{Lab, Machine};

const SCRIPT: &str = include_str!("../../python/mlx_ring_side.py");
const PORT: u16 = 5_100;

#[derive(Deserialize)]
struct Latency {
    p50_us: f64,
    p99_us: f64,
}

#[derive(Deserialize)]
struct Stream {
    seconds: f64,
    cpu_s: f64,
}

pub(super) fn spin(tools: &Tools, round_trips: u64) -> Contestant {
    let own = tools.clone();
    Contestant::new("MLX ring", move |lab| {
        let [said, _]: [Latency; 2] = measure(lab, &own, "pingpong", SMALL, round_trips / 4)?;
        Ok(latency::halved(said.p50_us, Some(said.p99_us)))
    })
    .unless(tools::missing_file(&tools.python()))
}

pub(super) fn stream(tools: &Tools, messages: u64) -> Contestant {
    let own = tools.clone();
    Contestant::new("MLX ring", move |lab| {
        let [out, into]: [Stream; 2] = measure(lab, &own, "stream", LARGE, messages)?;
        let gigabytes = LARGE as f64 * messages as f64 / 1e9;
        Ok(Values::from([
            ("GB/s", gigabytes / out.seconds),
            ("CPU s/GB", (out.cpu_s + into.cpu_s) / gigabytes),
            ("CPU s/GB out", out.cpu_s / gigabytes),
            ("CPU s/GB in", into.cpu_s / gigabytes),
        ]))
    })
    .unless(tools::missing_file(&tools.python()))
}

/// What the first rank says, and the second.
fn measure<T: DeserializeOwned>(
    lab: &Lab,
    tools: &Tools,
    job: &str,
    size: usize,
    count: u64,
) -> anyhow::Result<[T; 2]> {
    let hosts = tempfile::NamedTempFile::new()?;
    let ring = Machine::BOTH.map(|machine| [at(machine, PORT)]);
    serde_json::to_writer(&hosts, &ring)?;
    let start = |machine: Machine| -> Command {
        let mut command = lab.command(machine, tools.python());
        command.env("MLX_HOSTFILE", hosts.path()).env("MLX_RANK", (machine as u8).to_string());
        command.args(["-c", SCRIPT, job, &size.to_string(), &count.to_string()]);
        command
    };
    let said =
        Job { server: start(Machine::B), port: None, client: start(Machine::A), server_ends: true }
            .run()?;
    let read = |text: &str| {
        serde_json::from_str(text.trim()).with_context(|| format!("MLX's side said: {text}"))
    };
    Ok([read(&said.client)?, read(&said.server)?])
}
