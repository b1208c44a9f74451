//! Network namespaces that stand for machines, and the veth pairs that are their cables.

use std::{
    io::Write,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// A cable: what both ends are called, and the first three numbers of its /24.
#[derive(Clone, Copy, Debug)]
pub struct Cable {
    /// Name of the interface at both ends.
    pub name: &'static str,
    /// As `192.168.2`: the machines are `.1` and `.2` in it.
    pub net: &'static str,
}

/// Namespaces. They are gone when this is dropped, and what is plugged into them with them.
#[derive(Debug)]
pub struct Machines {
    names: Vec<String>,
    /// What joins more than two.
    hub: Option<String>,
}

impl Machines {
    /// Both, with their loopback up and these cables plugged in. `None` where namespaces cannot be
    /// made, after saying that the test is skipped.
    ///
    /// # Panics
    /// If the second cannot be made, or a cable not plugged in.
    #[must_use]
    pub fn joined_by(cables: &[Cable]) -> Option<Self> {
        let machines = Self::apart(2)?;
        for cable in cables {
            machines.plug_in(cable);
        }
        Some(machines)
    }

    /// So many machines, each with a cable of this name to one bridge: as `count` Macs in a chain
    /// look to each other. Else like [`joined_by`](Self::joined_by).
    ///
    /// # Panics
    /// If `ip` fails once it has made a namespace.
    #[must_use]
    pub fn on_bridge(count: usize, &Cable { name: link, net }: &Cable) -> Option<Self> {
        let mut machines = Self::apart(count)?;
        let hub = format!("{}-hub", machines.names[0]);
        must("ip", &["netns", "add", &hub]);
        must("ip", &["-n", &hub, "link", "add", "bridge0", "type", "bridge"]);
        must("ip", &["-n", &hub, "link", "set", "bridge0", "up"]);
        for (name, number) in machines.names.iter().zip(1..) {
            let port = format!("port{number}");
            let ends = ["netns", &hub, "type", "veth", "peer", "name", link, "netns", name];
            must("ip", &[&["link", "add", &port], &ends[..]].concat());
            must("ip", &["-n", &hub, "link", "set", &port, "master", "bridge0", "up"]);
            set_up(name, link, &format!("{net}.{number}/24"));
        }
        machines.hub = Some(hub);
        Some(machines)
    }

    fn apart(count: usize) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let letters = ('a'..='z').take(count);
        let names = letters.map(|letter| format!("exo-{letter}-{id}")).collect();
        let machines = Self { names, hub: None };
        for (position, name) in machines.names.iter().enumerate() {
            let made = run("ip", &["netns", "add", name]);
            if position == 0 && !made.is_some_and(|output| output.status.success()) {
                let words = "skipped: needs network namespaces (root and `ip`)";
                let _ = writeln!(std::io::stderr(), "{words}");
                return None;
            }
            must("ip", &["-n", name, "link", "set", "lo", "up"]);
        }
        Some(machines)
    }

    /// Plugs a cable in: makes its two ends, gives them their addresses and sets them up.
    ///
    /// # Panics
    /// If `ip` fails.
    pub fn plug_in(&self, &Cable { name: link, net }: &Cable) {
        let (a, b) = (&self.names[0], &self.names[1]);
        let ends = ["netns", a, "type", "veth", "peer", "name", link, "netns", b];
        must("ip", &[&["link", "add", link], &ends[..]].concat());
        for (name, number) in self.names.iter().zip(1..) {
            set_up(name, link, &format!("{net}.{number}/24"));
        }
    }

    /// Runs `ip` with these words in a machine's namespace.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, machine: usize, words: &[&str]) -> Output {
        must("ip", &[&["-n", &self.names[machine]], words].concat())
    }

    /// The words before a command that runs it on a machine.
    #[must_use]
    pub fn within(&self, machine: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.names[machine]].map(str::to_owned).to_vec()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in self.names.iter().chain(&self.hub) {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}

/// Gives an end of a cable its address, and sets it up.
fn set_up(name: &str, link: &str, address: &str) {
    // The kernel's own IPv6 chatter is not ours to count.
    let setting = format!("net.ipv6.conf.{link}.disable_ipv6=1");
    must("ip", &["netns", "exec", name, "sysctl", "-q", "-w", &setting]);
    must("ip", &["-n", name, "addr", "add", address, "dev", link]);
    must("ip", &["-n", name, "link", "set", link, "up"]);
}

/// Runs a program to its end; `None` if there is no such program.
#[must_use]
pub fn run(program: &str, words: &[&str]) -> Option<Output> {
    Command::new(program).args(words).output().ok()
}

/// Runs a program to its end, which must be a good one.
///
/// # Panics
/// If it is not.
pub fn must(program: &str, words: &[&str]) -> Output {
    let output = run(program, words).unwrap_or_else(|| panic!("{program} does not run"));
    let words = words.join(" ");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {said}");
    output
}
