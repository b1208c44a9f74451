//! One, two and three processes generate what the reference generates, token by token.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{path::Path, process::Command, time::Duration};

use exo_tests::{Node, NodeOptions, free_port, http, key_file, needed, program};
use serde_json::{Value, json};

const READY: Duration = Duration::from_secs(180);

struct Ring {
    nodes: Vec<Node>,
    _dir: tempfile::TempDir,
}

impl Ring {
    /// A node for each of `memories`, each told of those before it.
    fn start(model: &Path, memories: &[&str], more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = key_file(dir.path());
        let ports: Vec<u16> = memories.iter().map(|_| free_port()).collect();
        let start = |(position, memory): (usize, &&str)| {
            let mut options =
                NodeOptions::on_loopback(&format!("node{position}"), Some(model), &key);
            options.listen = ports[position];
            options.peers =
                ports[..position].iter().map(|port| format!("127.0.0.1:{port}")).collect();
            options.memory = Some((*memory).to_owned());
            options.nodes = Some(memories.len() as u32);
            options.more = more.iter().map(|word| (*word).to_owned()).collect();
            Node::spawn(&options)
        };
        let nodes = memories.iter().enumerate().map(start).collect();
        Self { nodes, _dir: dir }
    }

    fn layers(&mut self) -> Vec<(u64, u64)> {
        let view = self.nodes[0].wait_ready(READY);
        let nodes = view["nodes"].as_array().unwrap();
        let number = |node: &Value, end: &str| node["layers"][end].as_u64().unwrap();
        nodes.iter().map(|node| (number(node, "start"), number(node, "end"))).collect()
    }

    /// Every prompt, and a chat.
    fn generates_the_reference(&mut self) {
        let last = self.nodes.len() - 1;
        self.nodes[last].wait_ready(READY);
        let urls: Vec<String> = self.nodes.iter_mut().map(Node::url).collect();
        for (turn, (name, case)) in golden().iter().enumerate() {
            // Any node may be the one that a client calls.
            matches_the_reference(&urls[turn % urls.len()], name, case);
        }
        let chat = json!({
            "model": http::get(&format!("{}/v1/models", urls[0])).1["data"][0]["id"],
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "temperature": 0, "max_tokens": 32,
        });
        let (status, answer) = http::post(&format!("{}/v1/chat/completions", urls[last]), &chat);
        assert_eq!(status, 200, "{answer:#}");
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(text, "The capital of France is Paris.");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
}

fn golden() -> serde_json::Map<String, Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smollm2_golden.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn matches_the_reference(url: &str, name: &str, case: &Value) {
    let expected = case["greedy_ids"].as_array().unwrap();
    let asked = json!({
        "model": http::get(&format!("{url}/v1/models")).1["data"][0]["id"],
        "prompt": case["prompt_ids"], "max_tokens": expected.len(), "temperature": 0,
        "ignore_eos": true, "return_token_ids": true,
    });
    let (status, answer) = http::post(&format!("{url}/v1/completions"), &asked);
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(answer["choices"][0]["token_ids"], case["greedy_ids"], "{name}: {answer:#}");
    assert_eq!(answer["usage"]["prompt_tokens"], case["prompt_ids"].as_array().unwrap().len());
}

fn generates_the_reference(memories: &[&str], expected_layers: &[(u64, u64)], more: &[&str]) {
    let Some(model) = needed("EXO_TEST_MODEL_DIR") else { return };
    let mut ring = Ring::start(&model, memories, more);
    assert_eq!(ring.layers(), expected_layers);
    ring.generates_the_reference();
}

#[test]
fn one_node() {
    generates_the_reference(&["1GiB"], &[(0, 30)], &[]);
}

#[test]
fn two_nodes() {
    generates_the_reference(&["1GiB", "1GiB"], &[(0, 15), (15, 30)], &[]);
}

#[test]
fn three_nodes_with_uneven_memory_and_plain_frames() {
    let layers = [(0, 20), (20, 28), (28, 30)];
    generates_the_reference(&["3GiB", "1GiB", "1GiB"], &layers, &["--encrypt", "off"]);
}

/// The same model with weights of 4 bits, as the file that it is made of has them: computed with as
/// the floats that they stand for, and as they are.
#[test]
fn four_bits_on_one_two_and_three_nodes() {
    let Some(gguf) = needed("EXO_TEST_GGUF") else { return };
    let data = tempfile::tempdir().unwrap();
    let imported = Command::new(program("exo-node"))
        .args(["models", "import", "--name", "codes", "--dtype", "stored", "--data"])
        .arg(data.path())
        .arg(gguf)
        .output()
        .unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let model = data.path().join("models/codes");
    let three = ["1GiB"; 3];
    for (memories, weights) in
        [(&three[..1], "dense"), (&three[..2], "dense"), (&three, "dense"), (&three, "stored")]
    {
        let mut ring = Ring::start(&model, memories, &["--weights", weights]);
        let layers = ring.layers();
        assert_eq!(layers.len(), memories.len());
        ring.generates_the_reference();
    }
}

#[test]
fn two_streams_at_once_come_out_right() {
    let Some(model) = needed("EXO_TEST_MODEL_DIR") else { return };
    let mut ring = Ring::start(&model, &["1GiB", "1GiB"], &[]);
    ring.nodes.iter_mut().for_each(|node| drop(node.wait_ready(READY)));
    let urls: Vec<String> = ring.nodes.iter_mut().map(Node::url).collect();
    let golden = golden();
    std::thread::scope(|scope| {
        for (name, url) in [("s2", &urls[0]), ("s4", &urls[1])] {
            let case = &golden[name];
            scope.spawn(move || streams_the_reference(url, name, case));
        }
    });
}

/// Tokens as they come, by server-sent events.
fn streams_the_reference(url: &str, name: &str, case: &Value) {
    let expected = case["greedy_ids"].as_array().unwrap();
    let asked = json!({
        "model": http::get(&format!("{url}/v1/models")).1["data"][0]["id"],
        "prompt": case["prompt_ids"], "max_tokens": expected.len(), "temperature": 0,
        "ignore_eos": true, "return_token_ids": true, "stream": true,
    });
    let address = url.trim_start_matches("http://");
    let mut socket = http::begin(address, "/v1/completions", &asked);
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut socket, &mut answer).unwrap();
    let events: Vec<&str> =
        answer.lines().filter_map(|line| line.trim().strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"), "{name}: {answer}");
    let parsed = events[..events.len() - 1].iter().map(|event| {
        serde_json::from_str::<Value>(event).unwrap_or_else(|error| panic!("{event}: {error}"))
    });
    let tokens: Vec<Value> = parsed
        .flat_map(|event| event["choices"][0]["token_ids"].as_array().cloned().unwrap_or_default())
        .collect();
    assert_eq!(&tokens, expected, "{name}");
}
