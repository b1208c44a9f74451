//! Requests go on when a node is killed, frozen, cut off or leaves: every stream ends with exactly the
//! tokens of one that nothing happened to.
//!
//! `EXO_RUNS=50` is the long run; `EXO_SEED=<n>` repeats one; `EXO_NODES=4` takes another size of
//! cluster. Each prints how long streams waited for their next token after the fault.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

use exo_tests::{
    Node, NodeOptions, key_file,
    namespaces::{Cable, Machines},
    needed,
};
use serde_json::{Value, json};

const READY: Duration = Duration::from_secs(180);
const CABLE: Cable = Cable { name: "thunderbolt0", net: "192.168.2" };
/// Where a node listens for others, on the cable.
const PORT: u16 = 52416;

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Frozen,
    CutOff,
    Leaves,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

struct Ring<'a> {
    machines: &'a Machines,
    model: &'a Path,
    key: std::path::PathBuf,
    nodes: Vec<Option<Node>>,
}

/// A stream's token ids, each with when it came.
type Heard = Vec<(u64, Instant)>;

impl<'a> Ring<'a> {
    fn start(machines: &'a Machines, count: usize, model: &'a Path, dir: &Path) -> Self {
        let mut ring = Self { machines, model, key: key_file(dir), nodes: Vec::new() };
        for machine in 0..count {
            let node = ring.spawn(machine, count);
            ring.nodes.push(Some(node));
        }
        ring
    }

    fn spawn(&self, machine: usize, count: usize) -> Node {
        let mut options =
            NodeOptions::on_loopback(&format!("node{machine}"), Some(self.model), &self.key);
        options.interface = CABLE.name.into();
        options.listen = PORT;
        let others = (0..count).filter(|&other| other != machine);
        options.peers = others.map(|other| format!("{}.{}:{PORT}", CABLE.net, other + 1)).collect();
        options.memory = Some("1GiB".into());
        options.nodes = Some(count as u32);
        options.within = self.machines.within(machine);
        Node::spawn(&options)
    }

    /// A GET or POST of a node's API, from its own machine: loopback is each namespace's own.
    fn curl(&mut self, machine: usize, path: &str, body: Option<&Value>) -> Command {
        let url = self.nodes[machine].as_mut().unwrap().url();
        let within = self.machines.within(machine);
        let mut command = Command::new(&within[0]);
        command.args(&within[1..]).args(["curl", "-sS", "-N", "--max-time", "120"]);
        if let Some(body) = body {
            command.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        command.arg(format!("{url}{path}"));
        command
    }

    /// Waits until all nodes say that all hold layers, and of one placement.
    fn wait_whole(&mut self) {
        let count = self.nodes.len();
        let deadline = Instant::now() + READY;
        loop {
            let views: Vec<Value> = (0..count)
                .map(|machine| {
                    let output = self.curl(machine, "/v1/cluster", None).output().unwrap();
                    serde_json::from_slice(&output.stdout).unwrap_or_default()
                })
                .collect();
            let whole = views.iter().all(|view| {
                let nodes = view["nodes"].as_array().map_or(&[][..], Vec::as_slice);
                let with_layers = nodes.iter().filter(|node| node["layers"].is_object()).count();
                view["state"] == "ready"
                    && with_layers == count
                    && view["placement_epoch"] == views[0]["placement_epoch"]
            });
            if whole {
                return;
            }
            assert!(Instant::now() < deadline, "not whole again: {views:#?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Begins a stream; its tokens come from the thread.
    fn stream(
        &mut self,
        machine: usize,
        asked: &Value,
    ) -> thread::JoinHandle<Result<Heard, String>> {
        let mut command = self.curl(machine, "/v1/completions", Some(asked));
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            let mut heard = Vec::new();
            let mut done = false;
            for line in lines.map_while(Result::ok) {
                let Some(data) = line.strip_prefix("data: ") else { continue };
                if data == "[DONE]" {
                    done = true;
                    continue;
                }
                let event: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
                if event.get("error").is_some() {
                    return Err(event.to_string());
                }
                let ids = event["choices"][0]["token_ids"].as_array();
                let now = Instant::now();
                heard.extend(ids.into_iter().flatten().map(|id| (id.as_u64().unwrap(), now)));
            }
            let _ = child.wait();
            if done { Ok(heard) } else { Err(format!("the stream broke off after {heard:?}")) }
        })
    }

    fn hurt(&mut self, machine: usize, fault: Fault) {
        let node = self.nodes[machine].as_mut().unwrap();
        match fault {
            Fault::Killed => node.kill(),
            Fault::Frozen => signal(node, "-STOP"),
            Fault::CutOff => {
                self.machines.ip(machine, &["link", "set", CABLE.name, "down"]);
            }
            Fault::Leaves => {
                let status = node.stop(Duration::from_secs(40));
                assert!(status.success(), "{}", node.log());
            }
        }
    }

    fn heal(&mut self, machine: usize, fault: Fault) {
        match fault {
            Fault::Killed | Fault::Leaves => {
                self.nodes[machine] = None;
                self.nodes[machine] = Some(self.spawn(machine, self.nodes.len()));
            }
            Fault::Frozen => signal(self.nodes[machine].as_ref().unwrap(), "-CONT"),
            Fault::CutOff => {
                self.machines.ip(machine, &["link", "set", CABLE.name, "up"]);
            }
        }
    }
}

/// To the node itself: `ip netns exec` has become it.
fn signal(node: &Node, signal: &str) {
    let sent = Command::new("kill").args([signal, &node.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

fn requests(model: &str) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smollm2_golden.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let ask = |name: &str, temperature: f64, seed: u64| {
        json!({
            "model": model, "prompt": golden[name]["prompt_ids"], "max_tokens": 40,
            "temperature": temperature, "seed": seed, "ignore_eos": true,
            "return_token_ids": true, "stream": true,
        })
    };
    vec![ask("s2", 0.0, 0), ask("s5", 0.0, 0), ask("s4", 0.8, 7), ask("s2", 0.6, 11)]
}

fn ids(heard: &Heard) -> Vec<u64> {
    heard.iter().map(|(id, _)| *id).collect()
}

#[test]
fn whatever_happens_to_a_node_every_stream_ends_with_its_tokens() {
    let Some(model) = needed("EXO_TEST_MODEL_DIR") else { return };
    let count = number("EXO_NODES").unwrap_or(3) as usize;
    let Some(machines) = Machines::on_bridge(count, &CABLE) else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = number("EXO_SEED").unwrap_or(now);
    let runs = number("EXO_RUNS").unwrap_or(4) as usize;
    println!("EXO_SEED={seed} EXO_RUNS={runs} EXO_NODES={count}");
    let mut random = Random(seed);
    let name = model.file_name().unwrap().to_str().unwrap();
    let asked = requests(name);
    let kinds = [Fault::Killed, Fault::Frozen, Fault::CutOff, Fault::Leaves];
    let mut waits: Vec<(Fault, Duration)> = Vec::new();
    let mut expected: Vec<Vec<u64>> = Vec::new();
    let mut run = 0;
    while run < runs {
        // A cluster for each four: a node that keeps going away is given layers later and later.
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::start(&machines, count, &model, dir.path());
        ring.wait_whole();
        if expected.is_empty() {
            let undisturbed: Vec<_> = asked.iter().map(|asked| ring.stream(0, asked)).collect();
            for stream in undisturbed {
                expected.push(ids(&stream.join().unwrap().unwrap()));
            }
            assert!(expected.iter().all(|tokens| tokens.len() == 40), "{expected:?}");
        }
        let first = random.below(4) as usize;
        for turn in 0..4.min(runs - run) {
            let fault = kinds[(first + turn) % 4];
            let entry = random.below(count as u64) as usize;
            let victim = (entry + 1 + random.below(count as u64 - 1) as usize) % count;
            let streams: Vec<_> = asked.iter().map(|asked| ring.stream(entry, asked)).collect();
            thread::sleep(Duration::from_millis(300 + random.below(900)));
            let hurt = Instant::now();
            ring.hurt(victim, fault);
            for (stream, expected) in streams.into_iter().zip(&expected) {
                let told = format!("run {run}: node{victim} {fault:?}, asked node{entry}");
                let heard = stream.join().unwrap();
                let heard = heard.unwrap_or_else(|error| panic!("{told}: {error}"));
                assert_eq!(&ids(&heard), expected, "{told}");
                // What was on its way still comes: the gap is what the client noticed.
                let after = heard.iter().map(|(_, at)| *at).filter(|at| *at > hurt);
                let before = std::iter::once(hurt).chain(after.clone());
                let gaps = before.zip(after).map(|(before, next)| next - before);
                waits.extend(gaps.max().map(|gap| (fault, gap)));
            }
            ring.heal(victim, fault);
            ring.wait_whole();
            run += 1;
        }
    }
    for fault in kinds {
        let mut of: Vec<Duration> =
            waits.iter().filter(|(kind, _)| *kind == fault).map(|(_, wait)| *wait).collect();
        of.sort_unstable();
        if let (Some(median), Some(most)) = (of.get(of.len() / 2), of.last()) {
            let p90 = of[of.len() * 9 / 10];
            println!(
                "{fault:?}: {} streams waited for their next token {median:.0?} at the median, \
                 {p90:.0?} at 90 %, {most:.0?} at most",
                of.len()
            );
        }
    }
    assert!(!waits.is_empty(), "every stream was over before anything happened");
}
