//! What the system says, and where it said it.
//!
//! A [`Snapshot`] is a plain value: no part of it asks the system anything. Each section is a
//! [`Reading`]: known together with its source, not known together with the reason, or not a thing
//! this platform has. Inside a section a field that its source did not mention is `None`. Nothing
//! here is ever filled in by a guess: "not known" must stay visible to whoever judges the snapshot.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Whose words a snapshot is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// macOS: networksetup, ifconfig, system_profiler and property lists.
    MacOs,
    /// Linux: netlink, sysfs and if-addrs.
    Linux,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MacOs => "macOS",
            Self::Linux => "Linux",
        })
    }
}

/// The command or file a fact was read from, as a person would type it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Source(String);

impl Source {
    /// Names a source: a command line (`networksetup -listallhardwareports`) or a path.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Unknown {
    /// A recorded set has no such file, or the machine has no such command or file.
    #[error("there is no {what}")]
    Missing {
        /// The file or command that is not there.
        what: String,
    },
    /// The source was there but its words could not be understood.
    #[error("could not be understood: {detail}")]
    Unreadable {
        /// What the parser stumbled over.
        detail: String,
    },
    /// The source did not answer within its bound.
    #[error("did not answer within {limit_ms} ms")]
    TimedOut {
        /// The bound that was set.
        limit_ms: u64,
    },
    /// The system refused.
    #[error("permission denied: {detail}")]
    Permission {
        /// What the system said.
        detail: String,
    },
    /// The command ran and failed, or the file could not be read.
    #[error("failed: {detail}")]
    Failed {
        /// What the system said.
        detail: String,
    },
    /// Nobody asked: quick snapshots leave out the slow sources.
    #[error("was not asked")]
    NotAsked,
}

/// A section of a snapshot: what a source said, why it said nothing, or that there is no such thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Reading<T> {
    /// The source answered.
    Known {
        /// What it said.
        value: T,
        /// Who said it.
        source: Source,
    },
    /// Nothing is known, for a stated reason. Never to be treated as "fine".
    Unknown {
        /// Who was (or would have been) asked.
        source: Source,
        /// Why there is no answer.
        why: Unknown,
    },
    /// This platform has no such thing.
    NotApplicable,
}

impl<T> Reading<T> {
    /// An answer and its source.
    pub fn known(value: T, source: Source) -> Self {
        Self::Known { value, source }
    }

    /// The answer, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The source that was asked, whether it answered or not.
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::Known { source, .. } | Self::Unknown { source, .. } => Some(source),
            Self::NotApplicable => None,
        }
    }

    /// Whether the answer is missing although the platform has one.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

impl<T> Reading<Vec<T>> {
    /// The items, none if they are not known. Only for lists where absence is judged elsewhere.
    pub fn items(&self) -> &[T] {
        self.value().map_or(&[], Vec::as_slice)
    }
}

/// Everything one machine said about its links at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Whose words these are.
    pub platform: Platform,
    /// Network interfaces as the kernel has them.
    pub interfaces: Reading<Vec<Interface>>,
    /// macOS: hardware ports, that is what each device is.
    pub hardware_ports: Reading<Vec<HardwarePort>>,
    /// macOS: network services in service order (row order, first wins).
    pub services: Reading<Vec<Service>>,
    /// macOS: what the preferences configure, whether or not the kernel has it yet.
    pub preferences: Reading<Preferences>,
    /// Thunderbolt ports of this machine and what is plugged into them.
    pub thunderbolt_ports: Reading<Vec<ThunderboltPort>>,
    /// The routing table.
    pub routes: Reading<Vec<Route>>,
    /// What the kernel would do with a packet to each peer that was asked about.
    pub peer_routes: BTreeMap<IpAddr, Reading<PeerRoute>>,
    /// macOS: Internet Sharing.
    pub internet_sharing: Reading<InternetSharing>,
}

impl Snapshot {
    /// A snapshot in which nothing is known yet and nothing was asked.
    pub fn empty(platform: Platform) -> Self {
        fn not_asked<T>(source: &str) -> Reading<T> {
            Reading::Unknown { source: Source::new(source), why: Unknown::NotAsked }
        }
        fn mac_only<T>(platform: Platform, source: &str) -> Reading<T> {
            match platform {
                Platform::MacOs => not_asked(source),
                Platform::Linux => Reading::NotApplicable,
            }
        }
        Self {
            platform,
            interfaces: not_asked("interfaces"),
            hardware_ports: mac_only(platform, "hardware ports"),
            services: mac_only(platform, "service order"),
            preferences: mac_only(platform, "network preferences"),
            thunderbolt_ports: not_asked("Thunderbolt ports"),
            routes: not_asked("routing table"),
            peer_routes: BTreeMap::new(),
            internet_sharing: mac_only(platform, "Internet Sharing"),
        }
    }

    /// The interface of that name, if interfaces are known and it is among them.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.items().iter().find(|i| i.name == name)
    }

    /// What shows that the interface is, or is not, a Thunderbolt link
    /// ([`Evidence::ChosenByHand`](crate::Evidence) if nothing does); `None` if there is no such
    /// interface or a source that decides did not answer.
    pub fn evidence(&self, name: &str) -> Option<crate::Evidence> {
        let found = crate::evidence::of(self, self.interface(name)?).ok()?;
        Some(found.unwrap_or(crate::Evidence::ChosenByHand))
    }

    /// The hardware port that `device` is, if ports are known and it is among them.
    pub fn hardware_port(&self, device: &str) -> Option<&HardwarePort> {
        self.hardware_ports.items().iter().find(|p| p.device.as_deref() == Some(device))
    }
}

/// What sort of interface the kernel says it is. Never read from the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceType {
    /// The source does not say.
    #[default]
    Unspecified,
    /// The loopback flag is set.
    Loopback,
    /// A bridge: it has, or may have, members.
    Bridge,
    /// A bond (Linux).
    Bond,
    /// A tunnel or other point-to-point interface.
    PointToPoint,
    /// Another software device, by the kernel's own word for it (veth, dummy, vlan, …).
    Software(String),
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The kernel's name for it.
    pub name: String,
    /// The kernel's index.
    pub index: Option<NonZeroU32>,
    /// What sort of interface it is.
    #[serde(rename = "type")]
    pub interface_type: InterfaceType,
    /// Administratively up.
    pub up: Option<bool>,
    /// Somebody answers at the other end.
    pub carrier: Option<bool>,
    /// Largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Hardware address as printed by the source.
    pub mac: Option<String>,
    /// Addresses with their networks; `None` if the source of addresses did not answer.
    pub addresses: Option<Vec<Address>>,
    /// The bridge or bond this interface belongs to.
    pub master: Option<String>,
    /// Interfaces that belong to this bridge or bond.
    pub members: Option<Vec<String>>,
    /// Linux: the kernel driver of the device behind it.
    pub driver: Option<Driver>,
}

impl Interface {
    /// Whether this is the loopback interface, by its flag.
    pub fn is_loopback(&self) -> bool {
        self.interface_type == InterfaceType::Loopback
    }

    /// Its IPv4 addresses with their networks.
    pub fn ipv4(&self) -> impl Iterator<Item = ipnet::Ipv4Net> + '_ {
        self.addresses.iter().flatten().filter_map(|a| match a.net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        })
    }
}

/// A driver and the file that named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// The driver's name, for example `thunderbolt-net`.
    pub name: String,
    /// The file or link it was read from.
    pub source: Source,
}

/// An address on an interface, with the network it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// Address and prefix length, for example `192.168.2.1/24`.
    pub net: IpNet,
    /// Duplicate address detection has not finished, or failed: it cannot be bound yet.
    pub tentative: bool,
    /// The address has a lifetime: DHCP or a router gave it.
    pub dynamic: Option<bool>,
}

impl Address {
    /// A usable address of which nothing more is known.
    pub fn new(net: IpNet) -> Self {
        Self { net, tentative: false, dynamic: None }
    }
}

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

impl fmt::Display for ConfigMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manual => "manual",
            Self::Dhcp => "DHCP",
            Self::Off => "off",
            Self::Other(name) => name,
        })
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

/// macOS: what the network preferences configure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preferences {
    /// Configured bridges.
    pub bridges: Vec<ConfiguredBridge>,
    /// Devices whose hardware is Wi-Fi, by type and not by name.
    pub wifi_devices: Vec<String>,
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

/// A Thunderbolt port of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThunderboltPort {
    /// The bus or domain it belongs to.
    pub bus: String,
    /// The receptacle on the case, where known.
    pub receptacle: Option<String>,
    /// The port's own domain UUID.
    pub domain_uuid: Option<String>,
    /// The speed as the source writes it, for example `80 Gb/s` or `Up to 120 Gb/s`.
    pub speed: Option<String>,
    /// Whether anything is plugged in.
    pub connected: Option<bool>,
    /// What is plugged in, hubs and what hangs below them included.
    pub devices: Vec<ThunderboltDevice>,
}

impl ThunderboltPort {
    /// The computers at the other end.
    pub fn peers(&self) -> impl Iterator<Item = &ThunderboltDevice> {
        self.devices.iter().filter(|d| d.is_computer)
    }
}

/// Something at the other end of a cable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThunderboltDevice {
    /// Its name, for example `Mac Studio` or a Linux host name.
    pub name: Option<String>,
    /// Its model, for example `Mac15,14`.
    pub model: Option<String>,
    /// Its vendor.
    pub vendor: Option<String>,
    /// For a computer: the UUID of the domain at its end of the cable.
    pub domain_uuid: Option<String>,
    /// A computer (it has a domain of its own), not a dock or a drive.
    pub is_computer: bool,
    /// Linux: receive and transmit lanes and speed, as the kernel prints them.
    pub lanes: Option<String>,
}

/// A row of the routing table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The destination network; the default route is `0.0.0.0/0` or `::/0`.
    pub destination: IpNet,
    /// The gateway as printed: an address, a link or a hardware address.
    pub gateway: Option<String>,
    /// The interface.
    pub interface: Option<String>,
    /// Flags as printed.
    pub flags: Option<String>,
    /// Only sockets bound to the interface use it (macOS flag `I`).
    pub scoped: bool,
    /// Lower wins among equal prefixes (Linux).
    pub metric: Option<u32>,
}

impl Route {
    /// The kernel refuses to send by it: macOS flag `R`, or one of Linux' types for that.
    pub fn is_rejecting(&self) -> bool {
        self.flags.as_deref().is_some_and(|flags| match flags {
            "unreachable" | "prohibit" | "blackhole" | "throw" => true,
            flags => flags.contains('R'),
        })
    }
}

/// What the kernel would do with a packet to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerRoute {
    /// The interface it would leave by; none if there is no route.
    pub interface: Option<String>,
    /// The gateway it would go through.
    pub gateway: Option<String>,
    /// The kernel refuses to send (`REJECT`, unreachable, prohibit, blackhole).
    pub rejected: bool,
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
