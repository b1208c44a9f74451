//! macOS: is the address meant for the cable on a USB-C Ethernet port instead?
//!
//! An Apple silicon Mac shows each USB-C port a second time, as the Ethernet it can be for another
//! device: hardware port `Ethernet Adapter (en4)`. In whatever language, it ends with its device in
//! brackets.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::is_automatic;
use crate::{
    check::{
        Case,
        finding::{Finding, FindingId, Findings, Severity},
    },
    shell,
    snapshot::{ConfigMethod, Reading, Service, Snapshot, Source},
    text::address as say,
};

/// A service that has the address which is meant for the cable.
pub(crate) struct Misplaced<'a> {
    /// The service.
    pub(crate) service: &'a Service,
    /// Its device.
    pub(crate) device: &'a str,
    /// The address with its network.
    pub(crate) net: Ipv4Net,
    port: &'a str,
    source: &'a Source,
}

/// Services of USB-C ports with a fixed address and no router: each while the link `name` has none
/// of its own, else those whose network holds the peer.
pub(crate) fn misplaced<'a>(
    snapshot: &'a Snapshot,
    name: &'a str,
    has_own: bool,
    peer: Option<IpAddr>,
) -> impl Iterator<Item = Misplaced<'a>> {
    snapshot.services.items().iter().filter_map(move |service| {
        let device = service.device.as_deref().filter(|device| *device != name)?;
        let Reading::Known { value: config, source } = &service.config else { return None };
        let port = usb_ethernet(snapshot, device)?;
        let manual = config.method == ConfigMethod::Manual && config.router.is_none();
        let (address, mask) = config.address.zip(config.mask).filter(|_| manual)?;
        let net = Ipv4Net::with_netmask(address, mask).ok()?;
        let holds_peer = peer.is_some_and(|peer| IpNet::V4(net).contains(&peer));
        let is_meant = !has_own || holds_peer;
        is_meant.then_some(Misplaced { service, device, net, port, source })
    })
}

fn usb_ethernet<'a>(snapshot: &'a Snapshot, device: &str) -> Option<&'a str> {
    let port = snapshot.hardware_port(device)?.port.as_str();
    port.ends_with(&format!("({device})")).then_some(port)
}

/// Those of the link that is judged.
pub(in crate::check) fn of_case<'a>(case: &Case<'a>) -> impl Iterator<Item = Misplaced<'a>> {
    let has_own = case.subject.networks().iter().any(|net| !is_automatic(net));
    misplaced(case.snapshot, &case.subject.name, has_own, case.peer)
}

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    for Misplaced { service, device, net, port, source } in of_case(case) {
        let address = net.addr();
        let finding = Finding::new(
            FindingId::AddressOnWrongPort,
            Severity::Error,
            say::wrong_port(port, address),
        )
        .seen(say::wrong_port_seen(&service.name, device, address), source)
        .why(say::wrong_port_why());
        findings.push(move_it(case, service, finding));
    }
}

fn move_it(case: &Case<'_>, service: &Service, finding: Finding) -> Finding {
    let finding = finding.click(say::wrong_port_do(&service.name)).command(shell::command([
        "sudo",
        "networksetup",
        "-setdhcp",
        &service.name,
    ]));
    super::address::set_manually(case, finding)
}
