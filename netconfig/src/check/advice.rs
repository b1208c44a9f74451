//! Which address to advise, and the commands that give it.

use ipnet::{IpNet, Ipv4Net};

use super::{Case, finding::Finding, rules::is_automatic, wrong_port};
use crate::{
    address::{Ends, Moves, Pair},
    peer::Contact,
    shell,
    snapshot::Platform,
    text::plan as say,
};

/// What is known of the two ends.
fn ends<'a>(case: &Case<'a>) -> Ends<'a> {
    // An address that is on the wrong port is given up there and moves to the link.
    let misplaced: Vec<_> = wrong_port::of_case(case).collect();
    let moved = misplaced.iter().map(|found| found.net);
    let said = match &case.expectation.contact {
        Some(Contact::Answered { report, .. }) => Some(&**report),
        _ => None,
    };
    Ends {
        snapshot: case.snapshot,
        name: &case.subject.name,
        own: own(case).into_iter().chain(moved).collect(),
        freed: misplaced.iter().map(|found| found.device).collect(),
        peer: case.peer,
        said,
    }
}

/// The IPv4 addresses of the link that somebody chose.
fn own(case: &Case<'_>) -> Vec<Ipv4Net> {
    let chosen = |net: IpNet| match net {
        IpNet::V4(v4) if !is_automatic(&net) => Some(v4),
        _ => None,
    };
    case.subject.networks().into_iter().filter_map(chosen).collect()
}

/// A pair of addresses that collides with nothing; `None` if all that are known here are taken.
pub(super) fn pair(case: &Case<'_>) -> Option<Pair> {
    ends(case).choose()
}

/// Where there is no pair to advise.
pub(super) fn none(finding: Finding) -> Finding {
    finding.click(say::no_free_network()).click(say::no_free_network_hint())
}

/// The commands that leave the link with this machine's address of `pair`, no other and no router;
/// none if that is how it is.
pub(super) fn commands(case: &Case<'_>, pair: &Pair) -> Vec<String> {
    match case.snapshot.platform {
        Platform::MacOs => on_macos(case, pair),
        Platform::Linux => on_linux(case, pair),
    }
}

fn on_macos(case: &Case<'_>, pair: &Pair) -> Vec<String> {
    let config = case.subject.service.and_then(|service| service.config.value());
    if config.is_some_and(|config| config.is_manually(pair.own)) {
        return Vec::new();
    }
    let (address, mask) = (pair.own.addr().to_string(), pair.own.netmask().to_string());
    let service = case.subject.service_name();
    vec![shell::command(["sudo", "networksetup", "-setmanual", service, &address, &mask, ""])]
}

fn on_linux(case: &Case<'_>, pair: &Pair) -> Vec<String> {
    let ip = |verb: &str, net: Ipv4Net| {
        let net = net.to_string();
        shell::command(["sudo", "ip", "address", verb, &net, "dev", &case.subject.name])
    };
    let has = case.subject.interface.and_then(|i| i.addresses.as_deref()).unwrap_or_default();
    let moves = Moves::of(has, &own(case), pair.own, || ends(case).taken());
    let drops = moves.drops.into_iter().map(|net| ip("del", net));
    drops.chain(moves.adds.then(|| ip("add", pair.own))).collect()
}
