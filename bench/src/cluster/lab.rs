//! Machines on one link: network namespaces that share a bridge, each with `thunderbolt0` plugged
//! into it, or that the emulator joins. Made by the `ip` command as root, and gone when dropped.

use std::{net::Ipv4Addr, process::Command};

use anyhow::ensure;

use crate::{
    emulator::{self, Plan, Profile},
    namespace::{ip, on},
};

/// The interface of every machine.
pub(super) const INTERFACE: &str = "thunderbolt0";
/// Their addresses on it: `.1`, `.2`, …
const NET: [u8; 3] = [192, 168, 2];
/// The emulator's chance begins here.
const SEED: u64 = 1;

/// Namespaces joined by a bridge that stands in a namespace of its own, or by an emulated link.
pub(super) struct Lab {
    /// It holds on to devices in the namespaces, so it goes first.
    link: Option<emulator::Link>,
    hub: Option<String>,
    machines: Vec<String>,
}

impl Lab {
    /// `count` machines on an emulated link, or else on this kernel's own cables; `tag` tells this lab
    /// from others of this program.
    pub(super) fn new(
        tag: &str,
        count: usize,
        profile: Option<&'static Profile>,
    ) -> anyhow::Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces and processor quotas are made by root alone; hint: sudo tbbench cluster"
        );
        let id = std::process::id();
        let name = |what: &str| format!("tbbench-{id}-{tag}-{what}");
        let mut lab = Self {
            link: None,
            hub: profile.is_none().then(|| name("hub")),
            machines: (0..count).map(|machine| name(&machine.to_string())).collect(),
        };
        for machine in &lab.machines {
            ip(&["netns", "add", machine])?;
            ip(&["-n", machine, "link", "set", "lo", "up"])?;
        }
        if let Some(profile) = profile {
            let names: Vec<&str> = lab.machines.iter().map(String::as_str).collect();
            lab.link = Some(emulator::lay(&names, &Plan::of(profile, INTERFACE, NET, SEED))?);
        } else if let Some(hub) = &lab.hub {
            lab.plug_in(hub)?;
        }
        Ok(lab)
    }

    /// A bridge in `hub`, and a cable from each machine to it.
    fn plug_in(&self, hub: &str) -> anyhow::Result<()> {
        ip(&["netns", "add", hub])?;
        ip(&["-n", hub, "link", "add", "cables", "type", "bridge"])?;
        ip(&["-n", hub, "link", "set", "cables", "up"])?;
        for (number, machine) in self.machines.iter().enumerate() {
            let port = format!("port{number}");
            let cable = ["link", "add", INTERFACE, "netns", machine, "type", "veth"];
            ip(&[&cable[..], &["peer", "name", &port, "netns", hub]].concat())?;
            ip(&["-n", hub, "link", "set", &port, "master", "cables", "up"])?;
            // The kernel's own IPv6 chatter is nobody's measurement.
            let quiet = format!("net.ipv6.conf.{INTERFACE}.disable_ipv6=1");
            ip(&["netns", "exec", machine, "sysctl", "-q", "-w", &quiet])?;
            let address = format!("{}/24", Self::address(number));
            ip(&["-n", machine, "address", "add", &address, "dev", INTERFACE])?;
            ip(&["-n", machine, "link", "set", INTERFACE, "up"])?;
        }
        Ok(())
    }

    /// A machine's address on the cable.
    pub(super) fn address(machine: usize) -> Ipv4Addr {
        let [a, b, c] = NET;
        Ipv4Addr::new(a, b, c, 1 + machine as u8)
    }

    /// The words before a command that run it on a machine.
    pub(super) fn within(&self, machine: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.machines[machine]].map(str::to_owned).to_vec()
    }

    /// Runs `what` on a thread whose sockets, and those of the threads it starts, are a machine's.
    pub(super) fn on<T: Send>(
        &self,
        machine: usize,
        what: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        on(&self.machines[machine], what)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.link.take());
        // Some of them may not be there if making them failed.
        for name in self.machines.iter().chain(&self.hub) {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}
