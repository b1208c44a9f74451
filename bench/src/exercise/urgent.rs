//! A small frame on the urgent lane, alone and while bulk is in flight.
//!
//! The server echoes it on the same lane, so what is measured is one frame past the bulk and one
//! back on the quiet direction.

use std::time::{Duration, Instant};

use exo_transport::Lane;
use serde::{Deserialize, Serialize};

use super::{
    Exercise, PATIENCE, Side,
    traffic::{Incoming, Outgoing},
};
use crate::histogram::{Durations, Percentiles};

/// Bytes of the small frame.
const URGENT_BYTES: usize = 64;
/// Bytes of each bulk message.
const BULK_BYTES: usize = 4 << 20;
/// Pause between two small frames, so that the bulk gets going again.
const PAUSE: Duration = Duration::from_micros(200);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Bytes of bulk that are kept in flight.
    pub(crate) bulk_bytes: usize,
    /// Small frames measured alone, and as many under bulk.
    pub(crate) count: u64,
}

impl Plan {
    fn bulk_messages(self) -> usize {
        (self.bulk_bytes / BULK_BYTES).max(1)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) idle_us: Percentiles,
    pub(crate) under_bulk_us: Percentiles,
    /// Bulk that went meanwhile, in bytes per second.
    pub(crate) bulk_bytes_per_s: f64,
}

pub(crate) fn client(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<Outcome> {
    let incoming = Incoming::new(side.endpoint, &side.pair);
    incoming.post(Lane::Urgent, URGENT_BYTES, 8)?;
    let mut urgent = Outgoing::new(side.endpoint, &side.pair, Lane::Urgent, URGENT_BYTES, 8)?;
    let messages = plan.bulk_messages();
    let mut bulk = Outgoing::new(side.endpoint, &side.pair, Lane::Bulk, BULK_BYTES, messages)?;
    side.ask(Exercise::Urgent(plan))?;

    let mut round_trip = || -> anyhow::Result<Duration> {
        let began = Instant::now();
        urgent.post()?;
        let (lane, region) = incoming.next()?;
        let took = began.elapsed();
        incoming.recycle(lane, region)?;
        std::thread::sleep(PAUSE);
        Ok(took)
    };
    let (mut idle, mut under_bulk) = (Durations::new()?, Durations::new()?);
    for round in 0..plan.count + plan.count / 10 {
        let took = round_trip()?;
        if round >= plan.count / 10 {
            idle.record(took);
        }
    }
    let (mut posted, began) = (0_u64, Instant::now());
    for _ in 0..plan.count {
        while bulk.in_flight()? < messages {
            bulk.post()?;
            posted += 1;
        }
        under_bulk.record(round_trip()?);
    }
    bulk.drain()?;
    let bulk_bytes_per_s = (posted * BULK_BYTES as u64) as f64 / began.elapsed().as_secs_f64();
    side.control.say(&Over {})?;
    Ok(Outcome {
        idle_us: idle.percentiles(),
        under_bulk_us: under_bulk.percentiles(),
        bulk_bytes_per_s,
    })
}

pub(super) fn server(side: &mut Side<'_>, plan: Plan) -> anyhow::Result<()> {
    let incoming = Incoming::new(side.endpoint, &side.pair);
    incoming.post(Lane::Urgent, URGENT_BYTES, 8)?;
    incoming.post(Lane::Bulk, BULK_BYTES, plan.bulk_messages())?;
    let mut urgent = Outgoing::new(side.endpoint, &side.pair, Lane::Urgent, URGENT_BYTES, 8)?;
    side.ready()?;
    let mut echoes = 2 * plan.count + plan.count / 10;
    while echoes > 0 {
        let (lane, region) = incoming.next()?;
        incoming.recycle(lane, region)?;
        if lane == Lane::Urgent {
            urgent.post()?;
            echoes -= 1;
        }
    }
    // Bulk that is still under way goes into the regions that stand.
    side.control.hear::<Over>(PATIENCE).map(|_| ())
}

/// The client has measured everything.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Over {}
