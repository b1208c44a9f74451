//! iperf3: a TCP stream from one buffer, for information.

use anyhow::Context as _;
use serde_json::Value;

use super::{
    job::Job,
    section::{Contestant, Values},
    sections::LARGE,
    tools,
};
use crate::namespace::Machine;

const PORT: u16 = 5_201;

pub(super) fn stream() -> Contestant {
    Contestant::new("iperf3", |lab| {
        let mut server = lab.command(Machine::B, "iperf3");
        server.args(["-s", "-1"]);
        let mut client = lab.command(Machine::A, "iperf3");
        let (address, length) = (Machine::B.address().to_string(), (LARGE / 4).to_string());
        client.args(["-c", &address, "-t", "1", "-l", &length, "-J"]);
        let said = Job { server, port: Some(PORT), client, server_ends: true }.run()?;
        let json: Value = serde_json::from_str(&said.client).context("iperf3's JSON")?;
        let bits = json["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(Values::from([("GB/s", bits.context("iperf3 tells no rate")? / 8e9)]))
    })
    .unless(tools::missing("iperf3", "iperf3"))
}
