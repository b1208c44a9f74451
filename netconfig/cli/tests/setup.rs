//! `tbnet` on real networks: two namespaces stand for two machines. Each has a bridge whose member is
//! one end of a veth pair (the Thunderbolt bridge and its cable) and one end of another (Wi-Fi). What
//! can be wrong is made so; `check` names it, `setup` mends it, `--undo` puts it back exactly, and a
//! setup that is killed anywhere can be undone all the same.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

const BRIDGE: &str = "br0";
const CABLE: &str = "tb0";
const WIFI: &str = "wifi0";
const PEER: &str = "192.168.2.2";

fn ip(words: &[&str]) -> Output {
    let output = Command::new("ip").args(words).output().expect("ip runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", words.join(" "));
    output
}

fn real_ip() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|dir| dir.join("ip")).find(|ip| ip.is_file()).expect("ip")
}

/// Two machines, gone when this is dropped; and a folder for the key, the old state and the shim.
struct Machines {
    names: [String; 2],
    serving: Option<Child>,
    dir: tempfile::TempDir,
}

impl Machines {
    /// `None` where namespaces cannot be made.
    fn new(test: &str) -> Option<Self> {
        let id = std::process::id();
        let names = ["a", "b"].map(|end| format!("tbsetup-{test}-{end}-{id}"));
        let made = Command::new("ip").args(["netns", "add", &names[0]]).output();
        if !made.is_ok_and(|output| output.status.success()) {
            // Past the harness, which swallows what passing tests print.
            let _ =
                writeln!(std::io::stderr(), "skipped: needs network namespaces (root and `ip`)");
            return None;
        }
        let machines = Self { names, serving: None, dir: tempfile::tempdir().unwrap() };
        let [a, b] = &machines.names;
        ip(&["netns", "add", b]);
        for (link, net) in [(CABLE, None), (WIFI, Some("192.168.77"))] {
            ip(&[
                "link", "add", link, "netns", a, "type", "veth", "peer", "name", link, "netns", b,
            ]);
            for (name, host) in machines.names.iter().zip(1..) {
                if let Some(net) = net {
                    ip(&["-n", name, "address", "add", &format!("{net}.{host}/24"), "dev", link]);
                }
            }
        }
        for name in &machines.names {
            // Setup is about IPv4; what the kernel does by itself for IPv6 has its own timers.
            let off = "net.ipv6.conf.all.disable_ipv6=1";
            ip(&["netns", "exec", name, "sysctl", "-q", "-w", off]);
            ip(&["-n", name, "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0"]);
            ip(&["-n", name, "link", "set", CABLE, "master", BRIDGE]);
            for link in ["lo", CABLE, WIFI, BRIDGE] {
                ip(&["-n", name, "link", "set", link, "up"]);
            }
        }
        ip(&["-n", b, "address", "add", &format!("{PEER}/24"), "dev", BRIDGE]);
        let key = machines.key();
        fs::write(&key, "7".repeat(64)).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        machines.write_shim();
        (0..2).for_each(|machine| machines.wait_carrier(machine));
        Some(machines)
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("cluster.key")
    }

    /// Runs `ip` on the first machine.
    fn on_a(&self, words: &str) {
        let words: Vec<&str> = ["-n", &self.names[0]].into_iter().chain(words.split(' ')).collect();
        ip(&words);
    }

    fn command(&self, machine: usize, words: &[&str]) -> Command {
        // By its path: a PATH that is set for it holds another `ip`.
        let mut command = Command::new(real_ip());
        command.args(["netns", "exec", &self.names[machine], env!("CARGO_BIN_EXE_tbnet")]);
        command.args(words).stdin(Stdio::null());
        command.env("EXO_CLUSTER_KEY_FILE", self.key());
        command.env("EXO_DATA", self.dir.path().join("data"));
        command.env("TBNET_STATE", self.dir.path().join("state"));
        command
    }

    fn tbnet(&self, words: &[&str]) -> Output {
        self.command(0, words).output().unwrap()
    }

    /// Waits until a machine's bridge has a carrier: the kernel looks at it now and then.
    fn wait_carrier(&self, machine: usize) {
        for _ in 0..200 {
            let link = ip(&["-n", &self.names[machine], "-j", "link", "show", "dev", BRIDGE]);
            let link: Value = serde_json::from_slice(&link.stdout).unwrap();
            if link[0]["operstate"] == "UP" {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{BRIDGE} of machine {machine} never had a carrier");
    }

    /// The peer answers from now on.
    fn serve(&mut self) {
        let mut serving = self
            .command(1, &["serve", "--interface", BRIDGE])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(serving.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("answering on 192.168.2.2:"), "{line}");
        self.serving = Some(serving);
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
        self.command(0, &words)
    }

    fn undo(&self) {
        let output = self.tbnet(&["setup", "--undo"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Everything that iproute2 says of the first machine's links, addresses and routes.
    fn everything(&self) -> Value {
        let say = |words: &[&str]| -> Value {
            let words: Vec<&str> =
                ["-n", &self.names[0], "-j"].iter().chain(words).copied().collect();
            serde_json::from_slice(&ip(&words).stdout).unwrap()
        };
        let routes = say(&["-d", "route", "show", "table", "all"]);
        serde_json::json!({ "address": say(&["address"]), "route": routes, "rule": say(&["rule"]) })
    }

    /// An `ip` that counts the calls that change something, and kills whoever called it at one.
    fn write_shim(&self) {
        let folder = self.dir.path().join("shim");
        fs::create_dir(&folder).unwrap();
        let real = real_ip();
        let script = format!(
            "#!/bin/sh\n\
             case \"$1\" in -j) exec {0} \"$@\";; esac\n\
             n=$(($(cat \"$SHIM_COUNT\" 2>/dev/null || echo 0) + 1)); echo $n > \"$SHIM_COUNT\"\n\
             [ \"$n\" = \"$SHIM_KILL\" ] || exec {0} \"$@\"\n\
             [ \"$SHIM_WHEN\" = before ] || {0} \"$@\"\n\
             kill -9 $PPID\n",
            real.display()
        );
        fs::write(folder.join("ip"), script).unwrap();
        fs::set_permissions(folder.join("ip"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs `command` so that it is killed at its `n`th change; gives whether it was.
    fn is_killed(&self, command: &mut Command, n: usize, when: &str) -> bool {
        let count = self.dir.path().join("count");
        let _ = fs::remove_file(&count);
        let path = format!(
            "{}:{}",
            self.dir.path().join("shim").display(),
            std::env::var("PATH").unwrap()
        );
        command.env("PATH", path).env("SHIM_COUNT", &count);
        command.env("SHIM_KILL", n.to_string()).env("SHIM_WHEN", when);
        command.output().unwrap().status.signal() == Some(9)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if let Some(serving) = &mut self.serving {
            let _ = serving.kill();
            let _ = serving.wait();
        }
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
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
        name: "mtu-mismatch",
        made_by: &["link set tb0 mtu 9000", "link set br0 mtu 9000"],
        peer: Some(PEER),
        error: Some("mtu-mismatch"),
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
    fn machines(&self, test: &str) -> Option<Machines> {
        let mut machines = Machines::new(&format!("{test}-{}", self.name))?;
        machines.on_a("address add 192.168.2.1/24 dev br0");
        for words in self.made_by {
            machines.on_a(words);
        }
        machines.serve();
        Some(machines)
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
        let Some(machines) = situation.machines("mend") else { return };
        let (name, peer) = (situation.name, situation.peer);
        let before = machines.everything();
        let errors = machines.check(peer);
        match situation.error {
            Some(error) => assert!(errors.iter().any(|id| id == error), "{name}: {errors:?}"),
            None => assert!(errors.is_empty(), "{name}: {errors:?}"),
        }

        let dry = machines.setup(peer, &[]).args(["--dry-run"]).output().unwrap();
        assert_eq!(dry.status.code(), Some(2), "--yes and --dry-run contradict each other");
        let mut words = vec!["setup", "--dry-run", "--interface", BRIDGE];
        words.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
        let dry = machines.tbnet(&words);
        assert!(dry.status.success(), "{name}: {}", String::from_utf8_lossy(&dry.stderr));
        assert_eq!(machines.everything(), before, "{name}: a dry run changes nothing");

        let done = machines.setup(peer, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{name}: {said}");
        let after = machines.everything();
        assert_eq!(address_of(&after), situation.after, "{name}: {said}");
        assert_eq!(machines.check(peer), [""; 0], "{name}");
        let wifi = |all: &Value| {
            all["address"].as_array().unwrap().iter().find(|l| l["ifname"] == WIFI).cloned()
        };
        assert_eq!(wifi(&after), wifi(&before), "{name}: Wi-Fi is not touched");

        if situation.error.is_some() {
            machines.undo();
        }
        assert_eq!(machines.everything(), before, "{name}");
        let nothing = machines.tbnet(&["setup", "--undo"]);
        assert_eq!(nothing.status.code(), Some(2), "{name}: there is nothing left to undo");
    }
}

#[test]
fn a_setup_that_is_killed_anywhere_can_be_undone() {
    for situation in SITUATIONS.iter().filter(|situation| situation.error.is_some()) {
        let Some(machines) = situation.machines("kill") else { return };
        let (name, peer) = (situation.name, situation.peer);
        let before = machines.everything();
        let mut killed = 0;
        for n in 1.. {
            for when in ["before", "after"] {
                if !machines.is_killed(&mut machines.setup(peer, &[]), n, when) {
                    continue;
                }
                killed += 1;
                // It must not be built upon.
                let again = machines.setup(peer, &[]).output().unwrap();
                let said = String::from_utf8_lossy(&again.stderr);
                assert!(
                    said.contains("cut off") || machines.everything() == before,
                    "{name}: {said}"
                );
                // The undoing is killed as well, at each of its own changes.
                for m in 1.. {
                    if !machines.is_killed(
                        &mut machines.command(0, &["setup", "--undo"]),
                        m,
                        "after",
                    ) {
                        break;
                    }
                }
                assert_eq!(machines.everything(), before, "{name}: killed {when} change {n}");
            }
            if killed < 2 * n {
                // It ran to its end: there are fewer changes than that.
                machines.undo();
                assert_eq!(machines.everything(), before, "{name}");
                break;
            }
        }
        assert!(killed >= 2, "{name}: killed {killed} times");
    }
}

#[test]
fn a_failing_step_is_named_and_what_was_done_can_be_undone() {
    let Some(machines) = Machines::new("fail") else { return };
    let before = machines.everything();
    // The first change works, the second fails.
    let shim = machines.dir.path().join("shim/ip");
    let script = fs::read_to_string(&shim).unwrap().replace("kill -9 $PPID", "echo no >&2; exit 1");
    fs::write(&shim, script).unwrap();
    machines.on_a("link set br0 down");
    let down = machines.everything();
    let mut setup = machines.setup(None, &[]);
    assert!(!machines.is_killed(&mut setup, 2, "before"));
    let output = setup.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // The count goes on from the first run, whose state must be undone first.
    assert!(said.contains("cut off at step 2 of 2"), "{said}");
    assert_eq!(output.status.code(), Some(2));
    machines.undo();
    assert_eq!(machines.everything(), down);
    machines.on_a("link set br0 up");
    machines.wait_carrier(0);
    assert_eq!(machines.everything(), before);
}

#[test]
fn a_silent_peer_and_a_pulled_cable_are_told_apart() {
    let Some(machines) = Machines::new("silent") else { return };
    machines.on_a("address add 192.168.2.1/24 dev br0");
    let severity = || {
        let words = ["check", "--json", "--interface", BRIDGE, "--peer", PEER];
        let report: Value = serde_json::from_slice(&machines.tbnet(&words).stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let of = |id: &str| findings.iter().find(|f| f["id"] == id).map(|f| f["severity"].clone());
        (of("peer-silent").unwrap(), of("round-trip").is_some())
    };
    assert_eq!(severity(), ("warning".into(), true), "it answers pings");
    ip(&["-n", &machines.names[1], "address", "del", &format!("{PEER}/24"), "dev", BRIDGE]);
    assert_eq!(severity(), ("error".into(), false), "nobody is there");
}

#[test]
fn changes_are_told_as_they_come_and_ping_stays_on_its_link() {
    let Some(machines) = Machines::new("watch") else { return };
    machines.on_a("address add 192.168.2.1/24 dev br0");
    let mut watch = machines
        .command(0, &["watch", "--json", "--interface", BRIDGE, "--for", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> String {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["what"].as_str().unwrap().to_owned()
    };
    assert_eq!(next(), "active, 192.168.2.1/24");
    machines.on_a("address add 10.0.0.1/30 dev br0");
    assert_eq!(next(), "has 192.168.2.1/24, 10.0.0.1/30");
    machines.on_a("link set br0 mtu 1400");
    assert_eq!(next(), "largest packet was 1500, is 1400 bytes");
    machines.on_a("link set br0 down");
    assert_eq!(next(), "was active, is down");
    machines.on_a("link set br0 up");
    assert_eq!(next(), "was down, is active");
    machines.on_a("link del br0");
    assert_eq!(next(), "is gone");
    watch.kill().unwrap();
    watch.wait().unwrap();

    let words = |peer: &'static str| {
        ["ping", peer, "--json", "--interface", WIFI, "--count", "5", "--interval-ms", "1"]
    };
    let pinged = machines.tbnet(&words("192.168.77.2"));
    let json: Value = serde_json::from_slice(&pinged.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&pinged.stderr)));
    assert_eq!(json["over"][0]["rtt_us"]["count"], 5, "{json}");
    assert_eq!(json["over"][0]["interface"], WIFI);
}

#[test]
fn an_interrupted_journal_is_found_where_it_was_kept() {
    let Some(machines) = Machines::new("journal") else { return };
    let state = machines.dir.path().join("state");
    let journals = |folder: &Path| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert!(machines.setup(None, &[]).output().unwrap().status.success());
    assert_eq!(journals(&state), ["setup-0001.jsonl"]);
    let mode = fs::metadata(state.join("setup-0001.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The old state stands before the first step.
    let text = fs::read_to_string(state.join("setup-0001.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["saved"]["links"].as_array().is_some_and(|links| !links.is_empty()));
    assert_eq!(lines[1], serde_json::json!({"begin": 1}));
    assert_eq!(lines.last().unwrap(), &serde_json::json!({"finished": true}));
    machines.undo();
    assert_eq!(journals(&state), ["setup-0001.undone"]);
}
