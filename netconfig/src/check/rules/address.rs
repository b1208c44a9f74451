//! Does the link have an address of its own that collides with nothing?

use std::net::{IpAddr, Ipv4Addr};

use super::{is_automatic, other_networks, overlap};
use crate::{
    check::{
        Case, advice,
        finding::{Finding, FindingId, Findings, Severity},
    },
    shell,
    snapshot::{ConfigMethod, Interface, InterfaceType, Platform, Reading, ServiceConfig},
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    let explained = [FindingId::ServiceMissing, FindingId::ServiceDisabled, FindingId::BridgeEmpty];
    if !explained.iter().any(|id| findings.has(*id)) {
        method(case, findings);
        presence(case, findings);
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
                ConfigMethod::Dhcp => format!("{name} takes its address from DHCP"),
                other => format!("{name} is configured by {other}, not manually"),
            };
            let finding = Finding::new(FindingId::AddressDhcp, Severity::Warning, title)
                .seen(describe(value), source)
                .why("Nobody hands out addresses at the end of a cable between two machines; and an address that changes cannot be written down as a peer.");
            findings.push(set_manually(case, finding));
        }
        Some(unknown @ Reading::Unknown { .. }) => {
            // With an address to be seen, DHCP is a warning at most.
            let has_one = case.subject.interface.is_some_and(|i| i.ipv4().next().is_some());
            let title = format!("How {name} gets its address is not known");
            findings.push(
                Finding::unknown(FindingId::AddressDhcp, title, unknown, !has_one)
                    .why("DHCP over a cable ends in a self-assigned address, or none."),
            );
        }
        _ => {}
    }
    let leased =
        case.subject.interface.and_then(|i| i.addresses.iter().flatten().find(|a| is_leased(a)));
    if let (Platform::Linux, Some(address)) = (case.snapshot.platform, leased) {
        let finding = Finding::new(
            FindingId::AddressDhcp,
            Severity::Warning,
            format!("{name} has {} on lease", address.net),
        )
        .seen_in("the address has a lifetime", &case.snapshot.interfaces)
        .why("An address that changes cannot be written down as a peer.");
        findings.push(set_manually(case, finding));
    }
}

fn is_leased(address: &crate::snapshot::Address) -> bool {
    address.dynamic == Some(true) && address.net.addr().is_ipv4() && !is_automatic(&address.net)
}

fn describe(config: &ServiceConfig) -> String {
    match config.address {
        Some(address) => format!("{} configuration, IP address {address}", config.method),
        None => format!("{} configuration, no IP address", config.method),
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
        let title = format!("Which addresses {name} has is not known");
        let mut finding = Finding::new(FindingId::AddressMissing, Severity::Unknown, title)
            .seen_in("no addresses are listed", &case.snapshot.interfaces)
            .why("Without an address nothing can be sent over it.");
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
            .seen_in(format!("inet {} on {name}", address.net), &case.snapshot.interfaces);
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
        Some(address) => (
            format!("only {}, which every link has", address.net),
            "An automatic fe80:: address serves only programs that name the interface with it; no peer can be written down or reached by any other.",
        ),
        None => {
            ("no inet or inet6 row".to_owned(), "Without an address nothing can be sent over it.")
        }
    };
    let title = format!("{name} has no address of its own");
    let finding = Finding::new(FindingId::AddressMissing, Severity::Error, title)
        .seen_in(seen, &case.snapshot.interfaces)
        .why(why);
    findings.push(set_manually(case, finding));
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
    Finding::new(
        FindingId::AddressSelfAssigned,
        Severity::Error,
        format!("{name} has only a self-assigned address, {address}"),
    )
    .why(match case.snapshot.platform {
        Platform::MacOs => "It was made up because DHCP did not answer, and changes. Packets to 169.254/16 leave by the primary interface (usually Wi-Fi) unless a program pins its sockets to the link.",
        Platform::Linux => "It was made up because nobody gave one, and changes. Packets to 169.254/16 leave by whichever link's route comes first unless a program pins its sockets to the link.",
    })
}

/// The remedy for every address that is wrong: set one by hand.
fn set_manually(case: &Case<'_>, finding: Finding) -> Finding {
    let pair = advice::pair(case);
    let (own, peer, mask) = (pair.own.addr(), pair.peer, pair.mask());
    match case.snapshot.platform {
        Platform::MacOs => {
            let service = case.subject.service_name();
            let (own, mask) = (own.to_string(), mask.to_string());
            finding
                .click(format!("System Settings > Network > {service} > Details… > TCP/IP"))
                .click(format!("Configure IPv4: Manually; IP address {own}, subnet mask {mask}, router blank ({peer} on the other Mac)"))
                .command(shell::command([
                    "sudo",
                    "networksetup",
                    "-setmanual",
                    service,
                    &own,
                    &mask,
                    "",
                ]))
        }
        Platform::Linux => finding
            .click(format!(
                "Give it {} ({peer} on the other machine); make it last in your network manager",
                pair.own
            ))
            .command(shell::command([
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

/// A router on the link enters the contest for the default route.
fn router(case: &Case<'_>, findings: &mut Findings) {
    if !case.subject.is_cable {
        return;
    }
    let name = &case.subject.name;
    let why = "A router on the cable enters the contest for the default route: everything this machine sends to the internet could go to the peer.";
    if let Some(service) = case.subject.service
        && let Reading::Known { value, source } = &service.config
        && let Some(router) = value.router
    {
        let finding = Finding::new(
            FindingId::RouterSet,
            Severity::Error,
            format!("The service \"{}\" has a router, {router}", service.name),
        )
        .seen(format!("Router: {router}"), source)
        .why(why);
        let keep = value.address.zip(value.mask).filter(|_| value.method == ConfigMethod::Manual);
        findings.push(match keep {
            Some((address, mask)) => finding
                .click(format!("System Settings > Network > {} > Details… > TCP/IP", service.name))
                .click("Empty the field Router > OK")
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
    let default = case.snapshot.routes.items().iter().find(|route| {
        case.snapshot.platform == Platform::Linux
            && route.destination.prefix_len() == 0
            && route.interface.as_deref() == Some(name.as_str())
    });
    if let Some(route) = default {
        let gateway = route.gateway.as_deref().unwrap_or("no gateway");
        findings.push(
            Finding::new(
                FindingId::RouterSet,
                Severity::Error,
                format!("A default route leads over {name}"),
            )
            .seen_in(format!("default via {gateway} dev {name}"), &case.snapshot.routes)
            .why(why)
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
            format!("{} has {mine}, {} has {net}", case.subject.name, other.name),
            &case.snapshot.interfaces,
        );
        let finding = set_manually(case, finding);
        findings.push(match net.addr() {
            IpAddr::V4(_) => finding.click("Then give the peer its new address too"),
            IpAddr::V6(_) => finding,
        });
    }
}

fn overlapping(case: &Case<'_>, other: &Interface) -> Finding {
    Finding::new(
        FindingId::SubnetOverlap,
        Severity::Error,
        format!("{} and {} have the same subnet", case.subject.name, other.name),
    )
    .why("The kernel sends packets for a subnet by one link only. A link without a router loses that tie whatever the service order: packets for the peer would leave by the other one.")
}

/// Bridges of virtual machines (vmnet): their members are vmenetN, their numbers begin at 100.
fn is_vmnet(other: &Interface) -> bool {
    let numbered = other
        .name
        .strip_prefix("bridge")
        .and_then(|n| n.parse::<u32>().ok())
        .is_some_and(|n| n >= 100);
    let members = other.members.iter().flatten();
    members.into_iter().any(|m| m.starts_with("vmenet"))
        || (numbered && other.interface_type != InterfaceType::Loopback)
}

fn vmnet(case: &Case<'_>, other: &Interface) -> Finding {
    Finding::new(
        FindingId::VmnetClash,
        Severity::Error,
        format!("{} has the subnet of the virtual machines on {}", case.subject.name, other.name),
    )
    .why("Virtual machines and containers take 192.168.2.0/24 or the like for themselves; packets for the peer would go to them.")
}
