//! gRPC by tonic: unary calls whose request and answer are bytes. Its program is a package of its own
//! (`bench/grpc`), because of what it depends on.

use anyhow::Context as _;
use serde::Deserialize;

use super::{
    job::{Job, at},
    latency,
    section::Contestant,
    sections::SMALL,
    tools::{self, Tools},
};
use crate::namespace::Machine;

const PORT: u16 = 5_300;

#[derive(Deserialize)]
struct Said {
    p50_us: f64,
    p99_us: f64,
}

/// tonic cannot spin: it takes part in both questions as it is.
pub(super) fn half_round_trip(tools: &Tools, round_trips: u64) -> Contestant {
    let program = tools.grpc();
    let missing = tools::missing_file(&program);
    Contestant::new("tonic gRPC", move |lab| {
        let addr = at(Machine::B, PORT);
        let mut server = lab.command(Machine::B, &program);
        server.args(["serve", &addr]);
        let mut client = lab.command(Machine::A, &program);
        client.args(["ask", &addr, &SMALL.to_string(), &(round_trips / 4).to_string()]);
        let said = Job { server, port: Some(PORT), client, server_ends: false }.run()?;
        let said: Said = serde_json::from_str(said.client.trim()).context("tbbench-grpc")?;
        Ok(latency::halved(said.p50_us, Some(said.p99_us)))
    })
    .unless(missing)
}
