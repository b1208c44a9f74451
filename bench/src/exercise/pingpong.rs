//! One message there, one of the same size back.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{
    Exercise, Side, Spent,
    traffic::{Incoming, Outgoing, check_size, lane_of},
};
use crate::histogram::{Durations, Percentiles};

/// Regions and buffers of each side: enough that credit rides on the messages, though a side answers
/// before it makes room for another.
const BUFFERS: usize = 3;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) size: usize,
    /// Round trips that are measured.
    pub(crate) count: u64,
    /// Round trips before.
    pub(crate) warmup: u64,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Of the whole round trip.
    pub(crate) rtt_us: Percentiles,
    /// Of the client, and of the server.
    pub(crate) spent: [Spent; 2],
}

pub(crate) fn client(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<Outcome> {
    check_size(plan.size)?;
    let lane = lane_of(plan.size);
    let incoming = Incoming::new(side.endpoint, &side.pair);
    incoming.post(lane, plan.size, BUFFERS)?;
    let mut outgoing = Outgoing::new(side.endpoint, &side.pair, lane, plan.size, BUFFERS)?;
    let mut durations = Durations::new()?;
    side.ask(Exercise::PingPong(plan))?;

    let mut before = side.spent();
    for round in 0..plan.warmup + plan.count {
        if round == plan.warmup {
            before = side.spent();
        }
        let began = Instant::now();
        outgoing.post()?;
        let (_, region) = incoming.next()?;
        let rtt = began.elapsed();
        incoming.recycle(lane, region)?;
        if round >= plan.warmup {
            durations.record(rtt);
        }
    }
    let ours = side.spent() - before;
    outgoing.drain()?;
    let theirs = side.hear_spent()?;
    Ok(Outcome { rtt_us: durations.percentiles(), spent: [ours, theirs] })
}

pub(super) fn server(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<()> {
    check_size(plan.size)?;
    let lane = lane_of(plan.size);
    let incoming = Incoming::new(side.endpoint, &side.pair);
    incoming.post(lane, plan.size, BUFFERS)?;
    let mut outgoing = Outgoing::new(side.endpoint, &side.pair, lane, plan.size, BUFFERS)?;
    side.ready()?;

    let mut before = side.spent();
    for round in 0..plan.warmup + plan.count {
        if round == plan.warmup {
            before = side.spent();
        }
        let (lane, region) = incoming.next()?;
        outgoing.post()?;
        incoming.recycle(lane, region)?;
    }
    let spent = side.spent() - before;
    outgoing.drain()?;
    side.control.say(&spent)
}
