//! UCX: `ucx_perftest` over its TCP transport.

use anyhow::Context as _;

use super::{job::Job, latency, section::Contestant, sections::SMALL, tools};
use crate::namespace::{INTERFACE, Lab, Machine};

const PORT: u16 = 13_337;

/// `tag_lat`: tagged messages there and back. It tells one percentile a run, so there are two runs.
pub(super) fn spin(round_trips: u64) -> Contestant {
    Contestant::new("UCX", move |lab| {
        let [p50, p99] = ["50", "99"].map(|rank| percentile(lab, rank, round_trips));
        Ok(latency::half(p50?, Some(p99?)))
    })
    .in_turns()
    .unless(tools::missing("ucx_perftest", "ucx-utils"))
}

fn percentile(lab: &Lab, rank: &str, round_trips: u64) -> anyhow::Result<f64> {
    let start = |machine| {
        let mut command = lab.command(machine, "ucx_perftest");
        command.env("UCX_TLS", "tcp").env("UCX_NET_DEVICES", INTERFACE);
        command
    };
    let (size, count) = (SMALL.to_string(), round_trips.to_string());
    let warm_up = (round_trips / 10).to_string();
    let mut client = start(Machine::A);
    client.arg(Machine::B.address().to_string()).args(["-t", "tag_lat", "-f", "-v", "-R", rank]);
    client.args(["-s", &size, "-n", &count, "-w", &warm_up]);
    let said =
        Job { server: start(Machine::B), port: Some(PORT), client, server_ends: true }.run()?;
    csv(&said.client).with_context(|| format!("ucx_perftest said: {}", said.client))
}

/// The last line of numbers: iterations, the percentile, and averages; halves already. (A library that
/// is told to by a signal says more behind it.)
fn csv(text: &str) -> Option<f64> {
    text.lines().rev().find_map(|line| {
        let mut fields = line.split(',').map(str::trim);
        fields.next()?.parse::<u64>().ok()?;
        fields.next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_percentile_is_the_second_number() {
        let text = "iterations,50.0%_lat,avg_lat,overall_lat\n5000,6.350,7.193,7.193,80.65\n";
        assert_eq!(super::csv(text), Some(6.35));
        let chatty = format!("{text}[17.6] [vm:1:0] ucp_ep.c:16 UCX  DEBUG ep 0x7f, 2, 3\n\n");
        assert_eq!(super::csv(&chatty), Some(6.35));
        assert_eq!(super::csv("no route"), None);
    }
}
