//! Network namespaces that stand for machines, and the veth pairs that are their cables.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// The cable.
pub(crate) const CABLE: &str = "thunderbolt0";
/// A second link between the machines.
pub(crate) const WIFI: &str = "wifi0";
/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// iproute2, by its path: a test may put another `ip` into a command's PATH.
pub(crate) fn ip_program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("ip"))
        .find(|file| file.is_file())
        .unwrap_or_else(|| "ip".into())
}

pub(crate) fn ip(words: &[&str]) -> Output {
    let output = Command::new(ip_program()).args(words).output().expect("ip runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", words.join(" "));
    output
}

/// Two machines, gone when this is dropped.
pub(crate) struct Machines {
    names: [String; 2],
}

impl Machines {
    /// Joined by [`CABLE`] (`192.168.2.1` and `.2`) and [`WIFI`] (`192.168.77.1` and `.2`). `None`
    /// where namespaces cannot be made.
    pub(crate) fn joined(test: &str) -> Option<Self> {
        let id = std::process::id();
        let names = ["a", "b"].map(|end| format!("tbnet-{test}-{end}-{id}"));
        let made = Command::new(ip_program()).args(["netns", "add", &names[0]]).output();
        if !made.is_ok_and(|output| output.status.success()) {
            // Past the harness, which swallows what passing tests print.
            let _ =
                writeln!(std::io::stderr(), "skipped: needs network namespaces (root and `ip`)");
            return None;
        }
        let machines = Self { names };
        ip(&["netns", "add", &machines.names[1]]);
        for name in &machines.names {
            // What the kernel does by itself for IPv6 has its own timers.
            let off = "net.ipv6.conf.all.disable_ipv6=1";
            machines.run(name, "sysctl", &["-q", "-w", off]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        machines.plug_in(CABLE, "192.168.2");
        machines.plug_in(WIFI, "192.168.77");
        Some(machines)
    }

    pub(crate) fn plug_in(&self, link: &str, net: &str) {
        let [a, b] = &self.names;
        ip(&["link", "add", link, "netns", a, "type", "veth", "peer", "name", link, "netns", b]);
        for (name, host) in self.names.iter().zip(1..) {
            ip(&["-n", name, "address", "add", &format!("{net}.{host}/24"), "dev", link]);
            ip(&["-n", name, "link", "set", link, "up"]);
        }
    }

    /// Runs `ip` with these words, parted by spaces, on a machine.
    pub(crate) fn ip(&self, machine: usize, words: &str) -> Output {
        ip(&[&["-n", &self.names[machine]], &words.split(' ').collect::<Vec<_>>()[..]].concat())
    }

    fn run(&self, name: &str, program: &str, words: &[&str]) {
        ip(&[&["netns", "exec", name, program], words].concat());
    }

    /// `tbnet` on a machine, in English unless it is told otherwise.
    pub(crate) fn tbnet(&self, machine: usize, args: &[&str]) -> Command {
        let mut command = Command::new(ip_program());
        command
            .args(["netns", "exec", &self.names[machine], env!("CARGO_BIN_EXE_tbnet")])
            .args(args)
            .env("LC_ALL", "C");
        command
    }

    /// What it printed, and the exit code; paths and figures are not touched.
    pub(crate) fn said(&self, machine: usize, args: &[&str]) -> String {
        let output = self.tbnet(machine, args).output().expect("tbnet runs");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("tbnet prints UTF-8");
        let code = output.status.code().expect("tbnet ends by itself");
        format!(
            "$ tbnet {}\n{}{}exit code {code}\n",
            args.join(" "),
            text(&output.stdout),
            text(&output.stderr)
        )
    }

    /// `tbnet` on a machine, running on.
    pub(crate) fn start(&self, machine: usize, args: &[&str]) -> Running {
        let mut child = self
            .tbnet(machine, args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tbnet runs");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (line, lines) = channel();
        thread::spawn(move || {
            for text in output.lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        Running { child, lines, heard: Vec::new() }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// A `tbnet` that runs on; ended when this is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    pub(crate) heard: Vec<String>,
}

impl Running {
    /// Waits for a line that `is` the one.
    pub(crate) fn wait(&mut self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {what}; heard:\n{}", self.heard.join("\n"));
            };
            self.heard.push(line.clone());
            if is(&line) {
                return line;
            }
        }
    }

    /// Waits for a line with these words.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        self.wait(words, |line| line.contains(words))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
