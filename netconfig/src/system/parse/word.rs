//! Answers of one word or line: whether a file is there, and the version of the system.

use super::ParseError;

/// What is recorded for a file that is there.
pub const PRESENT: &str = "present";
/// What is recorded for one that is not.
pub const ABSENT: &str = "absent";

/// Reads the word.
///
/// # Errors
/// If it is neither.
pub fn parse(text: &str) -> Result<bool, ParseError> {
    match text.trim() {
        PRESENT => Ok(true),
        ABSENT => Ok(false),
        _ => Err(ParseError::nothing_in("presence of a file", text)),
    }
}

/// `sw_vers -productVersion`, `uname -r`: one line that begins with a digit.
///
/// # Errors
/// If it does not.
pub fn parse_version(text: &str) -> Result<String, ParseError> {
    let version = text.trim();
    let is_one = version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains('\n');
    if !is_one || version.len() > 100 {
        return Err(ParseError::nothing_in("version of the system", text));
    }
    Ok(version.to_owned())
}
