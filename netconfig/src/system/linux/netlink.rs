//! The kernel's own lists, over a routing netlink socket: links, addresses, routes, and which way a
//! packet to a peer would go.

use std::{io, num::NonZeroU32};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::snapshot::{Address, Interface, InterfaceType, Source, Unknown};

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
    super::fill_members(&mut interfaces);
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

/// Sends one request and collects its answers.
fn ask(
    request: RouteNetlinkMessage,
    extra_flags: u16,
) -> Result<Vec<RouteNetlinkMessage>, Unknown> {
    let dump = extra_flags & NLM_F_DUMP == NLM_F_DUMP;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | extra_flags;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE).map_err(refused)?;
    socket.bind_auto().map_err(refused)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(refused)?;
    socket.send(&bytes, 0).map_err(refused)?;

    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().map_err(refused)?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| Unknown::Unreadable { detail: error.to_string() })?;
            let length = message.header.length as usize;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(refused(error.to_io()));
                }
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                _ => {}
            }
            if !dump && !answers.is_empty() {
                return Ok(answers);
            }
            if answers.len() > MESSAGES_MAX {
                let detail = format!("more than {MESSAGES_MAX} answers");
                return Err(Unknown::Unreadable { detail });
            }
            // Messages are aligned to 4 bytes; a length of zero would never end.
            rest = rest.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn refused(error: io::Error) -> Unknown {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unknown::Permission { detail: error.to_string() },
        _ => Unknown::Failed { detail: error.to_string() },
    }
}
