//! Many small frames at once: how many share a system call?

use serde::{Deserialize, Serialize};

use super::{
    Exercise, Side, Spent,
    traffic::{Incoming, Outgoing, check_size, lane_of},
};

/// Messages that are posted together.
const BATCH: u64 = 32;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) size: usize,
    /// Messages of all bursts.
    pub(crate) count: u64,
    /// Messages in flight at once.
    pub(crate) window: usize,
}

/// What the sender and the receiver have spent.
pub(crate) fn client(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<[Spent; 2]> {
    check_size(plan.size)?;
    let mut outgoing =
        Outgoing::new(side.endpoint, &side.pair, lane_of(plan.size), plan.size, plan.window)?;
    side.ask(Exercise::Burst(plan))?;
    for _ in 0..plan.window {
        outgoing.post()?;
    }
    outgoing.drain()?;
    let before = side.spent();
    let mut left = plan.count;
    while left > 0 {
        // As a stage posts the tokens of all its sequences: together.
        let together = left.min(BATCH).min(plan.window as u64);
        outgoing.make_room(together as usize)?;
        let batch = side.pair.batch();
        for _ in 0..together {
            outgoing.post()?;
        }
        drop(batch);
        left -= together;
    }
    outgoing.drain()?;
    let ours = side.spent() - before;
    Ok([ours, side.hear_spent()?])
}

pub(super) fn server(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<()> {
    check_size(plan.size)?;
    let incoming = Incoming::new(side.endpoint, &side.pair);
    // Twice as many regions as the sender has in flight: room is never what it waits for.
    incoming.post(lane_of(plan.size), plan.size, 2 * plan.window)?;
    side.ready()?;
    let warmup = plan.window as u64;
    let mut before = side.spent();
    for at in 0..warmup + plan.count {
        if at == warmup {
            before = side.spent();
        }
        let (lane, region) = incoming.next()?;
        incoming.recycle(lane, region)?;
    }
    let spent = side.spent() - before;
    side.control.say(&spent)
}
