//! A ring of `exo-node` processes, each on a machine of its own, all on one bridge: asked for streams,
//! and hurt.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Node, NodeOptions, key_file,
    namespaces::{Cable, Machines},
};

/// How long a model may take to be ready, and a cluster to be whole again.
const READY: Duration = Duration::from_secs(180);
/// What joins the machines to their bridge.
pub const CABLE: Cable = Cable { name: "thunderbolt0", net: "192.168.2" };
/// Where a node listens for others, on the cable.
const PORT: u16 = 52416;

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process is killed.
    Killed,
    /// Its process is stopped, and goes on later.
    Frozen,
    /// Its cable is down.
    CutOff,
    /// It is asked to end.
    Leaves,
}

/// All of them.
pub const FAULTS: [Fault; 4] = [Fault::Killed, Fault::Frozen, Fault::CutOff, Fault::Leaves];

/// See the module.
pub struct Ring<'a> {
    machines: &'a Machines,
    model: &'a Path,
    key: PathBuf,
    /// By machine; none while it is not there.
    pub nodes: Vec<Option<Node>>,
}

/// A stream's token ids, each with when it came.
pub type Heard = Vec<(u64, Instant)>;

impl<'a> Ring<'a> {
    /// A node on each machine, told of all others; all are wanted on the ring.
    ///
    /// # Panics
    /// If one cannot be started.
    #[must_use]
    pub fn start(machines: &'a Machines, count: usize, model: &'a Path, dir: &Path) -> Self {
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

    fn node(&mut self, machine: usize) -> &mut Node {
        self.nodes[machine].as_mut().expect("the node is there")
    }

    /// A GET or POST of a node's API, from its own machine: loopback is each namespace's own.
    fn curl(&mut self, machine: usize, path: &str, body: Option<&Value>) -> Command {
        let url = self.node(machine).url();
        let within = self.machines.within(machine);
        let mut command = Command::new(&within[0]);
        command.args(&within[1..]).args(["curl", "-sS", "-N", "--max-time", "120"]);
        if let Some(body) = body {
            command.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        command.arg(format!("{url}{path}"));
        command
    }

    /// What a node says of the cluster; null while it does not answer.
    ///
    /// # Panics
    /// If `curl` cannot be started.
    pub fn view(&mut self, machine: usize) -> Value {
        let output = self.curl(machine, "/v1/cluster", None).output().expect("curl runs");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Waits until all nodes say that all hold layers, and of one placement.
    ///
    /// # Panics
    /// If they do not for three minutes.
    pub fn wait_whole(&mut self) {
        self.wait_for("whole", |view, count| {
            let nodes = view["nodes"].as_array().map_or(&[][..], Vec::as_slice);
            nodes.iter().filter(|node| node["layers"].is_object()).count() == count
        });
    }

    /// Waits until all nodes see all others, and go by one placement, whoever is in it.
    ///
    /// # Panics
    /// If they do not for three minutes.
    pub fn wait_together(&mut self) {
        self.wait_for("together", |view, count| {
            view["nodes"].as_array().is_some_and(|nodes| nodes.len() == count)
        });
    }

    /// Waits until a node says that so many hold layers, and says when that was.
    ///
    /// # Panics
    /// If it does not for three minutes.
    pub fn wait_for_layers(&mut self, machine: usize, count: usize) -> Instant {
        let deadline = Instant::now() + READY;
        loop {
            let view = self.view(machine);
            let nodes = view["nodes"].as_array().map_or(&[][..], Vec::as_slice);
            let holders = nodes.iter().filter(|node| node["layers"].is_object()).count();
            if view["state"] == "ready" && holders == count {
                return Instant::now();
            }
            assert!(Instant::now() < deadline, "not {count} of them hold layers: {view:#}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for(&mut self, what: &str, is: impl Fn(&Value, usize) -> bool) {
        let count = self.nodes.len();
        let deadline = Instant::now() + READY;
        loop {
            let views: Vec<Value> = (0..count).map(|machine| self.view(machine)).collect();
            let agreed = views.iter().all(|view| {
                view["state"] == "ready"
                    && view["placement_epoch"] == views[0]["placement_epoch"]
                    && is(view, count)
            });
            if agreed {
                return;
            }
            assert!(Instant::now() < deadline, "not {what}: {views:#?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Begins a stream; its tokens come from the thread.
    ///
    /// # Panics
    /// If `curl` cannot be started.
    pub fn stream(
        &mut self,
        machine: usize,
        asked: &Value,
    ) -> thread::JoinHandle<Result<Heard, String>> {
        let mut command = self.curl(machine, "/v1/completions", Some(asked));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("curl runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
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
                heard.extend(
                    ids.into_iter().flatten().filter_map(Value::as_u64).map(|id| (id, now)),
                );
            }
            let _ = child.wait();
            if done { Ok(heard) } else { Err(format!("the stream broke off after {heard:?}")) }
        })
    }

    /// Does this to a node.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn hurt(&mut self, machine: usize, fault: Fault) {
        if fault == Fault::CutOff {
            self.machines.ip(machine, &["link", "set", CABLE.name, "down"]);
            return;
        }
        let node = self.node(machine);
        match fault {
            Fault::Killed => node.kill(),
            Fault::Frozen => signal(node, "-STOP"),
            Fault::CutOff => {}
            Fault::Leaves => {
                let status = node.stop(Duration::from_secs(40));
                assert!(status.success(), "{}", node.log());
            }
        }
    }

    /// Undoes it.
    ///
    /// # Panics
    /// If it cannot be undone.
    pub fn heal(&mut self, machine: usize, fault: Fault) {
        match fault {
            Fault::Killed | Fault::Leaves => {
                self.nodes[machine] = None;
                self.nodes[machine] = Some(self.spawn(machine, self.nodes.len()));
            }
            Fault::Frozen => signal(self.node(machine), "-CONT"),
            Fault::CutOff => {
                self.machines.ip(machine, &["link", "set", CABLE.name, "up"]);
            }
        }
    }
}

/// To the node itself: `ip netns exec` has become it.
fn signal(node: &Node, signal: &str) {
    let sent = Command::new("kill").args([signal, &node.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "no signal was sent");
}

/// Two greedy streams and two seeded ones, of 40 tokens each.
///
/// # Panics
/// If the references are not there.
#[must_use]
pub fn requests(model: &str) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smollm2_golden.json");
    let golden: Value =
        serde_json::from_slice(&std::fs::read(file).expect("the references are there"))
            .expect("the references are there");
    let ask = |name: &str, temperature: f64, seed: u64| {
        json!({
            "model": model, "prompt": golden[name]["prompt_ids"], "max_tokens": 40,
            "temperature": temperature, "seed": seed, "ignore_eos": true,
            "return_token_ids": true, "stream": true,
        })
    };
    vec![ask("s2", 0.0, 0), ask("s5", 0.0, 0), ask("s4", 0.8, 7), ask("s2", 0.6, 11)]
}
