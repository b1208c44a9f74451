//! `ip -j` of Linux: `ip -j -d address`, `ip -j route`, `ip -j route get PEER`.
//!
//! The live Linux snapshot speaks netlink and does not need iproute2; these are the formats in
//! which a Linux machine is recorded and replayed.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::ParseError;
use crate::snapshot::{Address, Interface, InterfaceType, PeerRoute, Route};

/// Which routing table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `ip -j route`
    V4,
    /// `ip -j -6 route`
    V6,
}

const ADDRESS: &str = "ip -j -d address";
const ROUTE: &str = "ip -j route";
const ROUTE_GET: &str = "ip -j route get";

/// Reads interfaces with their addresses.
///
/// # Errors
/// If it is not the JSON list that `ip -j` prints (the text form is refused by name).
pub fn parse_addresses(text: &str) -> Result<Vec<Interface>, ParseError> {
    let mut interfaces: Vec<Interface> =
        list(ADDRESS, text)?.iter().filter_map(interface).collect();
    crate::system::fill_members(&mut interfaces);
    Ok(interfaces)
}

/// Reads the routing table of one family: `default` says nothing about its own.
///
/// # Errors
/// If it is not the JSON list that `ip -j` prints.
pub fn parse_routes(text: &str, family: Family) -> Result<Vec<Route>, ParseError> {
    Ok(list(ROUTE, text)?.iter().filter_map(|item| route(item, family)).collect())
}

/// Reads which way a packet would go.
///
/// # Errors
/// If it is not the JSON list that `ip -j` prints. A route that names no interface leads nowhere.
pub fn parse_route_get(text: &str) -> Result<PeerRoute, ParseError> {
    if text.contains("Network is unreachable") {
        return Ok(PeerRoute { interface: None, gateway: None, rejected: false });
    }
    let routes = list(ROUTE_GET, text)?;
    let Some(route) = routes.first() else {
        return Ok(PeerRoute { interface: None, gateway: None, rejected: false });
    };
    Ok(PeerRoute {
        interface: string(route, "dev"),
        gateway: string(route, "gateway"),
        rejected: is_rejecting(route),
    })
}

fn list(format: &'static str, text: &str) -> Result<Vec<Value>, ParseError> {
    if text.trim().is_empty() {
        return Err(ParseError::nothing_in(format, text));
    }
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) => Ok(items),
        Ok(_) => Err(ParseError::new(format, "not a list")),
        Err(error) => {
            Err(ParseError::new(format, format!("not JSON ({error}); record it with `{format}`")))
        }
    }
}

fn interface(item: &Value) -> Option<Interface> {
    let flags: Vec<&str> = item
        .get("flags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let kind = item.get("linkinfo").and_then(|info| string(info, "info_kind"));
    let interface_type = match kind.as_deref() {
        Some("bridge") => InterfaceType::Bridge,
        Some("bond") => InterfaceType::Bond,
        Some(other) => InterfaceType::Software(other.to_owned()),
        None if flags.contains(&"LOOPBACK") => InterfaceType::Loopback,
        None if flags.contains(&"POINTOPOINT") => InterfaceType::PointToPoint,
        None => InterfaceType::Unspecified,
    };
    let known = |flag: &str| item.get("flags").is_some().then(|| flags.contains(&flag));
    Some(Interface {
        // A member of a pair prints as veth0@if3 in text, but not in JSON.
        name: string(item, "ifname")?,
        index: number(item, "ifindex").and_then(NonZeroU32::new),
        interface_type,
        up: known("UP"),
        carrier: known("LOWER_UP"),
        mtu: number(item, "mtu"),
        mac: string(item, "address"),
        addresses: item
            .get("addr_info")
            .and_then(Value::as_array)
            .map(|addresses| addresses.iter().filter_map(address).collect()),
        master: string(item, "master"),
        members: None,
        driver: None,
        wireless: None,
        cable_port: None,
    })
}

fn address(item: &Value) -> Option<Address> {
    let ip: IpAddr = string(item, "local")?.parse().ok()?;
    let prefix = u8::try_from(number(item, "prefixlen")?).ok()?;
    let is = |key: &str| item.get(key).and_then(Value::as_bool).unwrap_or(false);
    Some(Address {
        net: IpNet::new(ip, prefix).ok()?,
        tentative: is("dadfailed") || (is("tentative") && !is("optimistic")),
        dynamic: Some(is("dynamic")),
    })
}

fn route(item: &Value, family: Family) -> Option<Route> {
    let text = string(item, "dst")?;
    let destination = match (text.as_str(), family) {
        ("default", Family::V4) => IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0).ok()?,
        ("default", Family::V6) => IpNet::new(Ipv6Addr::UNSPECIFIED.into(), 0).ok()?,
        (text, _) => text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?,
    };
    Some(Route {
        destination,
        gateway: string(item, "gateway"),
        interface: string(item, "dev"),
        flags: string(item, "type"),
        scoped: false,
        metric: number(item, "metric"),
    })
}

fn is_rejecting(item: &Value) -> bool {
    matches!(
        item.get("type").and_then(Value::as_str),
        Some("unreachable" | "prohibit" | "blackhole" | "throw")
    )
}

fn string(item: &Value, key: &str) -> Option<String> {
    item.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn number(item: &Value, key: &str) -> Option<u32> {
    item.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok())
}

/// Writes interfaces as `ip -j -d address` would, as far as they are known.
pub fn write_addresses(interfaces: &[Interface]) -> String {
    let items: Vec<Value> = interfaces.iter().map(interface_json).collect();
    pretty(&items)
}

fn interface_json(interface: &Interface) -> Value {
    let mut flags = Vec::new();
    let mut flag = |on: bool, name: &'static str| {
        if on {
            flags.push(name);
        }
    };
    flag(interface.is_loopback(), "LOOPBACK");
    flag(interface.interface_type == InterfaceType::PointToPoint, "POINTOPOINT");
    flag(interface.up == Some(true), "UP");
    flag(interface.carrier == Some(true), "LOWER_UP");
    let mut item = json!({
        "ifindex": interface.index, "ifname": interface.name, "flags": flags,
        "mtu": interface.mtu, "address": interface.mac,
    });
    let kind = match &interface.interface_type {
        InterfaceType::Bridge => Some("bridge"),
        InterfaceType::Bond => Some("bond"),
        InterfaceType::Software(kind) => Some(kind.as_str()),
        _ => None,
    };
    if let Some(kind) = kind {
        item["linkinfo"] = json!({ "info_kind": kind });
    }
    if let Some(master) = &interface.master {
        item["master"] = json!(master);
    }
    if let Some(addresses) = &interface.addresses {
        item["addr_info"] = addresses.iter().map(address_json).collect();
    }
    item
}

fn address_json(address: &Address) -> Value {
    let ip = address.net.addr();
    let mut item = json!({
        "family": if ip.is_ipv4() { "inet" } else { "inet6" },
        "local": ip, "prefixlen": address.net.prefix_len(),
    });
    if address.dynamic == Some(true) {
        item["dynamic"] = json!(true);
    }
    if address.tentative {
        item["tentative"] = json!(true);
    }
    item
}

/// Writes routes as `ip -j route` would, as far as they are known.
pub fn write_routes(routes: &[Route]) -> String {
    let items: Vec<Value> = routes
        .iter()
        .map(|route| {
            let dst = match route.destination.prefix_len() {
                0 => "default".to_owned(),
                _ => route.destination.to_string(),
            };
            let mut item = json!({ "dst": dst, "dev": route.interface });
            if let Some(gateway) = &route.gateway {
                item["gateway"] = json!(gateway);
            }
            if let Some(metric) = route.metric {
                item["metric"] = json!(metric);
            }
            item
        })
        .collect();
    pretty(&items)
}

/// Writes one answer as `ip -j route get` would.
pub fn write_route_get(peer: IpAddr, route: &PeerRoute) -> String {
    if route.interface.is_none() && !route.rejected {
        return "[]\n".to_owned();
    }
    let mut item = json!({ "dst": peer, "dev": route.interface });
    if let Some(gateway) = &route.gateway {
        item["gateway"] = json!(gateway);
    }
    if route.rejected {
        item["type"] = json!("unreachable");
    }
    pretty(&[item])
}

fn pretty(items: &[Value]) -> String {
    format!("{:#}\n", Value::from(items))
}
