//! macOS: is the address meant for the cable on a USB-C Ethernet port instead?
//!
//! An Apple silicon Mac shows each USB-C port a second time, as the Ethernet it can be for another
//! device: hardware port `Ethernet Adapter (en4)`. In whatever language, it ends with its device in
//! brackets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::is_automatic;
use crate::{
    check::{
        Case,
        finding::{Finding, FindingId, Findings, Severity},
    },
    shell,
    snapshot::{ConfigMethod, Reading, Service},
    text::address as say,
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    let has_own = case.subject.networks().iter().any(|net| !is_automatic(net));
    for service in case.snapshot.services.items() {
        let (Some(device), Reading::Known { value: config, source }) =
            (service.device.as_deref(), &service.config)
        else {
            continue;
        };
        let Some(port) = usb_ethernet(case, device) else { continue };
        let manual = config.method == ConfigMethod::Manual && config.router.is_none();
        let Some((address, mask)) = config.address.zip(config.mask).filter(|_| manual) else {
            continue;
        };
        let holds_peer = case.peer.is_some_and(|peer| {
            IpNet::with_netmask(IpAddr::V4(address), IpAddr::V4(mask))
                .is_ok_and(|net| net.contains(&peer))
        });
        if has_own && !holds_peer {
            continue;
        }
        let seen = say::wrong_port_seen(&service.name, device, address);
        let finding = Finding::new(
            FindingId::AddressOnWrongPort,
            Severity::Error,
            say::wrong_port(port, address),
        )
        .seen(seen, source)
        .why(say::wrong_port_why());
        findings.push(move_it(case, service, finding));
    }
}

fn usb_ethernet<'a>(case: &Case<'a>, device: &str) -> Option<&'a str> {
    if device == case.subject.name {
        return None;
    }
    let port = case.snapshot.hardware_port(device)?.port.as_str();
    port.ends_with(&format!("({device})")).then_some(port)
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
