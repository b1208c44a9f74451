//! What is never touched: a bridge in a ring, the loopback, Wi-Fi, the way to the internet.

use super::{PlanError, Wish};
use crate::{
    LinkKind,
    address::is_nobody,
    check::{FindingId, Report, Severity},
    snapshot::{Interface, InterfaceType, Platform, Snapshot},
    text::plan as say,
};

/// IPv6 needs links of at least so many bytes (RFC 8200 §5), and macOS' bridges begin there too.
const MTU_MIN: u32 = 1280;

/// `thunderbolt-net` and macOS' bridge end within a few bytes of each other.
const fn mtu_max(platform: Platform) -> u32 {
    match platform {
        Platform::Linux => 65_522,
        Platform::MacOs => 65_518,
    }
}

pub(super) fn mtu(platform: Platform, mtu: u32) -> Result<(), PlanError> {
    let (min, max) = (MTU_MIN, mtu_max(platform));
    if (min..=max).contains(&mtu) { Ok(()) } else { Err(PlanError::Mtu { mtu, min, max }) }
}

/// The first and the last address of the link's own network, or of the one that was asked for, are
/// nobody's.
pub(super) fn peer(snapshot: &Snapshot, wish: &Wish, name: &str) -> Result<(), PlanError> {
    let Some(peer) = wish.peer_v4() else { return Ok(()) };
    let own = snapshot.interface(name).into_iter().flat_map(Interface::ipv4);
    match own.chain(wish.address).any(|net| is_nobody(&net.into(), peer.into())) {
        true => Err(PlanError::Nobody { peer }),
        false => Ok(()),
    }
}

pub(super) fn check(
    snapshot: &Snapshot,
    report: &Report,
    wish: &Wish,
    name: &str,
) -> Result<(), PlanError> {
    let interface = name.to_owned();
    let is_off = snapshot
        .interface(name)
        .is_none_or(|i| i.interface_type == InterfaceType::Bridge && i.up != Some(true));
    match report.findings.iter().find(|f| f.id == FindingId::Loop).map(|f| f.severity) {
        Some(Severity::Error) => {
            return Err(PlanError::Ring { interface, platform: snapshot.platform });
        }
        Some(Severity::Warning) => return Err(PlanError::MaybeRing { interface }),
        // Switched on, one that is in a ring would drown both machines in packets.
        Some(Severity::Unknown) if is_off => {
            return Err(PlanError::NotKnown { what: say::what_ports() });
        }
        _ => {}
    }
    if snapshot.interface(name).is_some_and(Interface::is_loopback) {
        return Err(PlanError::Loopback { interface });
    }
    if is_wifi(snapshot, wish, name) {
        return Err(PlanError::Wifi { interface });
    }
    // A default route over a cable is a fault to be mended; over anything else it is the uplink.
    let is_cable =
        report.judged.as_ref().is_some_and(|judged| judged.kind != Some(LinkKind::ByHand));
    let carries_default = snapshot.routes.items().iter().any(|route| {
        route.destination.prefix_len() == 0
            && route.interface.as_deref() == Some(name)
            && !route.scoped
    });
    if carries_default && !is_cable {
        return Err(PlanError::Uplink { interface });
    }
    if snapshot.interfaces.is_unknown() {
        return Err(PlanError::NotKnown { what: say::what_interfaces() });
    }
    Ok(())
}

/// Wi-Fi by its hardware, as far as the system says it; else by the port's name, which is an
/// international word.
fn is_wifi(snapshot: &Snapshot, wish: &Wish, name: &str) -> bool {
    let by_type =
        snapshot.preferences.value().is_some_and(|p| p.wifi_devices.iter().any(|d| d == name));
    let port = snapshot.hardware_port(name).map(|port| port.port.as_str()).unwrap_or_default();
    let by_port = ["Wi-Fi", "WiFi", "AirPort", "WLAN"].iter().any(|w| port.eq_ignore_ascii_case(w));
    wish.wifi.iter().any(|wifi| wifi == name) || by_type || by_port
}

/// Whether the device is Wi-Fi, for the service order.
pub(super) fn is_wifi_device(snapshot: &Snapshot, device: &str) -> bool {
    is_wifi(snapshot, &Wish::default(), device)
}
