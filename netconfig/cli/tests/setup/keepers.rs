//! What a setup leaves for the next start of the machine, and is killed while it does: a profile of
//! systemd-networkd or of NetworkManager, whichever runs. Both are played here, by programs that can
//! kill whoever calls them; with the real ones the same is done in `daemons`.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    bench::{BRIDGE, Bench},
    machines::CABLE,
    schema::Documented,
};

/// Keeps the files of a folder as profiles, and the name of the one in use in `active`.
const NETWORK_MANAGER: &str = r#"#!/bin/sh
cd "$NM_PROFILES" || exit 1
case "$*" in
"-g RUNNING general") echo running; exit ;;
"-g GENERAL.STATE device show "*) echo "100 (connected)"; exit ;;
"-g GENERAL.CONNECTION device show "*) cat active; exit ;;
"-g ipv4.addresses connection show "*) cat "profile-$5" 2>/dev/null || exit 10; exit ;;
"connection add "*) shift 4; shift; name=$1 ;;
"connection modify "*) name=$3; [ -e "profile-$name" ] || exit 10 ;;
"connection up "*) echo "$3" >active; exit ;;
"connection delete "*) rm "profile-$3"; [ "$(cat active)" != "$3" ] || echo >active; exit ;;
*) exit 2 ;;
esac
while [ $# -gt 1 ]; do
  [ "$1" != ipv4.addresses ] || echo "$2" >"profile-$name"
  shift
done
"#;

/// A recording leads to the plan that the machine itself gets.
fn record_and_replay(snapshot: &mut Command, report: &Path, interface: &str, live: &[u8]) {
    let written = snapshot.output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let replay = || {
        // Nowhere near the machine.
        let mut command = Command::new(env!("CARGO_BIN_EXE_tbnet"));
        command.args(["setup", "--dry-run", "--json", "--interface", interface, "--from"]);
        let output = command.arg(report).env("LC_ALL", "C").output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let (live, replayed) = (serde_json::from_slice::<Value>(live).unwrap(), replay());
    assert_eq!(replayed["steps"], live["steps"]);
    let keeps = |plan: &Value| {
        let steps = plan["steps"].as_array().unwrap();
        steps.iter().any(|step| step["action"]["do"].as_str().unwrap().starts_with("keep-"))
    };
    assert!(keeps(&replayed) && replayed["not_recorded"] == json!([]), "{replayed}");

    // As it was recorded before.
    fs::remove_file(report.join("keepers.json")).unwrap();
    let old = replay();
    assert!(!keeps(&old) && old["not_recorded"] == json!(["keepers", "wifi"]), "{old}");
}

pub(crate) fn files(folder: &Path) -> Value {
    let mut found = serde_json::Map::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        found.insert(entry.file_name().into_string().unwrap(), text.into());
    }
    found.sort_keys();
    Value::Object(found)
}

#[test]
fn networkd_gets_a_file_which_undo_takes_away() {
    let Some(bench) = Bench::new("networkd") else { return };
    let (etc, profiles) = bench.play_networkd();
    // The machine has an /etc of its own.
    let bind = format!("mount --bind {} /etc", etc.display());
    let command = |words: &[&str]| bench.command_after(&bind, words);
    let setup = || command(&["setup", "--yes", "--interface", BRIDGE]);
    let undo = || command(&["setup", "--undo"]);
    let look = || json!({ "ip": bench.everything(), "files": files(&profiles) });

    let before = look();
    let mut dry = command(&["setup", "--dry-run", "--json", "--interface", BRIDGE]);
    let dry = bench.with_shims(&mut dry).output().unwrap();
    let mut documented = Documented::of("setup");
    documented.hold(&serde_json::from_slice(&dry.stdout).unwrap());
    documented.assert_seen(&["steps[].action.text", "steps[].commands[].stdin"]);
    let report = bench.dir.path().join("report");
    let mut snapshot = command(&["snapshot", report.to_str().unwrap()]);
    record_and_replay(bench.with_shims(&mut snapshot), &report, BRIDGE, &dry.stdout);

    let done = bench.with_shims(&mut setup()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = fs::read_to_string(profiles.join("10-tbnet-br0.network")).unwrap();
    for line in ["[Match]", "Name=br0", "[Network]", "Address=192.168.2.1/24", "DHCP=no"] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(bench.with_shims(&mut undo()).output().unwrap().status.success());
    assert_eq!(look(), before);
    let killed = bench.kill_everywhere("networkd", &before, &setup, &undo, &look);
    // The address, the file, the reload: before and after each.
    assert_eq!(killed, 6);
}

#[test]
fn network_manager_gets_a_profile_which_undo_takes_away() {
    let Some(bench) = Bench::new("nm") else { return };
    // A bridge that NetworkManager did not make is not given to it: the cable itself is. One left
    // without a member would lose its carrier at a time of the kernel's choosing.
    bench.on_a(&format!("link del {BRIDGE}"));
    let profiles = bench.dir.path().join("profiles");
    fs::create_dir(&profiles).unwrap();
    fs::write(profiles.join("active"), "Wired connection 1\n").unwrap();
    bench.write_program("played-nmcli", NETWORK_MANAGER);
    bench.write_shim("nmcli", &bench.shims().join("played-nmcli").display().to_string());
    let with_manager = |mut command: Command| {
        command.env("NM_PROFILES", &profiles);
        command
    };
    let setup = || with_manager(bench.command(&["setup", "--yes", "--interface", CABLE]));
    let undo = || with_manager(bench.command(&["setup", "--undo"]));
    let look = || json!({ "ip": bench.everything(), "profiles": files(&profiles) });

    let before = look();
    let words = ["setup", "--dry-run", "--json", "--interface", CABLE];
    let mut dry = with_manager(bench.command(&words));
    let dry = bench.with_shims(&mut dry).output().unwrap();
    let mut documented = Documented::of("setup");
    documented.hold(&serde_json::from_slice(&dry.stdout).unwrap());
    documented.assert_seen(&["steps[].action.has_profile", "steps[].action.mtu"]);
    let report = bench.dir.path().join("report");
    let mut snapshot = with_manager(bench.command(&["snapshot", report.to_str().unwrap()]));
    record_and_replay(bench.with_shims(&mut snapshot), &report, CABLE, &dry.stdout);

    let done = bench.with_shims(&mut setup()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let name = format!("tbnet-{CABLE}");
    let now = files(&profiles);
    assert_eq!(now[format!("profile-{name}")], "192.168.2.1/24\n");
    assert_eq!(now["active"], format!("{name}\n"));
    assert!(bench.with_shims(&mut undo()).output().unwrap().status.success());
    assert_eq!(look(), before);
    let killed = bench.kill_everywhere("NetworkManager", &before, &setup, &undo, &look);
    // The address, the profile, its start: before and after each.
    assert_eq!(killed, 6);
}
