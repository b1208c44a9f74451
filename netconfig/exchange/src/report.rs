//! What this end is like, asked of the system anew when it has to be.

use std::time::{Duration, Instant, SystemTime};

use exo_netconfig::{
    Snapshot,
    peer::{EndReport, Identity},
    system::{self, Request},
};

/// A peer that asks again and again to measure the way is told the same within this time. A Mac takes
/// seconds to say what hangs on its cables.
const FRESH: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 1 } else { 10 });
/// Its first question is answered with what is so now; only who asks anew all the time is not.
const FRESH_AT_FIRST: Duration =
    Duration::from_millis(if cfg!(target_os = "linux") { 10 } else { 2_000 });

/// Reports this machine's end of the link.
pub struct Reporter {
    identity: Identity,
    last: Option<(Instant, Snapshot)>,
}

impl Reporter {
    /// In this name.
    pub fn new(identity: Identity) -> Self {
        Self { identity, last: None }
    }

    /// What the end called `interface` is like, and what the clock says now, for the question of this
    /// `number`. May take as long as the system takes to answer. `None` if there is no such interface
    /// just now.
    pub fn report(&mut self, interface: &str, number: u32) -> Option<EndReport> {
        let fresh = if number == 0 { FRESH_AT_FIRST } else { FRESH };
        let is_fresh = |(asked, snapshot): &(Instant, Snapshot)| {
            asked.elapsed() < fresh && snapshot.interface(interface).is_some()
        };
        if !self.last.as_ref().is_some_and(is_fresh) {
            self.last = Some((Instant::now(), system::collect(&Request::default())));
        }
        let (_, snapshot) = self.last.as_ref()?;
        snapshot.interface(interface)?;
        let identity = self.identity.clone();
        Some(EndReport::of(snapshot, interface, identity, SystemTime::now()))
    }
}
