//! libfabric: `fi_pingpong` over its TCP provider. It tells the mean alone.

use anyhow::Context as _;

use super::{job::Job, latency, section::Contestant, sections::SMALL, tools};
use crate::namespace::Machine;

/// Where its two sides agree on a measurement.
const PORT: u16 = 47_592;

pub(super) fn spin(round_trips: u64) -> Contestant {
    Contestant::new("libfabric", move |lab| {
        let start = |machine| {
            let mut command = lab.command(machine, "fi_pingpong");
            let (size, count) = (SMALL.to_string(), round_trips.to_string());
            command.args(["-p", "tcp", "-e", "msg", "-S", &size, "-I", &count]);
            command
        };
        let (server, mut client) = (start(Machine::B), start(Machine::A));
        client.arg(Machine::B.address().to_string());
        let said = Job { server, port: Some(PORT), client, server_ends: true }.run()?;
        let mean = usec_per_transfer(&said.client);
        mean.map(latency::mean).with_context(|| format!("fi_pingpong said: {}", said.client))
    })
    .unless(tools::missing("fi_pingpong", "libfabric-bin"))
}

/// The column `usec/xfer` of the last line; a transfer is one way.
fn usec_per_transfer(text: &str) -> Option<f64> {
    text.trim().lines().last()?.split_whitespace().nth(6)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seventh_column_is_read() {
        let text = "bytes #sent #ack total time MB/sec usec/xfer Mxfers/sec\n\
                    16k 3k =3k 93m 4.92s 19.97 820.59 0.00\n";
        assert_eq!(super::usec_per_transfer(text), Some(820.59));
    }
}
