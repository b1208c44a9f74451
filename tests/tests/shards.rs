//! A node without the model's files takes its layers from the one that has them, over the link.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use exo_tests::{Node, NodeOptions, free_port, http, key_file};
use serde_json::{Value, json};

const READY: Duration = Duration::from_secs(180);

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/tiny-llama3")
}

/// Names of the tensors of a safetensors file.
fn tensors(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let names = header.as_object().unwrap().keys();
    names.filter(|name| *name != "__metadata__").cloned().collect()
}

#[test]
fn layers_that_are_not_on_this_disk_come_from_a_peer() {
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path());
    let ports = [free_port(), free_port()];
    let mut alpha = NodeOptions::on_loopback("alpha", Some(&model()), &key);
    alpha.listen = ports[0];
    alpha.nodes = Some(2);
    alpha.memory = Some("1GiB".into());
    // No network for it: what it lacks comes over the link all the same.
    let mut beta = NodeOptions::on_loopback("beta", None, &key);
    beta.listen = ports[1];
    beta.peers = vec![format!("127.0.0.1:{}", ports[0])];
    beta.memory = Some("1GiB".into());
    beta.more = vec!["--offline".into()];
    let (mut alpha, mut beta) = (Node::spawn(&alpha), Node::spawn(&beta));
    let view = alpha.wait_ready(READY);
    beta.wait_ready(READY);

    let nodes = view["nodes"].as_array().unwrap();
    let own = nodes.iter().find(|node| node["name"] == "beta").unwrap();
    let (start, end) = (&own["layers"]["start"], &own["layers"]["end"]);
    let (start, end) = (start.as_u64().unwrap(), end.as_u64().unwrap());
    assert!(start < end && end - start < 4, "{own:#}");
    let parts: Vec<PathBuf> = fs::read_dir(beta.home().join("shards"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [part] = parts.as_slice() else { panic!("{parts:?}") };
    assert!(part.display().to_string().ends_with(&format!("-{start}-{end}")), "{parts:?}");
    let held = tensors(&part.join("model.safetensors"));
    for layer in 0..4 {
        let of_layer = held.iter().any(|name| name.contains(&format!("layers.{layer}.")));
        assert_eq!(of_layer, (start..end).contains(&layer), "layer {layer} of {held:?}");
    }

    // It has the tokenizer as well: a client may call it, and hears what the reference says.
    let reference = fs::read(model().join("reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&reference).unwrap();
    let expected = reference["greedy_ids"].as_array().unwrap();
    let url = beta.url();
    let asked = json!({
        "model": http::get(&format!("{url}/v1/models")).1["data"][0]["id"],
        "prompt": reference["prompt_ids"], "max_tokens": expected.len(), "temperature": 0,
        "ignore_eos": true, "return_token_ids": true,
    });
    let (status, answer) = http::post(&format!("{url}/v1/completions"), &asked);
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(answer["choices"][0]["token_ids"], reference["greedy_ids"]);
}

#[test]
fn a_model_that_no_node_has_is_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path());
    // Alpha has a model, of which beta has another with the same name, and nobody takes it for its own.
    let ports = [free_port(), free_port()];
    let other = dir.path().join("other");
    fs::create_dir_all(&other).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(model().join(name), other.join(name)).unwrap();
    }
    let mut alpha = NodeOptions::on_loopback("alpha", Some(&other), &key);
    (alpha.listen, alpha.nodes, alpha.memory) = (ports[0], Some(2), Some("1GiB".into()));
    let mut beta = NodeOptions::on_loopback("beta", None, &key);
    (beta.listen, beta.memory) = (ports[1], Some("1GiB".into()));
    beta.peers = vec![format!("127.0.0.1:{}", ports[0])];
    let mut alpha = Node::spawn(&alpha);
    // Once it is open its files go: it cannot offer what it cannot read any more.
    alpha.wait_for("a node", READY, |view| view["nodes"].as_array().is_some());
    fs::remove_file(other.join("config.json")).unwrap();
    let mut beta = Node::spawn(&beta);
    let view = beta.wait_for("a failure", READY, |view| view["state"] == "failed");
    let reason = view["reason"].as_str().unwrap();
    assert!(reason.contains("no node here has all of it"), "{reason}");
}
