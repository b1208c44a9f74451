//! Two machines fetch only their own layers from the hub, and run the model together.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{fs, path::Path, process::Command, time::Duration};

use exo_tests::{Node, NodeOptions, free_port, http, hub::Hub, key_file, program};
use serde_json::{Value, json};

const READY: Duration = Duration::from_secs(60);
const WEIGHTS: &str = "model.safetensors";

fn pull(hub: &Hub, data: &Path, layers: &str) {
    let pulled = Command::new(program("exo-node"))
        .args(["models", "pull", "org/tiny", "--name", "tiny", "--layers", layers, "--data"])
        .arg(data)
        .env("HF_ENDPOINT", &hub.endpoint)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&pulled.stderr);
    assert!(pulled.status.success(), "{said}");
}

#[test]
fn each_node_fetches_its_own_layers_and_they_answer_together() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/tiny-llama3");
    let hub = Hub::start("org/tiny", &tiny);
    let all = fs::metadata(tiny.join(WEIGHTS)).unwrap().len();
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path());
    let ports = [free_port(), free_port()];
    let mut nodes: Vec<Node> = Vec::new();
    for (position, layers) in ["0..1", "1..4"].into_iter().enumerate() {
        let data = dir.path().join(format!("data{position}"));
        pull(&hub, &data, layers);
        let came = hub.sent(WEIGHTS);
        assert!(came > 0 && came < all * 17 / 20, "{came} of {all} bytes for layers {layers}");
        let name = format!("node{position}");
        let mut options = NodeOptions::on_loopback(&name, Some(Path::new("tiny")), &key);
        options.listen = ports[position];
        options.peers = ports[..position].iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let words = ["--offline", "--layers", "node0=0-0,node1=1-3", "--data"];
        options.more = words.map(str::to_owned).to_vec();
        options.more.push(data.display().to_string());
        nodes.push(Node::spawn(&options));
    }
    let view = nodes[0].wait_ready(READY);
    nodes[1].wait_ready(READY);
    let layers: Vec<&Value> =
        view["nodes"].as_array().unwrap().iter().map(|node| &node["layers"]).collect();
    assert_eq!(json!(layers), json!([{"start": 0, "end": 1}, {"start": 1, "end": 4}]));

    let reference = fs::read(tiny.join("reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&reference).unwrap();
    let asked = json!({
        "model": "tiny", "prompt": reference["prompt_ids"], "max_tokens": 24, "temperature": 0,
        "ignore_eos": true, "return_token_ids": true,
    });
    let url = nodes[1].url();
    let (status, answer) = http::post(&format!("{url}/v1/completions"), &asked);
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(answer["choices"][0]["token_ids"], reference["greedy_ids"], "{answer:#}");
}
