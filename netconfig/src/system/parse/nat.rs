//! `com.apple.nat.plist`: Internet Sharing.
//!
//! `NAT.Enabled`, `NAT.PrimaryInterface.Device` (what is shared) and `NAT.SharingDevices` (to whom).

use plist::{Dictionary, Value};

use super::{ParseError, plist_text};
use crate::snapshot::InternetSharing;

const FORMAT: &str = "com.apple.nat.plist";

/// Reads whether the connection is shared, and to which devices. A list without `NAT` is that of a
/// Mac that never shared.
///
/// # Errors
/// If it is no property list.
pub fn parse(bytes: &[u8]) -> Result<InternetSharing, ParseError> {
    let value = plist_text::parse(bytes).map_err(|detail| ParseError::new(FORMAT, detail))?;
    let root = value.as_dictionary().ok_or_else(|| ParseError::new(FORMAT, "not a dictionary"))?;
    let Some(nat) = plist_text::dictionary(root, "NAT") else {
        return Ok(InternetSharing::default());
    };
    Ok(InternetSharing {
        enabled: plist_text::is_on(nat, "Enabled"),
        from: plist_text::dictionary(nat, "PrimaryInterface")
            .and_then(|primary| primary.get("Device"))
            .and_then(Value::as_string)
            .map(str::to_owned),
        to: plist_text::strings(nat, "SharingDevices"),
    })
}

/// Writes what [`parse`] reads, as an XML property list.
pub(crate) fn write(sharing: &InternetSharing) -> Vec<u8> {
    let mut nat = Dictionary::new();
    nat.insert("Enabled".into(), Value::Integer(i64::from(sharing.enabled).into()));
    if let Some(from) = &sharing.from {
        let mut primary = Dictionary::new();
        primary.insert("Device".into(), Value::String(from.clone()));
        nat.insert("PrimaryInterface".into(), Value::Dictionary(primary));
    }
    nat.insert("SharingDevices".into(), plist_text::list(&sharing.to));
    let mut root = Dictionary::new();
    root.insert("NAT".into(), Value::Dictionary(nat));
    plist_text::xml(root)
}
