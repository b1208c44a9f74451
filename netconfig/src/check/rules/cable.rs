//! Is the link up, is somebody there, and do the cables form a loop?

use super::ring;
use crate::{
    check::{
        Case,
        finding::{Finding, FindingId, Findings, Severity},
    },
    snapshot::{
        ConfigMethod, Interface, InterfaceType, Platform, Reading, ThunderboltDevice,
        ThunderboltPort,
    },
    text::{Text, cable as say, subject, words},
};

/// Hands are needed, and this tells at once what they did.
const WATCH: &str = "tbnet watch --for 60";

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
            Some(true) if !empty_bridge => {
                carrier(case, interface.carrier, findings);
                if interface.carrier == Some(false) {
                    dropped(case, interface, findings);
                }
            }
            _ => {}
        }
    }
    if case.subject.is_cable {
        ports(case, findings);
    }
}

fn bridge_empty(case: &Case<'_>) -> Finding {
    let name = &case.subject.name;
    Finding::new(FindingId::BridgeEmpty, Severity::Error, say::bridge_empty(name))
        .seen_in(say::bridge_empty_seen(), &case.snapshot.interfaces)
        .why(say::bridge_empty_why())
        .click(subject::manage_virtual_interfaces())
        .click(say::bridge_edit())
        .command(format!("ifconfig {name}"))
}

fn down(case: &Case<'_>) -> Finding {
    let name = &case.subject.name;
    let finding = Finding::new(FindingId::LinkDown, Severity::Error, say::link_down(name))
        .seen_in(say::link_down_seen(), &case.snapshot.interfaces)
        .why(say::link_down_why());
    match case.snapshot.platform {
        Platform::MacOs => {
            finding.click(say::link_down_do()).command(format!("sudo ifconfig {name} up"))
        }
        Platform::Linux => {
            finding.click(say::link_down_do_linux()).command(format!("sudo ip link set {name} up"))
        }
    }
}

fn carrier(case: &Case<'_>, carrier: Option<bool>, findings: &mut Findings) {
    let name = &case.subject.name;
    match carrier {
        Some(true) => {}
        None if case.subject.is_cable => {
            let title = say::carrier_unknown(name);
            let mut finding = Finding::new(FindingId::NoPeer, Severity::Unknown, title)
                .seen_in(say::carrier_unknown_seen(), &case.snapshot.interfaces)
                .why(say::no_link_without_peer());
            finding.withholds_verdict = true;
            findings.push(finding);
        }
        None => {}
        Some(false) => findings.push(if case.subject.is_cable {
            nobody(case)
        } else {
            Finding::new(FindingId::NoPeer, Severity::Error, say::nobody_answers(name))
                .seen_in(say::no_carrier(), &case.snapshot.interfaces)
                .why(say::no_link_without_peer())
                .click(say::connect_other_end())
                .command(WATCH)
        }),
    }
}

/// No carrier on a Thunderbolt link: what is plugged in tells the cases apart.
fn nobody(case: &Case<'_>) -> Finding {
    let name = &case.subject.name;
    let ports = &case.snapshot.thunderbolt_ports;
    let inactive = say::is_inactive(name);
    let peers: Vec<&ThunderboltDevice> =
        ports.items().iter().flat_map(ThunderboltPort::peers).collect();
    let devices: Vec<&ThunderboltDevice> = ports.items().iter().flat_map(|p| &p.devices).collect();
    let labels = |devices: &[&ThunderboltDevice]| {
        Text::joined(devices.iter().map(|device| label(device)), ", ")
    };
    if !peers.is_empty() {
        let finding = Finding::new(
            FindingId::NoPeer,
            Severity::Error,
            say::peer_network_silent(labels(&peers)),
        )
        .seen_in(inactive, &case.snapshot.interfaces)
        .seen_in(say::at_the_other_end(labels(&peers)), ports);
        let finding = if peers.iter().all(|peer| peer.offers_ip == Some(false)) {
            finding.seen_in(say::peer_offers_no_ip(), ports)
        } else {
            finding
        };
        return finding
            .why(match case.snapshot.platform {
                Platform::MacOs => say::peer_network_silent_why_mac(),
                Platform::Linux => say::peer_network_silent_why_linux(),
            })
            .click(say::check_the_other())
            .command(WATCH);
    }
    if !devices.is_empty() {
        return Finding::new(FindingId::NoPeer, Severity::Error, say::no_computer())
            .seen_in(inactive, &case.snapshot.interfaces)
            .seen_in(say::plugged_in(labels(&devices)), ports)
            .why(say::docks_are_no_peers())
            .click(say::connect_the_two())
            .command(WATCH);
    }
    let (title, known) = match ports {
        Reading::Known { .. } => (say::nothing_plugged_in(), true),
        _ => (say::no_link(name), false),
    };
    let finding = Finding::new(FindingId::NoCable, Severity::Error, title)
        .seen_in(inactive, &case.snapshot.interfaces);
    let finding =
        if known { finding.seen_in(say::no_device_on_any_port(), ports) } else { finding };
    finding
        .why(say::no_cable_why())
        .click(say::connect_both())
        .click(say::wake_the_other())
        .command(WATCH)
}

/// macOS takes a manual address off a link that has dropped, and puts it back: that is no fault of
/// the configuration, and nothing that a restart would mend.
fn dropped(case: &Case<'_>, interface: &Interface, findings: &mut Findings) {
    let config = case.subject.service.and_then(|service| service.config.value());
    let Some(address) = config.filter(|c| c.method == ConfigMethod::Manual).and_then(|c| c.address)
    else {
        return;
    };
    if interface.addresses.is_none() || interface.ipv4().next().is_some() {
        return;
    }
    let name = &case.subject.name;
    findings.push(
        Finding::new(FindingId::LinkDropped, Severity::Info, say::link_dropped(name, address))
            .seen_in(say::link_dropped_seen(name), &case.snapshot.interfaces)
            .why(say::link_dropped_why())
            .click(say::link_dropped_do()),
    );
}

fn label(device: &ThunderboltDevice) -> Text {
    match (&device.name, &device.model) {
        (Some(name), Some(model)) if name != model => {
            Text::verbatim(format_args!("{name} ({model})"))
        }
        (Some(name), _) => Text::verbatim(name),
        (None, Some(model)) => Text::verbatim(model),
        (None, None) => words::unnamed_device(),
    }
}

fn place(port: &ThunderboltPort) -> Text {
    match &port.receptacle {
        Some(receptacle) => words::port(receptacle),
        None => Text::verbatim(&port.bus),
    }
}

fn ports(case: &Case<'_>, findings: &mut Findings) {
    match &case.snapshot.thunderbolt_ports {
        Reading::Known { value, .. } => {
            looped(case, value, findings);
            slow(case, value, findings);
        }
        unknown => {
            let title = say::ports_unknown();
            // One cable makes no ring, whatever it leads to.
            let may_be_ring = members(case).iter().filter(|m| may_be_in_use(case, m)).count() > 1;
            findings.push(
                Finding::unknown(FindingId::Loop, title, unknown, may_be_ring)
                    .why(say::ports_unknown_why()),
            );
        }
    }
}

/// The ports under the bridge: as the kernel has them, else as they will be when it is switched on.
fn members<'a>(case: &Case<'a>) -> &'a [String] {
    let snapshot = case.snapshot;
    let interface = case.subject.interface;
    let is_other = |i: &Interface| i.interface_type != InterfaceType::Bridge;
    if interface.is_some_and(is_other) {
        return &[];
    }
    let actual = interface.and_then(|i| i.members.as_deref()).unwrap_or_default();
    if !actual.is_empty() {
        return actual;
    }
    let bridges = snapshot.preferences.value().map(|p| p.bridges.as_slice()).unwrap_or_default();
    let configured = bridges.iter().find(|bridge| bridge.device == case.subject.name);
    configured.map(|bridge| bridge.members.as_slice()).unwrap_or_default()
}

fn may_be_in_use(case: &Case<'_>, member: &str) -> bool {
    case.snapshot.interface(member).is_none_or(|member| member.carrier != Some(false))
}

/// Two cables to one computer, or to this one, under one bridge. A domain UUID seen twice is proof;
/// on a Mac each port has a domain of its own, so the same name and model is all that one side sees.
fn looped(case: &Case<'_>, ports: &[ThunderboltPort], findings: &mut Findings) {
    if members(case).len() < 2 {
        return;
    }
    let own: Vec<&str> = ports.iter().filter_map(|p| p.domain_uuid.as_deref()).collect();
    let peers: Vec<(&ThunderboltPort, &ThunderboltDevice)> =
        ports.iter().flat_map(|port| port.peers().map(move |peer| (port, peer))).collect();
    for (i, (port, peer)) in peers.iter().enumerate() {
        if peer.domain_uuid.as_deref().is_some_and(|uuid| own.contains(&uuid)) {
            let title = say::loop_to_itself(place(port));
            let seen = say::loop_to_itself_seen(label(peer));
            findings.push(loop_finding(case, Severity::Error, title, seen));
            return;
        }
        for (other_port, other) in &peers[..i] {
            let same_domain = peer.domain_uuid == other.domain_uuid;
            let alike =
                peer.name == other.name && peer.model == other.model && peer.model.is_some();
            if !same_domain && (!alike || ring::is_told(case, [peer, other])) {
                continue;
            }
            let seen = say::loop_seen(label(peer), place(other_port), place(port));
            findings.push(if same_domain {
                let title = say::loop_same_computer(label(peer));
                loop_finding(case, Severity::Error, title, seen)
            } else {
                let title = say::loop_alike(label(peer));
                loop_finding(case, Severity::Warning, title, seen).click(say::loop_alike_do())
            });
            return;
        }
    }
}

fn loop_finding(case: &Case<'_>, severity: Severity, title: Text, seen: Text) -> Finding {
    Finding::new(FindingId::Loop, severity, title)
        .seen_in(seen, &case.snapshot.thunderbolt_ports)
        .why(say::loop_why(&case.subject.name))
        .click(say::loop_do())
        .command(ring::LOOK)
}

/// What two Thunderbolt 5 ports negotiate with a cable made for them, in Gb/s.
const FIFTH_GBPS: u32 = 80;

/// A fifth-generation port at the speed of the fourth: the cable, unless the peer can do no more.
fn slow(case: &Case<'_>, ports: &[ThunderboltPort], findings: &mut Findings) {
    // macOS shows a port's generation only while nothing slow is plugged in: its siblings tell.
    let fifth = ports.iter().any(|port| port.generation == Some(5));
    for port in ports.iter().filter(|port| fifth && port.connected != Some(false)) {
        let (Some(gbps), Some(peer)) = (port.gbps(), port.peers().next()) else { continue };
        // A cable that leads back to this machine has worse to be said of it.
        let is_own = ports.iter().any(|own| own.domain_uuid == peer.domain_uuid);
        if gbps >= FIFTH_GBPS || is_own || !may_be_fifth(peer) {
            continue;
        }
        findings.push(
            Finding::new(
                FindingId::SlowCable,
                Severity::Warning,
                say::slow_cable(place(port), gbps),
            )
            .seen_in(
                say::slow_cable_seen(place(port), gbps, label(peer)),
                &case.snapshot.thunderbolt_ports,
            )
            .why(say::slow_cable_why())
            .click(say::slow_cable_do())
            .command("tbnet show"),
        );
    }
}

/// Whether a peer may have Thunderbolt 5. Of the Macs before the sixteenth family (M4) only the
/// Mac Studio with M3 Ultra has it; that list grows no more. Others may.
fn may_be_fifth(peer: &ThunderboltDevice) -> bool {
    const EARLY_FIFTH: &str = "Mac15,14";
    let Some(model) = peer.model.as_deref() else { return true };
    let Some((family, _)) = model.split_once(',') else { return true };
    match family.strip_prefix("Mac").map(str::parse::<u32>) {
        Some(Ok(family)) => family >= 16 || model == EARLY_FIFTH,
        // MacBookPro18,1 and the like: older than those that are called Mac.
        Some(Err(_)) => false,
        None => true,
    }
}
