//! A link emulator of our own, for kernels without one: TAP devices in network namespaces, and a
//! switch in this process between them that does to frames what a profile says.
//!
//! ```text
//!  namespace A          this process           namespace B
//!  ┌──────────┐     ┌──────────────────┐      ┌──────────┐
//!  │ TAP      │◄───►│ relay ── switch  │◄────►│ TAP      │
//!  └──────────┘     └──────────────────┘      └──────────┘
//! ```
//!
//! [`lay`] puts a link between namespaces that are there; [`Machines`] makes the namespaces too. Both
//! are gone when they are dropped.
//!
//! | file | question |
//! |---|---|
//! | `path`, `spell` | what does one direction do to frames? (pure) |
//! | `switch` | which frame goes where, and when? (pure) |
//! | `profile`, `profiles` | what are real links like, and how is that known? |
//! | `relay` | how are frames carried in time? |
//! | `tap` | how do devices come into namespaces? |
//! | `ceiling` | how much can the relay carry here? |
//! | `check` | do ping and iperf3 see what was asked? |

pub(crate) mod ceiling;
pub(crate) mod check;
mod path;
pub(crate) mod profile;
mod profiles;
mod relay;
mod spell;
mod switch;
mod tap;

use std::{ffi::OsStr, net::Ipv4Addr, process::Command};

use anyhow::ensure;

pub(crate) use self::{profile::Profile, profiles::PROFILES, switch::Joint};
use self::{relay::Relay, switch::Switch};
use crate::namespace::ip;

/// A link to be laid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// What its interface is called, in every namespace.
    pub(crate) interface: &'a str,
    /// The first three numbers of its /24. Namespaces are `.1`, `.2`, … in it, in order.
    pub(crate) net: [u8; 3],
    /// Largest packet, in bytes.
    pub(crate) mtu: u16,
    /// What it does to frames.
    pub(crate) joint: Joint,
    /// The same seed gives the same losses and jitter for the same frames at the same times.
    pub(crate) seed: u64,
}

impl<'a> Plan<'a> {
    /// A link of this profile.
    pub(crate) fn of(profile: &Profile, interface: &'a str, net: [u8; 3], seed: u64) -> Self {
        Self { interface, net, mtu: profile.mtu.value, joint: profile.joint(), seed }
    }

    /// The address of the machine with this number, from 0 on.
    pub(crate) const fn address(&self, machine: usize) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, machine as u8 + 1)
    }
}

/// A link that lies. It is gone when this is dropped.
pub(crate) struct Link {
    relay: Relay,
}

impl Link {
    /// Frames taken in, lost by chance, and lost because a queue was full, so far.
    pub(crate) fn counts(&self) -> [u64; 3] {
        self.relay.counts()
    }
}

/// Lays a link between these namespaces, each with each: interfaces with their addresses, up.
pub(crate) fn lay(namespaces: &[&str], plan: &Plan<'_>) -> anyhow::Result<Link> {
    ensure!((2..=16).contains(&namespaces.len()), "a link joins 2 to 16 machines");
    let devices = namespaces
        .iter()
        .enumerate()
        .map(|(number, namespace)| {
            tap::create(namespace, plan.interface, plan.mtu, plan.address(number))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let room = usize::from(plan.mtu) + tap::FRAME_OVERHEAD_BYTES;
    let switch = Switch::new(devices.len(), &plan.joint, room, plan.seed);
    Ok(Link { relay: Relay::start(devices, switch)? })
}

/// Namespaces that stand for machines. They are gone when this is dropped.
pub(crate) struct Machines {
    names: Vec<String>,
}

impl Machines {
    /// Makes so many, with nothing in them but their loopback. Names begin with `prefix`.
    pub(crate) fn new(prefix: &str, count: usize) -> anyhow::Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces are made by root alone; hint: run it with sudo"
        );
        let id = std::process::id();
        let mut machines = Self { names: Vec::new() };
        for number in 1..=count {
            let name = format!("{prefix}-{id}-{number}");
            ip(&["netns", "add", &name])?;
            machines.names.push(name);
        }
        for name in &machines.names {
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(machines)
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// `program`, on one of them.
    pub(crate) fn command(&self, machine: usize, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[machine]]).arg(program);
        command
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}
