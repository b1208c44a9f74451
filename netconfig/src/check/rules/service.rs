//! macOS: the network service of the link, and Internet Sharing.

use crate::{
    check::{
        Case,
        finding::{Finding, FindingId, Findings, Severity},
    },
    plan::free_name,
    shell,
    snapshot::{Interface, Reading, Service, ServiceConfig},
    text::{Text, service as say},
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
            let title = say::service_unknown(&case.subject.name);
            findings.push(
                Finding::unknown(FindingId::ServiceMissing, title, unknown, !shows)
                    .why(say::service_unknown_why()),
            );
        }
    }
    sharing(case, findings);
}

fn missing(case: &Case<'_>) -> Finding {
    let name = &case.subject.name;
    Finding::new(FindingId::ServiceMissing, Severity::Error, say::service_missing(name))
        .seen_in(say::service_missing_seen(name), &case.snapshot.services)
        .why(say::service_missing_why())
        .click(say::add_service())
        .command(shell::command([
            "sudo",
            "networksetup",
            "-createnetworkservice",
            &free_name(case.snapshot.services.items(), case.subject.service_name()),
            name,
        ]))
}

fn disabled(case: &Case<'_>, service: &Service) -> Finding {
    Finding::new(FindingId::ServiceDisabled, Severity::Error, say::service_disabled(&service.name))
        .seen_in(
            say::service_disabled_seen(&service.name, &case.subject.name),
            &case.snapshot.services,
        )
        .why(say::service_disabled_why())
        .click(say::make_active(&service.name))
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
            say::below_wifi(&own.name, &wifi.name),
        )
        .seen_in(
            say::below_wifi_seen(ours + 1, theirs + 1, services.len()),
            &case.snapshot.services,
        )
        .why(say::below_wifi_why())
        .click(say::set_service_order())
        .click(say::drag_above(&own.name, &wifi.name))
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

/// Only people switch it: this shows what it shares, and to what.
const SHARING: &str = "plutil -p /Library/Preferences/SystemConfiguration/com.apple.nat.plist";

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
            let from = value.from.as_ref().map_or_else(say::another_connection, Text::verbatim);
            findings.push(
                Finding::new(
                    FindingId::InternetSharing,
                    Severity::Warning,
                    say::internet_sharing(from, name),
                )
                .seen_in(say::shared_to(value.to.join(", ")), &case.snapshot.internet_sharing)
                .why(say::internet_sharing_why())
                .click(say::internet_sharing_do())
                .command(SHARING),
            );
        }
        unknown @ Reading::Unknown { .. } => {
            if let Some(finding) = shared_address(case) {
                findings.push(finding);
                return;
            }
            let title = say::internet_sharing_unknown();
            findings.push(
                Finding::unknown(FindingId::InternetSharing, title, unknown, false)
                    .why(say::internet_sharing_unknown_why()),
            );
        }
        _ => {}
    }
}

/// Its own settings cannot be read: an address that ends in .1, which no service of the interface has,
/// is its mark.
fn shared_address(case: &Case<'_>) -> Option<Finding> {
    let name = &case.subject.name;
    let services = case.snapshot.services.items().iter();
    let services: Vec<&Service> =
        services.filter(|service| service.device.as_deref() == Some(name.as_str())).collect();
    let configs = services.iter().map(|service| service.config.value());
    let configs: Vec<&ServiceConfig> = configs.collect::<Option<_>>()?;
    let configured: Vec<_> = configs.iter().filter_map(|config| config.address).collect();
    let own = case.subject.interface?.ipv4().map(|net| net.addr());
    let own: Vec<_> = own.filter(|ip| !ip.is_link_local()).collect();
    let extra = own.iter().find(|ip| ip.octets()[3] == 1 && !configured.contains(ip))?;
    let kept = configured.iter().find(|ip| own.contains(ip))?;
    let title = say::internet_sharing_suspected(name, extra);
    Some(
        Finding::new(FindingId::InternetSharing, Severity::Warning, title)
            .seen_in(say::has_besides(extra), &case.snapshot.interfaces)
            .seen_in(say::configured_address(kept), &services.first()?.config)
            .why(say::internet_sharing_why())
            .click(say::internet_sharing_do())
            .command(format!("ifconfig {name}")),
    )
}
