//! `preferences.plist` of SystemConfiguration: what is configured, whether or not the kernel has it.
//!
//! `VirtualNetworkInterfaces/Bridge/bridgeN/{Interfaces, Options/__AUTO__}` tells the bridge that
//! macOS made for Thunderbolt from any other, in every language; the `Hardware` of an interface
//! tells Wi-Fi (`AirPort`) likewise. `CurrentSet` names the location in use (`/Sets/<UUID>`), which
//! has a `UserDefinedName` and may set a device's MTU in `Network/Interface/<device>/Ethernet`.

use std::collections::BTreeMap;

use plist::{Dictionary, Value};

use super::{ParseError, plist_text};
use crate::snapshot::{ConfiguredBridge, Preferences};

const FORMAT: &str = "preferences.plist";

/// The mark that macOS leaves on the bridge it makes for the Thunderbolt ports.
const AUTO_THUNDERBOLT: &str = "thunderbolt-bridge";

/// Reads the configured bridges and the Wi-Fi devices.
///
/// # Errors
/// If it is no property list, or holds neither of the two keys it is read for.
pub fn parse(bytes: &[u8]) -> Result<Preferences, ParseError> {
    let value = plist_text::parse(bytes).map_err(|detail| ParseError::new(FORMAT, detail))?;
    let root = value.as_dictionary().ok_or_else(|| ParseError::new(FORMAT, "not a dictionary"))?;
    if !root.contains_key("VirtualNetworkInterfaces") && !root.contains_key("NetworkServices") {
        let detail = "neither VirtualNetworkInterfaces nor NetworkServices is in it";
        return Err(ParseError::new(FORMAT, detail));
    }
    let bridges = plist_text::dictionary(root, "VirtualNetworkInterfaces")
        .and_then(|kinds| plist_text::dictionary(kinds, "Bridge"))
        .map(|bridges| bridges.iter().filter_map(bridge).collect())
        .unwrap_or_default();
    let mut wifi_devices: Vec<String> = plist_text::dictionary(root, "NetworkServices")
        .into_iter()
        .flatten()
        .filter_map(|(_, service)| wifi_device(service.as_dictionary()?))
        .collect();
    wifi_devices.sort();
    wifi_devices.dedup();
    let set = current_set(root);
    let location = set
        .and_then(|set| set.get("UserDefinedName"))
        .and_then(Value::as_string)
        .map(str::to_owned);
    Ok(Preferences { bridges, wifi_devices, location, mtus: set.map(mtus).unwrap_or_default() })
}

/// The set that `CurrentSet` points to.
fn current_set(root: &Dictionary) -> Option<&Dictionary> {
    let path = root.get("CurrentSet").and_then(Value::as_string)?;
    plist_text::dictionary(plist_text::dictionary(root, "Sets")?, path.strip_prefix("/Sets/")?)
}

fn mtus(set: &Dictionary) -> BTreeMap<String, u32> {
    let devices = plist_text::dictionary(set, "Network")
        .and_then(|network| plist_text::dictionary(network, "Interface"));
    let mtu = |value: &Value| -> Option<u32> {
        let ethernet = plist_text::dictionary(value.as_dictionary()?, "Ethernet")?;
        match ethernet.get("MTU")? {
            Value::String(text) => text.parse().ok(),
            number => number.as_unsigned_integer()?.try_into().ok(),
        }
    };
    devices
        .into_iter()
        .flatten()
        .filter_map(|(device, value)| Some((device.clone(), mtu(value)?)))
        .collect()
}

fn bridge((device, value): (&String, &Value)) -> Option<ConfiguredBridge> {
    let bridge = value.as_dictionary()?;
    let auto = plist_text::dictionary(bridge, "Options")
        .and_then(|options| options.get("__AUTO__"))
        .and_then(Value::as_string);
    Some(ConfiguredBridge {
        device: device.clone(),
        members: plist_text::strings(bridge, "Interfaces"),
        is_thunderbolt: auto == Some(AUTO_THUNDERBOLT),
    })
}

fn wifi_device(service: &Dictionary) -> Option<String> {
    let interface = plist_text::dictionary(service, "Interface")?;
    let is = |key: &str| interface.get(key).and_then(Value::as_string);
    (is("Hardware") == Some("AirPort")).then(|| is("DeviceName").map(str::to_owned))?
}

/// Writes what [`parse`] reads, as an XML property list.
pub(crate) fn write(preferences: &Preferences) -> Vec<u8> {
    let mut bridges = Dictionary::new();
    for configured in &preferences.bridges {
        let mut options = Dictionary::new();
        if configured.is_thunderbolt {
            options.insert("__AUTO__".into(), Value::String(AUTO_THUNDERBOLT.into()));
        }
        let mut bridge = Dictionary::new();
        bridge.insert("Interfaces".into(), plist_text::list(&configured.members));
        bridge.insert("Options".into(), Value::Dictionary(options));
        bridges.insert(configured.device.clone(), Value::Dictionary(bridge));
    }
    let mut kinds = Dictionary::new();
    kinds.insert("Bridge".into(), Value::Dictionary(bridges));
    let mut services = Dictionary::new();
    for device in &preferences.wifi_devices {
        let mut interface = Dictionary::new();
        interface.insert("Hardware".into(), Value::String("AirPort".into()));
        interface.insert("DeviceName".into(), Value::String(device.clone()));
        let mut service = Dictionary::new();
        service.insert("Interface".into(), Value::Dictionary(interface));
        services.insert(format!("Wi-Fi {device}"), Value::Dictionary(service));
    }
    let mut interfaces = Dictionary::new();
    for (device, mtu) in &preferences.mtus {
        let ethernet = nested("Ethernet", nested("MTU", Value::Integer(u64::from(*mtu).into())));
        interfaces.insert(device.clone(), ethernet);
    }
    let mut set = Dictionary::new();
    if let Some(location) = &preferences.location {
        set.insert("UserDefinedName".into(), Value::String(location.clone()));
    }
    set.insert("Network".into(), nested("Interface", Value::Dictionary(interfaces)));
    let mut root = Dictionary::new();
    root.insert("CurrentSet".into(), Value::String("/Sets/0".into()));
    root.insert("Sets".into(), nested("0", Value::Dictionary(set)));
    root.insert("VirtualNetworkInterfaces".into(), Value::Dictionary(kinds));
    root.insert("NetworkServices".into(), Value::Dictionary(services));
    plist_text::xml(root)
}

fn nested(key: &str, value: Value) -> Value {
    Value::Dictionary([(key.to_owned(), value)].into_iter().collect())
}
