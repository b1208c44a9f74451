//! What one machine tells another of its end of the link, so that both ends can be compared.

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    link::LinkKind,
    snapshot::{InterfaceType, Platform, Snapshot, ThunderboltPort},
};

/// Lists longer than this are cut: no machine of ours has as many links or ports.
pub const ITEMS_MAX: usize = 64;

/// One machine's end of the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What people call the machine.
    pub name: String,
    /// Program and version that answers.
    pub software: String,
    /// Its system.
    pub platform: Platform,
    /// Its interface of the link.
    pub interface: String,
    /// What sort of link it says it is.
    pub kind: LinkKind,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// The addresses of the interface with their networks.
    pub addresses: Vec<IpNet>,
    /// The networks of its other links: what an address of the link could collide with.
    pub other_networks: Vec<IpNet>,
    /// Its clock, in milliseconds since 1970.
    pub clock_ms: u64,
    /// What is at the ends of its Thunderbolt cables.
    pub cables: Vec<Cable>,
}

/// One end of a Thunderbolt cable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cable {
    /// The domain UUID of this machine's port.
    pub own: String,
    /// The domain UUID at the other end, of a computer.
    pub far: Option<String>,
    /// Whether the port belongs to a bridge; `None` if that is not known.
    pub bridged: Option<bool>,
}

impl Cable {
    /// The cables of a machine that have a computer at the other end.
    pub fn of(snapshot: &Snapshot) -> Vec<Self> {
        let ports = snapshot.thunderbolt_ports.items();
        let cables = ports.iter().filter_map(|port| {
            let own = port.domain_uuid.clone()?;
            let far = port.peers().next()?.domain_uuid.clone();
            Some(Self { own, far, bridged: is_bridged(snapshot, port) })
        });
        cables.take(ITEMS_MAX).collect()
    }
}

/// The device that a port is: by its receptacle, through the list of hardware ports, never by
/// arithmetic.
pub(crate) fn device_of<'a>(snapshot: &'a Snapshot, port: &ThunderboltPort) -> Option<&'a str> {
    let receptacle = port.receptacle.as_deref()?;
    let ports = snapshot.hardware_ports.items().iter();
    let mut named = ports.filter(|hardware| {
        crate::evidence::is_thunderbolt_port(&hardware.port)
            && hardware.port.trim_start_matches(|c: char| !c.is_ascii_digit()) == receptacle
    });
    let device = named.next()?.device.as_deref()?;
    named.next().is_none().then_some(device)
}

fn is_bridged(snapshot: &Snapshot, port: &ThunderboltPort) -> Option<bool> {
    let device = device_of(snapshot, port)?;
    let master = &snapshot.interface(device)?.master;
    Some(master.as_deref().is_some_and(|master| {
        snapshot.interface(master).is_some_and(|m| m.interface_type == InterfaceType::Bridge)
    }))
}

impl Facts {
    /// What `snapshot` says of its end, the interface of that name; `None` if it is not in it, or
    /// its largest packet is not known.
    pub fn of(
        snapshot: &Snapshot,
        interface: &str,
        name: &str,
        software: &str,
        clock_ms: u64,
    ) -> Option<Self> {
        let subject = snapshot.interface(interface)?;
        let nets = |i: &crate::snapshot::Interface| {
            i.addresses.iter().flatten().map(|a| a.net).collect::<Vec<_>>()
        };
        let is_member = |other: &str| {
            subject.members.iter().flatten().any(|member| member == other)
                || subject.master.as_deref() == Some(other)
        };
        let others = snapshot.interfaces.items().iter().filter(|other| {
            other.name != interface && !other.is_loopback() && !is_member(&other.name)
        });
        let mut other_networks: Vec<IpNet> =
            others.flat_map(nets).filter(|net| !is_automatic(net)).map(|net| net.trunc()).collect();
        other_networks.sort();
        other_networks.dedup();
        other_networks.truncate(ITEMS_MAX);
        let mut addresses = nets(subject);
        addresses.truncate(ITEMS_MAX);
        let kind = match snapshot.evidence(interface) {
            None | Some(crate::Evidence::ChosenByHand) => LinkKind::ByHand,
            Some(_) => LinkKind::Thunderbolt,
        };
        Some(Self {
            name: name.to_owned(),
            software: software.to_owned(),
            platform: snapshot.platform,
            interface: interface.to_owned(),
            kind,
            mtu: subject.mtu?,
            addresses,
            other_networks,
            clock_ms,
            cables: Cable::of(snapshot),
        })
    }
}

/// Link-local addresses are on every link.
pub(crate) fn is_automatic(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}
