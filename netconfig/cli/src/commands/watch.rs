//! `tbnet watch`

use std::time::{Duration, Instant};

use anyhow::Context as _;
use exo_netconfig::{
    Snapshot,
    snapshot::{Interface, ThunderboltPort},
    system::{self, Request, notify::Changes},
};
use serde::Serialize;

use super::Exit;
use crate::{
    args::WatchArgs,
    output::{self, Output, SCHEMA},
};

/// Without a word from the system the links are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(if cfg!(target_os = "linux") { 60 } else { 10 });

pub(crate) fn run(args: &WatchArgs, output: &mut Output) -> anyhow::Result<Exit> {
    // Subscribed first: what changes after the first look is not missed.
    let mut changes = Changes::subscribe().context("the system does not tell of its changes")?;
    let begun = Instant::now();
    let end = args.seconds.map(|seconds| begun + Duration::from_secs(seconds));
    let mut before = look();
    for interface in before.interfaces.items().iter().filter(|i| is_wanted(args, i)) {
        say(args, output, begun, &words::now(interface), &interface.name)?;
    }
    loop {
        let now = Instant::now();
        let wait = match end {
            Some(end) if now >= end => return Ok(Exit::Good),
            Some(end) => LOOK_EVERY.min(end - now),
            None => LOOK_EVERY,
        };
        changes.wait(wait).context("the system's notifications broke off")?;
        let after = look();
        for (interface, text) in differences(&before, &after) {
            if args.interface.as_ref().is_none_or(|wanted| *wanted == interface) {
                say(args, output, begun, &text, &interface)?;
            }
        }
        before = after;
    }
}

/// On Linux all of it takes milliseconds; a Mac's slow sources would hold up what is seen.
fn look() -> Snapshot {
    if cfg!(target_os = "linux") { system::collect(&Request::default()) } else { system::quick() }
}

fn is_wanted(args: &WatchArgs, interface: &Interface) -> bool {
    match &args.interface {
        Some(wanted) => *wanted == interface.name,
        None => !interface.is_loopback(),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    command: &'static str,
    after_ms: u64,
    interface: &'a str,
    what: &'a str,
}

fn say(
    args: &WatchArgs,
    output: &mut Output,
    begun: Instant,
    what: &str,
    interface: &str,
) -> anyhow::Result<()> {
    let after_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    if args.json {
        let line = Line { schema: SCHEMA, command: "watch", after_ms, interface, what };
        return output.line(&serde_json::to_string(&line)?);
    }
    output.line(&format!("{:>8.1} s  {interface}: {what}", after_ms as f64 / 1000.0))
}

/// What changed between two looks, by interface.
fn differences(before: &Snapshot, after: &Snapshot) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for now in after.interfaces.items() {
        let mut add = |text: String| found.push((now.name.clone(), text));
        let Some(was) = before.interface(&now.name) else {
            add(words::appeared(now));
            continue;
        };
        if was.index != now.index {
            add(words::renumbered(was.index, now.index));
        }
        if (was.up, was.carrier) != (now.up, now.carrier) {
            add(words::state(was, now));
        }
        if was.addresses != now.addresses {
            add(words::addresses(now));
        }
        if was.mtu != now.mtu {
            add(words::mtu(was.mtu, now.mtu));
        }
        if was.master != now.master {
            add(words::master(now.master.as_deref()));
        }
    }
    for was in before.interfaces.items() {
        if after.interface(&was.name).is_none() {
            found.push((was.name.clone(), words::GONE.to_owned()));
        }
    }
    let peers = |snapshot: &Snapshot| {
        let ports = snapshot.thunderbolt_ports.items().iter();
        ports
            .map(|port| (port.bus.clone(), port.receptacle.clone(), port.devices.clone()))
            .collect::<Vec<_>>()
    };
    if peers(before) != peers(after) {
        let names = after.thunderbolt_ports.items().iter().flat_map(ThunderboltPort::peers);
        let names: Vec<String> = names.filter_map(|peer| peer.name.clone()).collect();
        found.push(("Thunderbolt".to_owned(), words::peers(&names)));
    }
    found
}

/// Every word that `tbnet watch` says.
mod words {
    use std::num::NonZeroU32;

    use super::{Interface, output};

    pub(super) const GONE: &str = "is gone";

    pub(super) fn now(interface: &Interface) -> String {
        format!("{}{}", output::state(interface), with_addresses(interface))
    }

    pub(super) fn appeared(interface: &Interface) -> String {
        format!("is there, {}{}", output::state(interface), with_addresses(interface))
    }

    pub(super) fn renumbered(was: Option<NonZeroU32>, now: Option<NonZeroU32>) -> String {
        let text = |index: Option<NonZeroU32>| index.map_or("unknown".into(), |i| i.to_string());
        format!("was index {}, is index {}: sockets kept on it are dead", text(was), text(now))
    }

    pub(super) fn state(was: &Interface, now: &Interface) -> String {
        format!("was {}, is {}", output::state(was), output::state(now))
    }

    pub(super) fn addresses(now: &Interface) -> String {
        let nets = output::addresses(now.addresses.as_deref().unwrap_or_default());
        if nets.is_empty() { "has no address".into() } else { format!("has {}", nets.join(", ")) }
    }

    pub(super) fn mtu(was: Option<u32>, now: Option<u32>) -> String {
        let text = |mtu: Option<u32>| mtu.map_or("unknown".into(), |mtu| mtu.to_string());
        format!("largest packet was {}, is {} bytes", text(was), text(now))
    }

    pub(super) fn master(now: Option<&str>) -> String {
        now.map_or("belongs to no bridge".into(), |master| format!("belongs to {master}"))
    }

    pub(super) fn peers(names: &[String]) -> String {
        if names.is_empty() {
            "no computer at the end of any cable".into()
        } else {
            format!("at the end of the cables: {}", names.join(", "))
        }
    }

    fn with_addresses(interface: &Interface) -> String {
        let nets = output::addresses(interface.addresses.as_deref().unwrap_or_default());
        if nets.is_empty() { String::new() } else { format!(", {}", nets.join(", ")) }
    }
}
