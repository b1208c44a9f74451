//! `tbnet setup` on real networks: two namespaces stand for two bench. Each has a bridge whose member is
//! one end of a veth pair (the Thunderbolt bridge and its cable) and one end of another (Wi-Fi). What
//! can be wrong is made so; `check` names it, `setup` mends it, `--undo` puts it back exactly, and a
//! setup that is killed anywhere can be undone all the same.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

#[allow(dead_code, reason = "other tests use the rest")]
mod machines;

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use machines::{CABLE, Machines, PATIENCE, WIFI, ip_program};
use serde_json::Value;

const BRIDGE: &str = "br0";
const PEER: &str = "192.168.2.2";

/// Two machines, the first of which is set up; and a folder for the old state and the shims.
struct Bench {
    machines: Machines,
    dir: tempfile::TempDir,
}

impl Bench {
    /// Each machine's end of the cable becomes the member of a bridge, which has the address: on the
    /// second machine [`PEER`], on the first none yet. `None` where namespaces cannot be made.
    fn new(test: &str) -> Option<Self> {
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

    fn shims(&self) -> PathBuf {
        self.dir.path().join("shim")
    }

    /// Runs `ip` on the first machine.
    fn on_a(&self, words: &str) {
        self.machines.ip(0, words);
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.machines.tbnet(0, words);
        command.stdin(Stdio::null()).env("TBNET_STATE", self.dir.path().join("state"));
        command
    }

    fn tbnet(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Waits until a machine's bridge has a carrier: the kernel looks at it now and then.
    fn wait_carrier(&self, machine: usize) {
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

    /// Errors, by id.
    fn check(&self, peer: Option<&str>) -> Vec<String> {
        let mut words = vec!["check", "--json", "--interface", BRIDGE];
        words.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
        let output = self.tbnet(&words);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        let findings = report["findings"].as_array().unwrap().iter();
        let errors = findings.filter(|finding| finding["severity"] == "error");
        errors.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
    }

    fn setup(&self, peer: Option<&str>, more: &[&str]) -> Command {
        let mut words = vec!["setup", "--yes", "--interface", BRIDGE];
        words.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
        words.extend(more);
        self.command(&words)
    }

    fn undo(&self) {
        let output = self.tbnet(&["setup", "--undo"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Everything that iproute2 says of the first machine's links, addresses and routes.
    fn everything(&self) -> Value {
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

    /// A program in front of `real` that counts the calls that change something, and kills whoever
    /// called it at one.
    fn write_shim(&self, name: &str, real: &str) {
        let script = format!(
            "#!/bin/sh\n\
             case \"$1\" in -j) exec {real} \"$@\";; esac\n\
             n=$(($(cat \"$SHIM_COUNT\" 2>/dev/null || echo 0) + 1)); echo $n > \"$SHIM_COUNT\"\n\
             [ \"$n\" = \"$SHIM_KILL\" ] || exec {real} \"$@\"\n\
             [ \"$SHIM_WHEN\" = before ] || {real} \"$@\"\n\
             kill -9 $PPID\n",
        );
        self.write_program(name, &script);
    }

    fn write_program(&self, name: &str, script: &str) {
        let path = self.shims().join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Has `command` find our programs first.
    fn with_shims<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.shims().display()));
        command.env("SHIM_COUNT", self.dir.path().join("count"))
    }

    /// Runs `command` so that it is killed at its `n`th change; gives whether it was.
    fn is_killed(&self, command: &mut Command, n: usize, when: &str) -> bool {
        let _ = fs::remove_file(self.dir.path().join("count"));
        self.with_shims(command).env("SHIM_KILL", n.to_string()).env("SHIM_WHEN", when);
        command.output().unwrap().status.signal() == Some(9)
    }
}

/// What is wrong, how it is made so (from a machine that has 192.168.2.1/24 and is up), whether the
/// peer is named, the error that `check` names, and what is so after `setup`.
struct Situation {
    name: &'static str,
    made_by: &'static [&'static str],
    peer: Option<&'static str>,
    error: Option<&'static str>,
    after: &'static str,
}

const SITUATIONS: &[Situation] = &[
    Situation {
        name: "good",
        made_by: &[],
        peer: Some(PEER),
        error: None,
        after: "192.168.2.1/24",
    },
    Situation {
        name: "wrong-subnet",
        made_by: &["address flush dev br0", "address add 10.9.0.1/24 dev br0"],
        peer: Some(PEER),
        error: Some("peer-outside-subnet"),
        after: "192.168.2.1/24",
    },
    Situation {
        name: "same-address",
        made_by: &["address flush dev br0", "address add 192.168.2.2/24 dev br0"],
        peer: Some(PEER),
        error: Some("same-address"),
        after: "192.168.2.1/24",
    },
    Situation {
        name: "overlap",
        made_by: &["address add 192.168.2.77/24 dev wifi0"],
        peer: None,
        error: Some("subnet-overlap"),
        after: "192.168.99.1/24",
    },
    Situation {
        name: "link-down",
        made_by: &["link set br0 down"],
        peer: Some(PEER),
        error: Some("link-down"),
        after: "192.168.2.1/24",
    },
    Situation {
        name: "route-stolen",
        made_by: &["route add 192.168.2.2/32 dev wifi0"],
        peer: Some(PEER),
        error: Some("wrong-route"),
        after: "192.168.2.1/24",
    },
    Situation {
        name: "no-address",
        made_by: &["address flush dev br0"],
        peer: None,
        error: Some("address-missing"),
        after: "192.168.2.1/24",
    },
    // An order of addresses, a label, a broadcast address, a lifetime, routes of people's own.
    Situation {
        name: "much-to-put-back",
        made_by: &[
            "address flush dev br0",
            "address add 10.9.0.1/24 broadcast 10.9.0.255 label br0:1 dev br0",
            "address add 10.9.0.2/24 dev br0",
            "address add 10.8.0.1/24 dev br0 noprefixroute",
            "route add 10.77.0.0/16 via 10.9.0.7 dev br0 metric 50 proto static",
            "route add 10.78.0.0/16 dev br0 table 77",
        ],
        peer: Some(PEER),
        error: Some("peer-outside-subnet"),
        after: "192.168.2.1/24",
    },
];

impl Situation {
    fn bench(&self, test: &str) -> Option<Bench> {
        let bench = Bench::new(&format!("{test}-{}", self.name))?;
        bench.on_a("address add 192.168.2.1/24 dev br0");
        for words in self.made_by {
            bench.on_a(words);
        }
        Some(bench)
    }
}

fn address_of(everything: &Value) -> String {
    let links = everything["address"].as_array().unwrap();
    let bridge = links.iter().find(|link| link["ifname"] == BRIDGE).unwrap();
    let rows = bridge["addr_info"].as_array().unwrap().iter();
    let nets: Vec<String> = rows
        .map(|row| format!("{}/{}", row["local"].as_str().unwrap(), row["prefixlen"]))
        .collect();
    nets.join(" ")
}

#[test]
fn each_fault_is_named_mended_and_put_back_exactly() {
    for situation in SITUATIONS {
        let Some(bench) = situation.bench("mend") else { return };
        let (name, peer) = (situation.name, situation.peer);
        let before = bench.everything();
        let errors = bench.check(peer);
        match situation.error {
            Some(error) => assert!(errors.iter().any(|id| id == error), "{name}: {errors:?}"),
            None => assert!(errors.is_empty(), "{name}: {errors:?}"),
        }

        let dry = bench.setup(peer, &[]).args(["--dry-run"]).output().unwrap();
        assert_eq!(dry.status.code(), Some(2), "--yes and --dry-run contradict each other");
        let mut words = vec!["setup", "--dry-run", "--interface", BRIDGE];
        words.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
        let dry = bench.tbnet(&words);
        assert!(dry.status.success(), "{name}: {}", String::from_utf8_lossy(&dry.stderr));
        assert_eq!(bench.everything(), before, "{name}: a dry run changes nothing");

        let done = bench.setup(peer, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{name}: {said}");
        bench.wait_carrier(0);
        let after = bench.everything();
        assert_eq!(address_of(&after), situation.after, "{name}: {said}");
        assert_eq!(bench.check(peer), [""; 0], "{name}");
        let wifi = |all: &Value| {
            all["address"].as_array().unwrap().iter().find(|l| l["ifname"] == WIFI).cloned()
        };
        assert_eq!(wifi(&after), wifi(&before), "{name}: Wi-Fi is not touched");

        let again = bench.setup(peer, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&again.stderr);
        assert_eq!(again.status.code(), Some(0), "{name}, once more: {said}");
        assert_eq!(bench.everything(), after, "{name}: once is enough");

        if situation.error.is_some() {
            bench.undo();
        }
        assert_eq!(bench.everything(), before, "{name}");
        // One journal, whether setup ran once or twice.
        let nothing = bench.tbnet(&["setup", "--undo"]);
        assert_eq!(nothing.status.code(), Some(2), "{name}: there is nothing left to undo");
    }
}

#[test]
fn a_setup_that_is_killed_anywhere_can_be_undone() {
    for situation in SITUATIONS.iter().filter(|situation| situation.error.is_some()) {
        let Some(bench) = situation.bench("kill") else { return };
        let (name, peer) = (situation.name, situation.peer);
        let before = bench.everything();
        let mut killed = 0;
        for n in 1.. {
            for when in ["before", "after"] {
                if !bench.is_killed(&mut bench.setup(peer, &[]), n, when) {
                    continue;
                }
                killed += 1;
                // It must not be built upon.
                let again = bench.setup(peer, &[]).output().unwrap();
                let said = String::from_utf8_lossy(&again.stderr);
                assert!(said.contains("cut off") || bench.everything() == before, "{name}: {said}");
                // The undoing is killed as well, at each of its own changes.
                for m in 1.. {
                    if !bench.is_killed(&mut bench.command(&["setup", "--undo"]), m, "after") {
                        break;
                    }
                }
                assert_eq!(bench.everything(), before, "{name}: killed {when} change {n}");
            }
            if killed < 2 * n {
                // It ran to its end: there are fewer changes than that.
                bench.undo();
                assert_eq!(bench.everything(), before, "{name}");
                break;
            }
        }
        assert!(killed >= 2, "{name}: killed {killed} times");
    }
}

#[test]
fn a_failing_step_is_named_and_what_was_done_can_be_undone() {
    let Some(bench) = Bench::new("fail") else { return };
    let before = bench.everything();
    // The first change works, the second fails.
    let shim = bench.shims().join("ip");
    let script = fs::read_to_string(&shim).unwrap().replace("kill -9 $PPID", "echo no >&2; exit 1");
    fs::write(&shim, script).unwrap();
    bench.on_a("link set br0 down");
    let down = bench.everything();
    let mut setup = bench.setup(None, &[]);
    assert!(!bench.is_killed(&mut setup, 2, "before"));
    let output = setup.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // The count goes on from the first run, whose state must be undone first.
    assert!(said.contains("cut off at step 2 of 2"), "{said}");
    assert_eq!(output.status.code(), Some(2));
    bench.undo();
    assert_eq!(bench.everything(), down);
    bench.on_a("link set br0 up");
    bench.wait_carrier(0);
    assert_eq!(bench.everything(), before);
}

#[test]
fn an_interrupted_journal_is_found_where_it_was_kept() {
    let Some(bench) = Bench::new("journal") else { return };
    let state = bench.dir.path().join("state");
    let journals = |folder: &Path| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert!(bench.setup(None, &[]).output().unwrap().status.success());
    assert_eq!(journals(&state), ["setup-0001.jsonl"]);
    let mode = fs::metadata(state.join("setup-0001.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The old state stands before the first step.
    let text = fs::read_to_string(state.join("setup-0001.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["saved"]["links"].as_array().is_some_and(|links| !links.is_empty()));
    assert_eq!(lines[1], serde_json::json!({"begin": 1}));
    assert_eq!(lines.last().unwrap(), &serde_json::json!({"finished": true}));
    bench.undo();
    assert_eq!(journals(&state), ["setup-0001.undone"]);
}
