//! What is saved before the first step, and read again to see what has changed since.
//!
//! Linux' addresses and routes are kept as `ip -j` prints them, whole: what this program knows
//! nothing of is put back too, or at least seen to be missing.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::snapshot::{ConfigMethod, Snapshot};

/// Everything that the steps of a plan may change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The interfaces, and the members of those that are bridges.
    pub links: Vec<LinkState>,
    /// macOS: every service, in service order.
    pub services: Vec<ServiceState>,
    /// Linux: files of profiles.
    pub files: Vec<FileState>,
    /// Linux: NetworkManager's profiles.
    pub profiles: Vec<ProfileState>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkState {
    /// Its name.
    pub name: String,
    /// Administratively up.
    pub up: Option<bool>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Linux: its IPv4 addresses, as rows of `ip -j -4 address`.
    pub addresses: Vec<Value>,
    /// Linux: its IPv4 routes of all tables.
    pub routes: Vec<RouteState>,
    /// Linux: its fixed IPv6 addresses, as rows of `ip -j -6 address`. No step touches them, but
    /// whoever keeps the configuration may.
    #[serde(default)]
    pub addresses6: Vec<Value>,
    /// Linux: the same of its IPv6 routes.
    #[serde(default)]
    pub routes6: Vec<Value>,
}

/// Linux: a route over an interface, and its place among those over other interfaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteState {
    /// As a row of `ip -j -4 route`.
    pub row: Value,
    /// A route that is its equal, over another interface, comes first: that one is used.
    pub behind: bool,
}

impl RouteState {
    /// Those of all routes, in their order, that lead over `interface`.
    pub fn over(interface: &str, all: &[Value]) -> Vec<Self> {
        let field = |row: &Value, name: &str| row.get(name).cloned().unwrap_or_default();
        let rank = |row: &Value| ["dst", "table", "metric", "tos"].map(|name| field(row, name));
        let leads_over = |row: &Value| field(row, "dev") == interface;
        let is_behind = |place: usize, row: &Value| {
            all[..place].iter().any(|other| !leads_over(other) && rank(other) == rank(row))
        };
        all.iter()
            .enumerate()
            .filter(|(_, row)| leads_over(row))
            .map(|(place, row)| Self { row: row.clone(), behind: is_behind(place, row) })
            .collect()
    }
}

/// macOS: a network service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Its name.
    pub name: String,
    /// Its device.
    pub device: Option<String>,
    /// Switched on.
    pub enabled: bool,
    /// How it gets its address: a row of words as `networksetup -getinfo` has it; `None` if that is
    /// not known.
    pub config: Option<ConfigState>,
}

/// macOS: how a service gets its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState {
    /// `manual`, `dhcp`, `off`, or another method's own name.
    pub method: String,
    /// The address, of a manual configuration.
    pub address: Option<Ipv4Addr>,
    /// Its mask.
    pub mask: Option<Ipv4Addr>,
    /// Its router; a blank one is `None`.
    pub router: Option<Ipv4Addr>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Where.
    pub path: String,
    /// What is in it; `None` if it is not there.
    pub text: Option<String>,
}

/// A NetworkManager profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileState {
    /// Its interface.
    pub interface: String,
    /// Its name.
    pub name: String,
    /// Its addresses, as `nmcli -g ipv4.addresses` prints them; `None` if it is not there.
    pub addresses: Option<String>,
    /// What else a step may set in it: values as `nmcli -e no -g` prints them, by their names.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The profile that is active on the interface.
    pub active: Option<String>,
}

impl State {
    /// What a snapshot says of the interfaces and of the services. On macOS that is all there is;
    /// Linux' rows, files and profiles are read by [`system::change`](crate::system::change).
    pub fn of_snapshot(snapshot: &Snapshot, interfaces: &[String]) -> Self {
        let mut links: Vec<LinkState> = Vec::new();
        for name in interfaces {
            let members = snapshot.interface(name).and_then(|i| i.members.clone());
            for name in std::iter::once(name.clone()).chain(members.unwrap_or_default()) {
                if links.iter().any(|link| link.name == name) {
                    continue;
                }
                let interface = snapshot.interface(&name);
                links.push(LinkState {
                    up: interface.and_then(|i| i.up),
                    mtu: interface.and_then(|i| i.mtu),
                    name,
                    ..LinkState::default()
                });
            }
        }
        let services = snapshot.services.items().iter().map(|service| ServiceState {
            name: service.name.clone(),
            device: service.device.clone(),
            enabled: service.enabled,
            config: service.config.value().map(|config| {
                let manual = |value: Option<Ipv4Addr>| value.filter(|_| is_fixed(&config.method));
                ConfigState {
                    method: code(&config.method).to_owned(),
                    // A leased address is the lease's: it is not put back.
                    address: manual(config.address),
                    mask: manual(config.mask),
                    router: manual(config.router),
                }
            }),
        });
        Self { links, services: services.collect(), ..Self::default() }
    }

    pub(super) fn link(&self, name: &str) -> Option<&LinkState> {
        self.links.iter().find(|link| link.name == name)
    }
}

fn is_fixed(method: &ConfigMethod) -> bool {
    !matches!(method, ConfigMethod::Dhcp | ConfigMethod::Off)
}

/// A method's name in the journal, which is in no language.
fn code(method: &ConfigMethod) -> &str {
    match method {
        ConfigMethod::Manual => "manual",
        ConfigMethod::Dhcp => "dhcp",
        ConfigMethod::Off => "off",
        ConfigMethod::Other(name) => name,
    }
}
