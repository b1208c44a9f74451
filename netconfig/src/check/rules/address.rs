//! Does the link have an address of its own that collides with nothing?

use std::net::{IpAddr, Ipv4Addr};

use super::{is_automatic, other_networks, overlap};
use crate::{
    address::{Pair, neighbour},
    check::{
        Case, advice,
        finding::{Finding, FindingId, Findings, Severity},
    },
    shell,
    snapshot::{ConfigMethod, Interface, InterfaceType, Platform, Reading, ServiceConfig},
    text::{Text, address as say, route},
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    let explained = [FindingId::ServiceMissing, FindingId::ServiceDisabled, FindingId::BridgeEmpty];
    if !explained.iter().any(|id| findings.has(*id)) {
        method(case, findings);
        presence(case, findings);
        expected(case, findings);
    }
    router(case, findings);
    collisions(case, findings);
}

/// Manual or DHCP.
fn method(case: &Case<'_>, findings: &mut Findings) {
    if !case.subject.is_cable {
        return;
    }
    let name = &case.subject.name;
    match case.subject.service.map(|service| &service.config) {
        Some(Reading::Known { value, source }) if value.method != ConfigMethod::Manual => {
            let title = match &value.method {
                ConfigMethod::Dhcp => say::dhcp(name),
                other => say::not_manual(name, other.text()),
            };
            let finding = Finding::new(FindingId::AddressDhcp, Severity::Warning, title)
                .seen(describe(value), source)
                .why(say::dhcp_why());
            findings.push(set_manually(case, finding));
        }
        Some(unknown @ Reading::Unknown { .. }) => {
            // With an address to be seen DHCP is a warning at most, but a router is an error.
            let title = say::method_unknown(name);
            findings.push(
                Finding::unknown(FindingId::AddressDhcp, title, unknown, true)
                    .why(say::method_unknown_why()),
            );
        }
        _ => {}
    }
    let leased =
        case.subject.interface.and_then(|i| i.addresses.iter().flatten().find(|a| is_leased(a)));
    if let (Platform::Linux, Some(address)) = (case.snapshot.platform, leased) {
        let finding =
            Finding::new(FindingId::AddressDhcp, Severity::Warning, say::leased(name, address.net))
                .seen_in(say::leased_seen(), &case.snapshot.interfaces)
                .why(say::leased_why());
        findings.push(set_manually(case, finding));
    }
}

fn is_leased(address: &crate::snapshot::Address) -> bool {
    address.dynamic == Some(true) && address.net.addr().is_ipv4() && !is_automatic(&address.net)
}

fn describe(config: &ServiceConfig) -> Text {
    match config.address {
        Some(address) => say::config_with(config.method.text(), address),
        None => say::config_without(config.method.text()),
    }
}

/// None, or a self-assigned one.
fn presence(case: &Case<'_>, findings: &mut Findings) {
    let name = &case.subject.name;
    let config = case.subject.service.and_then(|s| s.config.value());
    let Some(interface) = case.subject.interface else {
        return by_config_alone(case, config, findings);
    };
    let Some(addresses) = &interface.addresses else {
        let title = say::addresses_unknown(name);
        let mut finding = Finding::new(FindingId::AddressMissing, Severity::Unknown, title)
            .seen_in(say::addresses_unknown_seen(), &case.snapshot.interfaces)
            .why(say::without_address_why());
        finding.withholds_verdict = true;
        findings.push(finding);
        return;
    };
    let chosen = addresses.iter().any(|a| !is_automatic(&a.net));
    if chosen {
        return;
    }
    let self_assigned = addresses.iter().find(|a| a.net.addr().is_ipv4());
    if let Some(address) = self_assigned {
        let finding = self_assigned_finding(case, &address.net.to_string())
            .seen_in(say::inet_on(address.net, name), &case.snapshot.interfaces);
        findings.push(set_manually(case, finding));
        return;
    }
    // macOS takes a manual address off a link without a peer, and puts it back by itself.
    let comes_back =
        config.is_some_and(|c| c.method == ConfigMethod::Manual && c.address.is_some());
    if case.subject.is_inactive() && (comes_back || case.snapshot.platform == Platform::MacOs) {
        return;
    }
    let (seen, why) = match addresses.first() {
        Some(address) => (say::only_automatic(address.net), say::only_automatic_why()),
        None => (say::no_inet_row(), say::without_address_why()),
    };
    let title = say::address_missing(name);
    let finding = Finding::new(FindingId::AddressMissing, Severity::Error, title)
        .seen_in(seen, &case.snapshot.interfaces)
        .why(why);
    findings.push(set_manually(case, finding));
}

/// The address that somebody expects it to have.
fn expected(case: &Case<'_>, findings: &mut Findings) {
    let Some(wanted) = case.expectation.address else { return };
    let known = case.subject.interface.is_some_and(|interface| interface.addresses.is_some());
    let own = case.subject.networks();
    // One that has none at all, or has been taken off with the link, is reported as that.
    let reported = findings.has(FindingId::AddressMissing) || case.subject.is_inactive();
    if !known || reported || own.contains(&wanted.into()) {
        return;
    }
    let name = &case.subject.name;
    let has = own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let pair = Pair { own: wanted, peer: neighbour(wanted) };
    findings.push(
        Finding::new(FindingId::AddressMissing, Severity::Error, say::not_expected(name, wanted))
            .seen_in(route::has_networks(name, has), &case.snapshot.interfaces)
            .why(say::not_expected_why())
            .click(say::not_expected_do(wanted))
            .commands(advice::commands(case, &pair)),
    );
}

/// Without the kernel's list, the configuration is all there is to go by.
fn by_config_alone(case: &Case<'_>, config: Option<&ServiceConfig>, findings: &mut Findings) {
    let (Some(config), Some(service)) = (config, case.subject.service) else { return };
    if let Some(address) = config.address.filter(Ipv4Addr::is_link_local) {
        let finding = self_assigned_finding(case, &address.to_string())
            .seen_in(describe(config), &service.config);
        findings.push(set_manually(case, finding));
    }
}

fn self_assigned_finding(case: &Case<'_>, address: &str) -> Finding {
    let name = &case.subject.name;
    Finding::new(FindingId::AddressSelfAssigned, Severity::Error, say::self_assigned(name, address))
        .why(match case.snapshot.platform {
            Platform::MacOs => say::self_assigned_why_mac(),
            Platform::Linux => say::self_assigned_why_linux(),
        })
}

/// The remedy for every address that is wrong: set one by hand.
pub(super) fn set_manually(case: &Case<'_>, finding: Finding) -> Finding {
    let Some(pair) = advice::pair(case) else {
        return advice::none(finding);
    };
    let finding = match case.snapshot.platform {
        Platform::MacOs => {
            let (own, mask) = (pair.own.addr(), pair.own.netmask());
            finding
                .click(say::details_tcpip(case.subject.service_name()))
                .click(say::configure_manually(own, mask, pair.peer))
        }
        Platform::Linux => finding.click(say::give_it(pair.own, pair.peer)),
    };
    finding.commands(advice::commands(case, &pair))
}

/// A router on the link enters the contest for the default route.
fn router(case: &Case<'_>, findings: &mut Findings) {
    if !case.subject.is_cable {
        return;
    }
    let name = &case.subject.name;
    if let Some(service) = case.subject.service
        && let Reading::Known { value, source } = &service.config
        && let Some(router) = value.router
    {
        let finding = Finding::new(
            FindingId::RouterSet,
            Severity::Error,
            say::router_set(&service.name, router),
        )
        .seen(say::router_seen(router), source)
        .why(say::router_why());
        let keep = value.address.zip(value.mask).filter(|_| value.method == ConfigMethod::Manual);
        findings.push(match keep {
            Some((address, mask)) => finding
                .click(say::details_tcpip(&service.name))
                .click(say::empty_router())
                .command(shell::command([
                    "sudo",
                    "networksetup",
                    "-setmanual",
                    &service.name,
                    &address.to_string(),
                    &mask.to_string(),
                    "",
                ])),
            None => set_manually(case, finding),
        });
    }
    if case.snapshot.platform == Platform::Linux && case.snapshot.routes.is_unknown() {
        let title = say::default_route_unknown(name);
        findings.push(
            Finding::unknown(FindingId::RouterSet, title, &case.snapshot.routes, true)
                .why(say::router_why()),
        );
    }
    let default = case.snapshot.routes.items().iter().find(|route| {
        case.snapshot.platform == Platform::Linux
            && route.destination.prefix_len() == 0
            && route.interface.as_deref() == Some(name.as_str())
    });
    if let Some(route) = default {
        let gateway = route.gateway.as_ref().map_or_else(say::no_gateway, Text::verbatim);
        findings.push(
            Finding::new(FindingId::RouterSet, Severity::Error, say::default_route(name))
                .seen_in(say::default_via(gateway, name), &case.snapshot.routes)
                .why(say::router_why())
                .click(say::remove_default_route())
                .command(format!("sudo ip route del default dev {name}")),
        );
    }
}

/// Subnets that another link has as well.
fn collisions(case: &Case<'_>, findings: &mut Findings) {
    let own = case.subject.networks();
    let own: Vec<_> = own.iter().filter(|net| !is_automatic(net)).collect();
    for (other, net) in other_networks(case) {
        let Some(mine) = own.iter().find(|mine| overlap(mine, &net)) else { continue };
        let finding = if is_vmnet(other) { vmnet(case, other) } else { overlapping(case, other) };
        let finding = finding.seen_in(
            say::overlap_seen(&case.subject.name, mine, &other.name, net),
            &case.snapshot.interfaces,
        );
        let finding = set_manually(case, finding);
        findings.push(match net.addr() {
            IpAddr::V4(_) => finding.click(say::then_the_peer()),
            IpAddr::V6(_) => finding,
        });
    }
}

fn overlapping(case: &Case<'_>, other: &Interface) -> Finding {
    Finding::new(
        FindingId::SubnetOverlap,
        Severity::Error,
        say::subnet_overlap(&case.subject.name, &other.name),
    )
    .why(match case.snapshot.platform {
        Platform::MacOs => say::subnet_overlap_why(),
        Platform::Linux => say::subnet_overlap_why_linux(),
    })
}

/// Bridges of virtual machines (vmnet): their members are vmenetN, their numbers begin at 100.
fn is_vmnet(other: &Interface) -> bool {
    let numbered = other
        .name
        .strip_prefix("bridge")
        .and_then(|n| n.parse::<u32>().ok())
        .is_some_and(|n| n >= 100);
    let members = other.members.as_deref().unwrap_or_default();
    // With members that are none of theirs it is another's: Internet Sharing's, say.
    members.iter().any(|m| m.starts_with("vmenet"))
        || (members.is_empty() && numbered && other.interface_type != InterfaceType::Loopback)
}

fn vmnet(case: &Case<'_>, other: &Interface) -> Finding {
    Finding::new(
        FindingId::VmnetClash,
        Severity::Error,
        say::vmnet_clash(&case.subject.name, &other.name),
    )
    .why(say::vmnet_clash_why())
}
