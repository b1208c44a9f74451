//! Linux: links and routes from netlink, addresses from if-addrs, drivers and Thunderbolt from sysfs.

mod netlink;
pub mod sysfs;

use std::path::Path;

use crate::snapshot::{Interface, InterfaceType, Platform, Reading, Snapshot, Unknown};

/// Where sysfs is mounted.
pub const SYSFS: &str = "/sys";

/// Links, addresses and drivers: enough to validate a link.
pub(crate) fn quick() -> Snapshot {
    let mut snapshot = Snapshot::empty(Platform::Linux);
    snapshot.interfaces = interfaces(Path::new(SYSFS));
    snapshot
}

/// What netlink lists, with the addresses and drivers that the other sources give.
fn interfaces(sysfs: &Path) -> Reading<Vec<Interface>> {
    let mut reading = match netlink::links() {
        Ok(links) => Reading::known(links, netlink::links_source()),
        Err(why) => return Reading::Unknown { source: netlink::links_source(), why },
    };
    if let Reading::Known { value, .. } = &mut reading {
        attach_addresses(value);
        for interface in value.iter_mut() {
            interface.driver = sysfs::driver(sysfs, interface);
        }
    }
    reading
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
        let index = interface.index.map(std::num::NonZeroU32::get);
        let of_this = listed
            .iter()
            .filter(|a| a.index == index || (a.index.is_none() && a.name == interface.name));
        let addresses = of_this.filter_map(|a| super::net_of(&a.addr)).map(|net| {
            held.iter()
                .find(|(i, address)| Some(*i) == index && address.net.addr() == net.addr())
                .map_or_else(|| crate::snapshot::Address::new(net), |(_, address)| *address)
        });
        interface.addresses = Some(addresses.collect());
    }
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

#[cfg(test)]
mod tests;
