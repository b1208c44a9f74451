//! The running Linux machine.

use std::{
    fs,
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use super::{ADDRESS, KERNEL, ROUTE, ROUTE6, SYS, netlink, route_get_file, sysfs};
use crate::{
    snapshot::{Address, Interface, Platform, Reading, Route, Snapshot, Source, Unknown},
    system::{Request, net_of, parse::ip_json, recorded::unreadable},
};

/// Where sysfs is mounted.
const SYSFS: &str = "/sys";
const KERNEL_RELEASE: &str = "/proc/sys/kernel/osrelease";

/// Links, addresses and drivers: enough to validate a link.
pub(in crate::system) fn quick() -> Snapshot {
    let mut snapshot = Snapshot::empty(Platform::Linux);
    snapshot.interfaces = interfaces(Path::new(SYSFS));
    snapshot
}

/// Everything.
pub(in crate::system) fn full(request: &Request) -> Snapshot {
    let mut snapshot = quick();
    snapshot.thunderbolt_ports = sysfs::thunderbolt_ports(Path::new(SYSFS), sysfs::Tree::Live);
    snapshot.os_version = kernel();
    let names = names(&snapshot);
    let source = netlink::routes_source();
    snapshot.routes = match netlink::routes(&names) {
        Ok(routes) => Reading::known(routes, source),
        Err(why) => Reading::Unknown { source, why },
    };
    for peer in &request.peers {
        let source = netlink::route_get_source(*peer);
        let reading = match netlink::route_get(*peer, &names) {
            Ok(route) => Reading::known(route, source),
            Err(why) => Reading::Unknown { source, why },
        };
        snapshot.peer_routes.insert(*peer, reading);
    }
    snapshot
}

fn kernel() -> Reading<String> {
    let source = Source::new(KERNEL_RELEASE);
    match fs::read_to_string(KERNEL_RELEASE) {
        Ok(text) => Reading::known(text.trim().to_owned(), source),
        Err(error) => Reading::Unknown { source, why: unreadable(KERNEL_RELEASE, &error) },
    }
}

fn names(snapshot: &Snapshot) -> Vec<(NonZeroU32, String)> {
    let interfaces = snapshot.interfaces.items().iter();
    interfaces.filter_map(|i| Some((i.index?, i.name.clone()))).collect()
}

/// What netlink lists, with the addresses and drivers that the other sources give.
fn interfaces(sysfs: &Path) -> Reading<Vec<Interface>> {
    let source = netlink::links_source();
    let mut links = match netlink::links() {
        Ok(links) => links,
        Err(why) => return Reading::Unknown { source, why },
    };
    attach_addresses(&mut links);
    for interface in &mut links {
        sysfs::attach_device(sysfs, interface);
    }
    Reading::known(links, source)
}

/// if-addrs says which addresses there are; netlink adds how firmly each one is held.
fn attach_addresses(interfaces: &mut [Interface]) {
    let listed = match if_addrs::get_if_addrs() {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "if-addrs did not list the addresses");
            return;
        }
    };
    let held = netlink::addresses().unwrap_or_else(|why: Unknown| {
        tracing::warn!(%why, "netlink did not list the addresses");
        Vec::new()
    });
    for interface in interfaces {
        let index = interface.index.map(NonZeroU32::get);
        let of_this = listed
            .iter()
            .filter(|a| a.index == index || (a.index.is_none() && a.name == interface.name));
        let addresses = of_this.filter_map(|a| net_of(&a.addr)).map(|net| {
            held.iter()
                .find(|(i, address)| Some(*i) == index && address.net.addr() == net.addr())
                .map_or_else(|| Address::new(net), |(_, address)| *address)
        });
        interface.addresses = Some(addresses.collect());
    }
}

/// Every answer as it is recorded, by the name of its file.
pub(in crate::system) fn answers(request: &Request) -> Vec<(String, Result<Vec<u8>, Unknown>)> {
    let snapshot = full(request);
    let mut answers = vec![(
        ADDRESS.to_owned(),
        written(&snapshot.interfaces, |interfaces| ip_json::write_addresses(interfaces)),
    )];
    answers.push((KERNEL.to_owned(), written(&snapshot.os_version, |text| format!("{text}\n"))));
    let family = |is_v4: bool| {
        written(&snapshot.routes, |routes| {
            let of_family = |route: &&Route| route.destination.addr().is_ipv4() == is_v4;
            let routes: Vec<Route> = routes.iter().filter(of_family).cloned().collect();
            ip_json::write_routes(&routes)
        })
    };
    answers.push((ROUTE.to_owned(), family(true)));
    answers.push((ROUTE6.to_owned(), family(false)));
    for (peer, route) in &snapshot.peer_routes {
        let answer = written(route, |route| ip_json::write_route_get(*peer, route));
        answers.push((route_get_file(*peer), answer));
    }
    for (file, text) in sysfs::worth_recording(Path::new(SYSFS)) {
        let name = PathBuf::from(SYS).join(file);
        answers.push((name.display().to_string(), Ok(text.into_bytes())));
    }
    answers
}

fn written<T>(reading: &Reading<T>, write: impl Fn(&T) -> String) -> Result<Vec<u8>, Unknown> {
    match reading {
        Reading::Known { value, .. } => Ok(write(value).into_bytes()),
        Reading::Unknown { why, .. } => Err(why.clone()),
        Reading::NotApplicable => Err(Unknown::NotAsked),
    }
}

/// The kernel's name for an index, or the index itself.
pub(super) fn name_of(names: &[(NonZeroU32, String)], index: u32) -> String {
    names
        .iter()
        .find(|(known, _)| known.get() == index)
        .map_or_else(|| format!("index {index}"), |(_, name)| name.clone())
}

/// Whether the kernel can be asked about this address without naming an interface.
pub(super) fn is_askable(peer: IpAddr) -> bool {
    !matches!(peer, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests;
