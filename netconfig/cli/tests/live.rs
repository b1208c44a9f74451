//! `tbnet ping` and `tbnet watch` between two namespaces that stand for two machines, word for word.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

#[allow(dead_code, reason = "other tests use the rest")]
mod machines;
#[allow(dead_code, reason = "other tests use the rest")]
mod schema;

use machines::{CABLE, Machines, WIFI};
use schema::Documented;
use serde_json::Value;

const PEER: &str = "192.168.2.2";
const PEER_WIFI: &str = "192.168.77.2";

/// The same words whatever was measured, and over whichever link it was quicker: figures become `N`,
/// bars are left out.
fn without_figures(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('<')) {
        let compares = line.contains(CABLE) && line.contains(WIFI) && !line.starts_with('$');
        if !compares && !line.contains("p50") {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        let mut before = ' ';
        for c in line.replace(CABLE, "LINK").replace(WIFI, "LINK").chars() {
            match (c.is_ascii_digit() || c == '.', before) {
                // p50 is no figure.
                (true, 'N' | '0'..='9' | 'p') => before = if before == 'p' { '5' } else { before },
                (true, _) => {
                    out.push('N');
                    before = 'N';
                }
                (false, _) => {
                    out.push(c);
                    before = c;
                }
            }
        }
        out.push('\n');
    }
    out
}

#[test]
fn a_peer_is_measured_over_the_cable_and_beside_another_link() {
    let Some(machines) = Machines::joined("ping") else { return };
    let args =
        ["ping", PEER, "--interface", CABLE, "--count", "20", "--interval-ms", "1", "--json"];
    let output = machines.tbnet(0, &args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["schema"], &json["command"]), (&1.into(), &"ping".into()));
    let mut documented = Documented::of("ping");
    documented.hold(&json);
    // Nobody has this address.
    let silent = ["ping", "192.168.2.9", "--interface", CABLE, "--interval-ms", "0", "--json"];
    let silent = machines.tbnet(0, &silent).output().unwrap();
    documented.hold(&serde_json::from_slice(&silent.stdout).unwrap());
    // That a link is a cable only a real one shows.
    documented.assert_agrees(&["over[].kind"]);
    let over = &json["over"][0];
    assert_eq!((&over["interface"], &over["kind"]), (&CABLE.into(), &"by-hand".into()));
    assert_eq!((over["sent"].as_u64(), over["lost"].as_u64()), (Some(20), Some(0)));
    let counts = over["histogram"].as_array().unwrap().iter().map(|pair| pair[1].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 20);
    let at = |key: &str| over["rtt"][key].as_f64().unwrap();
    assert!(0.0 < at("min_us") && at("min_us") <= at("p50_us") && at("p50_us") <= at("max_us"));

    for (name, lang) in [("ping-versus", "en"), ("ping-versus-ko", "ko")] {
        let both = ["ping", PEER, "--interface", CABLE, "--versus", WIFI];
        let args =
            [&both[..], &["--versus-peer", PEER_WIFI, "--count", "3", "--lang", lang]].concat();
        insta::assert_snapshot!(name, without_figures(&machines.said(0, &args)));
    }
}

#[test]
fn what_does_not_come_back_over_the_interface_does_not_count() {
    let Some(machines) = Machines::joined("pin") else { return };
    // The peer is there, by the other link; over the cable nothing may be said to come back.
    machines.ip(0, "route add 192.168.77.2/32 dev thunderbolt0");
    machines.ip(1, &format!("link set {CABLE} down"));
    machines.ip(1, "address add 192.168.2.3/24 dev wifi0");
    let down = machines.said(0, &["ping", PEER, "--interface", CABLE]);
    insta::assert_snapshot!("ping-no-carrier", down);
    machines.ip(1, &format!("link set {CABLE} up"));
    machines.ip(1, &format!("address flush dev {CABLE}"));
    for (name, lang) in [("ping-silent", "en"), ("ping-silent-ko", "ko")] {
        let args = ["ping", PEER, "--interface", CABLE, "--interval-ms", "0", "--lang", lang];
        insta::assert_snapshot!(name, machines.said(0, &args));
    }
}

/// A change of `tbnet watch --json`, once it is told.
fn change(line: &str, kind: &str, interface: &str) -> bool {
    let json: Value = serde_json::from_str(line).unwrap();
    json["change"] == kind && json["interface"] == interface
}

#[test]
fn every_change_of_a_link_is_told_as_it_happens() {
    let Some(machines) = Machines::joined("watch") else { return };
    let mut watch = machines.start(0, &["watch", "--json"]);
    let mut documented = Documented::of("watch");
    let mut told = |kind: &str| {
        let line = watch.wait(kind, |line| change(line, kind, CABLE));
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let begun = told("now");
    assert_eq!((&begun["schema"], &begun["command"]), (&1.into(), &"watch".into()));
    assert_eq!(begun["now"]["mtu"], 1500);

    machines.ip(1, &format!("link set {CABLE} down"));
    assert_eq!(told("state")["now"]["carrier"], false);
    machines.ip(1, &format!("link set {CABLE} up"));
    assert_eq!(told("state")["now"]["carrier"], true);
    machines.ip(0, &format!("address add 10.1.2.3/30 dev {CABLE}"));
    assert_eq!(told("addresses")["what"], "has 10.1.2.3/30, 192.168.2.1/24");
    machines.ip(0, &format!("link set {CABLE} mtu 9000"));
    assert_eq!(told("mtu")["what"], "MTU was 1500, is 9000");
    machines.ip(0, "link add br0 type bridge");
    machines.ip(0, &format!("link set {CABLE} master br0"));
    assert_eq!(told("master")["what"], "belongs to br0");
    // Pulled out and plugged in again.
    machines.ip(0, &format!("link del {CABLE}"));
    assert_eq!(told("gone")["now"], Value::Null);
    machines.plug_in(CABLE, "192.168.2");
    told("appeared");
    for line in &watch.heard {
        documented.hold(&serde_json::from_str(line).unwrap());
    }
    // Cables are what no namespace has; the rest follows from what changes here.
    documented.assert_agrees(&["interface", "lang", "change"]);
}

#[test]
fn watch_says_it_in_both_languages() {
    let Some(machines) = Machines::joined("words") else { return };
    for (name, lang) in [("watch", "en"), ("watch-ko", "ko")] {
        let mut watch = machines.start(0, &["watch", "--interface", CABLE, "--lang", lang]);
        watch.wait_for("192.168.2.1/24");
        machines.ip(0, &format!("link set {CABLE} mtu 9000"));
        watch.wait_for("9000");
        machines.ip(0, &format!("address add 10.1.2.3/30 dev {CABLE}"));
        watch.wait_for("10.1.2.3/30");
        machines.ip(0, &format!("address del 10.1.2.3/30 dev {CABLE}"));
        watch.wait(CABLE, |line| !line.contains("10.1.2.3/30"));
        machines.ip(0, &format!("link set {CABLE} mtu 1500"));
        watch.wait_for("1500");
        // When each was told is chance.
        let when = |line: &String| line.split_once(" s  ").unwrap().1.to_owned();
        let words: Vec<String> = watch.heard.iter().map(when).collect();
        insta::assert_snapshot!(name, words.join("\n"));
    }
}

#[test]
fn watching_ends_when_it_is_told_to() {
    let Some(machines) = Machines::joined("end") else { return };
    let output = machines.tbnet(0, &["watch", "--for", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 2, "the cable and Wi-Fi, not the loopback: {text}");
}
