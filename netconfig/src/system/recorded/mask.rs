//! Private data in a recording, replaced so that equal stays equal and every check comes out alike.
//!
//! | what | becomes |
//! |---|---|
//! | hardware addresses | `02:00:00:00:00:01`, … |
//! | the same in the name of an interface | `enx020000000001`, … |
//! | UUIDs | `00000000-0000-4000-8000-000000000001`, … |
//! | identifiers of 16 hexadecimal digits (switch UIDs, GUIDs) | `0000000000000001`, … |
//! | interface identifiers in IPv6 addresses, where a hardware address is in them | `::1`, … |
//! | serial numbers | `serial-1`, … |
//! | names that people give: services, locations, hosts | `name-1`, … |
//!
//! Names that the system or another program gives (the hardware port's own, `EXO Thunderbolt 1`,
//! `Automatic`) are nobody's and are kept. IP addresses are kept: they are what is checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use serde_json::Value;

use crate::system::parse::service_order;

const SERVICE_ORDER: &str = "networksetup-listnetworkserviceorder.txt";
const SERVICE_INFO: &str = "networksetup-getinfo/";
const PREFERENCES: &str = "preferences.plist.txt";

/// Replaces private data in a set of answers, by the names of their files.
pub(super) fn answers<E>(
    answers: Vec<(String, Result<Vec<u8>, E>)>,
) -> Vec<(String, Result<Vec<u8>, E>)> {
    let mut mask = Mask::default();
    for bytes in answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()) {
        mask.learn_addresses(&String::from_utf8_lossy(bytes));
    }
    let order = answers.iter().find(|(file, _)| file == SERVICE_ORDER);
    if let Some((_, Ok(bytes))) = order {
        mask.learn_services(&String::from_utf8_lossy(bytes));
    }
    answers
        .into_iter()
        .map(|(file, answer)| {
            let answer = answer.map(|bytes| mask.answer(&file, &bytes));
            (mask.file(&file), answer)
        })
        .collect()
}

/// What each private thing was replaced by.
#[derive(Default)]
struct Mask {
    known: BTreeMap<(Kind, String), usize>,
    /// Every hardware address, and its digits alone.
    addresses: BTreeSet<(String, String)>,
    services: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Mac,
    Uuid,
    Identifier,
    InterfaceId,
    Serial,
    Name,
}

impl Mask {
    /// The number of a thing among those of its kind: the same each time.
    fn number(&mut self, kind: Kind, thing: &str) -> usize {
        let next = self.known.keys().filter(|(known, _)| *known == kind).count() + 1;
        *self.known.entry((kind, thing.to_ascii_lowercase())).or_insert(next)
    }

    fn name(&mut self, name: &str) -> String {
        format!("name-{}", self.number(Kind::Name, name))
    }

    /// Interfaces are named after hardware addresses, before or after those are met.
    fn learn_addresses(&mut self, text: &str) {
        let found = words(text).filter_map(mac);
        self.addresses
            .extend(found.map(|whole| (whole.to_ascii_lowercase().replace(':', ""), whole)));
    }

    /// Services whose name is their port's, or exo's, are called so on every Mac.
    fn learn_services(&mut self, order: &str) {
        for row in service_order::parse(order).unwrap_or_default() {
            let of_the_system = row.hardware_port.as_deref() == Some(row.name.as_str())
                || row.name.starts_with("EXO Thunderbolt");
            if !of_the_system {
                let masked = self.name(&row.name);
                self.services.insert(row.name, masked);
            }
        }
    }

    fn file(&mut self, file: &str) -> String {
        let Some(service) = file.strip_prefix(SERVICE_INFO).and_then(|f| f.strip_suffix(".txt"))
        else {
            let mut part = |part: &str| self.named_after(part).unwrap_or_else(|| part.to_owned());
            return file.split('/').map(&mut part).collect::<Vec<_>>().join("/");
        };
        // As in the name of the file, where a slash is a colon.
        let masked = self.services.iter().find(|(name, _)| name.replace('/', ":") == service);
        masked.map_or_else(|| file.to_owned(), |(_, masked)| format!("{SERVICE_INFO}{masked}.txt"))
    }

    fn answer(&mut self, file: &str, bytes: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            // Only property lists are binary, and those are written as XML before they come here.
            return self.tokens(&String::from_utf8_lossy(bytes)).into_bytes();
        };
        let text = match file {
            SERVICE_ORDER => self.service_order(text),
            PREFERENCES => self.location(text),
            _ if file.ends_with("/device_name") => format!("{}\n", self.name(text.trim())),
            _ if file.ends_with(".json") => self.json(text),
            _ => text.to_owned(),
        };
        self.tokens(&text).into_bytes()
    }

    fn service_order(&self, text: &str) -> String {
        let line = |line: &str| {
            let named = self.services.iter().find(|(name, _)| {
                line.trim_end().ends_with(name.as_str()) && !line.contains("Device:")
            });
            named.map_or_else(|| line.to_owned(), |(name, masked)| line.replace(name, masked))
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
    }

    /// The location is the only name that is kept of the preferences.
    fn location(&mut self, text: &str) -> String {
        let key = "<key>UserDefinedName</key>";
        let Some((before, rest)) = text.split_once(key) else { return text.to_owned() };
        let Some((open, rest)) = rest.split_once("<string>") else { return text.to_owned() };
        let Some((name, after)) = rest.split_once("</string>") else { return text.to_owned() };
        let name = match name {
            "Automatic" | "exo" => name.to_owned(),
            private => self.name(private),
        };
        format!("{before}{key}{open}<string>{name}</string>{after}")
    }

    fn json(&mut self, text: &str) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
        self.value(&mut value);
        serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                // Macs are shown by their model; any other computer by its host's name.
                let computer = fields.contains_key("domain_uuid_key")
                    && fields.get("vendor_name_key").and_then(Value::as_str) != Some("Apple Inc.");
                // What a machine says of itself to its peers.
                let identity = fields.contains_key("machine") && fields.contains_key("version");
                for (key, field) in fields.iter_mut() {
                    let named = (computer && matches!(key.as_str(), "_name" | "device_name_key"))
                        || (identity && matches!(key.as_str(), "name" | "machine"));
                    match field {
                        Value::String(text) if named => *text = self.name(text),
                        Value::String(text) if key.contains("serial") => {
                            *text = format!("serial-{}", self.number(Kind::Serial, text));
                        }
                        other => self.value(other),
                    }
                }
            }
            _ => {}
        }
    }

    /// Whatever is told by its shape alone.
    fn tokens(&mut self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        for token in words(text) {
            masked.push_str(&self.token(token).unwrap_or_else(|| token.to_owned()));
        }
        masked
    }

    /// A name with the digits of a hardware address in it, as of `enx…` interfaces.
    fn named_after(&mut self, name: &str) -> Option<String> {
        if name.len() < 12 {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        let known = self.addresses.iter().find(|(digits, _)| lower.contains(digits.as_str()));
        let (digits, whole) = known.cloned().or_else(|| by_shape(&lower))?;
        let masked = self.mac(&whole).replace(':', "");
        let at = lower.find(&digits)?;
        Some(format!("{}{masked}{}", &name[..at], &name[at + digits.len()..]))
    }

    fn mac(&mut self, whole: &str) -> String {
        let number = self.number(Kind::Mac, whole);
        let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        format!("02:00:00:00:{high:02x}:{low:02x}")
    }

    fn token(&mut self, token: &str) -> Option<String> {
        if let Some(identifier) = hex_digits(token.trim_start_matches("0x"), 16) {
            let prefix = if token.starts_with("0x") { "0x" } else { "" };
            return Some(format!("{prefix}{:016x}", self.number(Kind::Identifier, identifier)));
        }
        if is_uuid(token) {
            let number = self.number(Kind::Uuid, token);
            return Some(format!("00000000-0000-4000-8000-{number:012x}"));
        }
        if let Some(mac) = mac(token) {
            return Some(self.mac(&mac));
        }
        if let Some(name) = self.named_after(token) {
            return Some(name);
        }
        let ip: Ipv6Addr = token.parse().ok()?;
        let [a, b, c, d, id @ ..] = ip.segments();
        // `ff:fe` in the middle: made of the hardware address.
        let made_of_mac = id[1] & 0xff == 0xff && id[2] >> 8 == 0xfe;
        made_of_mac.then(|| {
            let key = format!("{id:x?}");
            let number = u16::try_from(self.number(Kind::InterfaceId, &key)).unwrap_or(u16::MAX);
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, number).to_string()
        })
    }
}

/// `enx`, `wlx` and `wwx` stand before a hardware address, be it one that the link does not have any
/// more.
fn by_shape(name: &str) -> Option<(String, String)> {
    let digits =
        ["enx", "wlx", "wwx"].iter().find_map(|kind| name.strip_prefix(kind))?.get(..12)?;
    hex_digits(digits, 12)?;
    let octets: Vec<&str> = (0..6).map(|at| &digits[2 * at..2 * at + 2]).collect();
    Some((digits.to_owned(), octets.join(":")))
}

/// The words of a text and what is between them, in order.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.');
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

fn hex_digits(token: &str, length: usize) -> Option<&str> {
    (token.len() == length && token.chars().all(|c| c.is_ascii_hexdigit())).then_some(token)
}

fn is_uuid(token: &str) -> bool {
    let parts: Vec<&str> = token.split('-').collect();
    let lengths = [8, 4, 4, 4, 12];
    parts.len() == 5 && parts.iter().zip(lengths).all(|(part, n)| hex_digits(part, n).is_some())
}

/// Six octets, as `ifconfig` writes them or without leading zeros; that of nobody is kept.
fn mac(token: &str) -> Option<String> {
    let octets: Vec<&str> = token.split(':').collect();
    let all = octets.len() == 6
        && octets
            .iter()
            .all(|o| matches!(o.len(), 1 | 2) && o.chars().all(|c| c.is_ascii_hexdigit()));
    if !all {
        return None;
    }
    let whole = octets.iter().map(|o| format!("{o:0>2}")).collect::<Vec<_>>().join(":");
    (whole != "00:00:00:00:00:00" && !whole.eq_ignore_ascii_case("ff:ff:ff:ff:ff:ff"))
        .then_some(whole)
}

#[cfg(test)]
mod tests;
