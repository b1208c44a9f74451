//! Where a snapshot comes from: the only place that asks the system anything.
//!
//! - [`quick`] asks the running system what a link needs to be validated, in milliseconds.
//! - [`collect`] asks everything; slow sources run beside each other, each with a bound.
//! - [`recorded`] reads a folder of recorded answers, on any system, and writes one.
//! - [`notify`] hears that something has changed, [`icmp`] measures the way to a peer over one link.
//! - [`change`] is the only place that changes the system.
//!
//! `macos` and `linux` say what is asked and put the answers together; `parse` understands the
//! recorded formats; `command` runs a program with a bound. All but the netlink socket is compiled
//! on every platform, so that what a Mac does is tested without one.

pub mod change;
mod clock;
mod command;
mod counters;
pub mod icmp;
// Compiled everywhere so that it is tested everywhere; each system runs only its own part.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub mod linux;
#[cfg_attr(target_os = "linux", allow(dead_code))]
mod macos;
pub mod notify;
pub mod parse;
mod power;
pub mod recorded;

use std::net::IpAddr;

pub use clock::since_boot;
pub use counters::{Counters, counters};
pub use power::{Awake, Power, keep_awake, power};

use crate::snapshot::{Interface, InterfaceType, Platform, Snapshot};

/// What is to be known beside the machine's own state.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Peers for which the kernel is asked which way a packet would go.
    pub peers: Vec<IpAddr>,
}

/// Asks the running system, quick sources only: enough to validate a link.
pub fn quick() -> Snapshot {
    #[cfg(target_os = "linux")]
    return linux::live::quick();
    #[cfg(not(target_os = "linux"))]
    return macos::quick(&macos::Live);
}

/// Asks the running system everything. A source that does not answer within its bound is unknown
/// in the snapshot; the others are there all the same.
pub fn collect(request: &Request) -> Snapshot {
    #[cfg(target_os = "linux")]
    return linux::live::full(request);
    #[cfg(not(target_os = "linux"))]
    return macos::full(&macos::Live, request);
}

/// Asks again who was refused the local network: that is decided while a peer is talked to, after
/// the snapshot. On Linux there is no such thing.
pub fn ask_refusals_again(snapshot: &mut Snapshot) {
    if snapshot.platform == Platform::MacOs {
        let now = macos::refusals(&macos::Live);
        // What was known stands, if the log does not answer this time.
        if !now.is_unknown() {
            snapshot.local_network_refusals = now;
        }
    }
}

/// An address of if-addrs with its network.
#[cfg(target_os = "linux")]
fn net_of(address: &if_addrs::IfAddr) -> Option<ipnet::IpNet> {
    let (ip, prefix_len) = match address {
        if_addrs::IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
        if_addrs::IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
    };
    ipnet::IpNet::new(ip, prefix_len).ok()
}

/// Gives each bridge and bond the list of those that name it as their master.
fn fill_members(interfaces: &mut [Interface]) {
    let belongs: Vec<(String, String)> =
        interfaces.iter().filter_map(|i| Some((i.master.clone()?, i.name.clone()))).collect();
    for interface in interfaces {
        let members: Vec<String> = belongs
            .iter()
            .filter(|(master, _)| *master == interface.name)
            .map(|(_, member)| member.clone())
            .collect();
        let may_have_some =
            matches!(interface.interface_type, InterfaceType::Bridge | InterfaceType::Bond);
        if may_have_some || !members.is_empty() {
            interface.members = Some(members);
        }
    }
}

/// Names the master of each interface that a bridge lists as its member.
fn fill_masters(interfaces: &mut [Interface]) {
    let belongs: Vec<(String, String)> = interfaces
        .iter()
        .flat_map(|bridge| {
            let members = bridge.members.iter().flatten();
            members.map(|member| (member.clone(), bridge.name.clone()))
        })
        .collect();
    for interface in interfaces {
        if let Some((_, bridge)) = belongs.iter().find(|(member, _)| *member == interface.name) {
            interface.master = Some(bridge.clone());
        }
    }
}
