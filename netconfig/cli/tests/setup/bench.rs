//! Where a setup is tried: two machines, and programs that kill whoever calls them.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::machines::{CABLE, Machines, PATIENCE, ip_program};

/// The bridge that has the cable.
pub(crate) const BRIDGE: &str = "br0";
/// The address of the second machine's bridge.
pub(crate) const PEER: &str = "192.168.2.2";

/// Two machines, the first of which is set up; and a folder for the old state and the shims.
pub(crate) struct Bench {
    pub(crate) machines: Machines,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    /// Each machine's end of the cable becomes the member of a bridge, which has the address: on the
    /// second machine [`PEER`], on the first none yet. `None` where namespaces cannot be made.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let machines = Machines::joined(&format!("setup-{test}"))?;
        for machine in [0, 1] {
            machines.ip(machine, &format!("address flush dev {CABLE}"));
            machines.ip(machine, &format!("link add {BRIDGE} type bridge forward_delay 0"));
            machines.ip(machine, &format!("link set {CABLE} master {BRIDGE}"));
            machines.ip(machine, &format!("link set {BRIDGE} up"));
        }
        machines.ip(1, &format!("address add {PEER}/24 dev {BRIDGE}"));
        let bench = Self { machines, dir: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.shims()).unwrap();
        bench.write_shim("ip", &ip_program().display().to_string());
        (0..2).for_each(|machine| bench.wait_carrier(machine));
        Some(bench)
    }

    pub(crate) fn shims(&self) -> PathBuf {
        self.dir.path().join("shim")
    }

    /// Runs `ip` on the first machine.
    pub(crate) fn on_a(&self, words: &str) {
        self.machines.ip(0, words);
    }

    /// IPv6 on a link of the first machine, where it is off; the kernel makes no address of its own,
    /// which would come when it likes.
    pub(crate) fn allow_inet6(&self, interface: &str) {
        self.on_a(&format!("link set {interface} addrgenmode none"));
        let on = format!("net.ipv6.conf.{interface}.disable_ipv6=0");
        let done = self.machines.within(0, &["sysctl", "-q", "-w", &on]).output();
        assert!(done.is_ok_and(|output| output.status.success()), "IPv6 on {interface}");
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.machines.tbnet(0, words);
        command.stdin(Stdio::null()).env("TBNET_STATE", self.dir.path().join("state"));
        command
    }

    /// As [`Self::command`], after a shell has done `first`.
    pub(crate) fn command_after(&self, first: &str, words: &[&str]) -> Command {
        let mut command = self.machines.tbnet_after(0, first, words);
        command.stdin(Stdio::null()).env("TBNET_STATE", self.dir.path().join("state"));
        command
    }

    pub(crate) fn tbnet(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Waits until a machine's bridge has a carrier: the kernel looks at it now and then.
    pub(crate) fn wait_carrier(&self, machine: usize) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let link = self.machines.ip(machine, &format!("-j link show dev {BRIDGE}"));
            let link: Value = serde_json::from_slice(&link.stdout).unwrap();
            if link[0]["operstate"] == "UP" {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{BRIDGE} of machine {machine} never had a carrier");
    }

    /// Waits until nothing runs on the first machine: what a program had started goes on when it is
    /// killed.
    pub(crate) fn wait_alone(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.machines.is_idle(0) {
            assert!(Instant::now() < end, "something still runs");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What `check` finds.
    pub(crate) fn findings(&self, peer: Option<&str>) -> Vec<Value> {
        let mut words = vec!["check", "--json", "--interface", BRIDGE];
        words.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
        let output = self.tbnet(&words);
        let mut report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        let Value::Array(findings) = report["findings"].take() else { panic!("no findings") };
        findings
    }

    /// Errors, by id.
    pub(crate) fn check(&self, peer: Option<&str>) -> Vec<String> {
        let findings = self.findings(peer).into_iter();
        let errors = findings.filter(|finding| finding["severity"] == "error");
        errors.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn setup(&self, peer: Option<&str>, more: &[&str]) -> Command {
        let mut words = vec!["setup", "--yes", "--interface", BRIDGE];
        words.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
        words.extend(more);
        self.command(&words)
    }

    pub(crate) fn undo(&self) {
        let output = self.tbnet(&["setup", "--undo"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Everything that iproute2 says of the first machine's links, addresses and routes.
    pub(crate) fn everything(&self) -> Value {
        let say = |words: &str| -> Value {
            let said = self.machines.ip(0, &format!("-j {words}"));
            serde_json::from_slice(&said.stdout).unwrap()
        };
        serde_json::json!({
            "address": say("address"),
            "route": say("-d route show table all"),
            "rule": say("rule"),
        })
    }

    /// systemd-networkd seems to run: gives the /etc that it reads, to be mounted over the machine's,
    /// and the folder of its profiles there.
    pub(crate) fn play_networkd(&self) -> (PathBuf, PathBuf) {
        let etc = self.dir.path().join("etc");
        let profiles = etc.join("systemd/network");
        fs::create_dir_all(&profiles).unwrap();
        self.write_program(
            "systemctl",
            "#!/bin/sh\n[ \"$*\" = \"is-active --quiet systemd-networkd.service\" ]\n",
        );
        for (name, real) in
            [("networkctl", "/bin/true"), ("tee", "/usr/bin/tee"), ("rm", "/bin/rm")]
        {
            self.write_shim(name, real);
        }
        (etc, profiles)
    }

    /// A program in front of `real` that counts the calls that change something, and kills whoever
    /// called it at one.
    pub(crate) fn write_shim(&self, name: &str, real: &str) {
        let script = format!(
            "#!/bin/sh\n\
             case \"$1\" in -j|-g|-e) exec {real} \"$@\";; esac\n\
             n=$(($(cat \"$SHIM_COUNT\" 2>/dev/null || echo 0) + 1)); echo $n > \"$SHIM_COUNT\"\n\
             [ \"$n\" = \"$SHIM_KILL\" ] || exec {real} \"$@\"\n\
             [ \"$SHIM_WHEN\" = before ] || {real} \"$@\"\n\
             kill -9 $PPID\n",
        );
        self.write_program(name, &script);
    }

    pub(crate) fn write_program(&self, name: &str, script: &str) {
        let path = self.shims().join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Has `command` find our programs first.
    pub(crate) fn with_shims<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.shims().display()));
        command.env("SHIM_COUNT", self.dir.path().join("count"))
    }

    /// Runs `command` so that it is killed at its `n`th change; gives whether it was.
    pub(crate) fn is_killed(&self, command: &mut Command, n: usize, when: &str) -> bool {
        let _ = fs::remove_file(self.dir.path().join("count"));
        self.with_shims(command).env("SHIM_KILL", n.to_string()).env("SHIM_WHEN", when);
        command.output().unwrap().status.signal() == Some(9)
    }

    /// Kills `setup` before and after each of its changes, and each time `undo` after each of its
    /// own; what `look` sees is then what it was `before`. Gives how often setup was killed.
    pub(crate) fn kill_everywhere(
        &self,
        name: &str,
        before: &Value,
        setup: &dyn Fn() -> Command,
        undo: &dyn Fn() -> Command,
        look: &dyn Fn() -> Value,
    ) -> usize {
        let mut killed = 0;
        for n in 1.. {
            for when in ["before", "after"] {
                if !self.is_killed(&mut setup(), n, when) {
                    continue;
                }
                killed += 1;
                // It must not be built upon.
                let again = self.with_shims(&mut setup()).output().unwrap();
                let said = String::from_utf8_lossy(&again.stderr);
                assert!(said.contains("cut off") || look() == *before, "{name}: {said}");
                for m in 1.. {
                    if !self.is_killed(&mut undo(), m, "after") {
                        break;
                    }
                }
                assert_eq!(look(), *before, "{name}: killed {when} change {n}");
            }
            if killed < 2 * n {
                // It ran to its end: there are fewer changes than that.
                let undone = self.with_shims(&mut undo()).output().unwrap();
                let said = String::from_utf8_lossy(&undone.stderr);
                assert!(undone.status.success(), "{name}: {said}");
                assert_eq!(look(), *before, "{name}");
                break;
            }
        }
        killed
    }
}
