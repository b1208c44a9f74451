//! Machines on one cable: network namespaces that share a bridge, each with `thunderbolt0` plugged
//! into it. Made by the `ip` command as root, and gone when dropped.

use std::{fs::File, net::Ipv4Addr, process::Command, thread};

use anyhow::{Context as _, bail, ensure};
use nix::sched::{CloneFlags, setns};

/// The interface of every machine.
pub(super) const INTERFACE: &str = "thunderbolt0";

/// Namespaces joined by a bridge that stands in a namespace of its own.
pub(super) struct Lab {
    hub: String,
    machines: Vec<String>,
}

impl Lab {
    /// `count` machines, all on one bridge; `tag` tells this lab from others of this program.
    pub(super) fn new(tag: &str, count: usize) -> anyhow::Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces and processor quotas are made by root alone; hint: sudo tbbench cluster"
        );
        let id = std::process::id();
        let name = |what: &str| format!("tbbench-{id}-{tag}-{what}");
        let lab = Self {
            hub: name("hub"),
            machines: (0..count).map(|machine| name(&machine.to_string())).collect(),
        };
        ip(&["netns", "add", &lab.hub])?;
        ip(&["-n", &lab.hub, "link", "add", "cables", "type", "bridge"])?;
        ip(&["-n", &lab.hub, "link", "set", "cables", "up"])?;
        for (number, machine) in lab.machines.iter().enumerate() {
            lab.plug_in(number, machine)?;
        }
        Ok(lab)
    }

    fn plug_in(&self, number: usize, machine: &str) -> anyhow::Result<()> {
        let port = format!("port{number}");
        ip(&["netns", "add", machine])?;
        let cable = ["link", "add", INTERFACE, "netns", machine, "type", "veth"];
        ip(&[&cable[..], &["peer", "name", &port, "netns", &self.hub]].concat())?;
        ip(&["-n", &self.hub, "link", "set", &port, "master", "cables", "up"])?;
        // The kernel's own IPv6 chatter is nobody's measurement.
        let quiet = format!("net.ipv6.conf.{INTERFACE}.disable_ipv6=1");
        ip(&["netns", "exec", machine, "sysctl", "-q", "-w", &quiet])?;
        let address = format!("{}/24", Self::address(number));
        ip(&["-n", machine, "address", "add", &address, "dev", INTERFACE])?;
        ip(&["-n", machine, "link", "set", "lo", "up"])?;
        ip(&["-n", machine, "link", "set", INTERFACE, "up"])
    }

    /// A machine's address on the cable.
    pub(super) fn address(machine: usize) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 2, 1 + machine as u8)
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
        let path = format!("/run/netns/{}", self.machines[machine]);
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let namespace = File::open(&path).context(path)?;
                setns(namespace, CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
                what()
            });
            thread.join().unwrap_or_else(|_| bail!("a client's thread panicked"))
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Some of them may not be there if making them failed.
        for name in self.machines.iter().chain([&self.hub]) {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .context("`ip` does not run; hint: it is in the package iproute2")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", words.join(" "), said.trim());
    }
    Ok(())
}
