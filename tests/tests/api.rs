//! The API's contract, against a real `exo-node` process: first by the official OpenAI client, then
//! by what that client hides.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    io::Read,
    net::{Shutdown, TcpListener},
    path::Path,
    process::Command,
    time::Duration,
};

use exo_tests::{Node, NodeOptions, http, key_file, needed, program};
use serde_json::{Value, json};

/// A small model loads in seconds, on a busy machine in tens of them.
const READY: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(30);

/// A node with the test model, alone on `lo`; `None` where there is no model.
fn serving(api_key: Option<&str>) -> Option<(Node, tempfile::TempDir)> {
    let model = needed("EXO_TEST_MODEL_DIR")?;
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::on_loopback("api", Some(&model), &key_file(dir.path()));
    options.api_key = api_key.map(str::to_owned);
    Some((Node::spawn(&options), dir))
}

fn model_of(url: &str) -> String {
    let (_, models) = http::get(&format!("{url}/v1/models"));
    models["data"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_official_openai_client_works_unchanged() {
    let Some(python) = needed("EXO_TEST_PYTHON") else { return };
    let Some((mut node, _dir)) = serving(Some("test-key")) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/openai_contract.py");
    // The script itself waits for the model: this client of ours holds no key.
    let status = Command::new(python)
        .arg(script)
        .args(["--base-url", &format!("{}/v1", node.url()), "--api-key", "test-key"])
        .args(["--ready-within", &READY.as_secs().to_string()])
        .status()
        .expect("EXO_TEST_PYTHON starts");
    assert!(status.success(), "openai_contract.py: {status}");
}

#[test]
fn a_client_that_disconnects_frees_its_request() {
    let Some((mut node, _dir)) = serving(None) else { return };
    node.wait_ready(READY);
    let (url, address) = (node.url(), node.address());
    for stream in [true, false] {
        let body = json!({ "model": model_of(&url), "prompt": "Once upon a time", "stream": stream,
                           "max_tokens": 2000, "ignore_eos": true });
        let mut socket = http::begin(&address, "/v1/completions", &body);
        node.wait_for("a running request", SOON, |view| view["requests_running"] == 1);
        if stream {
            // Some of the answer is there before the client goes.
            socket.read_exact(&mut [0; 400]).unwrap();
        }
        socket.shutdown(Shutdown::Both).unwrap();
        node.wait_for("no running request", SOON, |view| view["requests_running"] == 0);
    }
    let (status, answer) = http::post(
        &format!("{url}/v1/completions"),
        &json!({ "model": model_of(&url), "prompt": "1, 2, 3,", "max_tokens": 2 }),
    );
    assert_eq!((status, &answer["usage"]["completion_tokens"]), (200, &json!(2)), "{answer}");
}

#[test]
fn cluster_and_health_say_who_holds_what() {
    let Some((mut node, _dir)) = serving(None) else { return };
    let view = node.wait_ready(READY);
    let nodes = view["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1, "{view:#}");
    assert_eq!(nodes[0]["name"], "api");
    assert_eq!((&nodes[0]["interface"], &nodes[0]["link_kind"]), (&json!("lo"), &json!("by-hand")));
    assert_eq!(nodes[0]["layers"]["start"], 0);
    assert!(nodes[0]["layers"]["end"].as_u64().is_some_and(|end| end > 0), "{view:#}");
    assert!(nodes[0]["weight_bytes_read"].as_u64().is_some_and(|bytes| bytes > 0), "{view:#}");
    let url = node.url();
    let (status, health) = http::get(&format!("{url}/healthz"));
    assert_eq!((status, health), (200, json!({ "status": "ok", "ready": true })));
    let (status, error) = http::get(&format!("{url}/v1/nothing"));
    assert_eq!((status, &error["error"]["code"]), (404, &json!("unknown_url")));

    let shown = Command::new(program("exo-node")).args(["status", "--api", &url]).output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.contains("by-hand"), "{text}");
    let shown =
        Command::new(program("exo-node")).args(["status", "--json", "--api", &url]).output();
    let view: Value = serde_json::from_slice(&shown.unwrap().stdout).unwrap();
    assert_eq!(view["nodes"][0]["name"], "api");

    let status = node.stop(SOON);
    assert!(status.success(), "SIGTERM ends a node in good order: {status}\n{}", node.log());
}

#[test]
fn run_attaches_to_the_node_that_serves() {
    let Some((mut node, _dir)) = serving(None) else { return };
    node.wait_ready(READY);
    let url = node.url();
    let run = Command::new(program("exo-node"))
        .args(["run", &model_of(&url), "Say hi.", "--api", &url])
        .args(["--max-tokens", "8", "--temperature", "0"])
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && !out.trim().is_empty(), "{out}{err}");
}

/// What a node that cannot start says; it ends with status 1 and without a panic.
fn refused(arguments: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let key = key_file(home.path());
    let run = Command::new(program("exo-node"))
        .args(arguments)
        .env("EXO_DATA", home.path())
        .env("EXO_CLUSTER_KEY_FILE", key)
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains("hint: "), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn what_cannot_start_says_why_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(&["serve", "--interface", "lo", "--api", &address]);
    assert!(said.contains(&address) && said.contains("another program"), "{said}");

    let said = refused(&["serve", "--interface", "lo", "--api", "0.0.0.0:0"]);
    assert!(said.contains("--api-key"), "{said}");

    let said = refused(&["serve", "--interface", "nonesuch0", "--api", "127.0.0.1:0"]);
    assert!(said.contains("nonesuch0"), "{said}");

    let said = refused(&["serve", "--interface", "lo", "--api", "127.0.0.1:0", "--model", "nope"]);
    assert!(said.contains("nope") && said.contains("models import"), "{said}");

    drop(taken);
    let said = refused(&["status", "--api", &format!("http://{address}")]);
    assert!(said.contains("no node answers"), "{said}");
}
