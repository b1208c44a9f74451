//! macOS: the network service of the link, and Internet Sharing.

use crate::{
    check::{
        Case,
        finding::{Finding, FindingId, Findings, Severity},
    },
    shell,
    snapshot::{Interface, Reading, Service},
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    match &case.snapshot.services {
        Reading::Known { value, .. } => match case.subject.service {
            Some(service) if service.enabled => order(case, value, service, findings),
            Some(service) => findings.push(disabled(case, service)),
            None => findings.push(missing(case)),
        },
        unknown => {
            // Whoever has an address on an interface that is up has a service that is on: then
            // only the place in the order is hidden, and that is a warning at most.
            let shows = case.subject.is_up()
                && case.subject.interface.is_some_and(|i| i.ipv4().next().is_some());
            let title = format!("The service of {} and its place are not known", case.subject.name);
            findings.push(Finding::unknown(FindingId::ServiceMissing, title, unknown, !shows).why(
                "A service that is missing or switched off leaves the bridge without an address.",
            ));
        }
    }
    sharing(case, findings);
}

fn missing(case: &Case<'_>) -> Finding {
    let name = &case.subject.name;
    Finding::new(
        FindingId::ServiceMissing,
        Severity::Error,
        format!("{name} has no network service"),
    )
    .seen_in(format!("no service with the device {name}"), &case.snapshot.services)
    .why("The bridge exists, but without a service macOS gives it no address.")
    .click("System Settings > Network > … (below the list) > Add Service… > Interface: the Thunderbolt bridge > Create")
    .command(shell::command([
        "sudo",
        "networksetup",
        "-createnetworkservice",
        case.subject.service_name(),
        name,
    ]))
}

fn disabled(case: &Case<'_>, service: &Service) -> Finding {
    Finding::new(
        FindingId::ServiceDisabled,
        Severity::Error,
        format!("The service \"{}\" is switched off", service.name),
    )
    .seen_in(
        format!("\"{}\" on {} is marked (*)", service.name, case.subject.name),
        &case.snapshot.services,
    )
    .why("A service that is off leaves its interface down and without an address.")
    .click(format!(
        "System Settings > Network > right-click {} > Make Service Active",
        service.name
    ))
    .command(shell::command([
        "sudo",
        "networksetup",
        "-setnetworkserviceenabled",
        &service.name,
        "on",
    ]))
}

fn order(case: &Case<'_>, services: &[Service], own: &Service, findings: &mut Findings) {
    let place = |wanted: &Service| services.iter().position(|s| s.name == wanted.name);
    let Some(wifi) = services.iter().find(|s| s.enabled && is_wifi(case, s)) else { return };
    let (Some(ours), Some(theirs)) = (place(own), place(wifi)) else { return };
    if ours < theirs {
        return;
    }
    let mut words = vec!["sudo", "networksetup", "-ordernetworkservices", own.name.as_str()];
    words.extend(services.iter().map(|s| s.name.as_str()).filter(|name| *name != own.name));
    findings.push(
        Finding::new(
            FindingId::ServiceBelowWifi,
            Severity::Warning,
            format!("\"{}\" comes after \"{}\" in the service order", own.name, wifi.name),
        )
        .seen_in(
            format!("place {} and place {} of {}", ours + 1, theirs + 1, services.len()),
            &case.snapshot.services,
        )
        .why("The guide asks for it above Wi-Fi; there it takes no default route as long as its router is blank. It works below Wi-Fi too: packets for the peer follow the subnet, not the order. Nor does the order protect a subnet that overlaps with Wi-Fi's.")
        .click("System Settings > Network > … (below the list) > Set Service Order…")
        .click(format!("Drag {} above {} > OK", own.name, wifi.name))
        .command(shell::command(words)),
    );
}

/// Wi-Fi by its hardware type where the preferences say it; else by the port's name, which is an
/// international word. A Wi-Fi that goes unnoticed costs a warning, no more.
fn is_wifi(case: &Case<'_>, service: &Service) -> bool {
    let device = service.device.as_deref();
    let preferences = case.snapshot.preferences.value();
    let by_type = preferences
        .is_some_and(|p| p.wifi_devices.iter().any(|wifi| Some(wifi.as_str()) == device));
    let port = device
        .and_then(|device| case.snapshot.hardware_port(device))
        .map(|port| port.port.as_str())
        .or(service.hardware_port.as_deref())
        .unwrap_or_default();
    by_type
        || ["Wi-Fi", "WiFi", "AirPort", "WLAN"].iter().any(|name| port.eq_ignore_ascii_case(name))
}

fn sharing(case: &Case<'_>, findings: &mut Findings) {
    let name = &case.subject.name;
    let members = case.subject.interface.and_then(|i: &Interface| i.members.as_deref());
    match &case.snapshot.internet_sharing {
        Reading::Known { value, .. } if value.enabled => {
            let hits =
                |device: &String| device == name || members.is_some_and(|m| m.contains(device));
            if !value.to.iter().any(hits) {
                return;
            }
            let from = value.from.as_deref().unwrap_or("another connection");
            findings.push(
                Finding::new(
                    FindingId::InternetSharing,
                    Severity::Warning,
                    format!("Internet Sharing is on and shares {from} to {name}"),
                )
                .seen_in(
                    format!("shared to {}", value.to.join(", ")),
                    &case.snapshot.internet_sharing,
                )
                .why("It puts an address of its own (usually 192.168.2.1) on the link and hands out others by DHCP, beside the addresses you set.")
                .click("If you do not need it: System Settings > General > Sharing > Internet Sharing > off"),
            );
        }
        unknown @ Reading::Unknown { .. } => {
            let title = "Whether Internet Sharing uses the link is not known";
            findings.push(
                Finding::unknown(FindingId::InternetSharing, title, unknown, false)
                    .why("It would put addresses of its own on the link."),
            );
        }
        _ => {}
    }
}
