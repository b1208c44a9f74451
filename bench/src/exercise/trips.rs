//! A message there and one of the same size back, for as long as the client likes, alone or beside
//! bulk that it sends meanwhile.

use std::time::{Duration, Instant};

use exo_transport::Lane;
use serde::{Deserialize, Serialize};

use super::{
    Exercise, Side,
    traffic::{Incoming, Outgoing, check_size, lane_of},
};

/// Bytes of each bulk message: a piece of a weight file.
const BULK_BYTES: usize = 1 << 20;
/// Bulk messages in flight.
const BULKS: usize = 4;
/// From this size on a side has few buffers: they are filled anew for each connection.
const LARGE_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) size: usize,
    /// Whether bulk goes the same way meanwhile.
    pub(crate) beside_bulk: bool,
}

/// How long the client goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Round trips that do not count.
    pub(crate) warmup: u64,
    /// At least one round trip is made, however long it takes.
    pub(crate) lasts: Duration,
    /// From the beginning of one to that of the next; nothing: at once.
    pub(crate) every: Duration,
}

fn buffers(size: usize) -> usize {
    if size >= LARGE_BYTES { 2 } else { 8 }
}

/// Calls `hear` for each round trip, with when it began since the first and how long it took, until
/// the time is over or `hear` says no.
pub(crate) fn client(
    side: &mut Side<'_>,
    plan: Plan,
    span: Span,
    mut hear: impl FnMut(Duration, Duration) -> bool,
) -> anyhow::Result<()> {
    let Plan { size, beside_bulk } = plan;
    check_size(size)?;
    let lane = lane_of(size);
    let incoming = Incoming::new(side.endpoint, &side.pair);
    incoming.post(lane, size, buffers(size))?;
    let mut outgoing = Outgoing::new(side.endpoint, &side.pair, lane, size, buffers(size))?;
    let mut bulk = match beside_bulk {
        true => Some(Outgoing::new(side.endpoint, &side.pair, Lane::Bulk, BULK_BYTES, BULKS)?),
        false => None,
    };
    side.ask(Exercise::Trips(plan))?;

    let mut began = Instant::now();
    for round in 0.. {
        if round == span.warmup {
            began = Instant::now();
        }
        if let Some(bulk) = &mut bulk {
            while bulk.in_flight()? < BULKS {
                bulk.post()?;
            }
        }
        let trip = Instant::now();
        outgoing.post()?;
        let (_, region) = incoming.next()?;
        let took = trip.elapsed();
        incoming.recycle(lane, region)?;
        if round < span.warmup {
            continue;
        }
        if !hear(trip - began, took) || began.elapsed() >= span.lasts {
            break;
        }
        std::thread::sleep(span.every.saturating_sub(trip.elapsed()));
    }
    if let Some(mut bulk) = bulk {
        bulk.drain()?;
    }
    outgoing.finish()
}

pub(super) fn server(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<()> {
    let Plan { size, beside_bulk } = plan;
    check_size(size)?;
    let lane = lane_of(size);
    let incoming = Incoming::new(side.endpoint, &side.pair);
    incoming.post(lane, size, buffers(size))?;
    incoming.post_end(size)?;
    if beside_bulk {
        incoming.post(Lane::Bulk, BULK_BYTES, BULKS)?;
    }
    let mut outgoing = Outgoing::new(side.endpoint, &side.pair, lane, size, buffers(size))?;
    side.ready()?;
    while let Some((lane, region)) = incoming.next_until_end()? {
        incoming.recycle(lane, region)?;
        if lane != Lane::Bulk {
            outgoing.post()?;
        }
    }
    outgoing.drain()
}
