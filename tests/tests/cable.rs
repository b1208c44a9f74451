//! Two network namespaces stand for two machines, a veth pair named `thunderbolt0` for the cable,
//! and another for Wi-Fi: everything takes the cable, and nothing ever the other.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use exo_tests::{Node, NodeOptions, key_file, needed, program};
use serde_json::Value;

const READY: Duration = Duration::from_secs(180);
const CABLE: &str = "thunderbolt0";
const WIFI: &str = "wifi0";

/// Two namespaces, joined twice. They are gone when this is dropped.
struct Machines {
    names: [String; 2],
}

impl Machines {
    /// `None` where namespaces cannot be made.
    fn new() -> Option<Self> {
        let id = std::process::id();
        let machines = Self { names: [format!("exo-a-{id}"), format!("exo-b-{id}")] };
        let [a, b] = &machines.names;
        if !run("ip", &["netns", "add", a]).is_some_and(|output| output.status.success()) {
            eprintln!("skipped: needs network namespaces (root and `ip`)");
            return None;
        }
        must("ip", &["netns", "add", b]);
        for (link, net) in [(CABLE, "192.168.2"), (WIFI, "192.168.77")] {
            let ends = [format!("{net}.1/24"), format!("{net}.2/24")];
            must(
                "ip",
                &[
                    "link", "add", link, "netns", a, "type", "veth", "peer", "name", link, "netns",
                    b,
                ],
            );
            for (name, address) in machines.names.iter().zip(&ends) {
                // The kernel's own IPv6 chatter is not ours to count.
                let setting = format!("net.ipv6.conf.{link}.disable_ipv6=1");
                must("ip", &["netns", "exec", name, "sysctl", "-q", "-w", &setting]);
                must("ip", &["-n", name, "addr", "add", address, "dev", link]);
                must("ip", &["-n", name, "link", "set", link, "up"]);
                must("ip", &["-n", name, "link", "set", "lo", "up"]);
            }
        }
        Some(machines)
    }

    fn within(&self, machine: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.names[machine]].map(str::to_owned).to_vec()
    }

    /// Bytes and packets that a link of a machine has received and sent.
    fn counters(&self, machine: usize, link: &str) -> (u64, u64) {
        let output = must("ip", &["-n", &self.names[machine], "-j", "-s", "link", "show", link]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let stats = &json[0]["stats64"];
        let sum =
            |what: &str| stats["rx"][what].as_u64().unwrap() + stats["tx"][what].as_u64().unwrap();
        (sum("bytes"), sum("packets"))
    }

    fn nothing_took_wifi(&self) {
        for machine in 0..2 {
            assert_eq!(self.counters(machine, WIFI), (0, 0), "machine {machine}");
        }
    }

    fn set_cable(&self, state: &str) {
        must("ip", &["-n", &self.names[0], "link", "set", CABLE, state]);
    }

    /// What `exo-node` answers on a machine.
    fn exo_node(&self, machine: usize, words: &[&str]) -> Output {
        let node = program("exo-node").display().to_string();
        let mut all: Vec<&str> = vec!["netns", "exec", &self.names[machine], &node];
        all.extend_from_slice(words);
        run("ip", &all).expect("ip runs")
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}

fn run(program: &str, words: &[&str]) -> Option<Output> {
    Command::new(program).args(words).output().ok()
}

fn must(program: &str, words: &[&str]) -> Output {
    let output = run(program, words).unwrap_or_else(|| panic!("{program} does not run"));
    let words = words.join(" ");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {said}");
    output
}

/// `exo-node status --json` on a machine; null while there is no answer.
fn status(machines: &Machines, machine: usize, api: &str) -> Value {
    let output = machines.exo_node(machine, &["status", "--json", "--api", api]);
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
    let Some(machines) = Machines::new() else { return };
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
        let said = machines.exo_node(
            machine,
            &["run", name, question, "--temperature", "0", "--max-tokens", "16", "--api", api],
        );
        let answer = String::from_utf8_lossy(&said.stdout);
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(answer.contains("Paris"), "{answer}{errors}");
    }
    machines.nothing_took_wifi();
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
        let (carried, _) = machines.counters(0, CABLE);
        assert!(carried > carried_by(link), "the cable carried {carried} bytes: {link:#}");
    }

    // The cable is pulled: both say so by name, and nothing takes the other way.
    machines.set_cable("down");
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
        let view = wait_status(&machines, machine, &apis[machine], "lost", lost, |view| {
            view["state"] == "waiting"
        });
        let nodes = view["nodes"].as_array().unwrap();
        assert!(nodes.iter().all(|node| node["name"] != other), "{view:#}");
    }
    machines.nothing_took_wifi();

    // It is plugged in again: they find each other and go on.
    machines.set_cable("up");
    let view =
        wait_status(&machines, 0, &apis[0], "ready again", READY, |view| view["state"] == "ready");
    assert!(view["placement_epoch"].as_u64().unwrap() >= 2, "{view:#}");
    machines.nothing_took_wifi();
    nodes.iter_mut().for_each(|node| {
        assert!(node.stop(Duration::from_secs(30)).success(), "{}", node.log());
    });
}
