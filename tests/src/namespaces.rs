//! Two network namespaces that stand for two machines, and the veth pairs that are their cables.

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

/// Two namespaces. They are gone when this is dropped, and what is plugged into them with them.
#[derive(Debug)]
pub struct Machines {
    names: [String; 2],
}

impl Machines {
    /// Both, with their loopback up and these cables plugged in. `None` where namespaces cannot be
    /// made, after saying that the test is skipped.
    ///
    /// # Panics
    /// If the second cannot be made, or a cable not plugged in.
    #[must_use]
    pub fn joined_by(cables: &[Cable]) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let machines = Self { names: [format!("exo-a-{id}"), format!("exo-b-{id}")] };
        let [a, b] = &machines.names;
        if !run("ip", &["netns", "add", a]).is_some_and(|output| output.status.success()) {
            let words = "skipped: needs network namespaces (root and `ip`)";
            let _ = writeln!(std::io::stderr(), "{words}");
            return None;
        }
        must("ip", &["netns", "add", b]);
        for name in &machines.names {
            must("ip", &["-n", name, "link", "set", "lo", "up"]);
        }
        for cable in cables {
            machines.plug_in(cable);
        }
        Some(machines)
    }

    /// Plugs a cable in: makes its two ends, gives them their addresses and sets them up.
    ///
    /// # Panics
    /// If `ip` fails.
    pub fn plug_in(&self, &Cable { name: link, net }: &Cable) {
        let [a, b] = &self.names;
        let ends = ["netns", a, "type", "veth", "peer", "name", link, "netns", b];
        must("ip", &[&["link", "add", link], &ends[..]].concat());
        for (name, number) in self.names.iter().zip(1..) {
            // The kernel's own IPv6 chatter is not ours to count.
            let setting = format!("net.ipv6.conf.{link}.disable_ipv6=1");
            must("ip", &["netns", "exec", name, "sysctl", "-q", "-w", &setting]);
            let address = format!("{net}.{number}/24");
            must("ip", &["-n", name, "addr", "add", &address, "dev", link]);
            must("ip", &["-n", name, "link", "set", link, "up"]);
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
        for name in &self.names {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
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
