//! TAP devices in network namespaces.

use std::{fs::File, net::Ipv4Addr};

use anyhow::{Context as _, anyhow};
use nix::sched::{CloneFlags, setns};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::switch::ETHERNET_HEADER_BYTES;
use crate::namespace::{CONGESTION_CONTROL, ip};

/// What a frame may have beside its packet: the Ethernet header and a VLAN tag.
pub(super) const FRAME_OVERHEAD_BYTES: usize = ETHERNET_HEADER_BYTES + 4;
/// Frames that the kernel holds for us. As many as a relay that was held up for long may find.
const QUEUE_FRAMES: u32 = 4096;

/// Makes the device there, with its address, and sets it up. What it is given here goes to us.
pub(super) fn create(
    namespace: &str,
    name: &str,
    mtu: u16,
    address: Ipv4Addr,
) -> anyhow::Result<SyncDevice> {
    let device = within(namespace, name, mtu)
        .with_context(|| format!("the device {name} in the namespace {namespace}"))?;
    // The kernel's own IPv6 chatter is nobody's measurement.
    let quiet = format!("net.ipv6.conf.{name}.disable_ipv6=1");
    ip(&["netns", "exec", namespace, "sysctl", "-q", "-w", &quiet])?;
    let [a, b, c, _] = address.octets();
    ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", name])?;
    ip(&["-n", namespace, "link", "set", name, "up"])?;
    let net = format!("{a}.{b}.{c}.0/24");
    let route = ["-n", namespace, "route", "replace", &net, "dev", name];
    ip(&[&route[..], &["congctl", CONGESTION_CONTROL]].concat())?;
    Ok(device)
}

/// On a thread of its own, because a thread stays in the namespace it went to.
fn within(namespace: &str, name: &str, mtu: u16) -> anyhow::Result<SyncDevice> {
    let place = File::open(format!("/run/netns/{namespace}"))?;
    let name = name.to_owned();
    let make = move || -> anyhow::Result<SyncDevice> {
        setns(place, CloneFlags::CLONE_NEWNET)?;
        let builder = DeviceBuilder::new().name(name).layer(Layer::L2).mtu(mtu);
        let device = builder.with(|device| {
            device.tx_queue_len(QUEUE_FRAMES);
        });
        device.build_sync().context("hint: it takes root and /dev/net/tun (modprobe tun)")
    };
    let made = std::thread::Builder::new().name("tap".into()).spawn(make)?.join();
    made.map_err(|_| anyhow!("the thread that makes it died"))?
}
