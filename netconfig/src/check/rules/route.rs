//! Is the peer where the link is, and would the kernel send its packets over it?

use std::net::IpAddr;

use ipnet::IpNet;

use super::is_automatic;
use crate::{
    address::is_nobody,
    check::{
        Case, advice,
        finding::{Finding, FindingId, Findings, Severity},
    },
    plan, shell,
    snapshot::{InterfaceType, PeerRoute, Platform, Reading, Route, Source},
    text::{Text, apply, route as say},
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(peer) = case.peer else { return };
    if matches!(peer, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        return scope(case, peer, findings);
    }
    let own = case.subject.networks();
    if let Some(net) = own.iter().find(|net| net.addr() == peer) {
        findings.push(
            same_address(case, peer)
                .seen_in(say::own_address(net, &case.subject.name), &case.snapshot.interfaces),
        );
        return;
    }
    if let Some(net) = own.iter().find(|net| is_nobody(net, peer)) {
        findings.push(nobody(case, peer, net));
        return;
    }
    if !own.is_empty() && !own.iter().any(|net| net.contains(&peer)) {
        findings.push(outside(case, peer));
    }
    // A link that is down has no routes: that is reported already.
    if case.subject.is_inactive() {
        return;
    }
    match answer(case, peer) {
        Ok((route, source)) => judge_route(case, peer, &route, &source, findings),
        Err(unknown) => {
            let title = say::route_unknown(peer);
            findings.push(
                Finding::unknown(FindingId::WrongRoute, title, unknown, true)
                    .why(say::route_unknown_why()),
            );
        }
    }
}

/// A link-local address is reached over the interface that is named with it, and over no other: a
/// route says nothing about it.
fn scope(case: &Case<'_>, peer: IpAddr, findings: &mut Findings) {
    let name = &case.subject.name;
    let title = match &case.expectation.peer_scope {
        Some(scope) if scope == name => return,
        Some(scope) => say::scope_wrong(peer, scope, name),
        None => say::scope_missing(peer),
    };
    let asked = Source::new("--peer");
    findings.push(
        Finding::new(FindingId::ScopeMissing, Severity::Error, title)
            .seen(say::scope_seen(peer), &asked)
            .why(say::scope_why())
            .click(say::scope_do(peer, name))
            .command(shell::command(["tbnet", "check", "--peer", &format!("{peer}%{name}")])),
    );
}

/// The kernel's own answer; without it, what the routing table says to a socket that is not bound
/// to an interface.
fn answer<'a>(
    case: &Case<'a>,
    peer: IpAddr,
) -> Result<(PeerRoute, Source), &'a Reading<PeerRoute>> {
    static NOT_ASKED: Reading<PeerRoute> = Reading::NotApplicable;
    let asked = case.snapshot.peer_routes.get(&peer).unwrap_or(&NOT_ASKED);
    if let Reading::Known { value, source } = asked {
        return Ok((value.clone(), source.clone()));
    }
    match &case.snapshot.routes {
        Reading::Known { value, source } => {
            let route = longest_match(value, peer);
            Ok((
                PeerRoute {
                    interface: route.and_then(|r| r.interface.clone()),
                    gateway: None,
                    rejected: route.is_some_and(Route::is_rejecting),
                },
                source.clone(),
            ))
        }
        _ => Err(asked),
    }
}

fn longest_match(routes: &[Route], peer: IpAddr) -> Option<&Route> {
    routes
        .iter()
        .filter(|route| !route.scoped && route.destination.contains(&peer))
        // The longest prefix, then the lowest metric, then the first row.
        .min_by_key(|r| (u8::MAX - r.destination.prefix_len(), r.metric.unwrap_or(0)))
}

fn judge_route(
    case: &Case<'_>,
    peer: IpAddr,
    route: &PeerRoute,
    source: &Source,
    findings: &mut Findings,
) {
    let name = &case.subject.name;
    let Some(interface) = &route.interface else {
        findings.push(if route.rejected {
            rejected(case, peer).seen(say::kernel_refuses(), source)
        } else {
            wrong_route(case, peer, say::no_way(peer)).seen(say::no_route(), source)
        });
        return;
    };
    let leads_home = case
        .snapshot
        .interface(interface)
        .is_some_and(|i| i.interface_type == InterfaceType::Loopback);
    if leads_home && name != interface {
        findings.push(same_address(case, peer).seen(say::stays_on(interface), source));
    } else if route.rejected {
        findings.push(rejected(case, peer).seen(say::rejected_on(interface), source));
    } else if interface != name {
        let seen = match &route.gateway {
            Some(gateway) => say::leaves_by_via_seen(interface, gateway, name),
            None => say::leaves_by_seen(interface, name),
        };
        let title = say::leaves_by(peer, interface);
        findings.push(wrong_route(case, peer, title).seen(seen, source));
    }
}

fn rejected(case: &Case<'_>, peer: IpAddr) -> Finding {
    // The kernel's answer does not name the route: the table does. macOS makes one for the address.
    let routes = case.snapshot.routes.items();
    let route = longest_match(routes, peer).filter(|route| route.is_rejecting());
    let destination = match route {
        Some(route) if route.destination.prefix_len() < route.destination.max_prefix_len() => {
            route.destination.to_string()
        }
        _ => peer.to_string(),
    };
    let delete: &[&str] = match (case.snapshot.platform, peer) {
        (Platform::MacOs, IpAddr::V4(_)) => &["sudo", "route", "-n", "delete"],
        (Platform::MacOs, IpAddr::V6(_)) => &["sudo", "route", "-n", "delete", "-inet6"],
        (Platform::Linux, _) => &["sudo", "ip", "route", "del"],
    };
    // Linux names the type, and a route that is not the first of its destination by its metric.
    let on_linux = route.filter(|_| case.snapshot.platform == Platform::Linux);
    let kind = on_linux.and_then(|route| route.flags.as_deref());
    let metric = on_linux.and_then(|route| route.metric).map(|metric| metric.to_string());
    let metric = metric.iter().flat_map(|metric| ["metric", metric]);
    let words = delete.iter().copied().chain(kind).chain([destination.as_str()]).chain(metric);
    Finding::new(FindingId::RouteRejected, Severity::Error, say::rejected(peer))
        .why(say::rejected_why())
        .click(say::delete_route())
        .command(shell::command(words))
}

/// What mends it depends on whether the address is right: then a route of its own, which goes before
/// the other link's; else the address brings one with it.
fn wrong_route(case: &Case<'_>, peer: IpAddr, title: Text) -> Finding {
    let finding =
        Finding::new(FindingId::WrongRoute, Severity::Error, title).why(say::wrong_route_why());
    let has_room = |own: &IpNet| own.contains(&peer) && own.addr() != peer && !is_automatic(own);
    let right = case.subject.networks().into_iter().find(has_room);
    let collides = right.is_some_and(|own| {
        super::other_networks(case).iter().any(|(_, other)| super::overlap(&own, other))
    });
    let Some(own) = right.filter(|_| !collides) else {
        return ask_kernel(case, peer, finding.click(say::mend_address_first()));
    };
    let (name, peer_text, own) =
        (case.subject.name.as_str(), peer.to_string(), own.addr().to_string());
    match (case.snapshot.platform, peer) {
        (Platform::MacOs, _) => {
            let family: &[&str] = if peer.is_ipv6() { &["-inet6"] } else { &[] };
            let words = ["sudo", "route", "-n", "add"].into_iter().chain(family.iter().copied());
            let words = words.chain(["-host", &peer_text, "-interface", name]);
            let command = shell::command(words);
            finding.click(say::exclude_from_vpn()).click(say::own_route()).command(command)
        }
        (Platform::Linux, _) => {
            let to = format!("{peer}/{}", if peer.is_ipv6() { 128 } else { 32 });
            let words = ["sudo", "ip", "route", "prepend", &to, "dev", name, "src", &own];
            finding.click(say::own_route()).command(shell::command(words))
        }
    }
}

fn ask_kernel(case: &Case<'_>, peer: IpAddr, finding: Finding) -> Finding {
    match (case.snapshot.platform, peer) {
        (Platform::MacOs, IpAddr::V4(_)) => {
            finding.click(say::exclude_from_vpn()).command(format!("route -n get {peer}"))
        }
        (Platform::MacOs, IpAddr::V6(_)) => finding.command(format!("route -n get -inet6 {peer}")),
        (Platform::Linux, _) => finding.command(format!("ip route get {peer}")),
    }
}

fn same_address(case: &Case<'_>, peer: IpAddr) -> Finding {
    let finding = Finding::new(FindingId::SameAddress, Severity::Error, say::same_address(peer))
        .why(say::same_address_why());
    change_one(case, finding)
}

/// The remedy for one address on both ends: this one gets another.
pub(super) fn change_one(case: &Case<'_>, finding: Finding) -> Finding {
    match advice::pair(case) {
        Some(pair) => {
            let finding = finding.click(say::change_one(pair.own.addr(), pair.peer));
            let commands = advice::commands(case, &pair);
            match commands.is_empty() {
                // This end stays as it is: the other is to change.
                true => finding.click(apply::then_there(plan::there(&pair))),
                false => finding.commands(commands),
            }
        }
        None => advice::none(finding),
    }
}

fn nobody(case: &Case<'_>, peer: IpAddr, net: &IpNet) -> Finding {
    Finding::new(FindingId::PeerOutsideSubnet, Severity::Error, say::nobody(peer))
        .seen_in(
            say::nobody_seen(net.network(), net.broadcast(), &case.subject.name),
            &case.snapshot.interfaces,
        )
        .why(say::nobody_why())
        .click(say::nobody_do())
        .command("tbnet show")
}

fn outside(case: &Case<'_>, peer: IpAddr) -> Finding {
    let own = case.subject.networks();
    let chosen: Vec<String> = own
        .iter()
        .filter(|net| net.addr().is_ipv4() == peer.is_ipv4())
        .filter(|net| !is_automatic(net) || own.iter().all(is_automatic))
        .map(ToString::to_string)
        .collect();
    let has = if chosen.is_empty() {
        say::no_address_of_family()
    } else {
        Text::verbatim(chosen.join(", "))
    };
    let title = say::outside(peer, &case.subject.name);
    let finding = Finding::new(FindingId::PeerOutsideSubnet, Severity::Error, title)
        .seen_in(say::has_networks(&case.subject.name, has), &case.snapshot.interfaces)
        .why(say::outside_why());
    match advice::pair(case) {
        Some(pair) => finding
            .click(say::one_subnet(pair.own.addr(), pair.peer, pair.own.netmask()))
            .commands(advice::commands(case, &pair)),
        None => advice::none(finding),
    }
}
