//! `scutil --nwi`: which links the system uses, most preferred first.
//!
//! ```text
//! IPv4 network interface information
//!      en0 : flags      : 0x7 (IPv4,IPv6,DNS)
//!            address    : 192.168.0.106
//! ```

use super::{ParseError, present};
use crate::snapshot::PreferredLink;

const FORMAT: &str = "scutil --nwi";

/// Reads the IPv4 part.
///
/// # Errors
/// If its heading is not there.
pub fn parse(text: &str) -> Result<Vec<PreferredLink>, ParseError> {
    let mut lines = text.lines().map(str::trim);
    if !lines.any(|line| line.starts_with("IPv4 network interface information")) {
        return Err(ParseError::nothing_in(FORMAT, text));
    }
    let mut links: Vec<PreferredLink> = Vec::new();
    for line in lines {
        if line.starts_with("IPv6 network interface") || line.starts_with("REACH") {
            break;
        }
        let mut cells = line.split(" : ").map(str::trim);
        match (cells.next(), cells.next(), cells.next()) {
            (Some(interface), Some("flags"), Some(flags)) => links.push(PreferredLink {
                interface: interface.to_owned(),
                address: None,
                dns: flags.contains("DNS"),
            }),
            (Some("address"), Some(address), None) => {
                if let Some(link) = links.last_mut() {
                    link.address = present(address).and_then(|ip| ip.parse().ok());
                }
            }
            _ => {}
        }
    }
    Ok(links)
}
