//! Two network namespaces and a veth pair between them: two machines and a cable, on one machine.
//!
//! They are made by [`Lab::new`] and gone when it is dropped, by the `ip` command and as root. What
//! runs in them is started by [`Lab::command`], each machine on a processor of its own.

use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr},
    process::Command,
    thread::available_parallelism,
};

use anyhow::{Context as _, bail, ensure};
#[cfg(feature = "engine")]
use {
    nix::sched::{CloneFlags, setns},
    std::{fs::File, thread},
};

/// The congestion control of both machines: macOS' as well.
pub(crate) const CONGESTION_CONTROL: &str = "cubic";
/// The interface of either machine.
pub(crate) const INTERFACE: &str = "cable0";

/// One of the two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    A,
    B,
}

impl Machine {
    /// Both, in order.
    pub(crate) const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Its address on the cable.
    pub(crate) const fn address(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 168, 2, 1 + self as u8))
    }
}

/// The namespaces and the cable.
pub(crate) struct Lab {
    names: [String; 2],
}

impl Lab {
    /// Makes them.
    pub(crate) fn new() -> anyhow::Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces are made by root alone; hint: sudo tbbench peers …"
        );
        let processors = available_parallelism()?.get();
        ensure!(
            processors >= 2,
            "each side needs a processor of its own and this machine lets us use {processors}; \
             hint: use a larger machine, or `tbbench serve` and `tbbench pingpong` on two"
        );
        let id = std::process::id();
        let lab = Self { names: [format!("tbbench-{id}-a"), format!("tbbench-{id}-b")] };
        let [a, b] = &lab.names;
        ip(&["netns", "add", a])?;
        ip(&["netns", "add", b])?;
        let pair = ["netns", a, "type", "veth", "peer", "name", INTERFACE, "netns", b];
        ip(&[&["link", "add", INTERFACE], &pair[..]].concat())?;
        for machine in Machine::BOTH {
            let name = lab.name(machine);
            // The kernel's own IPv6 chatter is nobody's measurement.
            let quiet = format!("net.ipv6.conf.{INTERFACE}.disable_ipv6=1");
            ip(&["netns", "exec", name, "sysctl", "-q", "-w", &quiet])?;
            let address = format!("{}/24", machine.address());
            ip(&["-n", name, "address", "add", &address, "dev", INTERFACE])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "set", INTERFACE, "up"])?;
            // By the route, because a namespace may not choose among what its host does not allow.
            let route = ["-n", name, "route", "replace", "192.168.2.0/24", "dev", INTERFACE];
            ip(&[&route[..], &["congctl", CONGESTION_CONTROL]].concat())?;
        }
        Ok(lab)
    }

    fn name(&self, machine: Machine) -> &str {
        &self.names[machine as usize]
    }

    /// The largest packet that the cable takes, both ways.
    pub(crate) fn set_mtu(&self, mtu: u32) -> anyhow::Result<()> {
        for machine in Machine::BOTH {
            let name = self.name(machine);
            ip(&["-n", name, "link", "set", INTERFACE, "mtu", &mtu.to_string()])?;
        }
        Ok(())
    }

    /// `program`, on that machine and its processor.
    pub(crate) fn command(&self, machine: Machine, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        let processor = (machine as u8).to_string();
        command.args(["netns", "exec", self.name(machine), "taskset", "-c", &processor]);
        command.arg(program);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The cable goes with either end. One of them may not be there if making it failed.
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

/// Runs `what` on a thread whose sockets, and those of the threads it starts, are the namespace's.
#[cfg(feature = "engine")] // for those who ask nodes
pub(crate) fn on<T: Send>(
    namespace: &str,
    what: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let path = format!("/run/netns/{namespace}");
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let namespace = File::open(&path).context(path)?;
            setns(namespace, CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
            what()
        });
        thread.join().unwrap_or_else(|_| bail!("a client's thread panicked"))
    })
}

/// Runs `ip` with these words.
pub(crate) fn ip(words: &[&str]) -> anyhow::Result<()> {
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
