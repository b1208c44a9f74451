//! One parser per recorded format. Each is a pure function from text to a value, tolerant of CRLF,
//! missing headers, empty devices, odd spacing and names in any language, and refuses what it does
//! not recognise with a reason instead of returning something empty that would look like "fine".

pub mod firewall;
pub mod hardware_ports;
pub mod ifconfig;
pub mod ip_json;
pub mod local_network;
pub mod nat;
pub mod netstat;
mod plist_text;
pub mod preferences;
pub mod rdma;
pub mod route_get;
pub mod scutil_nwi;
pub mod service_info;
pub mod service_order;
pub mod thunderbolt_json;
pub mod word;

use crate::snapshot::Unknown;

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{format}: {detail}")]
pub struct ParseError {
    /// The format that was expected, by the command that prints it.
    pub format: &'static str,
    /// What was found instead.
    pub detail: String,
}

impl ParseError {
    fn new(format: &'static str, detail: impl Into<String>) -> Self {
        Self { format, detail: detail.into() }
    }

    /// For a text in which nothing was recognised: quotes its first line, as that is usually the
    /// command's own complaint.
    fn nothing_in(format: &'static str, text: &str) -> Self {
        let detail = match text.lines().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => {
                let shown: String = line.chars().take(80).collect();
                let more = if shown.len() < line.len() { "…" } else { "" };
                format!("nothing recognised; it begins with \"{shown}{more}\"")
            }
            None => "it is empty".to_owned(),
        };
        Self::new(format, detail)
    }
}

impl From<ParseError> for Unknown {
    fn from(error: ParseError) -> Self {
        Self::Unreadable { detail: error.to_string() }
    }
}

/// A value as these tools print it: `(null)`, `none`, `N/A` and nothing at all mean that there is
/// none.
fn present(value: &str) -> Option<&str> {
    let value = value.trim();
    let none = ["", "(null)", "null", "none", "N/A"].iter().any(|n| value.eq_ignore_ascii_case(n));
    (!none).then_some(value)
}

/// The prefix length of a contiguous mask given as its 32 bits; `None` if it has holes.
fn prefix_len(mask: u32) -> Option<u8> {
    let ones = mask.leading_ones();
    (ones + mask.trailing_zeros() >= 32 || mask == u32::MAX).then_some(ones as u8)
}

#[cfg(test)]
mod quirks;
#[cfg(test)]
mod tests;
