//! Messages one way, as fast as they go.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{
    Exercise, Side, Spent,
    traffic::{Incoming, Outgoing, check_size, lane_of},
};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) size: usize,
    /// Messages that are measured.
    pub(crate) count: u64,
    /// Messages before.
    pub(crate) warmup: u64,
    /// Buffers that the sender rotates, and regions that the receiver recycles.
    pub(crate) buffers: usize,
}

/// What came of it.
pub(crate) struct Outcome {
    /// From the first post to the last acknowledgement.
    pub(crate) seconds: f64,
    /// Of the sender, and of the receiver.
    pub(crate) spent: [Spent; 2],
}

pub(crate) fn client(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<Outcome> {
    check_size(plan.size)?;
    let mut outgoing =
        Outgoing::new(side.endpoint, &side.pair, lane_of(plan.size), plan.size, plan.buffers)?;
    side.ask(Exercise::Stream(plan))?;
    for _ in 0..plan.warmup {
        outgoing.post()?;
    }
    outgoing.drain()?;
    let (before, began) = (side.spent(), Instant::now());
    for _ in 0..plan.count {
        outgoing.post()?;
    }
    outgoing.drain()?;
    let seconds = began.elapsed().as_secs_f64();
    let ours = side.spent() - before;
    Ok(Outcome { seconds, spent: [ours, side.hear_spent()?] })
}

pub(super) fn server(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<()> {
    check_size(plan.size)?;
    let incoming = Incoming::new(side.endpoint, &side.pair);
    incoming.post(lane_of(plan.size), plan.size, plan.buffers)?;
    side.ready()?;
    let mut before = side.spent();
    for at in 0..plan.warmup + plan.count {
        if at == plan.warmup {
            before = side.spent();
        }
        let (lane, region) = incoming.next()?;
        incoming.recycle(lane, region)?;
    }
    let spent = side.spent() - before;
    side.control.say(&spent)
}
