//! Two network namespaces stand for two machines, a veth pair named `thunderbolt0` for the cable,
//! and another for Wi-Fi: everything takes the cable, and nothing ever the other.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use exo_tests::{
    Node, NodeOptions, key_file,
    namespaces::{Cable, Machines},
    needed, program,
};
use serde_json::Value;

const READY: Duration = Duration::from_secs(180);
const CABLE: &str = "thunderbolt0";
const WIFI: &str = "wifi0";

/// Bytes and packets that a link of a machine has received and sent.
fn counters(machines: &Machines, machine: usize, link: &str) -> (u64, u64) {
    let output = machines.ip(machine, &["-j", "-s", "link", "show", link]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stats = &json[0]["stats64"];
    let sum =
        |what: &str| stats["rx"][what].as_u64().unwrap() + stats["tx"][what].as_u64().unwrap();
    (sum("bytes"), sum("packets"))
}

fn nothing_took_wifi(machines: &Machines) {
    for machine in 0..2 {
        assert_eq!(counters(machines, machine, WIFI), (0, 0), "machine {machine}");
    }
}

/// What `exo-node` answers on a machine.
fn exo_node(machines: &Machines, machine: usize, words: &[&str]) -> Output {
    let within = machines.within(machine);
    let mut command = Command::new(&within[0]);
    command.args(&within[1..]).arg(program("exo-node")).args(words);
    command.output().expect("ip runs")
}

/// `exo-node status --json` on a machine; null while there is no answer.
fn status(machines: &Machines, machine: usize, api: &str) -> Value {
    let output = exo_node(machines, machine, &["status", "--json", "--api", api]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn wait_status(
    machines: &Machines,
    machine: usize,
    api: &str,
    what: &str,
    patience: Duration,
    is: impl Fn(&Value) -> bool,
) -> Value {
    let begun = Instant::now();
    loop {
        let view = status(machines, machine, api);
        if is(&view) {
            return view;
        }
        assert!(begun.elapsed() < patience, "waited for {what}: {view:#}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn every_byte_takes_the_cable_and_a_pulled_cable_is_named() {
    let Some(model) = needed("EXO_TEST_MODEL_DIR") else { return };
    let cables = [Cable { name: CABLE, net: "192.168.2" }, Cable { name: WIFI, net: "192.168.77" }];
    let Some(machines) = Machines::joined_by(&cables) else { return };
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path());
    let start = |machine: usize, name: &str| {
        let mut options = NodeOptions::on_loopback(name, Some(&model), &key);
        options.interface = CABLE.into();
        options.nodes = Some(2);
        options.memory = Some("1GiB".into());
        options.discovery = true;
        options.within = machines.within(machine);
        Node::spawn(&options)
    };
    let mut nodes = [start(0, "mini"), start(1, "air")];
    let apis = [nodes[0].url(), nodes[1].url()];
    for (machine, api) in apis.iter().enumerate() {
        wait_status(&machines, machine, api, "ready", READY, |view| view["state"] == "ready");
    }

    // A request, from the machine that does not hold layer 0 as well as from the one that does.
    let name = model.file_name().unwrap().to_str().unwrap();
    for (machine, api) in apis.iter().enumerate() {
        let question = "What is the capital of France?";
        let said = exo_node(
            &machines,
            machine,
            &["run", name, question, "--temperature", "0", "--max-tokens", "16", "--api", api],
        );
        let answer = String::from_utf8_lossy(&said.stdout);
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(answer.contains("Paris"), "{answer}{errors}");
    }
    nothing_took_wifi(&machines);
    // Two prompts of 37 tokens, 576 × 4 bytes each, and the tokens after them, went one way.
    let carried_by = |link: &Value| {
        link["bytes_sent"].as_u64().unwrap() + link["bytes_received"].as_u64().unwrap()
    };
    let view = wait_status(&machines, 0, &apis[0], "both ends' reports", READY, |view| {
        let links = view["links"].as_array().map_or(&[][..], Vec::as_slice);
        links.len() == 2 && links.iter().all(|link| carried_by(link) > 2 * 37 * 576 * 4)
    });
    for link in view["links"].as_array().unwrap() {
        assert_eq!((&link["interface"], &link["kind"]), (&CABLE.into(), &"by-hand".into()));
        let (carried, _) = counters(&machines, 0, CABLE);
        assert!(carried > carried_by(link), "the cable carried {carried} bytes: {link:#}");
    }

    // The cable is pulled: both say so by name, and nothing takes the other way.
    machines.ip(0, &["link", "set", CABLE, "down"]);
    let pulled = Instant::now();
    for (machine, other) in [(0, "air"), (1, "mini")] {
        let view = wait_status(
            &machines,
            machine,
            &apis[machine],
            "a named peer",
            Duration::from_secs(5),
            |view| {
                let reason = view["reason"].as_str().unwrap_or_default();
                reason.contains(other) && reason.contains(CABLE)
            },
        );
        assert!(pulled.elapsed() < Duration::from_secs(5), "{view:#}");
    }
    for (machine, other) in [(0, "air"), (1, "mini")] {
        let lost = Duration::from_secs(20);
        // The model fits on either: each goes on alone.
        wait_status(&machines, machine, &apis[machine], "the model alone", lost, |view| {
            let nodes = view["nodes"].as_array().map_or(&[][..], Vec::as_slice);
            let here = nodes.iter().any(|node| node["name"] == other);
            view["state"] == "ready" && nodes.len() == 1 && !here
        });
    }
    nothing_took_wifi(&machines);

    // It is plugged in again: they find each other, and share the model again.
    machines.ip(0, &["link", "set", CABLE, "up"]);
    let view = wait_status(&machines, 0, &apis[0], "both again", READY, |view| {
        let nodes = view["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        let both = nodes.iter().filter(|node| node["layers"].is_object()).count() == 2;
        view["state"] == "ready" && both
    });
    assert!(view["placement_epoch"].as_u64().unwrap() >= 2, "{view:#}");
    nothing_took_wifi(&machines);
    nodes.iter_mut().for_each(|node| {
        assert!(node.stop(Duration::from_secs(30)).success(), "{}", node.log());
    });
}
