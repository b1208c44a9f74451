//! ZeroMQ: two PAIR sockets of libzmq, by a C program (`c/zeromq_side.c`).

use anyhow::bail;

use super::{
    job::{Job, at},
    latency,
    section::Contestant,
    sections::SMALL,
    tools::{self, Tools},
};
use crate::{link::Mode, namespace::Machine};

const PORT: u16 = 5_200;

pub(super) fn half_round_trip(tools: &Tools, mode: Mode, round_trips: u64) -> Contestant {
    let program = tools.zeromq();
    let missing = tools::missing_file(&program);
    Contestant::new("ZeroMQ", move |lab| {
        let endpoint = format!("tcp://{}", at(Machine::B, PORT));
        let spin = if mode == Mode::Spin { "1" } else { "0" };
        let start = |machine, role: &str| {
            let mut command = lab.command(machine, &program);
            let (size, count) = (SMALL.to_string(), round_trips.to_string());
            command.args([role, &endpoint, &size, &count, spin]);
            command
        };
        let (server, client) = (start(Machine::B, "serve"), start(Machine::A, "ask"));
        let said = Job { server, port: Some(PORT), client, server_ends: true }.run()?;
        let numbers: Vec<f64> =
            said.client.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [p50, p99] = numbers[..] else {
            bail!("zeromq_side said: {}", said.client);
        };
        Ok(latency::halved(p50, Some(p99)))
    })
    .unless(missing)
}
