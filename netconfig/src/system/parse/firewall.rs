//! `socketfilterfw --getglobalstate`: `Firewall is enabled. (State = 1)`

use super::ParseError;
use crate::snapshot::Firewall;

const FORMAT: &str = "socketfilterfw --getglobalstate";

/// Reads the state by its number, which is in no language.
///
/// # Errors
/// If there is no state, or one that is not known.
pub fn parse(text: &str) -> Result<Firewall, ParseError> {
    let state = text
        .split_once("State")
        .and_then(|(_, rest)| rest.trim_start().strip_prefix('='))
        .map(|rest| rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or(""))
        .ok_or_else(|| ParseError::nothing_in(FORMAT, text))?;
    match state {
        "0" => Ok(Firewall::Off),
        "1" => Ok(Firewall::On),
        "2" => Ok(Firewall::BlockAll),
        other => Err(ParseError::new(FORMAT, format!("state \"{other}\" is not known"))),
    }
}
