//! `networksetup -listallhardwareports`
//!
//! ```text
//! Hardware Port: Thunderbolt 1
//! Device: en1
//! Ethernet Address: 36:77:f5:36:3a:80
//!
//! VLAN Configurations
//! ===================
//! ```

use super::{ParseError, present};
use crate::snapshot::HardwarePort;

const FORMAT: &str = "networksetup -listallhardwareports";

/// Reads the ports in the order they are printed.
///
/// # Errors
/// If there is neither a port nor the heading of the VLAN section that ends the list.
pub fn parse(text: &str) -> Result<Vec<HardwarePort>, ParseError> {
    let mut ports: Vec<HardwarePort> = Vec::new();
    let mut ended = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("VLAN Configurations") {
            ended = true;
            break;
        }
        let Some((label, value)) = line.split_once(':') else { continue };
        match (label.trim(), ports.last_mut()) {
            ("Hardware Port", _) => {
                let port = value.trim().to_owned();
                ports.push(HardwarePort { port, device: None, mac: None });
            }
            ("Device", Some(port)) => port.device = present(value).map(str::to_owned),
            ("Ethernet Address", Some(port)) => port.mac = present(value).map(str::to_owned),
            _ => {}
        }
    }
    if ports.is_empty() && !ended {
        return Err(ParseError::nothing_in(FORMAT, text));
    }
    Ok(ports)
}
