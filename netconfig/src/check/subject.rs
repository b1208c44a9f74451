//! Which interface is judged.
//!
//! More liberal than [`Link`](crate::Link), which accepts nothing but evidence: a bridge that is
//! broken, empty or switched off shows none any more, and is exactly what a check is for.

use ipnet::IpNet;

use super::{
    Judged,
    finding::{Finding, FindingId, Findings, Severity},
};
use crate::{
    evidence::{self, Evidence, Undecided},
    link::{InterfaceChoice, LinkKind},
    snapshot::{Interface, InterfaceType, Platform, Reading, Service, Snapshot, ThunderboltPort},
    text::{Text, subject as say, words},
};

/// The interface that is judged, with what is known about it.
pub(super) struct Subject<'a> {
    /// Its name.
    pub(super) name: String,
    /// As the kernel has it; `None` if that is not known.
    pub(super) interface: Option<&'a Interface>,
    /// What it stands on; `Err` if a source that decides did not answer.
    pub(super) evidence: Result<Option<Evidence>, Undecided>,
    /// It is meant to be the cable: it has evidence, or was found as the Thunderbolt bridge.
    pub(super) is_cable: bool,
    /// Its service: the first that is switched on, else the first.
    pub(super) service: Option<&'a Service>,
}

impl<'a> Subject<'a> {
    fn new(snapshot: &'a Snapshot, name: &str, found_as_cable: bool) -> Self {
        let interface = snapshot.interface(name);
        let evidence = match interface {
            Some(interface) => evidence::of(snapshot, interface),
            None => Ok(None),
        };
        let mut services =
            snapshot.services.items().iter().filter(|s| s.device.as_deref() == Some(name));
        let first = services.clone().next();
        let service = services.find(|s| s.enabled).or(first);
        Self {
            name: name.to_owned(),
            interface,
            is_cable: found_as_cable || matches!(evidence, Ok(Some(_))),
            evidence,
            service,
        }
    }

    pub(super) fn judged(self) -> Judged {
        let kind = match &self.evidence {
            Ok(Some(_)) => Some(LinkKind::Thunderbolt),
            // Found as the Thunderbolt bridge, but nothing shows it (any more).
            Ok(None) if self.is_cable || self.interface.is_none() => None,
            Ok(None) => Some(LinkKind::ByHand),
            Err(_) => None,
        };
        Judged { interface: self.name, kind, evidence: self.evidence.ok().flatten() }
    }

    /// The networks that are its own: those it has, and the one configured for when the cable is
    /// back.
    pub(super) fn networks(&self) -> Vec<IpNet> {
        let has = self.interface.and_then(|i| i.addresses.as_deref()).unwrap_or_default();
        let mut networks: Vec<IpNet> = has.iter().map(|a| a.net).collect();
        let config = self.service.and_then(|s| s.config.value());
        if let Some((address, mask)) = config.and_then(|c| c.address.zip(c.mask))
            && let Ok(net) = IpNet::with_netmask(address.into(), mask.into())
            && !networks.contains(&net)
        {
            networks.push(net);
        }
        networks
    }

    /// Up, for all that is known.
    pub(super) fn is_up(&self) -> bool {
        self.interface.is_some_and(|i| i.up == Some(true))
    }

    /// Known to be down, or to have nobody at the other end.
    pub(super) fn is_inactive(&self) -> bool {
        self.interface.is_some_and(|i| i.up == Some(false) || i.carrier == Some(false))
    }

    /// Its service's name as the user knows it, or that of the one macOS would make.
    pub(super) fn service_name(&self) -> &str {
        self.service.map_or("Thunderbolt Bridge", |s| s.name.as_str())
    }
}

/// Finds the subject, or says why there is none.
pub(super) fn find<'a>(
    snapshot: &'a Snapshot,
    choice: &InterfaceChoice,
    findings: &mut Findings,
) -> Option<Subject<'a>> {
    let subject = match choice {
        InterfaceChoice::Named(name) => named(snapshot, name, findings),
        InterfaceChoice::Auto => match snapshot.platform {
            Platform::Linux => on_linux(snapshot, findings),
            Platform::MacOs => on_macos(snapshot, findings),
        },
    }?;
    if snapshot.interfaces.is_unknown() {
        let title = say::state_of_link_unknown(&subject.name);
        findings.push(
            Finding::unknown(FindingId::LinkDown, title, &snapshot.interfaces, true)
                .why(say::state_of_link_unknown_why()),
        );
    }
    Some(subject)
}

fn named<'a>(snapshot: &'a Snapshot, name: &str, findings: &mut Findings) -> Option<Subject<'a>> {
    if let Reading::Known { value, source } = &snapshot.interfaces
        && !value.iter().any(|i| i.name == name)
    {
        let names = value.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ");
        findings.push(
            Finding::new(
                FindingId::InterfaceMissing,
                Severity::Error,
                say::no_such_interface(name),
            )
            .seen(say::these_exist(names), source)
            .why(say::no_such_interface_why())
            .click(say::no_such_interface_do())
            .command("tbnet show"),
        );
        return None;
    }
    Some(Subject::new(snapshot, name, false))
}

/// All that have evidence, members left out: their bridge or bond carries the address.
fn with_evidence(snapshot: &Snapshot) -> Vec<&Interface> {
    snapshot
        .interfaces
        .items()
        .iter()
        .filter(|i| i.master.is_none() && matches!(evidence::of(snapshot, i), Ok(Some(_))))
        .collect()
}

/// The one to judge among several: active before idle, with an address before without. The others
/// are named if they could be meant as well.
fn best<'a>(
    candidates: &[&'a Interface],
    snapshot: &Snapshot,
    findings: &mut Findings,
) -> Option<&'a Interface> {
    let rank =
        |i: &Interface| (i.up == Some(true), i.carrier == Some(true), i.ipv4().next().is_some());
    // The first of the best, not the last.
    let chosen = candidates.iter().rev().max_by_key(|i| rank(i))?;
    let equals: Vec<&str> =
        candidates.iter().filter(|i| rank(i) == rank(chosen)).map(|i| i.name.as_str()).collect();
    if equals.len() > 1 && rank(chosen).1 {
        let look = |name: &&str| format!("tbnet check --interface {name}");
        let each: Vec<String> = equals.iter().map(look).collect();
        findings.push(
            Finding::new(
                FindingId::SeveralLinks,
                Severity::Warning,
                say::several_links(&chosen.name),
            )
            .seen_in(Text::verbatim(equals.join(", ")), &snapshot.interfaces)
            .why(say::several_links_why())
            .click(say::several_links_do(&chosen.name))
            .commands(each),
        );
    }
    Some(chosen)
}

fn on_linux<'a>(snapshot: &'a Snapshot, findings: &mut Findings) -> Option<Subject<'a>> {
    if snapshot.interfaces.is_unknown() {
        let title = say::thunderbolt_interface_unknown();
        findings.push(
            Finding::unknown(FindingId::InterfaceMissing, title, &snapshot.interfaces, true)
                .why(say::thunderbolt_interface_unknown_why()),
        );
        return None;
    }
    let candidates = with_evidence(snapshot);
    if let Some(chosen) = best(&candidates, snapshot, findings) {
        return Some(Subject::new(snapshot, &chosen.name, true));
    }
    findings.push(no_interface(snapshot));
    None
}

/// Without an interface: is nobody there, or only the driver missing?
fn no_interface(snapshot: &Snapshot) -> Finding {
    let ports = &snapshot.thunderbolt_ports;
    let mut peers = ports.items().iter().flat_map(ThunderboltPort::peers);
    let unnamed = || words::a_computer();
    match peers.next() {
        Some(peer) => Finding::new(
            FindingId::InterfaceMissing,
            Severity::Error,
            say::no_thunderbolt_interface(),
        )
        .seen_in(say::no_thunderbolt_driver(), &snapshot.interfaces)
        .seen_in(
            say::computer_at_the_end(peer.name.as_ref().map_or_else(unnamed, Text::verbatim)),
            ports,
        )
        .why(say::no_thunderbolt_interface_why())
        .click(say::load_the_driver())
        .command("sudo modprobe thunderbolt-net"),
        // A bus that cannot be read says nothing about who is on it.
        None if ports.is_unknown() => Finding::new(
            FindingId::InterfaceMissing,
            Severity::Error,
            say::no_thunderbolt_interface(),
        )
        .seen_in(say::no_thunderbolt_driver(), &snapshot.interfaces)
        .why(say::no_thunderbolt_interface_why())
        .click(say::load_the_driver_on_both())
        .command("sudo modprobe thunderbolt-net")
        .command("boltctl list"),
        None => Finding::new(FindingId::XdomainMissing, Severity::Error, say::no_xdomain())
            .seen_in(say::no_thunderbolt_driver(), &snapshot.interfaces)
            .seen_in(say::no_xdomain_seen(), ports)
            .why(Text::joined([say::no_thunderbolt_interface_why(), say::no_xdomain_why()], " "))
            .click(say::replug())
            .click(say::load_the_driver_on_both())
            .command("sudo modprobe -r thunderbolt-net && sudo modprobe thunderbolt-net")
            .command("boltctl list"),
    }
}

fn on_macos<'a>(snapshot: &'a Snapshot, findings: &mut Findings) -> Option<Subject<'a>> {
    let candidates = with_evidence(snapshot);
    let is_bridge = |i: &&&Interface| i.interface_type == InterfaceType::Bridge;
    let bridges: Vec<&Interface> = candidates.iter().filter(is_bridge).copied().collect();
    if let Some(bridge) = best(&bridges, snapshot, findings) {
        return Some(Subject::new(snapshot, &bridge.name, true));
    }
    let configured = bridge_device(snapshot);
    // What the kernel has lost is no link, however many lists still name it.
    let is_there =
        |name: &String| snapshot.interfaces.is_unknown() || snapshot.interface(name).is_some();
    if let Some(device) = configured.as_ref().filter(|name| is_there(name)) {
        return Some(Subject::new(snapshot, device, true));
    }
    // Per-port mode: no bridge, and a Thunderbolt port with an address of its own.
    let ports: Vec<&Interface> =
        candidates.into_iter().filter(|i| i.ipv4().next().is_some()).collect();
    if let Some(port) = best(&ports, snapshot, findings) {
        return Some(Subject::new(snapshot, &port.name, true));
    }
    findings.push(match &configured {
        Some(device) => lost_bridge(snapshot, device),
        None => no_bridge(snapshot),
    });
    findings.extend(removed_by_exo(snapshot));
    None
}

/// The device of a bridge that shows no evidence any more: the one macOS made for Thunderbolt by
/// the preferences, else the bridge that is listed among the hardware ports (those of virtual
/// machines are not) or stands in the service order.
pub(crate) fn bridge_device(snapshot: &Snapshot) -> Option<String> {
    let configured = snapshot.preferences.value().into_iter().flat_map(|p| &p.bridges);
    if let Some(bridge) = configured.into_iter().find(|b| b.is_thunderbolt) {
        return Some(bridge.device.clone());
    }
    let listed = snapshot.hardware_ports.items().iter().filter_map(|p| p.device.as_deref());
    let ordered = snapshot.services.items().iter().filter_map(|s| s.device.as_deref());
    listed.chain(ordered).find(|device| is_bridge_device(device)).map(str::to_owned)
}

/// `bridge0`: device names are the kernel's own and in no language.
fn is_bridge_device(device: &str) -> bool {
    device
        .strip_prefix("bridge")
        .is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
}

fn no_bridge(snapshot: &Snapshot) -> Finding {
    // It is missing only if both that would list it were heard.
    if snapshot.interfaces.is_unknown() || snapshot.hardware_ports.is_unknown() {
        let title = say::bridge_unknown();
        let mut finding =
            Finding::unknown(FindingId::BridgeMissing, title, &snapshot.interfaces, true);
        if let Reading::Unknown { source, why } = &snapshot.hardware_ports {
            finding = finding.seen(why.text(), source);
        }
        return finding.why(say::bridge_unknown_why());
    }
    Finding::new(FindingId::BridgeMissing, Severity::Error, say::bridge_missing())
        .seen_in(say::no_bridge_in_kernel(), &snapshot.interfaces)
        .seen_in(say::no_bridge_among_ports(), &snapshot.hardware_ports)
        .why(say::bridge_missing_why())
        .click(say::manage_virtual_interfaces())
        .click(say::new_bridge())
        .click(say::no_command_makes_a_bridge())
        .command("networksetup -listallhardwareports")
}

/// The settings have the bridge, and the kernel has not.
fn lost_bridge(snapshot: &Snapshot, device: &str) -> Finding {
    Finding::new(FindingId::BridgeMissing, Severity::Error, say::bridge_lost(device))
        .seen_in(say::no_bridge_in_kernel(), &snapshot.interfaces)
        .why(say::bridge_missing_why())
        .click(say::restart_brings_it_back())
        .click(say::manage_virtual_interfaces())
        .click(say::new_bridge())
        .command(format!("ifconfig {device}"))
}

/// What exo leaves: services and a location of its own, and a daemon. All three names are the
/// program's own and in no language.
pub(super) fn removed_by_exo(snapshot: &Snapshot) -> Option<Finding> {
    let services = snapshot.services.items().iter().map(|s| s.name.as_str());
    let services: Vec<&str> = services.filter(|name| name.starts_with("EXO Thunderbolt")).collect();
    let location = snapshot.preferences.value().and_then(|p| p.location.as_deref());
    let location = location.filter(|name| *name == "exo");
    let daemon = snapshot.exo_daemon.value() == Some(&true);
    if services.is_empty() && location.is_none() && !daemon {
        return None;
    }
    let mut finding = Finding::new(FindingId::RemovedByExo, Severity::Error, say::removed_by_exo());
    if !services.is_empty() {
        finding = finding.seen_in(say::exo_services(services.join(", ")), &snapshot.services);
    }
    if let Some(location) = location {
        finding = finding.seen_in(say::exo_location(location), &snapshot.preferences);
    }
    if daemon {
        finding = finding.seen_in(say::exo_daemon(), &snapshot.exo_daemon);
    }
    Some(
        finding
            .why(say::removed_by_exo_why())
            .click(say::removed_by_exo_do())
            .command("networksetup -listlocations")
            .command("networksetup -switchtolocation Automatic"),
    )
}
