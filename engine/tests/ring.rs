//! Nodes in one process, joined over loopback by the real transport: what they generate together is
//! what one stage generates, and a node that leaves is named.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use exo_engine::{
    layers::LayerRange,
    node::{
        self, ClusterView, EncryptChoice, Goal, ModelChoice, NodeConfig, NodeHandle, NodesWanted,
        Policy, TrustChoice, WeightsChoice,
    },
    request::{
        FinishReason, GenerateError, GenerateEvent, GenerateRequest, Generation, Priority, Sampling,
    },
};

const DEADLINE: Duration = Duration::from_secs(60);

struct Node {
    handle: NodeHandle,
    thread: Option<std::thread::JoinHandle<()>>,
    _data: tempfile::TempDir,
}

impl Node {
    fn start(
        name: &str,
        count: u32,
        memory_bytes: u64,
        model: Option<&Path>,
        peers: &[String],
    ) -> Self {
        Self::with(name, count, memory_bytes, model, peers, EncryptChoice::Auto)
    }

    fn with(
        name: &str,
        count: u32,
        memory_bytes: u64,
        model: Option<&Path>,
        peers: &[String],
        encrypt: EncryptChoice,
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        let key = data.path().join("cluster.key");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&key)
            .unwrap();
        writeln!(file, "{}", "a1".repeat(32)).unwrap();
        let (handle, thread) = node::start(NodeConfig {
            name: name.into(),
            interface: "lo".parse().unwrap(),
            listen: 0,
            peers: peers.to_vec(),
            discovery: false,
            memory_bytes,
            weights: WeightsChoice::Auto,
            model: model.map(|dir| ModelChoice { name: "tiny".into(), dir: dir.to_path_buf() }),
            nodes: NodesWanted::Exactly(count),
            goal: Goal::Memory,
            layers: None,
            rebalance: false,
            data: data.path().to_path_buf(),
            cluster_key_file: Some(key),
            trust: TrustChoice::None,
            encrypt,
            policy: Policy::default(),
            api: String::new(),
        })
        .unwrap();
        Self { handle, thread: Some(thread), _data: data }
    }

    fn wait(&self, what: &str, is: impl Fn(&ClusterView) -> bool) -> ClusterView {
        let begun = Instant::now();
        loop {
            let view = self.handle.cluster();
            if is(&view) {
                return ClusterView::clone(&view);
            }
            assert!(begun.elapsed() < DEADLINE, "waited for {what}: {view:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ready(&self) -> ClusterView {
        self.wait("ready", |view| view.state == "ready");
        let begun = Instant::now();
        while self.handle.model().is_none() {
            assert!(begun.elapsed() < DEADLINE, "no model was published");
            std::thread::sleep(Duration::from_millis(5));
        }
        ClusterView::clone(&self.handle.cluster())
    }

    fn stop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A ring of nodes with these memories; the first dials nobody, the others dial all before them.
fn ring(memories: &[u64], encrypt: EncryptChoice) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut addrs: Vec<String> = Vec::new();
    for (position, &memory) in memories.iter().enumerate() {
        let name = format!("n{position}");
        let node = Node::with(&name, memories.len() as u32, memory, Some(&tiny()), &addrs, encrypt);
        let view = node.wait("its own address", |view| !view.nodes.is_empty());
        addrs.push(view.nodes[0].listen.clone());
        nodes.push(node);
    }
    nodes
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama3")
}

fn reference() -> (Vec<u32>, Vec<u32>) {
    let json = std::fs::read(tiny().join("reference.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let ids = |name: &str| {
        json[name].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    (ids("prompt_ids"), ids("greedy_ids"))
}

fn request(prompt: &[u32], max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: prompt.to_vec(),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        max_tokens,
        stop_tokens: Vec::new(),
        priority: Priority::default(),
    }
}

fn collect(mut generation: Generation) -> (Vec<u32>, Result<FinishReason, GenerateError>) {
    let mut tokens = Vec::new();
    loop {
        match generation.events.blocking_recv().expect("a last event comes") {
            GenerateEvent::Token { id, .. } => tokens.push(id),
            GenerateEvent::Finished(reason) => return (tokens, Ok(reason)),
            GenerateEvent::Failed(error) => return (tokens, Err(error)),
        }
    }
}

const GIB: u64 = 1 << 30;

#[test]
fn one_two_and_three_nodes_generate_the_reference_from_any_entry() {
    let (prompt, greedy) = reference();
    for memories in [&[GIB][..], &[GIB, GIB], &[2 * GIB, GIB, GIB]] {
        let nodes = ring(memories, EncryptChoice::Auto);
        for node in &nodes {
            let view = node.ready();
            let held: u32 =
                view.nodes.iter().filter_map(|node| node.layers).map(LayerRange::count).sum();
            assert_eq!(held, 4, "{view:#?}");
            let request = request(&prompt, greedy.len() as u32);
            let (tokens, end) = collect(node.handle.generate(request).unwrap());
            assert_eq!((tokens, end), (greedy.clone(), Ok(FinishReason::Length)));
        }
        if nodes.len() > 1 {
            let first = nodes[0].wait("hop times", |view| {
                view.links.iter().any(|link| link.hop_us.count > 0 && link.hop_us.p50 > 0.0)
            });
            assert!(first.links.iter().all(|link| link.encrypted && link.kind == "by-hand"));
        }
    }
}

#[test]
fn many_requests_at_once_and_some_given_up_leave_nothing_behind() {
    let (prompt, greedy) = reference();
    let nodes = ring(&[GIB, GIB], EncryptChoice::Off);
    nodes.iter().for_each(|node| drop(node.ready()));
    let generations: Vec<Generation> = (0..8)
        .map(|i| {
            let node = &nodes[i % 2];
            node.handle.generate(request(&prompt, greedy.len() as u32)).unwrap()
        })
        .collect();
    for (i, generation) in generations.into_iter().enumerate() {
        if i % 4 == 3 {
            drop(generation);
        } else {
            assert_eq!(collect(generation).0, greedy, "request {i}");
        }
    }
    for node in &nodes {
        node.wait("no request", |view| view.requests_running == 0);
    }
}

#[test]
fn stop_tokens_and_seeds_are_honoured_across_nodes() {
    let (prompt, greedy) = reference();
    let nodes = ring(&[GIB, GIB], EncryptChoice::Auto);
    nodes[1].ready();
    let stop = GenerateRequest { stop_tokens: vec![greedy[3]], ..request(&prompt, 20) };
    let (tokens, end) = collect(nodes[1].handle.generate(stop).unwrap());
    let first = greedy.iter().position(|&token| token == greedy[3]).unwrap();
    assert_eq!((tokens, end), (greedy[..=first].to_vec(), Ok(FinishReason::Stop)));
    let drawn = |seed| {
        let sampling = Sampling { temperature: 1.5, seed, ..Sampling::default() };
        let request = GenerateRequest { sampling, ..request(&prompt, 12) };
        collect(nodes[1].handle.generate(request).unwrap()).0
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn requests_outlive_a_node_that_leaves_and_the_next_one_gets_its_share() {
    let (prompt, greedy) = reference();
    let mut nodes = ring(&[GIB, GIB], EncryptChoice::Auto);
    let view = nodes[0].ready();
    let addr = view.nodes.iter().find(|node| node.name == "n0").unwrap().listen.clone();
    let running = nodes[0].handle.generate(request(&prompt, 4000)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    nodes.pop().unwrap().stop();
    let (tokens, end) = collect(running);
    assert_eq!((tokens.len(), end), (4000, Ok(FinishReason::Length)));
    assert_eq!(tokens[..greedy.len()], greedy);
    let holders = |view: &ClusterView| view.nodes.iter().filter(|it| it.layers.is_some()).count();
    let alone = nodes[0].wait("alone", |view| view.state == "ready" && holders(view) == 1);
    assert!(alone.nodes.iter().all(|node| node.name == "n0"), "{alone:?}");
    nodes.push(Node::start("n2", 2, GIB, Some(&tiny()), &[addr]));
    let view = nodes[0].wait("two", |view| view.state == "ready" && holders(view) == 2);
    assert!(view.placement_epoch >= 3, "{view:?}");
    let (tokens, _) =
        collect(nodes[0].handle.generate(request(&prompt, greedy.len() as u32)).unwrap());
    assert_eq!(tokens, greedy);
}

#[test]
fn a_node_without_the_model_takes_its_layers_from_the_other() {
    let (prompt, greedy) = reference();
    let first = Node::start("has", 2, GIB, Some(&tiny()), &[]);
    let view = first.wait("its own address", |view| !view.nodes.is_empty());
    let second = Node::start("lacks", 2, GIB, None, &[view.nodes[0].listen.clone()]);
    for node in [&first, &second] {
        assert_eq!(node.ready().nodes.len(), 2);
        let asked = request(&prompt, greedy.len() as u32);
        assert_eq!(collect(node.handle.generate(asked).unwrap()).0, greedy);
    }
}
