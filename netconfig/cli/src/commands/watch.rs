//! `tbnet watch`

use std::{
    thread,
    time::{Duration, Instant},
};

use exo_netconfig::{
    Snapshot,
    changes::{self, Change, between},
    snapshot::{Interface, Reading},
    system::{self, Request, notify::Changes},
    text::live as say,
};

use super::Exit;
use crate::{args::WatchArgs, json::WatchJson, output::Output};

/// Without a word from the system the links are looked at this often: docks and drives come and go
/// without a network interface, and no notification is for ever sure.
const LOOK_EVERY: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 5 } else { 10 });
/// A Mac's Thunderbolt ports are asked about this often, whether or not anything was heard: it takes
/// seconds, and docks and drives bring no interface that would change.
const LOOK_AT_PORTS_EVERY: Duration = Duration::from_secs(30);
/// On a system that does not tell of its changes.
const LOOK_UNTOLD: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &WatchArgs, output: &mut Output) -> anyhow::Result<Exit> {
    // Subscribed first: what changes after the first look is not missed.
    let mut told = Changes::subscribe().ok();
    let mut watch = Watch { args, output, begun: Instant::now() };
    if told.is_none() && !args.json {
        watch.output.say(say::watch_by_looking(LOOK_UNTOLD.as_secs()))?;
    }
    let end = args.seconds.map(|seconds| watch.begun + Duration::from_secs(seconds));
    let mut before = system::collect(&Request::default());
    let mut whole = Instant::now();
    if let Some(name) = &args.interface
        && before.interface(name).is_none()
        && !args.json
    {
        watch.output.say(say::watch_not_there(name))?;
    }
    for interface in before.interfaces.items().iter().filter(|i| is_wanted(args, i)) {
        watch.say(&changes::now(interface), Some(interface))?;
    }
    loop {
        let now = Instant::now();
        let every = if told.is_some() { LOOK_EVERY } else { LOOK_UNTOLD };
        let wait = match end {
            Some(end) if now >= end => return Ok(Exit::Good),
            Some(end) => every.min(end - now),
            None => every,
        };
        let changed = heard(&mut told, wait);
        let is_whole =
            changed || cfg!(target_os = "linux") || whole.elapsed() >= LOOK_AT_PORTS_EVERY;
        let after = look(&before, is_whole);
        if is_whole {
            whole = Instant::now();
        }
        for change in between(&before, &after) {
            let name = change.interface.as_deref();
            if args.interface.is_none() || args.interface.as_deref() == name {
                watch.say(&change, name.and_then(|name| after.interface(name)))?;
            }
        }
        before = after;
    }
}

/// Whether the system said that something changed.
fn heard(told: &mut Option<Changes>, wait: Duration) -> bool {
    let Some(changes) = told else {
        thread::sleep(wait);
        return false;
    };
    changes.wait(wait).unwrap_or_else(|_| {
        // It says nothing more: from now on it is looked at.
        *told = None;
        true
    })
}

/// On Linux all of it takes milliseconds. A Mac's slow sources are asked when something changed, and
/// now and then; in between what they said stands.
fn look(before: &Snapshot, is_whole: bool) -> Snapshot {
    let mut after = match is_whole {
        true => system::collect(&Request::default()),
        false => system::quick(),
    };
    // What did not answer, or was not asked, is what it was.
    if !matches!(after.thunderbolt_ports, Reading::Known { .. }) {
        after.thunderbolt_ports = before.thunderbolt_ports.clone();
    }
    after
}

fn is_wanted(args: &WatchArgs, interface: &Interface) -> bool {
    match &args.interface {
        Some(wanted) => *wanted == interface.name,
        None => !interface.is_loopback(),
    }
}

struct Watch<'a> {
    args: &'a WatchArgs,
    output: &'a mut Output,
    begun: Instant,
}

impl Watch<'_> {
    fn say(&mut self, change: &Change, now: Option<&Interface>) -> anyhow::Result<()> {
        let after = self.begun.elapsed();
        if self.args.json {
            let line = WatchJson::of(after, change, now, self.output.lang());
            return self.output.line(&serde_json::to_string(&line)?);
        }
        let words = self.output.words(&change.text);
        let what = change.interface.as_deref().unwrap_or("Thunderbolt");
        self.output.line(&format!("{:>8.1} s  {what}: {words}", after.as_secs_f64()))
    }
}
