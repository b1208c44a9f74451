//! `netstat -rn` of macOS.
//!
//! ```text
//! Internet:
//! Destination        Gateway            Flags               Netif Expire
//! default            192.168.3.1        UGScg                 en0
//! 169.254            link#16            UCSI              bridge0      !
//! 192.168.3          link#4             UCS                   en0      !
//! ```
//!
//! Destinations are shortened (`169.254` is 169.254.0.0/16). Older systems have `Refs` and `Use`
//! columns before the interface, so the heading, where there is one, says which column it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{ParseError, present};
use crate::snapshot::Route;

const FORMAT: &str = "netstat -rn";

/// Reads the routes that name a destination; rows that cannot be read are left out, as the tool
/// prints some that are not routes.
///
/// # Errors
/// If there is neither a row nor a heading.
pub fn parse(text: &str) -> Result<Vec<Route>, ParseError> {
    let mut routes = Vec::new();
    let mut recognised = false;
    let mut ipv6 = false;
    let mut interface_column = 3;
    for line in text.lines().map(str::trim) {
        if line.starts_with("Internet") {
            recognised = true;
            ipv6 = line.starts_with("Internet6");
        } else if line.starts_with("Destination") {
            recognised = true;
            let column = line.split_whitespace().position(|word| word == "Netif");
            interface_column = column.unwrap_or(3);
        } else if let Some(route) = row(line, ipv6, interface_column) {
            routes.push(route);
        }
    }
    if routes.is_empty() && !recognised {
        return Err(ParseError::nothing_in(FORMAT, text));
    }
    Ok(routes)
}

fn row(line: &str, ipv6: bool, interface_column: usize) -> Option<Route> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let flags = *columns.get(2)?;
    if !flags.chars().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    Some(Route {
        destination: destination(columns.first()?, ipv6)?,
        gateway: columns.get(1).and_then(|g| present(g)).map(str::to_owned),
        interface: Some((*columns.get(interface_column)?).to_owned()),
        flags: Some(flags.to_owned()),
        scoped: flags.contains('I'),
        metric: None,
    })
}

fn destination(text: &str, ipv6: bool) -> Option<IpNet> {
    if text == "default" {
        let any: IpAddr =
            if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        return IpNet::new(any, 0).ok();
    }
    let (base, prefix) = match text.split_once('/') {
        Some((base, prefix)) => (base, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let base = base.split('%').next()?;
    if base.contains(':') {
        return IpNet::new(base.parse::<Ipv6Addr>().ok()?.into(), prefix.unwrap_or(128)).ok();
    }
    let mut octets = [0u8; 4];
    let mut given = 0;
    for part in base.split('.') {
        *octets.get_mut(given)? = part.parse().ok()?;
        given += 1;
    }
    let natural = u8::try_from(given * 8).ok()?;
    IpNet::new(Ipv4Addr::from(octets).into(), prefix.unwrap_or(natural)).ok()
}
