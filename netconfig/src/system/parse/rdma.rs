//! `rdma_ctl status` (`enabled`, `disabled`) and `ibv_devices` of macOS 26.2 and later.

use super::ParseError;

const STATUS: &str = "rdma_ctl status";
const DEVICES: &str = "ibv_devices";

/// What is recorded for a system that has no `rdma_ctl`.
pub const ABSENT: &str = "there is no rdma_ctl";

/// Reads whether RDMA is switched on.
///
/// # Errors
/// If it is neither word, nor [`ABSENT`].
pub fn parse_status(text: &str) -> Result<bool, ParseError> {
    match text.trim() {
        "enabled" => Ok(true),
        "disabled" | ABSENT => Ok(false),
        _ => Err(ParseError::nothing_in(STATUS, text)),
    }
}

/// Reads the devices, in the order in which they are printed; a list of none is one too.
///
/// # Errors
/// If the heading is not there.
pub fn parse_devices(text: &str) -> Result<Vec<String>, ParseError> {
    let mut lines = text.lines().map(str::trim);
    if !lines.any(|line| line.starts_with("device") && line.contains("node GUID")) {
        return Err(ParseError::nothing_in(DEVICES, text));
    }
    let names = lines.filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| !name.starts_with('-')).map(str::to_owned).collect())
}
