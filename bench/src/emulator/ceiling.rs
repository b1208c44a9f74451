//! How much the relay carries on this machine, and still keeps its pace: bare TCP through links of
//! falling rates until one gives what was asked.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Joint, Machines, Plan, lay, path::Character, switch::ETHERNET_HEADER_BYTES};
use crate::job::Job;

const PORT: u16 = 52_418;
/// One way, as of a cable.
const DELAY: Duration = Duration::from_micros(150);
/// From one rate that is tried to the next.
const STEP: f64 = 0.75;
/// Rates tried. After the last the relay carries a tenth of what it does without a pace.
const TRIES: usize = 8;
/// A rate is kept if this share of it arrives.
const KEPT: f64 = 0.97;
const MIB_BITS: f64 = 8.0 * 1_048_576.0;

/// Megabits per second of whole frames with packets of this size: no more is kept within a twentieth.
pub(crate) fn measure(machines: &Machines, mtu: u16) -> anyhow::Result<f64> {
    // IPv4's and TCP's headers with time stamps are 52 bytes of a packet.
    let frames = (f64::from(mtu) + ETHERNET_HEADER_BYTES as f64) / (f64::from(mtu) - 52.0);
    // About half a second, and a second at each pace; small packets are carried far slower, so fewer will do.
    let first = if mtu < 4000 { 100 } else { 400 };
    let mut mbps = frames * stream(machines, mtu, None, first)?;
    for _ in 0..TRIES {
        mbps *= STEP;
        let count = (mbps * 1e6 / MIB_BITS).ceil() as u64;
        if frames * stream(machines, mtu, Some(mbps), count)? >= KEPT * mbps {
            break;
        }
    }
    Ok(mbps)
}

/// Megabits per second of TCP's payload over a link of this rate.
fn stream(machines: &Machines, mtu: u16, mbps: Option<f64>, mebibytes: u64) -> anyhow::Result<f64> {
    let rate_bps = mbps.map(|mbps| (mbps * 1e6) as u64);
    let character = Character { rate_bps, delay: DELAY, ..Character::CLEAR };
    let joint = Joint { there: character, back: character, ..Joint::CLEAR };
    let plan = Plan { interface: "probe0", net: [192, 168, 7], mtu, joint, seed: 1 };
    let _link = lay(&machines.names()[..2], &plan)?;
    let own = std::env::current_exe().context("the way to this program")?;
    let addr = format!("{}:{PORT}", plan.address(1));
    let mut server = machines.command(1, &own);
    server.args(["floor", "serve", &addr]);
    let mut client = machines.command(0, &own);
    let count = mebibytes.to_string();
    client.args(["floor", "stream", &addr, "--size", "1MiB", "--count", &count]);
    let said = Job { server, port: Some(PORT), client, server_ends: true }.run()?;
    let Stream { gb_per_s } = serde_json::from_str(&said.client).context("tbbench floor")?;
    Ok(gb_per_s * 8e3)
}

/// What is read of what `tbbench floor stream` prints.
#[derive(Deserialize)]
struct Stream {
    gb_per_s: f64,
}
