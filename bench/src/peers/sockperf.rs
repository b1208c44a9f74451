//! sockperf: a blocking TCP ping-pong, for information.

use anyhow::Context as _;

use super::{job::Job, latency, section::Contestant, sections::SMALL, tools};
use crate::namespace::Machine;

const PORT: u16 = 11_111;

pub(super) fn wait() -> Contestant {
    Contestant::new("sockperf", |lab| {
        let (address, port) = (Machine::B.address().to_string(), PORT.to_string());
        let start = |machine, job| {
            let mut command = lab.command(machine, "sockperf");
            command.args([job, "--tcp", "-i", &address, "-p", &port]);
            command
        };
        let (server, mut client) = (start(Machine::B, "server"), start(Machine::A, "ping-pong"));
        client.args(["-m", &SMALL.to_string(), "-t", "1"]);
        let said = Job { server, port: Some(PORT), client, server_ends: false }.run()?;
        let at = |rank| percentile(&said.client, rank);
        let p50 = at("50.000").with_context(|| format!("sockperf said: {}", said.client))?;
        Ok(latency::half(p50, at("99.000")))
    })
    .unless(tools::missing("sockperf", "sockperf"))
}

/// `sockperf: ---> percentile 99.000 =   57.795`; halves already.
fn percentile(text: &str, rank: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(&format!("percentile {rank} =")))?;
    line.rsplit('=').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_percentile_is_found_by_its_rank() {
        let text = "sockperf: ---> percentile 99.900 =   69.458\n\
                    sockperf: ---> percentile 99.000 =   57.795\n";
        assert_eq!(super::percentile(text, "99.000"), Some(57.795));
        assert_eq!(super::percentile(text, "50.000"), None);
    }
}
