//! Where a snapshot comes from: the only place that asks the system anything.

#[cfg(target_os = "linux")]
pub mod linux;

use crate::snapshot::Snapshot;

/// Asks the running system, quick sources only: enough to validate a link, in milliseconds.
pub fn quick() -> Snapshot {
    #[cfg(target_os = "linux")]
    return linux::quick();
    #[cfg(target_os = "macos")]
    return Snapshot::empty(crate::snapshot::Platform::MacOs);
}

/// An address of if-addrs with its network.
fn net_of(address: &if_addrs::IfAddr) -> Option<ipnet::IpNet> {
    let (ip, prefix_len) = match address {
        if_addrs::IfAddr::V4(v4) => (std::net::IpAddr::V4(v4.ip), v4.prefixlen),
        if_addrs::IfAddr::V6(v6) => (std::net::IpAddr::V6(v6.ip), v6.prefixlen),
    };
    ipnet::IpNet::new(ip, prefix_len).ok()
}
