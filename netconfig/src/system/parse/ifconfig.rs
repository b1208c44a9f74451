//! `ifconfig` of macOS, whole or for one interface, with or without `-v`.
//!
//! ```text
//! bridge0: flags=8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST> mtu 1500
//!     ether 36:10:0f:92:66:40
//!     inet 192.168.2.1 netmask 0xffffff00 broadcast 192.168.2.255
//!     inet6 fe80::1442:a0bf:3f10:95ba%bridge0 prefixlen 64 secured scopeid 0x12
//!     member: en1 flags=3<LEARNING,DISCOVER>
//!     status: active
//! ```
//!
//! Indents are not relied upon: a heading is a line `NAME: flags=…`, everything else belongs to
//! the heading above it. The index is printed only by `-v`; without it, the scope id of a
//! link-local address is the index.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
};

use ipnet::IpNet;

use super::{ParseError, prefix_len, present};
use crate::{
    snapshot::{Address, Interface, InterfaceType},
    system::fill_masters,
};

const FORMAT: &str = "ifconfig";

// <net/if.h>
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_POINTOPOINT: u32 = 0x10;
const IFF_RUNNING: u32 = 0x40;

/// Reads the interfaces in the order they are printed.
///
/// # Errors
/// If there is no heading at all, or an address or a mask cannot be read.
pub fn parse(text: &str) -> Result<Vec<Interface>, ParseError> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(interface) = heading(line) {
            interfaces.push(interface);
        } else if let Some(interface) = interfaces.last_mut() {
            detail(interface, line)?;
        }
    }
    if interfaces.is_empty() {
        return Err(ParseError::nothing_in(FORMAT, text));
    }
    fill_masters(&mut interfaces);
    Ok(interfaces)
}

/// `en0: flags=8863<UP,…> mtu 1500 [index 5]`
fn heading(line: &str) -> Option<Interface> {
    let (name, rest) = line.split_once(": flags=")?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    let (flags, rest) = rest.split_once('<')?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let (_, rest) = rest.split_once('>')?;
    let is = |bit: u32| flags & bit != 0;
    let loopback = is(IFF_LOOPBACK);
    Some(Interface {
        name: name.to_owned(),
        index: after(rest, "index").and_then(|n| n.parse().ok()),
        interface_type: match (loopback, is(IFF_POINTOPOINT)) {
            (true, _) => InterfaceType::Loopback,
            (_, true) => InterfaceType::PointToPoint,
            _ => InterfaceType::Unspecified,
        },
        up: Some(is(IFF_UP)),
        // Interfaces with media print a status; loopback has none and needs none.
        carrier: loopback.then_some(is(IFF_RUNNING)),
        mtu: after(rest, "mtu").and_then(|n| n.parse().ok()),
        addresses: Some(Vec::new()),
        ..Interface::default()
    })
}

fn detail(interface: &mut Interface, line: &str) -> Result<(), ParseError> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "ether" => interface.mac = present(rest).map(str::to_owned),
        "inet" => interface.addresses.get_or_insert_default().push(inet(rest)?),
        "inet6" => {
            let address = inet6(rest)?;
            if let IpAddr::V6(ip) = address.net.addr()
                && ip.is_unicast_link_local()
            {
                interface.index = interface.index.or(scope_id(rest));
            }
            interface.addresses.get_or_insert_default().push(address);
        }
        // Only bridges print these.
        "Configuration:" | "Address" if interface.members.is_none() => {
            interface.interface_type = InterfaceType::Bridge;
            interface.members = Some(Vec::new());
        }
        "member:" => {
            interface.interface_type = InterfaceType::Bridge;
            if let Some(member) = rest.split_whitespace().next() {
                interface.members.get_or_insert_default().push(member.to_owned());
            }
        }
        "status:" => {
            interface.carrier = match rest {
                "active" => Some(true),
                "inactive" => Some(false),
                _ => None,
            };
        }
        _ => {}
    }
    Ok(())
}

/// `192.168.2.1 [--> 192.168.2.2] netmask 0xffffff00 [broadcast …]`
fn inet(rest: &str) -> Result<Address, ParseError> {
    let bad = || ParseError::new(FORMAT, format!("inet {rest}: not an address with a mask"));
    let ip: Ipv4Addr =
        rest.split_whitespace().next().and_then(|ip| ip.parse().ok()).ok_or_else(bad)?;
    let mask = after(rest, "netmask").ok_or_else(bad)?;
    let mask = match mask.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => mask.parse::<Ipv4Addr>().ok().map(u32::from),
    };
    let prefix = mask.and_then(prefix_len).ok_or_else(bad)?;
    IpNet::new(ip.into(), prefix).map(Address::new).map_err(|_| bad())
}

/// `fe80::1%lo0 prefixlen 64 [secured] [tentative] [scopeid 0x1]`
fn inet6(rest: &str) -> Result<Address, ParseError> {
    let bad = || ParseError::new(FORMAT, format!("inet6 {rest}: not an address with a prefix"));
    let ip: Ipv6Addr = rest
        .split_whitespace()
        .next()
        .and_then(|ip| ip.split('%').next())
        .and_then(|ip| ip.parse().ok())
        .ok_or_else(bad)?;
    let prefix = after(rest, "prefixlen").and_then(|n| n.parse().ok()).ok_or_else(bad)?;
    let has = |word| rest.split_whitespace().any(|w| w == word);
    Ok(Address {
        net: IpNet::new(ip.into(), prefix).map_err(|_| bad())?,
        tentative: has("tentative") || has("duplicated"),
        dynamic: has("autoconf").then_some(true),
    })
}

fn scope_id(rest: &str) -> Option<NonZeroU32> {
    let id = after(rest, "scopeid")?.strip_prefix("0x")?;
    u32::from_str_radix(id, 16).ok().and_then(NonZeroU32::new)
}

/// The word after `key`.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == key)?;
    words.next()
}
