//! Linux: links and routes from netlink, addresses from if-addrs, drivers and Thunderbolt from sysfs.
//!
//! `live` asks the kernel (and is compiled on Linux alone); `sysfs` reads a tree under any root;
//! this module puts a recorded set together.

#[cfg(target_os = "linux")]
pub(super) mod live;
#[cfg(target_os = "linux")]
mod netlink;
pub mod sysfs;

use std::path::Path;

use super::{
    Request,
    parse::{self, ParseError, ip_json},
    recorded,
};
use crate::snapshot::{Interface, Platform, Reading, Route, Snapshot, Source, Unknown};

const ADDRESS: &str = "ip-address.json";
const ROUTE: &str = "ip-route.json";
const ROUTE6: &str = "ip-6-route.json";
const KERNEL: &str = "uname-r.txt";
pub(super) const SYS: &str = "sys";

/// The files by which a recorded set is known to be Linux's.
pub(super) const FILES: [&str; 4] = [ADDRESS, ROUTE, ROUTE6, SYS];

fn route_get_file(peer: std::net::IpAddr) -> String {
    format!("ip-route-get-{peer}.json")
}

/// Puts a recorded set together.
pub(super) fn recorded(folder: &Path, request: &Request) -> Snapshot {
    let mut snapshot = Snapshot::empty(Platform::Linux);
    let sys = folder.join(SYS);
    let text = |name: &str| {
        recorded::read(folder, name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    snapshot.interfaces = interfaces(text(ADDRESS), &sys);
    snapshot.thunderbolt_ports = sysfs::thunderbolt_ports(&sys, sysfs::Tree::Recorded);
    snapshot.os_version = read(Source::new("uname -r"), text(KERNEL), parse::word::parse_version);
    snapshot.routes = routes(text(ROUTE), text(ROUTE6));
    for peer in &request.peers {
        let source = Source::new(format!("ip -j route get {peer}"));
        let reading = read(source, text(&route_get_file(*peer)), ip_json::parse_route_get);
        snapshot.peer_routes.insert(*peer, reading);
    }
    snapshot
}

fn read<T>(
    source: Source,
    text: Result<String, Unknown>,
    parse: impl Fn(&str) -> Result<T, ParseError>,
) -> Reading<T> {
    match text.and_then(|text| parse(&text).map_err(Unknown::from)) {
        Ok(value) => Reading::known(value, source),
        Err(why) => Reading::Unknown { source, why },
    }
}

/// With addresses if `ip` was recorded; from sysfs alone the addresses stay unknown.
fn interfaces(text: Result<String, Unknown>, sys: &Path) -> Reading<Vec<Interface>> {
    let source = Source::new("ip -j -d address");
    let mut reading = read(source, text, ip_json::parse_addresses);
    if matches!(&reading, Reading::Unknown { why: Unknown::Missing { .. }, .. })
        && let known @ Reading::Known { .. } = sysfs::interfaces(sys)
    {
        reading = known;
    }
    if let Reading::Known { value, .. } = &mut reading {
        for interface in value {
            sysfs::attach_device(sys, interface);
            // Older recordings have no marks of Wi-Fi: only those that are there say something.
            interface.wireless = interface.wireless.filter(|is| *is);
        }
    }
    reading
}

/// Both families; one that is missing leaves the other known.
fn routes(v4: Result<String, Unknown>, v6: Result<String, Unknown>) -> Reading<Vec<Route>> {
    let source = Source::new("ip -j route");
    let v4 = read(source.clone(), v4, |text| ip_json::parse_routes(text, ip_json::Family::V4));
    let v6 = read(source.clone(), v6, |text| ip_json::parse_routes(text, ip_json::Family::V6));
    match (v4, v6) {
        (Reading::Known { value: mut routes, .. }, Reading::Known { value: more, .. }) => {
            routes.extend(more);
            Reading::known(routes, source)
        }
        (known @ Reading::Known { .. }, _) | (_, known @ Reading::Known { .. }) => known,
        (unknown, _) => unknown,
    }
}
