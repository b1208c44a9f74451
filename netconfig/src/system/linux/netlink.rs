//! The kernel's own lists, over a routing netlink socket: links, addresses, routes, and which way a
//! packet to a peer would go.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::live::{is_askable, name_of};
use crate::snapshot::{Address, Interface, InterfaceType, PeerRoute, Route, Source, Unknown};

/// Answers to one request are bounded: a machine with more links than this is not one of ours.
const MESSAGES_MAX: usize = 65_536;

pub(super) fn links_source() -> Source {
    Source::new("netlink RTM_GETLINK")
}

/// Every link, without addresses and drivers.
pub(super) fn links() -> Result<Vec<Interface>, Unknown> {
    let messages = ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
    let mut links: Vec<(Interface, Option<u32>)> = messages
        .into_iter()
        .filter_map(|m| match m {
            RouteNetlinkMessage::NewLink(link) => Some(interface(&link)),
            _ => None,
        })
        .collect();
    let names: Vec<(Option<NonZeroU32>, String)> =
        links.iter().map(|(i, _)| (i.index, i.name.clone())).collect();
    for (interface, master) in &mut links {
        interface.master = master.and_then(NonZeroU32::new).and_then(|master| {
            names.iter().find(|(index, _)| *index == Some(master)).map(|(_, name)| name.clone())
        });
    }
    let mut interfaces: Vec<Interface> = links.into_iter().map(|(i, _)| i).collect();
    crate::system::fill_members(&mut interfaces);
    Ok(interfaces)
}

fn interface(link: &LinkMessage) -> (Interface, Option<u32>) {
    let flags = link.header.flags;
    let mut interface = Interface {
        index: NonZeroU32::new(link.header.index),
        up: Some(flags.contains(LinkFlags::Up)),
        carrier: Some(flags.contains(LinkFlags::LowerUp)),
        ..Interface::default()
    };
    if flags.contains(LinkFlags::Loopback) {
        interface.interface_type = InterfaceType::Loopback;
    } else if flags.contains(LinkFlags::Pointopoint) {
        interface.interface_type = InterfaceType::PointToPoint;
    }
    let mut master = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = Some(*mtu),
            LinkAttribute::Controller(index) => master = Some(*index),
            LinkAttribute::Address(mac) => interface.mac = Some(hex(mac)),
            LinkAttribute::LinkInfo(infos) => {
                if let Some(kind) = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                }) {
                    interface.interface_type = match kind {
                        InfoKind::Bridge => InterfaceType::Bridge,
                        InfoKind::Bond => InterfaceType::Bond,
                        other => InterfaceType::Software(other.to_string()),
                    };
                }
            }
            _ => {}
        }
    }
    (interface, master)
}

fn hex(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Every address with the index of its interface.
pub(super) fn addresses() -> Result<Vec<(u32, Address)>, Unknown> {
    let messages = ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
    Ok(messages
        .into_iter()
        .filter_map(|m| match m {
            RouteNetlinkMessage::NewAddress(address) => {
                Some((address.header.index, address_of(&address)?))
            }
            _ => None,
        })
        .collect())
}

fn address_of(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut ip, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(address) => ip = Some(*address),
            // On a point-to-point interface Address is the peer's and Local our own.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Flags(full) => flags = *full,
            _ => {}
        }
    }
    let net = IpNet::new(local.or(ip)?, message.header.prefix_len).ok()?;
    Some(Address {
        net,
        tentative: flags.intersects(AddressFlags::Dadfailed)
            || (flags.contains(AddressFlags::Tentative)
                && !flags.contains(AddressFlags::Optimistic)),
        dynamic: Some(!flags.contains(AddressFlags::Permanent)),
    })
}

pub(super) fn routes_source() -> Source {
    Source::new("netlink RTM_GETROUTE")
}

/// The routes of the main table that send a packet somewhere or refuse it, both families.
pub(super) fn routes(names: &[(NonZeroU32, String)]) -> Result<Vec<Route>, Unknown> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for message in ask(RouteNetlinkMessage::GetRoute(request), NLM_F_DUMP)? {
            if let RouteNetlinkMessage::NewRoute(message) = message {
                routes.extend(route_of(&message, names));
            }
        }
    }
    Ok(routes)
}

fn route_of(message: &RouteMessage, names: &[(NonZeroU32, String)]) -> Option<Route> {
    let header = &message.header;
    let table = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    if table.unwrap_or_else(|| header.table.into()) != main {
        return None;
    }
    // In iproute2's words.
    let flags = match header.kind {
        RouteType::Unicast => None,
        RouteType::Unreachable => Some("unreachable"),
        RouteType::Prohibit => Some("prohibit"),
        RouteType::BlackHole => Some("blackhole"),
        RouteType::Throw => Some("throw"),
        _ => return None,
    };
    let mut route = Route {
        destination: IpNet::new(unspecified(header.address_family), 0).ok()?,
        gateway: None,
        interface: None,
        flags: flags.map(str::to_owned),
        scoped: false,
        metric: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                let prefix = header.destination_prefix_length;
                route.destination = IpNet::new(ip(address)?, prefix).ok()?;
            }
            RouteAttribute::Gateway(address) => route.gateway = ip(address).map(|a| a.to_string()),
            RouteAttribute::Oif(index) => route.interface = Some(name_of(names, *index)),
            RouteAttribute::Priority(metric) => route.metric = Some(*metric),
            _ => {}
        }
    }
    Some(route)
}

fn unspecified(family: AddressFamily) -> IpAddr {
    match family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

pub(super) fn route_get_source(peer: IpAddr) -> Source {
    Source::new(format!("netlink RTM_GETROUTE {peer}"))
}

/// Which way the kernel would send a packet to `peer`, policy rules included.
pub(super) fn route_get(
    peer: IpAddr,
    names: &[(NonZeroU32, String)],
) -> Result<PeerRoute, Unknown> {
    if !is_askable(peer) {
        let detail = "a link-local IPv6 address has no route without an interface".to_owned();
        return Err(Unknown::Failed { detail });
    }
    let mut request = RouteMessage::default();
    request.header.address_family =
        if peer.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    request.header.destination_prefix_length = if peer.is_ipv4() { 32 } else { 128 };
    request.attributes.push(RouteAttribute::Destination(peer.into()));

    let none = |rejected| PeerRoute { interface: None, gateway: None, rejected };
    let answers = match exchange(RouteNetlinkMessage::GetRoute(request), 0) {
        Ok(answers) => answers,
        // The kernel answers with the error that a packet would meet.
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NetworkUnreachable => Ok(none(false)),
                io::ErrorKind::HostUnreachable
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidInput => Ok(none(true)),
                _ => Err(refused(error)),
            };
        }
    };
    let Some(RouteNetlinkMessage::NewRoute(message)) = answers.into_iter().next() else {
        return Err(Unknown::Unreadable { detail: "the kernel named no route".into() });
    };
    let mut route = none(matches!(
        message.header.kind,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit
    ));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.interface = Some(name_of(names, *index)),
            RouteAttribute::Gateway(address) => route.gateway = ip(address).map(|a| a.to_string()),
            _ => {}
        }
    }
    Ok(route)
}

fn ask(
    request: RouteNetlinkMessage,
    extra_flags: u16,
) -> Result<Vec<RouteNetlinkMessage>, Unknown> {
    exchange(request, extra_flags).map_err(refused)
}

/// Sends one request and collects its answers.
fn exchange(
    request: RouteNetlinkMessage,
    extra_flags: u16,
) -> io::Result<Vec<RouteNetlinkMessage>> {
    let dump = extra_flags & NLM_F_DUMP == NLM_F_DUMP;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | extra_flags;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;

    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let length = message.header.length as usize;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(error.to_io());
                }
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                _ => {}
            }
            if !dump && !answers.is_empty() {
                return Ok(answers);
            }
            if answers.len() > MESSAGES_MAX {
                let detail = format!("more than {MESSAGES_MAX} answers");
                return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
            }
            // Messages are aligned to 4 bytes; a length of zero would never end.
            rest = rest.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn refused(error: io::Error) -> Unknown {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unknown::Permission { detail: error.to_string() },
        io::ErrorKind::InvalidData => Unknown::Unreadable { detail: error.to_string() },
        _ => Unknown::Failed { detail: error.to_string() },
    }
}
