//! Messages one way, as fast as they go, for as long as was planned.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    Exercise, Side,
    traffic::{Incoming, Outgoing, check_size, lane_of},
};

/// From this size on a side has few buffers.
const LARGE_BYTES: usize = 1 << 20;

/// Which way the messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// From the client to the server.
    There,
    /// From the server to the client.
    Back,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) size: usize,
    /// How long the sender posts; what it has posted still arrives.
    pub(crate) lasts_ms: u64,
}

impl Plan {
    /// Enough that a sender never waits for its oldest message, unless each takes long by itself.
    fn buffers(self) -> usize {
        match self.size {
            size if size >= 4 * LARGE_BYTES => 3,
            size if size >= LARGE_BYTES => 8,
            _ => 64,
        }
    }
}

/// Bits per second of the messages' own bytes, as their receiver saw them.
pub(crate) fn client(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<f64> {
    check_size(plan.size)?;
    match plan.way {
        Way::There => {
            let mut outgoing = sender(side, plan)?;
            side.ask(Exercise::Flow(plan))?;
            send(&mut outgoing, plan)?;
            side.control.hear(super::PATIENCE)
        }
        Way::Back => {
            let incoming = receiver(side, plan)?;
            side.ask(Exercise::Flow(plan))?;
            receive(&incoming, plan)
        }
    }
}

pub(super) fn server(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<()> {
    check_size(plan.size)?;
    match plan.way {
        Way::There => {
            let incoming = receiver(side, plan)?;
            side.ready()?;
            let bits_per_s = receive(&incoming, plan)?;
            side.control.say(&bits_per_s)
        }
        Way::Back => {
            let mut outgoing = sender(side, plan)?;
            side.ready()?;
            send(&mut outgoing, plan)
        }
    }
}

fn sender(side: &Side<'_>, plan: Plan) -> anyhow::Result<Outgoing> {
    Outgoing::new(side.endpoint, &side.pair, lane_of(plan.size), plan.size, plan.buffers())
}

fn receiver(side: &Side<'_>, plan: Plan) -> anyhow::Result<Incoming> {
    let incoming = Incoming::new(side.endpoint, &side.pair);
    incoming.post(lane_of(plan.size), plan.size, plan.buffers())?;
    incoming.post_end(plan.size)?;
    Ok(incoming)
}

fn send(outgoing: &mut Outgoing, plan: Plan) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_millis(plan.lasts_ms);
    // Two at least: the receiver counts from the arrival of the first.
    outgoing.post()?;
    loop {
        outgoing.post()?;
        if Instant::now() >= until {
            return outgoing.finish();
        }
    }
}

fn receive(incoming: &Incoming, plan: Plan) -> anyhow::Result<f64> {
    let mut first = None;
    let (mut messages, mut last) = (0_u64, Instant::now());
    while let Some((lane, region)) = incoming.next_until_end()? {
        last = Instant::now();
        if first.is_none() {
            first = Some(last);
        } else {
            messages += 1;
        }
        incoming.recycle(lane, region)?;
    }
    let seconds = (last - first.unwrap_or(last)).as_secs_f64().max(1e-9);
    Ok((messages * plan.size as u64 * 8) as f64 / seconds)
}
