//! `tbnet setup` on real networks: two namespaces stand for two machines. Each has a bridge with
//! one end of a veth pair (the Thunderbolt bridge and its cable) and one end of another (Wi-Fi). What
//! can be wrong is made so; `check` names it, `setup` mends it, `--undo` puts it back exactly, and a
//! setup that is killed anywhere can be undone all the same.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

mod agreed;
mod bench;
mod keepers;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../machines/mod.rs"]
mod machines;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use bench::{BRIDGE, Bench, PEER};
use machines::WIFI;
use serde_json::Value;

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
        let setup = || bench.setup(peer, &[]);
        let undo = || bench.command(&["setup", "--undo"]);
        let killed = bench.kill_everywhere(name, &before, &setup, &undo, &|| bench.everything());
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
