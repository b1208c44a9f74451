//! What only a Mac has: hardware ports, services, preferences, and switches that concern the link.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::Serialize;

use super::Reading;
use crate::text::{Lang, Text, words};

/// macOS: a row of `networksetup -listallhardwareports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HardwarePort {
    /// The port's name, frozen in the language of the day it was made.
    pub port: String,
    /// The device, if the port has one.
    pub device: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
}

/// macOS: a network service, in its place in the service order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// The user's name for it.
    pub name: String,
    /// The hardware port it stands on.
    pub hardware_port: Option<String>,
    /// The device, if it has one (VPN services have none).
    pub device: Option<String>,
    /// Whether it is switched on.
    pub enabled: bool,
    /// How it gets its address.
    pub config: Reading<ServiceConfig>,
}

/// How a service gets its IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigMethod {
    /// A fixed address.
    Manual,
    /// From a DHCP server; self-assigned if there is none.
    Dhcp,
    /// IPv4 is off.
    Off,
    /// Another method, by its own name (BOOTP, …).
    Other(String),
}

impl ConfigMethod {
    /// The method in words.
    pub fn text(&self) -> Text {
        match self {
            Self::Manual => words::method_manual(),
            Self::Dhcp => Text::verbatim("DHCP"),
            Self::Off => words::method_off(),
            Self::Other(name) => Text::verbatim(name),
        }
    }
}

impl fmt::Display for ConfigMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

/// macOS: what `networksetup -getinfo SERVICE` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceConfig {
    /// How IPv4 is configured.
    pub method: ConfigMethod,
    /// The IPv4 address, none if the row is absent.
    pub address: Option<Ipv4Addr>,
    /// The subnet mask.
    pub mask: Option<Ipv4Addr>,
    /// The router; a blank one (`(null)`, `none`) is `None`.
    pub router: Option<Ipv4Addr>,
}

impl ServiceConfig {
    /// Whether it is just this manual address with a blank router.
    pub(crate) fn is_manually(&self, net: Ipv4Net) -> bool {
        self.method == ConfigMethod::Manual
            && self.address == Some(net.addr())
            && self.mask == Some(net.netmask())
            && self.router.is_none()
    }
}

/// macOS: what the network preferences configure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preferences {
    /// Configured bridges.
    pub bridges: Vec<ConfiguredBridge>,
    /// Devices whose hardware is Wi-Fi, by type and not by name.
    pub wifi_devices: Vec<String>,
    /// The location (set of services) in use, by the user's name for it.
    pub location: Option<String>,
    /// The MTU that the location sets for a device, where it sets one.
    pub mtus: BTreeMap<String, u32>,
}

/// macOS: a bridge as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfiguredBridge {
    /// Its device, for example `bridge0`.
    pub device: String,
    /// Its configured members.
    pub members: Vec<String>,
    /// macOS itself made it to hold the Thunderbolt ports (`__AUTO__ = thunderbolt-bridge`).
    pub is_thunderbolt: bool,
}

/// macOS: Internet Sharing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InternetSharing {
    /// Switched on.
    pub enabled: bool,
    /// The connection that is shared.
    pub from: Option<String>,
    /// The devices it is shared to.
    pub to: Vec<String>,
}

/// macOS: a row of `scutil --nwi`, first preferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreferredLink {
    /// The interface.
    pub interface: String,
    /// Its IPv4 address, where printed.
    pub address: Option<Ipv4Addr>,
    /// It resolves names: links without a router, as the bridge should be, do not.
    pub dns: bool,
}

/// macOS: the application firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firewall {
    /// Off (state 0).
    Off,
    /// On: incoming connections to programs that are not allowed are refused (state 1).
    On,
    /// All incoming connections are refused (state 2).
    BlockAll,
}

/// macOS: RDMA over Thunderbolt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rdma {
    /// Switched on; `false` also where the system has no such thing.
    pub enabled: bool,
    /// Its devices (`rdma_en2`), `None` if they were not listed.
    pub devices: Option<Vec<String>>,
}

/// macOS: a program that was refused the local network, by the system's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalNetworkRefusal {
    /// The program.
    pub program: String,
    /// The interface it wanted to use.
    pub interface: Option<String>,
}
