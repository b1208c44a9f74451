//! qperf: a blocking TCP ping-pong, for information. It tells the mean alone.

use anyhow::Context as _;

use super::{job::Job, latency, section::Contestant, sections::SMALL, tools};
use crate::namespace::Machine;

const PORT: u16 = 19_765;

pub(super) fn wait() -> Contestant {
    Contestant::new("qperf", |lab| {
        let server = lab.command(Machine::B, "qperf");
        let mut client = lab.command(Machine::A, "qperf");
        client.arg(Machine::B.address().to_string());
        client.args(["-t", "1", "-m", &SMALL.to_string(), "-vvu", "tcp_lat"]);
        let said = Job { server, port: Some(PORT), client, server_ends: false }.run()?;
        let mean = latency_us(&said.client);
        mean.map(latency::mean).with_context(|| format!("qperf said: {}", said.client))
    })
    .unless(tools::missing("qperf", "qperf"))
}

/// `latency   =  41.7 us`; half a round trip already.
fn latency_us(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.trim_start().starts_with("latency"))?;
    let mut words = line.rsplit('=').next()?.split_whitespace();
    let value: f64 = words.next()?.parse().ok()?;
    match words.next()? {
        "us" => Some(value),
        "ms" => Some(value * 1e3),
        "ns" => Some(value / 1e3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_unit_is_looked_at() {
        assert_eq!(super::latency_us("tcp_lat:\n    latency   =  41.7 us\n"), Some(41.7));
        assert_eq!(super::latency_us("    latency   =  1.5 ms\n"), Some(1500.0));
        assert_eq!(super::latency_us("failed"), None);
    }
}
