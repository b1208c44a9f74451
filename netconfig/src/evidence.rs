//! What makes an interface a Thunderbolt link: its driver or its ports, never its name.
//!
//! Anyone can call a veth `thunderbolt0`, and a Mac's bridge is called whatever Thunderbolt Bridge
//! was in the language of the day it was made. So the proof is, on Linux, the kernel driver behind
//! the device (or behind every member of a bridge or bond), and on macOS the hardware ports that
//! are the bridge's members, or the mark that macOS itself leaves on the bridge it makes for them.

use std::fmt;

use serde::Serialize;

use crate::snapshot::{Interface, InterfaceType, Platform, Reading, Snapshot, Source, Unknown};
use crate::text::{Lang, Text, words};

/// The Linux driver that carries IP over Thunderbolt (`drivers/net/thunderbolt`).
pub(crate) const THUNDERBOLT_NET: &str = "thunderbolt-net";

/// Why a link is called what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Evidence {
    /// Linux: the device's kernel driver is thunderbolt-net.
    ThunderboltNetDriver {
        /// The driver's name.
        driver: String,
        /// The file that named it.
        source: Source,
    },
    /// Every member of the bridge or bond is a Thunderbolt port.
    ThunderboltBridgeMembers {
        /// The members.
        members: Vec<String>,
        /// Where it is said that they are Thunderbolt ports.
        source: Source,
    },
    /// macOS: the device itself is a Thunderbolt port, used without a bridge.
    ThunderboltPort {
        /// The hardware port's name.
        port: String,
        /// Where it was read.
        source: Source,
    },
    /// None was found: a person named this interface.
    ChosenByHand,
}

impl Evidence {
    /// The evidence in words.
    pub fn text(&self) -> Text {
        match self {
            Self::ThunderboltNetDriver { driver, source } => words::evidence_driver(driver, source),
            Self::ThunderboltBridgeMembers { members, source } => {
                words::evidence_members(members.join(", "), source)
            }
            Self::ThunderboltPort { port, source } => words::evidence_port(port, source),
            Self::ChosenByHand => words::evidence_none(),
        }
    }

    /// macOS: the receptacle of a device that is a Thunderbolt port itself.
    pub(crate) fn receptacle(&self) -> Option<&str> {
        match self {
            Self::ThunderboltPort { port, .. } => thunderbolt_port_number(port),
            _ => None,
        }
    }
}

/// macOS: the device of the Thunderbolt port with that receptacle, whatever number its `enN` has.
pub(crate) fn device_at<'a>(snapshot: &'a Snapshot, receptacle: &str) -> Option<&'a str> {
    let mut ports = snapshot.hardware_ports.items().iter();
    ports
        .find(|port| thunderbolt_port_number(&port.port).is_some_and(|n| n == receptacle))?
        .device
        .as_deref()
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

/// A source that would have to answer before evidence can be given or ruled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undecided {
    pub(crate) source: Source,
    pub(crate) why: Unknown,
}

/// The evidence that `interface` is a Thunderbolt link; `None` if it is shown to be none.
///
/// # Errors
/// If the source that decides did not answer: neither yes nor no can then be said.
pub(crate) fn of(
    snapshot: &Snapshot,
    interface: &Interface,
) -> Result<Option<Evidence>, Undecided> {
    if interface.is_loopback() {
        return Ok(None);
    }
    match snapshot.platform {
        Platform::Linux => Ok(on_linux(snapshot, interface)),
        Platform::MacOs => on_macos(snapshot, interface),
    }
}

fn on_linux(snapshot: &Snapshot, interface: &Interface) -> Option<Evidence> {
    if let Some(driver) = thunderbolt_driver(interface) {
        return Some(Evidence::ThunderboltNetDriver {
            driver: driver.name.clone(),
            source: driver.source.clone(),
        });
    }
    if !matches!(interface.interface_type, InterfaceType::Bridge | InterfaceType::Bond) {
        return None;
    }
    let members = interface.members.as_deref().filter(|m| !m.is_empty())?;
    let mut source = None;
    for member in members {
        source = Some(thunderbolt_driver(snapshot.interface(member)?)?.source.clone());
    }
    Some(Evidence::ThunderboltBridgeMembers { members: members.to_vec(), source: source? })
}

/// The driver, if it is thunderbolt-net and the kernel does not say that the device is software:
/// in a network namespace sysfs may still show another namespace's device of the same name.
fn thunderbolt_driver(interface: &Interface) -> Option<&crate::snapshot::Driver> {
    interface.driver.as_ref().filter(|driver| {
        driver.name == THUNDERBOLT_NET && interface.interface_type == InterfaceType::Unspecified
    })
}

fn on_macos(snapshot: &Snapshot, interface: &Interface) -> Result<Option<Evidence>, Undecided> {
    let port_of = |device: &str| {
        snapshot.hardware_port(device).map(|p| p.port.as_str()).filter(|p| is_thunderbolt_port(p))
    };
    if let (Some(port), Some(source)) = (port_of(&interface.name), snapshot.hardware_ports.source())
    {
        let evidence = Evidence::ThunderboltPort { port: port.to_owned(), source: source.clone() };
        return Ok(Some(evidence));
    }
    let members = interface.members.as_deref().unwrap_or_default();
    if !members.is_empty() {
        if members.iter().all(|m| port_of(m).is_some())
            && let Some(source) = snapshot.hardware_ports.source()
        {
            return Ok(Some(Evidence::ThunderboltBridgeMembers {
                members: members.to_vec(),
                source: source.clone(),
            }));
        }
        if let Some(evidence) = by_preferences(snapshot, interface, members) {
            return Ok(Some(evidence));
        }
    }
    // Without the list of ports a plain device or a bridge with members could be either.
    match &snapshot.hardware_ports {
        Reading::Unknown { source, why } => {
            Err(Undecided { source: source.clone(), why: why.clone() })
        }
        _ => Ok(None),
    }
}

/// Some Macs list the bridge but not its ports (USB-C docks, managed machines); the preferences
/// then say which members macOS gave to the bridge it made for Thunderbolt. A member that is
/// listed as another kind of port contradicts them.
fn by_preferences(
    snapshot: &Snapshot,
    interface: &Interface,
    members: &[String],
) -> Option<Evidence> {
    let bridge = snapshot
        .preferences
        .value()?
        .bridges
        .iter()
        .find(|b| b.device == interface.name && b.is_thunderbolt)?;
    let agrees = |member: &String| {
        bridge.members.contains(member)
            && snapshot.hardware_port(member).is_none_or(|port| is_thunderbolt_port(&port.port))
    };
    members.iter().all(agrees).then(|| Evidence::ThunderboltBridgeMembers {
        members: members.to_vec(),
        source: snapshot
            .preferences
            .source()
            .cloned()
            .unwrap_or_else(|| Source::new("preferences")),
    })
}

/// Whether a hardware port's name is that of a Thunderbolt port: `Thunderbolt 1`, `雷雳 2`. An
/// Ethernet adapter on Thunderbolt (`Thunderbolt Ethernet`) and the bridge itself are not.
pub(crate) fn is_thunderbolt_port(port: &str) -> bool {
    thunderbolt_port_number(port).is_some()
}

/// The number in a Thunderbolt port's name, which is that of its receptacle.
pub(crate) fn thunderbolt_port_number(port: &str) -> Option<&str> {
    ["Thunderbolt", "雷雳", "雷靂"].iter().find_map(|prefix| {
        let rest = port.strip_prefix(prefix)?.trim();
        (!rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit())).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thunderbolt_ports_are_told_from_adapters_and_bridges() {
        for port in ["Thunderbolt 1", "Thunderbolt 12", "雷雳 2", "雷雳2"] {
            assert!(is_thunderbolt_port(port), "{port}");
        }
        for port in [
            "Thunderbolt",
            "Thunderbolt Bridge",
            "Thunderbolt 브리지",
            "Thunderbolt Ethernet",
            "Thunderbolt Ethernet Slot 1",
            "Ethernet Adapter (en4)",
            "Wi-Fi",
        ] {
            assert!(!is_thunderbolt_port(port), "{port}");
        }
    }
}
