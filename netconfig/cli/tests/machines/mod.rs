//! Network namespaces that stand for machines, and the veth pairs that are their cables.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
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

/// Machines, gone when this is dropped.
pub(crate) struct Machines {
    names: Vec<String>,
    /// What stands in for sysfs on each.
    sys: Vec<Option<PathBuf>>,
    folder: tempfile::TempDir,
}

impl Machines {
    /// Two, joined by [`CABLE`] (`192.168.2.1` and `.2`) and [`WIFI`] (`192.168.77.1` and `.2`).
    /// `None` where namespaces cannot be made.
    pub(crate) fn joined(test: &str) -> Option<Self> {
        let machines = Self::apart(test, 2)?;
        machines.plug_in(CABLE, "192.168.2");
        machines.plug_in(WIFI, "192.168.77");
        Some(machines)
    }

    /// So many, with nothing between them.
    pub(crate) fn apart(test: &str, count: usize) -> Option<Self> {
        let id = std::process::id();
        let names = (0..count).map(|number| format!("tbnet-{test}-{number}-{id}")).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let machines = Self { names, sys: vec![None; count], folder };
        let made = Command::new(ip_program()).args(["netns", "add", &machines.names[0]]).output();
        if !made.is_ok_and(|output| output.status.success()) {
            // Past the harness, which swallows what passing tests print.
            let _ =
                writeln!(std::io::stderr(), "skipped: needs network namespaces (root and `ip`)");
            return None;
        }
        for name in &machines.names[1..] {
            ip(&["netns", "add", name]);
        }
        for name in &machines.names {
            // What the kernel does by itself for IPv6 has its own timers.
            let off = "net.ipv6.conf.all.disable_ipv6=1";
            ip(&["netns", "exec", name, "sysctl", "-q", "-w", off]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        Some(machines)
    }

    /// A cable between the first two, with an address at each end.
    pub(crate) fn plug_in(&self, link: &str, net: &str) {
        self.cable(0, link, 1, link);
        for machine in 0..2 {
            self.ip(machine, &format!("address add {net}.{}/24 dev {link}", machine + 1));
            self.ip(machine, &format!("link set {link} up"));
        }
    }

    /// A cable between two machines, and what it is called on each.
    pub(crate) fn cable(&self, a: usize, on_a: &str, b: usize, on_b: &str) {
        let [a, b] = [a, b].map(|machine| self.names[machine].as_str());
        ip(&["link", "add", on_a, "netns", a, "type", "veth", "peer", "name", on_b, "netns", b]);
    }

    /// Runs `ip` with these words, parted by spaces, on a machine.
    pub(crate) fn ip(&self, machine: usize, words: &str) -> Output {
        ip(&[&["-n", &self.names[machine]], &words.split(' ').collect::<Vec<_>>()[..]].concat())
    }

    /// Another program on a machine.
    pub(crate) fn within(&self, machine: usize, words: &[&str]) -> Command {
        let mut command = Command::new(ip_program());
        command.args(["netns", "exec", &self.names[machine]]).args(words);
        command
    }

    /// Ends every program that runs on a machine.
    pub(crate) fn kill_all(&self, machine: usize) {
        while !self.is_idle(machine) {
            let said = ip(&["netns", "pids", &self.names[machine]]).stdout;
            let pids = String::from_utf8_lossy(&said).into_owned();
            let _ = Command::new("kill").arg("-9").args(pids.split_whitespace()).output();
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether no program runs on a machine.
    pub(crate) fn is_idle(&self, machine: usize) -> bool {
        ip(&["netns", "pids", &self.names[machine]]).stdout.is_empty()
    }

    /// Waits until the other end of an interface is there.
    pub(crate) fn wait_carrier(&self, machine: usize, link: &str) {
        let end = Instant::now() + PATIENCE;
        let is_there = || {
            let said = self.ip(machine, &format!("link show {link}")).stdout;
            String::from_utf8_lossy(&said).contains("LOWER_UP")
        };
        while !is_there() {
            assert!(Instant::now() < end, "{link} has no carrier");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// `tbnet` on a machine, in English unless it is told otherwise, with keys of its own.
    pub(crate) fn tbnet(&self, machine: usize, args: &[&str]) -> Command {
        let mut command = Command::new(ip_program());
        command.args(["netns", "exec", &self.names[machine]]);
        if let Some(sys) = &self.sys[machine] {
            // In a mount namespace that `ip netns exec` has made for this command alone.
            command.args(["sh", "-c", "mount --bind \"$0\" /sys/bus && exec \"$@\""]).arg(sys);
        }
        command
            .arg(env!("CARGO_BIN_EXE_tbnet"))
            .args(args)
            .env("LC_ALL", "C")
            .env("EXO_DATA", self.folder.path().join(format!("data-{machine}")));
        command
    }

    /// A file for this test's use, with these words, for the owner's eyes alone.
    pub(crate) fn file(&self, name: &str, words: &str) -> String {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
        fs::write(&path, words).expect("a file is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path.to_str().expect("a plain path").to_owned()
    }

    /// From now on `tbnet` sees these files below this machine's `/sys/bus`, and no others.
    pub(crate) fn show_in_sysfs(&mut self, machine: usize, files: &[(&str, &str)]) {
        let sys = format!("sys-{machine}");
        for (file, words) in files {
            self.file(&format!("{sys}/{file}"), words);
        }
        self.sys[machine] = Some(self.folder.path().join(sys));
    }

    /// As [`Self::tbnet`], after a shell has done `first`; mounts are the command's own.
    pub(crate) fn tbnet_after(&self, machine: usize, first: &str, args: &[&str]) -> Command {
        let script = format!("{first} && exec \"$@\"");
        let mut command = Command::new(ip_program());
        command
            .args(["netns", "exec", &self.names[machine], "sh", "-c", &script, "sh"])
            .arg(env!("CARGO_BIN_EXE_tbnet"))
            .args(args)
            .env("LC_ALL", "C")
            .env("EXO_DATA", self.folder.path().join(format!("data-{machine}")));
        command
    }

    /// What it printed, and the exit code; paths and figures are not touched.
    pub(crate) fn said(&self, machine: usize, args: &[&str]) -> String {
        let output = self.tbnet(machine, args).output().expect("tbnet runs");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("tbnet prints UTF-8");
        let code = output.status.code().expect("tbnet ends by itself");
        format!(
            "$ tbnet {}\n{}{}exit code {code}\n",
            args.join(" ").replace(self.folder.path().to_str().expect("a plain path"), "DIR"),
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

    /// Itself, once it has said these words.
    pub(crate) fn until(mut self, words: &str) -> Self {
        self.wait_for(words);
        self
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
