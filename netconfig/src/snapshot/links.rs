//! Network interfaces, their addresses, and routes.

use std::num::NonZeroU32;

use ipnet::IpNet;
use serde::Serialize;

use super::{Source, ThunderboltPort};

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
    /// Linux: it is Wi-Fi; `None` where nothing shows the device.
    pub wireless: Option<bool>,
    /// Linux: the Thunderbolt port that its cable is plugged into.
    pub cable_port: Option<CablePort>,
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

/// A Thunderbolt port as [`ThunderboltPort`] names it, and the file that led there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CablePort {
    /// The bus or domain.
    pub bus: String,
    /// The receptacle.
    pub receptacle: String,
    /// The file or link it was read from.
    pub source: Source,
}

impl CablePort {
    /// Whether this is that port.
    pub fn is(&self, port: &ThunderboltPort) -> bool {
        self.bus == port.bus && port.receptacle.as_ref() == Some(&self.receptacle)
    }
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
