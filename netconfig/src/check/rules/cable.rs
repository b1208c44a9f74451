//! Is the link up, is somebody there, and do the cables form a loop?

use crate::{
    check::{
        Case,
        finding::{Finding, FindingId, Findings, Severity},
    },
    snapshot::{InterfaceType, Platform, Reading, ThunderboltDevice, ThunderboltPort},
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    if let Some(interface) = case.subject.interface {
        let empty_bridge = case.subject.is_cable
            && interface.interface_type == InterfaceType::Bridge
            && interface.members.as_ref().is_some_and(Vec::is_empty);
        if empty_bridge {
            findings.push(bridge_empty(case));
        }
        match interface.up {
            // A service that is off is the cause; a down interface only its consequence.
            Some(false) if findings.has(FindingId::ServiceDisabled) => {}
            Some(false) => findings.push(down(case)),
            Some(true) if !empty_bridge => carrier(case, interface.carrier, findings),
            _ => {}
        }
    }
    if case.subject.is_cable {
        ports(case, findings);
    }
}

fn bridge_empty(case: &Case<'_>) -> Finding {
    let name = &case.subject.name;
    Finding::new(
        FindingId::BridgeEmpty,
        Severity::Error,
        format!("{name} has no Thunderbolt port in it"),
    )
    .seen_in("no member", &case.snapshot.interfaces)
    .why("A bridge without members leads nowhere: the ports were taken out of it, or are used one by one.")
    .click("System Settings > Network > … (below the list) > Manage Virtual Interfaces…")
    .click("Select the Thunderbolt bridge > Edit > tick every Thunderbolt port > Apply")
    .command(format!("ifconfig {name}"))
}

fn down(case: &Case<'_>) -> Finding {
    let name = &case.subject.name;
    let finding =
        Finding::new(FindingId::LinkDown, Severity::Error, format!("{name} is switched off"))
            .seen_in("the UP flag is not set", &case.snapshot.interfaces)
            .why("Nothing is sent or received over an interface that is down.");
    match case.snapshot.platform {
        Platform::MacOs => finding
            .click("System Settings > Network > right-click its service > Make Service Inactive, then Active")
            .command(format!("sudo ifconfig {name} up")),
        Platform::Linux => finding.command(format!("sudo ip link set {name} up")),
    }
}

fn carrier(case: &Case<'_>, carrier: Option<bool>, findings: &mut Findings) {
    let name = &case.subject.name;
    match carrier {
        Some(true) => {}
        None if case.subject.is_cable => {
            let title = format!("Whether anything answers at the other end of {name} is not known");
            let mut finding = Finding::new(FindingId::NoPeer, Severity::Unknown, title)
                .seen_in("no status is given", &case.snapshot.interfaces)
                .why("A link without a peer is no link.");
            finding.withholds_verdict = true;
            findings.push(finding);
        }
        None => {}
        Some(false) => findings.push(if case.subject.is_cable {
            nobody(case)
        } else {
            Finding::new(
                FindingId::NoPeer,
                Severity::Error,
                format!("Nothing answers at the other end of {name}"),
            )
            .seen_in("no carrier", &case.snapshot.interfaces)
            .why("A link without a peer is no link.")
            .click("Connect it, and switch on the interface at its other end")
        }),
    }
}

/// No carrier on a Thunderbolt link: what is plugged in tells the cases apart.
fn nobody(case: &Case<'_>) -> Finding {
    let name = &case.subject.name;
    let ports = &case.snapshot.thunderbolt_ports;
    let inactive = format!("{name} is inactive");
    let peers: Vec<String> =
        ports.items().iter().flat_map(ThunderboltPort::peers).map(label).collect();
    let devices: Vec<String> = ports.items().iter().flat_map(|p| &p.devices).map(label).collect();
    let why_inactive = "An interface without a peer at the other end carries nothing.";

    if !peers.is_empty() {
        return Finding::new(
            FindingId::NoPeer,
            Severity::Error,
            format!("{} is connected, but its network does not answer", peers.join(", ")),
        )
        .seen_in(inactive, &case.snapshot.interfaces)
        .seen_in(format!("at the other end: {}", peers.join(", ")), ports)
        .why(match case.snapshot.platform {
            Platform::MacOs => "The cable is good; the other machine's bridge is missing or switched off, or the port was taken out of it (for RDMA, for example).",
            Platform::Linux => "The cable is good; the other machine's interface is missing (thunderbolt-net is not loaded, or its bridge is off) or still logging in.",
        })
        .click("Run `tbnet check` on the other machine");
    }
    if !devices.is_empty() {
        return Finding::new(
            FindingId::NoPeer,
            Severity::Error,
            "No computer is at the end of any Thunderbolt cable",
        )
        .seen_in(inactive, &case.snapshot.interfaces)
        .seen_in(format!("plugged in: {}", devices.join(", ")), ports)
        .why(format!("{why_inactive} Docks and drives are not peers."))
        .click("Connect the two machines to each other with a Thunderbolt cable");
    }
    let finding = Finding::new(
        FindingId::NoCable,
        Severity::Error,
        match ports {
            Reading::Known { .. } => "Nothing is plugged into any Thunderbolt port".to_owned(),
            _ => format!("{name} has no link: no cable, or nobody at its other end"),
        },
    )
    .seen_in(inactive, &case.snapshot.interfaces);
    let finding = match ports {
        Reading::Known { .. } => finding.seen_in("no device on any port", ports),
        _ => finding,
    };
    finding
        .why(format!("{why_inactive} A cable that only charges, or carries only USB, looks the same: no computer appears."))
        .click("Connect both machines with a Thunderbolt cable (it bears the lightning mark)")
        .click("Wake the other machine and log in: the link comes up seconds later by itself")
}

fn label(device: &ThunderboltDevice) -> String {
    match (&device.name, &device.model) {
        (Some(name), Some(model)) if name != model => format!("{name} ({model})"),
        (Some(name), _) => name.clone(),
        (None, Some(model)) => model.clone(),
        (None, None) => "an unnamed device".to_owned(),
    }
}

fn ports(case: &Case<'_>, findings: &mut Findings) {
    match &case.snapshot.thunderbolt_ports {
        Reading::Known { value, .. } => looped(case, value, findings),
        unknown => {
            let title = "What is plugged into which Thunderbolt port is not known";
            findings.push(
                Finding::unknown(FindingId::Loop, title, unknown, false)
                    .why("Two cables to the same computer under one bridge would make a loop."),
            );
        }
    }
}

/// Two cables to one computer, or to this one, under one bridge. A domain UUID seen twice is proof;
/// on a Mac each port has a domain of its own, so the same name and model is all that one side sees.
fn looped(case: &Case<'_>, ports: &[ThunderboltPort], findings: &mut Findings) {
    let bridged = case.subject.interface.is_some_and(|i| {
        i.interface_type == InterfaceType::Bridge && i.members.as_ref().is_some_and(|m| m.len() > 1)
    });
    if !bridged {
        return;
    }
    let own: Vec<&str> = ports.iter().filter_map(|p| p.domain_uuid.as_deref()).collect();
    let peers: Vec<(&ThunderboltPort, &ThunderboltDevice)> =
        ports.iter().flat_map(|port| port.peers().map(move |peer| (port, peer))).collect();
    let at = |port: &ThunderboltPort| match &port.receptacle {
        Some(receptacle) => format!("port {receptacle}"),
        None => port.bus.clone(),
    };
    for (i, (port, peer)) in peers.iter().enumerate() {
        if peer.domain_uuid.as_deref().is_some_and(|uuid| own.contains(&uuid)) {
            let title = format!("The cable in {} leads back to this machine", at(port));
            let seen = format!("at its end is a domain of this machine, {}", label(peer));
            findings.push(loop_finding(case, Severity::Error, title, seen));
            return;
        }
        for (other_port, other) in &peers[..i] {
            let same_domain = peer.domain_uuid == other.domain_uuid;
            let alike =
                peer.name == other.name && peer.model == other.model && peer.model.is_some();
            if !same_domain && !alike {
                continue;
            }
            let seen = format!("{} in {} and in {}", label(peer), at(other_port), at(port));
            findings.push(if same_domain {
                let title = format!("Two cables lead to the same computer, {}", label(peer));
                loop_finding(case, Severity::Error, title, seen)
            } else {
                let title = format!(
                    "Two cables lead to a {}: if it is the same computer, they form a loop",
                    label(peer)
                );
                loop_finding(case, Severity::Warning, title, seen)
            });
            return;
        }
    }
}

fn loop_finding(case: &Case<'_>, severity: Severity, title: String, seen: String) -> Finding {
    Finding::new(FindingId::Loop, severity, title)
        .seen_in(seen, &case.snapshot.thunderbolt_ports)
        .why(format!(
            "{} does not run a spanning tree: in a loop one broadcast circles for ever and takes the whole bridge with it.",
            case.subject.name
        ))
        .click("Unplug it (of two cables, one), or leave the bridge and give each port a subnet of its own")
}
