//! `tbnet check --peer` asks the other end, which `tbnet serve` answers for: between namespaces that
//! stand for machines, word for word; and everything that can be in the way.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

#[allow(dead_code, reason = "other tests use the rest")]
mod machines;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use machines::{CABLE, Machines, Running};
use serde_json::Value;

const PEER: &str = "192.168.2.2";

/// What was measured is chance: its figures become `N`.
fn without_figures(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut was_digit = false;
        for c in line.chars() {
            let is_digit = c.is_ascii_digit() && line.contains("µs");
            match (is_digit, was_digit) {
                (true, false) => out.push('N'),
                (true, true) => {}
                (false, _) => out.push(c),
            }
            was_digit = is_digit;
        }
        out.push('\n');
    }
    // How many of a hundred round trips were slow is chance, too.
    out
}

fn key(machines: &Machines, digit: &str) -> String {
    machines.file(&format!("key-{digit}"), &digit.repeat(64))
}

fn serving(machines: &Machines, machine: usize, args: &[&str]) -> Running {
    let mut running = machines.start(machine, &[&["serve", "--interface", CABLE], args].concat());
    running.wait_for("answering on");
    running
}

fn check<'a>(key: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["check", "--interface", CABLE, "--peer", PEER, "--cluster-key-file", key];
    [&args[..], more].concat()
}

/// Ids with their severities, worst first, and the exit code.
fn found(machines: &Machines, args: &[&str]) -> (Vec<String>, Option<i32>) {
    let output = machines.tbnet(0, &[args, &["--json"]].concat()).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = json["findings"].as_array().unwrap().iter();
    let ids = findings.map(|f| format!("{} {}", text(&f["severity"]), text(&f["id"])));
    (ids.collect(), output.status.code())
}

#[test]
fn both_ends_are_compared_and_the_way_measured() {
    let Some(machines) = Machines::joined("good") else { return };
    let key = key(&machines, "7");
    let _serving = serving(&machines, 1, &["--cluster-key-file", &key]);
    for (name, lang) in [("peer-good", "en"), ("peer-good-ko", "ko")] {
        let said = machines.said(0, &check(&key, &["--lang", lang]));
        insta::assert_snapshot!(name, without_figures(&said));
    }
    let (ids, code) = found(&machines, &check(&key, &[]));
    assert!(ids.contains(&"info latency".to_owned()), "{ids:?}");
    assert_eq!(code, Some(0));
}

#[test]
fn what_differs_at_the_other_end_is_named() {
    let Some(machines) = Machines::joined("differs") else { return };
    let key = key(&machines, "7");
    let _serving = serving(&machines, 1, &["--cluster-key-file", &key]);
    let has = |id: &str| {
        let (ids, code) = found(&machines, &check(&key, &[]));
        assert!(ids.contains(&id.to_owned()), "{id}: {ids:?}");
        code
    };
    machines.ip(1, &format!("link set {CABLE} mtu 1400"));
    assert_eq!(has("warning mtu-mismatch"), Some(0));
    machines.ip(1, &format!("link set {CABLE} mtu 1500"));
    machines.ip(1, &format!("address add 192.168.2.2/16 dev {CABLE}"));
    machines.ip(1, &format!("address del 192.168.2.2/24 dev {CABLE}"));
    assert_eq!(has("error mask-mismatch"), Some(1));
}

#[test]
fn a_peer_that_does_not_answer_is_a_finding_and_measured_by_icmp() {
    let Some(machines) = Machines::joined("silent") else { return };
    let key = key(&machines, "7");
    for (name, lang) in [("peer-refused", "en"), ("peer-refused-ko", "ko")] {
        let said = machines.said(0, &check(&key, &["--lang", lang]));
        insta::assert_snapshot!(name, without_figures(&said));
    }
    // Nobody there at all.
    machines.ip(1, &format!("address flush dev {CABLE}"));
    insta::assert_snapshot!("peer-gone", without_figures(&machines.said(0, &check(&key, &[]))));
}

#[test]
fn whom_to_believe_is_said() {
    let Some(machines) = Machines::joined("trust") else { return };
    let (key, other) = (key(&machines, "7"), key(&machines, "8"));
    let mut serving = serving(&machines, 1, &["--cluster-key-file", &key]);
    let wrong = machines.said(0, &check(&other, &[]));
    insta::assert_snapshot!("peer-other-key", without_figures(&wrong));
    serving.wait_for("refused: 192.168.2.1");
    // A link that is not shown to be a cable, and no key.
    for (name, lang) in [("peer-no-key", "en"), ("peer-no-key-ko", "ko")] {
        let args = ["check", "--interface", CABLE, "--peer", PEER, "--lang", lang];
        insta::assert_snapshot!(name, without_figures(&machines.said(0, &args)));
    }
    for (name, args) in [
        ("serve-no-key", &["serve", "--interface", CABLE][..]),
        ("serve-no-key-ko", &["serve", "--interface", CABLE, "--lang", "ko"]),
    ] {
        insta::assert_snapshot!(name, machines.said(1, args));
    }
    let twice = ["serve", "--interface", CABLE, "--cluster-key-file", &key];
    insta::assert_snapshot!("serve-twice", machines.said(1, &twice));
    let spoilt = machines.file("spoilt", "not a key");
    // A key that is not there or is none is a mistake at this end: the peer is not blamed.
    let refused = |words: &[&str], file: &str, hint: &str| {
        let output = machines.tbnet(0, words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert!(said.contains(file) && said.contains(hint), "{said}");
    };
    for file in [spoilt.as_str(), "/nowhere/key"] {
        refused(&check(file, &[]), file, "openssl rand");
        refused(&check(file, &["--lang", "ko"]), file, "파일에");
    }
    let folder = format!("{spoilt}-report");
    let record = ["snapshot", &folder, "--peer", PEER, "--interface", CABLE];
    refused(&[&record[..], &["--cluster-key-file", &spoilt]].concat(), &spoilt, "openssl rand");
    // The machine's own key, which others may read.
    let own = machines.file("identity.key", &"7".repeat(64));
    fs::set_permissions(&own, fs::Permissions::from_mode(0o644)).unwrap();
    let data = Path::new(&own).parent().unwrap().to_str().unwrap();
    refused(&check(&key, &["--data", data]), &own, "chmod 600");
}

#[test]
fn serving_says_who_comes_and_goes() {
    let Some(machines) = Machines::joined("serve") else { return };
    let key = key(&machines, "7");
    for (name, lang) in [("serve", "en"), ("serve-ko", "ko")] {
        let args = ["serve", "--interface", CABLE, "--cluster-key-file", &key, "--lang", lang];
        let mut serving = machines.start(1, &args);
        serving.wait_for(":52416");
        serving.wait_for("tbnet check --peer 192.168.2.2");
        let (_, code) = found(&machines, &check(&key, &[]));
        assert_eq!(code, Some(0));
        // One line when it came and one when it went.
        serving.wait("who came", |line| line.contains("192.168.2.1"));
        serving.wait("who went", |_| true);
        // The machine's own name, and the port that was free.
        let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
        let host = host.split('.').next().unwrap();
        let words = serving.heard.join("\n").replace(host, "HOST");
        let port = words.rsplit_once("192.168.2.1:").unwrap().1;
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        insta::assert_snapshot!(name, words.replace(&port, "PORT"));
    }
}

#[test]
fn three_machines_whose_cables_form_a_ring_are_seen_from_one_of_them() {
    let Some(mut machines) = Machines::apart("ring", 3) else { return };
    // What really joins them is a star: a real ring of bridges would drown them in packets.
    machines.cable(0, "tb1", 1, "tb1");
    machines.cable(0, "tb2", 2, "tb1");
    for machine in 0..3 {
        machines.ip(machine, "link add br0 type bridge forward_delay 0");
        machines.ip(machine, &format!("address add 192.168.2.{}/24 dev br0", machine + 1));
        for link in ["tb1", "tb2"].into_iter().take(if machine == 0 { 2 } else { 1 }) {
            machines.ip(machine, &format!("link set {link} master br0"));
            machines.ip(machine, &format!("link set {link} up"));
        }
        machines.ip(machine, "link set br0 up");
        // What sysfs says of the cables: each machine at the ends of both others'.
        let [left, right] = [(machine + 1) % 3, (machine + 2) % 3].map(domain);
        let device = |at: &str, file: &str| format!("thunderbolt/devices/{at}/{file}");
        machines.show_in_sysfs(
            machine,
            &[
                (&device("0-0", "unique_id"), &domain(machine)),
                (&device("0-1", "unique_id"), &left),
                (&device("0-1", "uevent"), "DEVTYPE=thunderbolt_xdomain"),
                (&device("0-3", "unique_id"), &right),
                (&device("0-3", "uevent"), "DEVTYPE=thunderbolt_xdomain"),
            ],
        );
    }
    for machine in 0..3 {
        machines.wait_carrier(machine, "br0");
    }
    let key = key(&machines, "7");
    let serve = ["serve", "--interface", "br0", "--cluster-key-file", &key];
    let _serving = [1, 2].map(|machine| machines.start(machine, &serve).until("answering on"));
    let base = ["check", "--interface", "br0", "--cluster-key-file", &key, "--peer", PEER];
    let ring = |more: &[&str]| {
        let (ids, _) = found(&machines, &[&base[..], more].concat());
        ids.contains(&"error loop".to_owned())
    };
    assert!(!ring(&[]), "two of three are no ring");
    assert!(ring(&["--peer", "192.168.2.3"]));
    // One that is silent may be a part of one.
    let (ids, _) = found(&machines, &[&base[..], &["--peer", "192.168.2.9"]].concat());
    assert!(ids.contains(&"error peer-silent".to_owned()), "{ids:?}");
    // So may one whose address was mistyped: it is named, and hides no ring of the others.
    let mistyped = "10.99.9.9";
    let (ids, _) = found(&machines, &[&base[..], &["--peer", mistyped]].concat());
    assert!(ids.contains(&"error peer-silent".to_owned()), "{ids:?}");
    let first = ["check", "--interface", "br0", "--cluster-key-file", &key, "--peer", mistyped];
    let (ids, _) =
        found(&machines, &[&first[..], &["--peer", PEER, "--peer", "192.168.2.3"]].concat());
    assert!(ids.contains(&"error loop".to_owned()), "{ids:?}");
    assert!(ids.contains(&"error peer-outside-subnet".to_owned()), "{ids:?}");
}

/// The Thunderbolt domain of a machine.
fn domain(machine: usize) -> String {
    format!("00000000-0000-4000-8000-{machine:012}")
}

#[test]
fn what_a_peer_said_is_recorded_and_judged_alike() {
    let Some(machines) = Machines::joined("record") else { return };
    let key = key(&machines, "7");
    let _serving = serving(&machines, 1, &["--cluster-key-file", &key]);
    machines.ip(1, &format!("link set {CABLE} mtu 1400"));
    let folder = machines.file("report/unused", "");
    let folder = folder.strip_suffix("/unused").unwrap();
    let args =
        ["snapshot", folder, "--mask", "--interface", CABLE, "--peer", PEER, "--cluster-key-file"];
    let written = machines.tbnet(0, &[&args[..], &[&key]].concat()).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let recorded = fs::read_to_string(format!("{folder}/peer-{PEER}.json")).unwrap();
    assert!(!recorded.contains(&host), "{recorded}");
    let replayed = ["check", "--interface", CABLE, "--peer", PEER, "--from", folder];
    let (replayed, code) = found(&machines, &replayed);
    assert!(replayed.contains(&"warning mtu-mismatch".to_owned()), "{replayed:?}");
    let (live, live_code) = found(&machines, &check(&key, &[]));
    assert_eq!((replayed, code), (live, live_code));
}
