//! The system's log about programs that were refused the local network:
//!
//! ```text
//! ds4: (Network) libinfo check path: unsatisfied (Local network prohibited), interface: bridge0
//! ```
//!
//! `log show` puts columns of its own before the program's name (`2026-01-02 … 0x1f ds4: …`, with
//! the process id in brackets).

use super::ParseError;
use crate::snapshot::LocalNetworkRefusal;

const FORMAT: &str = "log show";

/// The words by which a refusal is known.
pub const PROHIBITED: &str = "Local network prohibited";

/// Reads each program and interface once. Nothing but `log`'s headings is a log without refusals.
///
/// # Errors
/// If it begins with a complaint of `log` itself.
pub fn parse(text: &str) -> Result<Vec<LocalNetworkRefusal>, ParseError> {
    if text.trim_start().starts_with("log:") {
        return Err(ParseError::nothing_in(FORMAT, text));
    }
    let mut refusals: Vec<LocalNetworkRefusal> = Vec::new();
    for line in text.lines().filter(|line| line.contains(PROHIBITED)) {
        // `Filtering the log data using "…prohibited"` is how `log show` begins.
        let Some((before, _)) = line.split_once(": (") else { continue };
        let program = before.split_whitespace().next_back().unwrap_or(before);
        let program = program.split('[').next().unwrap_or(program).to_owned();
        let interface = line.split_once("interface: ").map(|(_, rest)| {
            rest.split([',', ' ']).next().unwrap_or(rest).trim_end_matches('.').to_owned()
        });
        let refusal = LocalNetworkRefusal { program, interface };
        if !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
    }
    Ok(refusals)
}
