//! `networksetup -getinfo SERVICE`
//!
//! ```text
//! Manual Configuration
//! IP address: 10.77.0.1
//! Subnet mask: 255.255.255.0
//! Router: (null)
//! IPv6: Automatic
//! ```
//!
//! A blank router prints the literal `(null)`. A DHCP service whose link is down prints no address
//! rows at all.

use std::net::Ipv4Addr;

use super::{ParseError, present};
use crate::snapshot::{ConfigMethod, ServiceConfig};

const FORMAT: &str = "networksetup -getinfo";

/// Reads how a service gets its address, and which it has.
///
/// # Errors
/// If the first line is not a configuration, as with an unknown service, or an address is none.
pub fn parse(text: &str) -> Result<ServiceConfig, ParseError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let method = lines
        .next()
        .and_then(|line| line.strip_suffix("Configuration"))
        .map(|name| match name.trim() {
            "Manual" => ConfigMethod::Manual,
            "DHCP" => ConfigMethod::Dhcp,
            "Off" => ConfigMethod::Off,
            other => ConfigMethod::Other(other.to_owned()),
        })
        .ok_or_else(|| ParseError::nothing_in(FORMAT, text))?;
    let mut config = ServiceConfig { method, address: None, mask: None, router: None };
    for line in lines {
        let Some((label, value)) = line.split_once(':') else { continue };
        match label.trim() {
            "IP address" => config.address = ipv4(label, value)?,
            "Subnet mask" => config.mask = ipv4(label, value)?,
            "Router" => config.router = ipv4(label, value)?,
            _ => {}
        }
    }
    Ok(config)
}

fn ipv4(label: &str, value: &str) -> Result<Option<Ipv4Addr>, ParseError> {
    present(value)
        .map(|text| {
            text.parse().map_err(|_| {
                ParseError::new(FORMAT, format!("{label}: \"{text}\" is not an IPv4 address"))
            })
        })
        .transpose()
}
