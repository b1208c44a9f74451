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

/// Keeps the files of a folder as profiles, one setting a line, and the name of the one in use in
/// `active`.
const NETWORK_MANAGER: &str = r#"#!/bin/sh
cd "$NM_PROFILES" || exit 1
case "$*" in
"-g RUNNING general") echo running; exit ;;
"-g GENERAL.STATE device show "*) echo "100 (connected)"; exit ;;
"-g GENERAL.CONNECTION device show "*) cat active; exit ;;
"-g ipv4.addresses connection show "*) [ -e "profile-$5" ] || exit 10
  sed -n 's/^ipv4.addresses=//p' "profile-$5"; exit ;;
"-e no -g "*" connection show "*) sed -n "s/^$4=//p" "profile-$7"; exit ;;
"connection add "*) shift 4; shift; name=$1 ;;
"connection modify "*) name=$3; [ -e "profile-$name" ] || exit 10 ;;
"connection up "*) echo "$3" >active; exit ;;
"connection delete "*) rm "profile-$3"; [ "$(cat active)" != "$3" ] || echo >active; exit ;;
*) exit 2 ;;
esac
touch "profile-$name"
while [ $# -gt 1 ]; do
  case "$1" in
  ipv*|802*)
    { sed "/^$1=/d" "profile-$name"; [ -z "$2" ] || echo "$1=$2"; } | sort >new && mv new "profile-$name"
    shift ;;
  esac
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
    bench.allow_inet6(CABLE);
    bench.on_a(&format!("address add fd25::1/64 dev {CABLE} nodad"));
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
    let keys = ["has_profile", "inet6[]", "mtu"].map(|key| format!("steps[].action.{key}"));
    documented.assert_seen(&keys.each_ref().map(String::as_str));
    let report = bench.dir.path().join("report");
    let mut snapshot = with_manager(bench.command(&["snapshot", report.to_str().unwrap()]));
    record_and_replay(bench.with_shims(&mut snapshot), &report, CABLE, &dry.stdout);

    let done = bench.with_shims(&mut setup()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let name = format!("tbnet-{CABLE}");
    let now = files(&profiles);
    let profile = now[format!("profile-{name}")].as_str().unwrap();
    assert!(profile.contains("ipv4.addresses=192.168.2.1/24\n"), "{profile}");
    assert_eq!(now["active"], format!("{name}\n"));
    assert!(bench.with_shims(&mut undo()).output().unwrap().status.success());
    assert_eq!(look(), before);
    let killed = bench.kill_everywhere("NetworkManager", &before, &setup, &undo, &look);
    // The address, the profile, its start: before and after each.
    assert_eq!(killed, 6);
}

/// A second setup changes the profile of the first: its undoing leads back to that one's.
#[test]
fn undo_gives_a_profile_its_size_back() {
    let Some(bench) = Bench::new("nm-again") else { return };
    bench.on_a(&format!("link del {BRIDGE}"));
    let profiles = bench.dir.path().join("profiles");
    fs::create_dir(&profiles).unwrap();
    fs::write(profiles.join("active"), "\n").unwrap();
    bench.write_program("played-nmcli", NETWORK_MANAGER);
    bench.write_shim("nmcli", &bench.shims().join("played-nmcli").display().to_string());
    let tbnet = |words: &[&str]| {
        let mut command = bench.command(words);
        let command = bench.with_shims(command.env("NM_PROFILES", &profiles));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() < Some(2), "{words:?}: {said}");
    };
    let profile = || files(&profiles)[format!("profile-tbnet-{CABLE}")].clone();
    let setup = ["setup", "--yes", "--interface", CABLE];
    tbnet(&[&setup[..], &["--mtu", "4000"]].concat());
    let before = profile();
    assert!(before.as_str().unwrap().contains("802-3-ethernet.mtu=4000\n"), "{before}");
    tbnet(&[&setup[..], &["--mtu", "9000", "--address", "192.168.99.1/24"]].concat());
    let changed = profile();
    assert!(changed.as_str().unwrap().contains("802-3-ethernet.mtu=9000\n"), "{changed}");
    tbnet(&["setup", "--undo"]);
    assert_eq!(profile(), before);
    tbnet(&["setup", "--undo"]);
    assert_eq!(profile(), Value::Null);
}
