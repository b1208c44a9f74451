//! `tbnet setup` on real networks: two namespaces stand for two machines. Each has a bridge with
//! one end of a veth pair (the Thunderbolt bridge and its cable) and one end of another (Wi-Fi). What
//! can be wrong is made so; `check` names it, `setup` mends it, `--undo` puts it back exactly, and a
//! setup that is killed anywhere can be undone all the same.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

mod agreed;
mod bench;
mod by_hand;
mod daemons;
mod keepers;
mod killing;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../machines/mod.rs"]
mod machines;
mod ports;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../schema/mod.rs"]
mod schema;
mod trouble;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use bench::{BRIDGE, Bench, PEER};
use killing::Ended;
use machines::WIFI;
use serde_json::Value;

/// What is wrong, how it is made so (from a machine that has 192.168.2.1/24 and is up), the error that
/// `check` names when it is told of the peer and when it is not, what is so after `setup`, and which
/// errors only the other end can mend then.
struct Situation {
    name: &'static str,
    made_by: &'static [&'static str],
    towards_peer: Option<&'static str>,
    alone: Option<&'static str>,
    after: &'static str,
    left: &'static [&'static str],
    /// What setup is asked for besides.
    asked: &'static [&'static str],
}

const GOOD: Situation = Situation {
    name: "good",
    made_by: &[],
    towards_peer: None,
    alone: None,
    after: "192.168.2.1/24",
    left: &[],
    asked: &[],
};

/// Smaller packets: the bridge's and its members'.
const SIZE: Situation = Situation { name: "size", asked: &["--mtu", "1400"], ..GOOD };

const WRONG_SUBNET: Situation = Situation {
    name: "wrong-subnet",
    made_by: &["address flush dev br0", "address add 10.9.0.1/24 dev br0"],
    towards_peer: Some("peer-outside-subnet"),
    ..GOOD
};

const SAME_ADDRESS: Situation = Situation {
    name: "same-address",
    made_by: &["address flush dev br0", "address add 192.168.2.2/24 dev br0"],
    towards_peer: Some("same-address"),
    ..GOOD
};

/// This end goes to another network; that the peer must follow is said.
const OVERLAP: Situation = Situation {
    name: "overlap",
    made_by: &["address add 192.168.2.77/24 dev wifi0"],
    towards_peer: Some("subnet-overlap"),
    alone: Some("subnet-overlap"),
    after: "192.168.99.1/24",
    left: &["peer-outside-subnet", "wrong-route"],
    asked: &[],
};

const LINK_DOWN: Situation = Situation {
    name: "link-down",
    made_by: &["link set br0 down"],
    towards_peer: Some("link-down"),
    alone: Some("link-down"),
    ..GOOD
};

const ROUTE_STOLEN: Situation = Situation {
    name: "route-stolen",
    made_by: &["route add 192.168.2.2/32 dev wifi0"],
    towards_peer: Some("wrong-route"),
    ..GOOD
};

const NO_ADDRESS: Situation = Situation {
    name: "no-address",
    made_by: &["address flush dev br0"],
    towards_peer: Some("address-missing"),
    alone: Some("address-missing"),
    ..GOOD
};

/// An order of addresses, a label, a broadcast address, a lifetime, routes of people's own.
const MUCH_TO_PUT_BACK: Situation = Situation {
    name: "much-to-put-back",
    made_by: &[
        "address flush dev br0",
        "address add 10.9.0.1/24 broadcast 10.9.0.255 label br0:1 dev br0",
        "address add 10.9.0.2/24 dev br0",
        "address add 10.8.0.1/24 dev br0 noprefixroute",
        "route add 10.77.0.0/16 via 10.9.0.7 dev br0 metric 50 proto static",
        "route add 10.78.0.0/16 dev br0 table 77",
    ],
    towards_peer: Some("peer-outside-subnet"),
    ..GOOD
};

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

/// The journals in a folder whose names end so.
fn journals(folder: &Path, end: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

/// `check` names it, a dry run changes nothing, `setup` mends it, once is enough, `--undo` puts back
/// exactly what was.
fn mend(situation: &Situation, peer: Option<&str>) {
    let way = if peer.is_some() { "peer" } else { "alone" };
    let Some(bench) = situation.bench(&format!("mend-{way}")) else { return };
    let name = format!("{} {way}", situation.name);
    let (error, left) = match peer {
        Some(_) => (situation.towards_peer, situation.left),
        None => (situation.alone, &[][..]),
    };
    let before = bench.everything();
    let errors = bench.check(peer);
    match error {
        Some(error) => assert!(errors.iter().any(|id| id == error), "{name}: {errors:?}"),
        None => assert!(errors.is_empty(), "{name}: {errors:?}"),
    }

    let dry = bench.setup(peer, &[]).args(["--dry-run"]).output().unwrap();
    assert_eq!(dry.status.code(), Some(2), "--yes and --dry-run contradict each other");
    let mut words = vec!["setup", "--dry-run", "--interface", BRIDGE];
    words.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
    let dry = bench.tbnet(&words);
    // What is left is known before anything is done.
    let code = Some(i32::from(!left.is_empty()));
    assert_eq!(dry.status.code(), code, "{name}: {}", String::from_utf8_lossy(&dry.stderr));
    assert_eq!(bench.everything(), before, "{name}: a dry run changes nothing");

    let done = bench.setup(peer, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), code, "{name}: {said}");
    bench.wait_carrier(0);
    let after = bench.everything();
    assert_eq!(address_of(&after), situation.after, "{name}: {said}");
    assert_eq!(bench.check(peer), left, "{name}");
    let wifi = |all: &Value| {
        all["address"].as_array().unwrap().iter().find(|l| l["ifname"] == WIFI).cloned()
    };
    assert_eq!(wifi(&after), wifi(&before), "{name}: Wi-Fi is not touched");

    let again = bench.setup(peer, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), code, "{name}, once more: {said}");
    assert_eq!(bench.everything(), after, "{name}: once is enough");

    if error.is_some() {
        bench.undo();
    }
    assert_eq!(bench.everything(), before, "{name}");
    // One journal, whether setup ran once or twice.
    let nothing = bench.tbnet(&["setup", "--undo"]);
    assert_eq!(nothing.status.code(), Some(2), "{name}: there is nothing left to undo");
}

/// Setup is killed at each place in turn where it writes its journal or starts a command, and undone
/// each time. Then it is undone once more, and that is killed at each place.
fn kill_and_undo(situation: &Situation) {
    let Some(bench) = situation.bench("kill") else { return };
    let name = situation.name;
    let peer = situation.alone.is_none().then_some(PEER);
    let before = bench.everything();
    let state = bench.dir.path().join("state");
    let mut places = Vec::new();
    loop {
        match killing::kill_at(&bench.setup(peer, situation.asked), &state, places.len()) {
            Ended::Killed(place) => places.push(place),
            Ended::After(count) => {
                assert_eq!(count, places.len(), "{name}: {places:?}");
                break;
            }
        }
        bench.wait_alone();
        let place = places.last().unwrap();
        let has_journal = !journals(&state, "jsonl").is_empty();
        let undone = bench.tbnet(&["setup", "--undo"]);
        let said = String::from_utf8_lossy(&undone.stderr);
        assert_eq!(bench.everything(), before, "{name}: killed {place}: {said}");
        assert_eq!(undone.status.success(), has_journal, "{name}: killed {place}: {said}");
    }
    println!("{name}: setup can be undone from {} places: {}", places.len(), places.join(", "));
    // The folder, the journal, two lines and two programs of each step.
    assert!(places.len() > 20, "{name}: {places:?}");
    bench.undo();
    assert_eq!(bench.everything(), before, "{name}");

    let mut places = Vec::new();
    loop {
        let done = bench.setup(peer, situation.asked).output().unwrap();
        assert!(done.status.code() < Some(2), "{}", String::from_utf8_lossy(&done.stderr));
        bench.wait_carrier(0);
        let undo = bench.command(&["setup", "--undo"]);
        match killing::kill_at(&undo, &state, places.len()) {
            Ended::Killed(place) => places.push(place),
            Ended::After(_) => break,
        }
        bench.wait_alone();
        let place = places.last().unwrap();
        let again = bench.tbnet(&["setup", "--undo"]);
        let said = String::from_utf8_lossy(&again.stderr);
        assert_eq!(bench.everything(), before, "{name}: undo killed {place}: {said}");
    }
    println!("{name}: undo can go on from {} places: {}", places.len(), places.join(", "));
    assert!(places.len() >= 4, "{name}: undo: {places:?}");
    assert_eq!(bench.everything(), before, "{name}");
}

macro_rules! situations {
    ($($name:ident: $situation:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn is_named_mended_and_put_back_exactly() {
                mend(&$situation, Some(PEER));
                if $situation.alone.is_some() {
                    mend(&$situation, None);
                }
            }

            #[test]
            fn can_be_undone_wherever_setup_was_killed() {
                kill_and_undo(&$situation);
            }
        }
    )*};
}

#[test]
fn what_is_good_is_left_alone() {
    mend(&GOOD, Some(PEER));
    mend(&GOOD, None);
}

situations! {
    wrong_subnet: WRONG_SUBNET;
    same_address: SAME_ADDRESS;
    overlap: OVERLAP;
    link_down: LINK_DOWN;
    route_stolen: ROUTE_STOLEN;
    no_address: NO_ADDRESS;
    much_to_put_back: MUCH_TO_PUT_BACK;
}

#[test]
fn a_size_can_be_undone_wherever_setup_was_killed() {
    kill_and_undo(&SIZE);
}

#[test]
fn a_route_before_anothers_is_told_in_json_too() {
    let Some(bench) = ROUTE_STOLEN.bench("json") else { return };
    let words = ["setup", "--dry-run", "--json", "--interface", BRIDGE, "--peer", PEER];
    let mut documented = schema::Documented::of("setup");
    documented.hold(&serde_json::from_slice(&bench.tbnet(&words).stdout).unwrap());
    documented.assert_seen(&["steps[].action.own", "steps[].action.peer"]);
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
    assert!(bench.setup(None, &[]).output().unwrap().status.success());
    assert_eq!(journals(&state, ""), ["setup-0001.jsonl"]);
    let mode = fs::metadata(state.join("setup-0001.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The old state stands before the first step.
    let text = fs::read_to_string(state.join("setup-0001.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["saved"]["links"].as_array().is_some_and(|links| !links.is_empty()));
    assert_eq!(lines[1], serde_json::json!({"begin": 1}));
    assert_eq!(lines.last().unwrap(), &serde_json::json!({"finished": true}));
    bench.undo();
    assert_eq!(journals(&state, ""), ["setup-0001.undone"]);
}
