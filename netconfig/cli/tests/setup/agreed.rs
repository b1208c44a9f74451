//! A peer that answers has a say in what setup does, and what it says is named by `check`.

use std::fs;

use serde_json::Value;

use crate::{
    bench::{BRIDGE, Bench, PEER},
    machines::CABLE,
};

/// Severity and id of every finding.
fn found(bench: &Bench, key: &str) -> Vec<String> {
    let words = ["check", "--json", "--interface", BRIDGE, "--peer", PEER];
    let output = bench.tbnet(&[&words[..], &["--cluster-key-file", key]].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|f| format!("{} {}", word(f, "severity"), word(f, "id"))).collect()
}

#[test]
fn the_smaller_mtu_and_the_mask_of_the_peer_are_taken_and_put_back() {
    let Some(bench) = Bench::new("agreed") else { return };
    let key = bench.machines.file("key", &"7".repeat(64));
    bench.on_a(&format!("address add 192.168.2.1/24 dev {BRIDGE}"));
    for link in [CABLE, BRIDGE] {
        bench.machines.ip(1, &format!("link set {link} mtu 1400"));
    }
    bench.machines.ip(1, &format!("address flush dev {BRIDGE}"));
    bench.machines.ip(1, &format!("address add {PEER}/25 dev {BRIDGE}"));
    let serve = ["serve", "--interface", BRIDGE, "--cluster-key-file", &key];
    let _serving = bench.machines.start(1, &serve).until("answering on");

    let before = bench.everything();
    let named = found(&bench, &key);
    for id in ["warning mtu-mismatch", "error mask-mismatch"] {
        assert!(named.contains(&id.to_owned()), "{id}: {named:?}");
    }
    let setup = || bench.setup(Some(PEER), &["--cluster-key-file", &key]);
    let done = setup().output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stdout));
    for link in [CABLE, BRIDGE] {
        let mtu = mtu_of(&bench, link);
        assert_eq!(mtu, 1400, "{link}: {said}");
    }
    let named = found(&bench, &key);
    let is_left = |id: &&String| id.contains("mismatch") || id.starts_with("error");
    assert_eq!(named.iter().find(is_left), None, "{said}");
    bench.undo();
    assert_eq!(bench.everything(), before);

    let undo = || bench.command(&["setup", "--undo"]);
    let killed = bench.kill_everywhere("agreed", &before, &setup, &undo, &|| bench.everything());
    assert!(killed >= 4, "killed {killed} times");
    assert!(!fs::exists(bench.dir.path().join("state/setup-0001.jsonl")).unwrap());
}

fn mtu_of(bench: &Bench, link: &str) -> u64 {
    let said = bench.machines.ip(0, &format!("-j link show dev {link}"));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    said[0]["mtu"].as_u64().unwrap()
}
