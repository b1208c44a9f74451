//! Why there is no plan.

use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

use crate::{
    check::FindingId,
    snapshot::Platform,
    text::{Lang, Text, plan as say, route},
};

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// There is no interface to set up.
    NoInterface {
        /// The findings that say why.
        findings: Vec<FindingId>,
    },
    /// Cables of the bridge form a ring.
    Ring {
        /// The bridge.
        interface: String,
        /// Whose bridge it is.
        platform: Platform,
    },
    /// Two cables of the bridge lead to computers that look the same, and may be one.
    MaybeRing {
        /// The bridge.
        interface: String,
    },
    /// The interface belongs to a bridge or bond, which carries the addresses.
    Member {
        /// The interface.
        interface: String,
        /// The bridge or bond.
        master: String,
    },
    /// The interface is Wi-Fi.
    Wifi {
        /// The interface.
        interface: String,
    },
    /// It leads nowhere but to this machine.
    Loopback {
        /// The interface.
        interface: String,
    },
    /// The interface carries this machine's default route.
    Uplink {
        /// The interface.
        interface: String,
    },
    /// The chosen address cannot be used.
    Collides {
        /// The address.
        address: Ipv4Net,
        /// With what it collides.
        with: Text,
        /// Another would collide with nothing.
        another: bool,
    },
    /// No machine can have the peer's address.
    Nobody {
        /// The address.
        peer: Ipv4Addr,
    },
    /// Every network that setup knows of is taken.
    NoFreeNetwork,
    /// The chosen size cannot be.
    Mtu {
        /// As asked for.
        mtu: u32,
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// What is there is not known well enough.
    NotKnown {
        /// What.
        what: Text,
    },
    /// Per-port mode found no cable of its own.
    NoPort {
        /// For each port, why not.
        why: Vec<Text>,
        /// Whose ports these are.
        platform: Platform,
    },
}

impl PlanError {
    /// What is in the way.
    pub fn text(&self) -> Text {
        match self {
            Self::NoInterface { .. } => say::no_link(),
            Self::Ring { interface, .. } => say::ring(interface),
            Self::MaybeRing { interface } => say::maybe_ring(interface),
            Self::Member { interface, master } => say::member(interface, master),
            Self::Wifi { interface } => say::is_wifi(interface),
            Self::Loopback { interface } => say::is_loopback(interface),
            Self::Uplink { interface } => say::is_uplink(interface),
            Self::Collides { address, with, .. } => say::collides(address, with),
            Self::Nobody { peer } => route::nobody(peer),
            Self::NoFreeNetwork => say::no_free_network(),
            Self::Mtu { mtu, min, max } => say::mtu_out_of_bounds(mtu, min, max),
            Self::NotKnown { what } => say::not_known(what),
            Self::NoPort { why, .. } => say::no_port(Text::joined(why, "; ")),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Text {
        match self {
            Self::NoInterface { findings } if findings.contains(&FindingId::BridgeMissing) => {
                say::no_bridge_hint()
            }
            Self::NoInterface { .. } => say::no_link_hint(),
            Self::Ring { interface, platform: Platform::MacOs } => say::ring_hint(interface),
            Self::Ring { interface, platform: Platform::Linux } => say::ring_hint_linux(interface),
            Self::MaybeRing { .. } => say::maybe_ring_hint(),
            Self::Member { master, .. } => say::member_hint(master),
            Self::Loopback { .. } | Self::Wifi { .. } | Self::Uplink { .. } => {
                say::name_the_cable()
            }
            Self::Collides { another: true, .. } => say::collides_hint(),
            Self::Collides { .. } | Self::NoFreeNetwork => say::no_free_network_hint(),
            Self::Nobody { .. } => route::nobody_do(),
            Self::Mtu { .. } => say::mtu_hint(),
            Self::NotKnown { .. } => say::not_known_hint(),
            Self::NoPort { platform: Platform::MacOs, .. } => say::no_port_hint(),
            Self::NoPort { platform: Platform::Linux, .. } => say::no_port_hint_linux(),
        }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

impl std::error::Error for PlanError {}
