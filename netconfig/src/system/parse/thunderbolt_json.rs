//! `system_profiler SPThunderboltDataType -json`
//!
//! A list of buses, each with one tag per receptacle on the case and, in `_items`, what is plugged
//! in; hubs hold `_items` of their own. Another Mac is an item **with `domain_uuid_key`** (its port
//! has a domain of its own); docks and drives have none.

use serde_json::Value;

use super::ParseError;
use crate::snapshot::{ThunderboltDevice, ThunderboltPort};

const FORMAT: &str = "system_profiler SPThunderboltDataType -json";

/// Reads one port per receptacle. On a bus with several, what is plugged in is listed under the
/// first connected one: the format does not say which.
///
/// # Errors
/// If it is not JSON (the text form of the same command is refused by name), or has no such list.
pub fn parse(text: &str) -> Result<Vec<ThunderboltPort>, ParseError> {
    if text.trim_start().starts_with("Thunderbolt") {
        let detail = "this is the text form; record it again with -json";
        return Err(ParseError::new(FORMAT, detail));
    }
    let json: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| ParseError::new(FORMAT, error.to_string()))?;
    let buses = json
        .get("SPThunderboltDataType")
        .and_then(Value::as_array)
        .ok_or_else(|| ParseError::new(FORMAT, "no list called SPThunderboltDataType"))?;
    Ok(buses.iter().flat_map(ports).collect())
}

fn ports(bus: &Value) -> Vec<ThunderboltPort> {
    let mut ports: Vec<ThunderboltPort> = bus
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("receptacle_") && key.ends_with("_tag"))
        .map(|(_, tag)| ThunderboltPort {
            bus: string(bus, "_name").unwrap_or_default(),
            receptacle: string(tag, "receptacle_id_key"),
            domain_uuid: string(bus, "domain_uuid_key"),
            speed: string(tag, "current_speed_key"),
            generation: generation(tag),
            connected: connected(tag),
            devices: Vec::new(),
        })
        .collect();
    let mut devices = Vec::new();
    collect(bus, &mut devices);
    if ports.is_empty() && !devices.is_empty() {
        ports.push(ThunderboltPort {
            bus: string(bus, "_name").unwrap_or_default(),
            receptacle: None,
            domain_uuid: string(bus, "domain_uuid_key"),
            speed: None,
            generation: None,
            connected: Some(true),
            devices: Vec::new(),
        });
    }
    let at = ports.iter().position(|p| p.connected == Some(true)).unwrap_or(0);
    if let Some(port) = ports.get_mut(at) {
        port.devices = devices;
    }
    ports
}

/// Only a port of the fifth generation is ever shown with 80 or 120 Gb/s.
fn generation(tag: &Value) -> Option<u8> {
    let speed = string(tag, "current_speed_key")?;
    ["80 ", "120 "]
        .iter()
        .any(|fast| speed.trim_start_matches("Up to ").starts_with(fast))
        .then_some(5)
}

/// Protocols that a computer offers over the cable.
const IP: u64 = 1;
const RDMA: u64 = 0xfa57;

/// `None` if the item does not list its services.
fn offers(item: &Value, protocol: u64) -> Option<bool> {
    let services = item.get("services_title")?.as_array()?;
    let is = |service: &Value| service.get("protocol_id_key").and_then(Value::as_u64);
    Some(services.iter().any(|service| is(service) == Some(protocol)))
}

fn connected(tag: &Value) -> Option<bool> {
    match string(tag, "receptacle_status_key").as_deref() {
        Some("receptacle_connected") => Some(true),
        Some("receptacle_no_devices_connected") => Some(false),
        _ => match string(tag, "link_status_key").as_deref() {
            Some("0x2") => Some(true),
            Some("0x100") => Some(false),
            _ => None,
        },
    }
}

fn collect(node: &Value, devices: &mut Vec<ThunderboltDevice>) {
    for item in node.get("_items").and_then(Value::as_array).into_iter().flatten() {
        let domain_uuid = string(item, "domain_uuid_key");
        devices.push(ThunderboltDevice {
            name: string(item, "_name"),
            model: string(item, "device_name_key"),
            vendor: string(item, "vendor_name_key"),
            is_computer: domain_uuid.is_some(),
            offers_ip: offers(item, IP),
            offers_rdma: offers(item, RDMA),
            domain_uuid,
            lanes: None,
        });
        collect(item, devices);
    }
}

fn string(node: &Value, key: &str) -> Option<String> {
    match node.get(key)? {
        Value::String(text) => super::present(text).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
