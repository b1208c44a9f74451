//! A node that serves says what its end of the cable is like: `tbnet check --peer` on the other
//! machine compares both ends, and the node goes on as if nobody had asked.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use exo_tests::{
    Node, NodeOptions, key_file,
    namespaces::{Cable, Machines},
    program,
};
use serde_json::Value;

const CABLE: Cable = Cable { name: "thunderbolt0", net: "192.168.2" };
const PORT: u16 = 52416;
const PATIENCE: Duration = Duration::from_secs(60);

fn serve(machines: &Machines, key: &Path) -> Node {
    let mut options = NodeOptions::on_loopback("studio", None, key);
    options.interface = CABLE.name.into();
    options.listen = PORT;
    options.within = machines.within(1);
    Node::spawn(&options)
}

/// What the node says of itself, asked on its machine; null while it says nothing.
fn view(machines: &Machines, node: &mut Node) -> Value {
    let within = machines.within(1);
    let api = node.url();
    let words = ["status", "--json", "--api", &api];
    let mut command = Command::new(&within[0]);
    command.args(&within[1..]).arg(program("exo-node")).args(words);
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap_or_default()
}

fn wait(machines: &Machines, node: &mut Node, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let now = view(machines, node);
        if is(&now) {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "waited for {what}: {now:#}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Severity and id of each finding on the first machine, and everything that was said.
fn check(machines: &Machines, key: &Path, data: &Path) -> (Vec<String>, Value) {
    let within = machines.within(0);
    let peer = format!("{}.2", CABLE.net);
    let output = Command::new(&within[0])
        .args(&within[1..])
        .arg(program("tbnet"))
        .args(["check", "--json", "--interface", CABLE.name, "--peer", &peer])
        .arg("--cluster-key-file")
        .arg(key)
        .env("EXO_DATA", data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let found = report["findings"].as_array().unwrap().iter();
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let found = found.map(|f| format!("{} {}", word(f, "severity"), word(f, "id"))).collect();
    (found, report)
}

#[test]
fn a_node_answers_who_asks_for_its_end_and_serves_on() {
    let Some(machines) = Machines::joined_by(&[CABLE]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path());
    let data = dir.path().join("data");
    let (silent, _) = check(&machines, &key, &data);
    assert!(silent.iter().any(|id| id.ends_with("peer-silent")), "nobody is there yet: {silent:?}");

    let mut node = serve(&machines, &key);
    wait(&machines, &mut node, "a node that listens", |view| !view.is_null());
    let (good, report) = check(&machines, &key, &data);
    assert!(!good.iter().any(|id| id.ends_with("peer-silent")), "{report:#}");
    assert!(good.iter().any(|id| id.ends_with(" latency")), "{report:#}");
    assert!(!good.iter().any(|id| id.starts_with("error")), "{report:#}");

    // What the node says is what is so now.
    machines.ip(1, &["link", "set", CABLE.name, "mtu", "1400"]);
    let (differs, report) = check(&machines, &key, &data);
    assert!(differs.contains(&"warning mtu-mismatch".to_owned()), "{report:#}");

    // Whoever asked is no member of the cluster, and leaves nothing behind.
    let view = wait(&machines, &mut node, "nobody else", |view| {
        view["nodes"].as_array().is_some_and(|nodes| nodes.len() == 1)
    });
    assert_eq!(view["nodes"][0]["name"], "studio", "{view:#}");
    let status = node.stop(PATIENCE);
    let log = node.log();
    assert!(status.success(), "{status}: {log}");
    let told = |level: &str, word: &str| {
        log.lines().filter(|line| line.contains(level) && line.contains(word)).count()
    };
    assert_eq!(told("WARN", "lost"), 0, "a goodbye is no loss: {log}");
    assert_eq!(told("INFO", " gone"), 2, "both who asked have left: {log}");
}

#[test]
fn the_node_follows_its_link() {
    let Some(machines) = Machines::joined_by(&[CABLE]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut node = serve(&machines, &key_file(dir.path()));
    let says = |word: &'static str| {
        move |view: &Value| view["reason"].as_str().is_some_and(|reason| reason.contains(word))
    };
    let first = wait(&machines, &mut node, "a node that listens", |view| !view.is_null());
    machines.ip(1, &["link", "set", CABLE.name, "down"]);
    wait(&machines, &mut node, "the link's trouble", says(CABLE.name));
    machines.ip(1, &["link", "set", CABLE.name, "up"]);
    wait(&machines, &mut node, "the link again", |view| view["reason"] == first["reason"]);
    machines.ip(1, &["address", "add", "192.168.2.7/24", "dev", CABLE.name]);
    let begun = Instant::now();
    while !node.log().contains("addresses changed") {
        assert!(begun.elapsed() < PATIENCE, "{}", node.log());
        thread::sleep(Duration::from_millis(50));
    }
}
