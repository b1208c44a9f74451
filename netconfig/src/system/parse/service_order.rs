//! `networksetup -listnetworkserviceorder`
//!
//! ```text
//! An asterisk (*) denotes that a network service is disabled.
//! (1) Ethernet
//! (Hardware Port: Ethernet, Device: en0)
//!
//! (*) Thunderbolt Bridge
//! (Hardware Port: Thunderbolt Bridge, Device: bridge0)
//! ```
//!
//! The printed numbers have gaps (disabled services take one without printing it): the order is
//! that of the rows. The device may be empty.

use super::{ParseError, present};

const FORMAT: &str = "networksetup -listnetworkserviceorder";

/// One service, in row order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRow {
    /// The user's name for it.
    pub name: String,
    /// Whether it is switched on.
    pub enabled: bool,
    /// The hardware port it stands on.
    pub hardware_port: Option<String>,
    /// The device, if it has one.
    pub device: Option<String>,
}

/// Reads the services in order.
///
/// # Errors
/// If there is neither a service nor the header that stands above an empty list.
pub fn parse(text: &str) -> Result<Vec<ServiceRow>, ParseError> {
    let mut rows: Vec<ServiceRow> = Vec::new();
    let mut header = false;
    // Whether the last row still waits for its hardware port.
    let mut open = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let (true, Some((port, device)), Some(row)) = (open, port_line(line), rows.last_mut()) {
            row.hardware_port = present(port).map(str::to_owned);
            row.device = present(device).map(str::to_owned);
            open = false;
        } else if let Some((name, enabled)) = service_line(line) {
            let name = name.to_owned();
            rows.push(ServiceRow { name, enabled, hardware_port: None, device: None });
            open = true;
        } else if line.contains("(*)") {
            header = true;
        }
    }
    if rows.is_empty() && !header {
        return Err(ParseError::nothing_in(FORMAT, text));
    }
    Ok(rows)
}

/// `(Hardware Port: Wi-Fi, Device: en0)`: the labels are not relied upon, the shape is. A port's
/// name may hold commas and brackets, a device's may not.
fn port_line(line: &str) -> Option<(&str, &str)> {
    let inner = line.strip_prefix('(')?.strip_suffix(')')?;
    let (port, device) = inner.rsplit_once(", ")?;
    let (_, port) = port.split_once(": ")?;
    let (_, device) = device.split_once(':')?;
    Some((port.trim(), device.trim()))
}

/// `(3) Name`, and for a disabled one `(*) Name`. `(*3) Name`, `(3) (*) Name`, `*(3) Name` and
/// `(3) *Name` are spellings that other programs expect; no macOS was seen to print them.
fn service_line(line: &str) -> Option<(&str, bool)> {
    let (line, mut starred) = strip_star(line);
    let (mark, rest) = line.strip_prefix('(')?.split_once(')')?;
    let (number, in_mark) = strip_star(mark.trim());
    if !number.chars().all(|c| c.is_ascii_digit()) || (number.is_empty() && !in_mark) {
        return None;
    }
    starred |= in_mark;
    let rest = rest.trim();
    let (name, again) = match rest.strip_prefix("(*)") {
        Some(name) => (name, true),
        None => strip_star(rest),
    };
    let name = name.trim();
    (!name.is_empty()).then_some((name, !(starred || again)))
}

fn strip_star(text: &str) -> (&str, bool) {
    text.strip_prefix('*').map_or((text, false), |rest| (rest.trim_start(), true))
}
