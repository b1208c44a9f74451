//! How much the relay carries on this machine: bare TCP through a link that does nothing to frames.

use anyhow::Context as _;
use serde::Deserialize;

use super::{Joint, Machines, Plan, lay};
use crate::job::Job;

const PORT: u16 = 52_418;
const PLAN: Plan<'static> =
    Plan { interface: "probe0", net: [192, 168, 7], mtu: 0, joint: Joint::CLEAR, seed: 1 };

/// Megabits per second with packets of this size.
pub(crate) fn measure(machines: &Machines, mtu: u16) -> anyhow::Result<f64> {
    let plan = Plan { mtu, ..PLAN };
    let _link = lay(&machines.names()[..2], &plan)?;
    let own = std::env::current_exe().context("the way to this program")?;
    let addr = format!("{}:{PORT}", plan.address(1));
    let mut server = machines.command(1, &own);
    server.args(["floor", "serve", &addr]);
    let mut client = machines.command(0, &own);
    // About a second with large packets. Small ones are carried far slower, so fewer will do.
    let count = if mtu < 4000 { "100" } else { "400" };
    client.args(["floor", "stream", &addr, "--size", "1MiB", "--count", count]);
    let said = Job { server, port: Some(PORT), client, server_ends: true }.run()?;
    let Stream { gb_per_s } = serde_json::from_str(&said.client).context("tbbench floor")?;
    Ok(gb_per_s * 8e3)
}

/// What is read of what `tbbench floor stream` prints.
#[derive(Deserialize)]
struct Stream {
    gb_per_s: f64,
}
