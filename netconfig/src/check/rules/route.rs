//! Is the peer where the link is, and would the kernel send its packets over it?

use std::net::IpAddr;

use super::is_automatic;
use crate::{
    check::{
        Case, advice,
        finding::{Finding, FindingId, Findings, Severity},
    },
    snapshot::{InterfaceType, PeerRoute, Platform, Reading, Route, Source},
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    let Some(peer) = case.peer else { return };
    let own = case.subject.networks();
    if let Some(net) = own.iter().find(|net| net.addr() == peer) {
        findings.push(same_address(case, peer).seen_in(
            format!("{net} is this machine's own address on {}", case.subject.name),
            &case.snapshot.interfaces,
        ));
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
            let title = format!("Which way packets to {peer} would go is not known");
            findings.push(
                Finding::unknown(FindingId::WrongRoute, title, unknown, true)
                    .why("They may leave by another interface, although the link looks right."),
            );
        }
    }
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
        let refused = if route.rejected { "the kernel refuses" } else { "no route" };
        findings.push(
            wrong_route(case, peer, format!("The kernel has no way to {peer}"))
                .seen(refused, source),
        );
        return;
    };
    let leads_home = case
        .snapshot
        .interface(interface)
        .is_some_and(|i| i.interface_type == InterfaceType::Loopback);
    if leads_home && name != interface {
        findings.push(
            same_address(case, peer).seen(format!("packets to it stay on {interface}"), source),
        );
    } else if route.rejected {
        let title = format!("The kernel refuses to send to {peer}");
        findings.push(
            wrong_route(case, peer, title)
                .seen(format!("a REJECT route on {interface}"), source)
                .command(match case.snapshot.platform {
                    Platform::MacOs => format!("sudo route delete {peer}"),
                    Platform::Linux => format!("sudo ip route del {peer}"),
                }),
        );
    } else if interface != name {
        let via = route.gateway.as_ref().map(|g| format!(" via {g}")).unwrap_or_default();
        findings.push(
            wrong_route(case, peer, format!("Packets to {peer} would leave by {interface}"))
                .seen(format!("interface {interface}{via}, not {name}"), source),
        );
    }
}

fn wrong_route(case: &Case<'_>, peer: IpAddr, title: String) -> Finding {
    let finding = Finding::new(FindingId::WrongRoute, Severity::Error, title)
        .why("Traffic meant for the cable would take another way (Wi-Fi, a VPN, a virtual machine) or none.")
        .click("Mend the address and the subnet mask first, then unplug the cable and plug it in again");
    match (case.snapshot.platform, peer) {
        (Platform::MacOs, IpAddr::V4(_)) => finding
            .click("With a VPN: exclude the subnet from it")
            .command(format!("route -n get {peer}")),
        (Platform::MacOs, IpAddr::V6(_)) => finding.command(format!("route -n get -inet6 {peer}")),
        (Platform::Linux, _) => finding.command(format!("ip route get {peer}")),
    }
}

fn same_address(case: &Case<'_>, peer: IpAddr) -> Finding {
    let pair = advice::pair(case);
    Finding::new(
        FindingId::SameAddress,
        Severity::Error,
        format!("{peer} is this machine's own address"),
    )
    .why("Both ends have the same address: packets for the peer never leave this machine.")
    .click(format!(
        "Give one of the two another address, for example {} here and {} there",
        pair.own.addr(),
        pair.peer
    ))
}

fn outside(case: &Case<'_>, peer: IpAddr) -> Finding {
    let own = case.subject.networks();
    let chosen: Vec<String> = own
        .iter()
        .filter(|net| net.addr().is_ipv4() == peer.is_ipv4())
        .filter(|net| !is_automatic(net) || own.iter().all(is_automatic))
        .map(ToString::to_string)
        .collect();
    let has =
        if chosen.is_empty() { "no address of that family".into() } else { chosen.join(", ") };
    let pair = advice::pair(case);
    let finding = Finding::new(
        FindingId::PeerOutsideSubnet,
        Severity::Error,
        format!("{peer} is outside the subnet of {}", case.subject.name),
    )
    .seen_in(format!("{} has {has}", case.subject.name), &case.snapshot.interfaces)
    .why("Packets for an address outside the link's own subnet go to the default router, not over the cable.")
    .click(format!("Put both ends into one subnet, for example {} here and {} there, mask {}", pair.own.addr(), pair.peer, pair.mask()));
    match case.snapshot.platform {
        Platform::MacOs => finding.command(crate::shell::command([
            "sudo",
            "networksetup",
            "-setmanual",
            case.subject.service_name(),
            &pair.own.addr().to_string(),
            &pair.mask().to_string(),
            "",
        ])),
        Platform::Linux => finding.command(crate::shell::command([
            "sudo",
            "ip",
            "address",
            "add",
            &pair.own.to_string(),
            "dev",
            &case.subject.name,
        ])),
    }
}
