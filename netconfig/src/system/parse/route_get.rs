//! `route -n get PEER` of macOS.
//!
//! ```text
//!    route to: 192.168.2.2
//! destination: 192.168.2.2
//!   interface: bridge0
//!       flags: <UP,HOST,DONE,LLINFO,WASCLONED,IFSCOPE>
//! ```

use super::{ParseError, present};
use crate::snapshot::PeerRoute;

const FORMAT: &str = "route -n get";

/// Reads which way a packet would go.
///
/// # Errors
/// If it names neither an interface nor says that there is no route.
pub fn parse(text: &str) -> Result<PeerRoute, ParseError> {
    // "route: writing to routing socket: not in table": known, and there is none.
    if text.contains("not in table") {
        return Ok(PeerRoute { interface: None, gateway: None, rejected: false });
    }
    let mut route = PeerRoute { interface: None, gateway: None, rejected: false };
    for line in text.lines() {
        let Some((label, value)) = line.split_once(':') else { continue };
        match label.trim() {
            "interface" => route.interface = present(value).map(str::to_owned),
            "gateway" => route.gateway = present(value).map(str::to_owned),
            "flags" => {
                route.rejected = value
                    .trim()
                    .trim_matches(['<', '>'])
                    .split(',')
                    .any(|flag| matches!(flag, "REJECT" | "BLACKHOLE"));
            }
            _ => {}
        }
    }
    if route.interface.is_none() {
        return Err(ParseError::nothing_in(FORMAT, text));
    }
    Ok(route)
}
