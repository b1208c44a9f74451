//! Bad input gets a clear error, and nothing crashes or hangs.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use exo_tests::{Node, NodeOptions, free_port, key_file, program};

const SOON: Duration = Duration::from_secs(30);

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/tiny-llama3")
}

/// A copy of the tiny model that a test may damage.
fn copy_of_tiny(dir: &Path) -> PathBuf {
    let copy = dir.join("model");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    copy
}

/// What a node says that cannot start.
fn refusal(options: &NodeOptions) -> String {
    let mut node = Node::spawn(options);
    let status = node.wait_exit(SOON);
    let log = node.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    log
}

fn exo_node(words: &[&str]) -> Output {
    Command::new(program("exo-node")).args(words).output().unwrap()
}

#[test]
fn damaged_weights_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path());
    let model = copy_of_tiny(dir.path());
    let weights = model.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    let log = refusal(&NodeOptions::on_loopback("cut", Some(&model), &key));
    assert!(log.contains("model.safetensors") && log.contains("hint:"), "{log}");
    let mut huge = whole;
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&weights, huge).unwrap();
    let log = refusal(&NodeOptions::on_loopback("huge", Some(&model), &key));
    assert!(log.contains("model.safetensors"), "{log}");
}

#[test]
fn an_unknown_architecture_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy_of_tiny(dir.path());
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    let config = config.replace("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
    fs::write(model.join("config.json"), config).unwrap();
    let log = refusal(&NodeOptions::on_loopback("m", Some(&model), &key_file(dir.path())));
    assert!(log.contains("`mamba`") && log.contains("hint"), "{log}");
}

#[test]
fn a_truncated_gguf_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.gguf");
    let mut bytes = b"GGUF".to_vec();
    bytes.extend_from_slice(&3u32.to_le_bytes());
    bytes.extend_from_slice(&210u64.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let (file, data) = (file.display().to_string(), dir.path().join("data"));
    let output = exo_node(&["models", "import", &file, "--data", &data.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("model.gguf") && !said.contains("panicked"), "{said}");
    let models = fs::read_dir(data.join("models")).map_or(0, Iterator::count);
    assert_eq!(models, 0, "{said}");
}

#[test]
fn an_unknown_interface_and_a_missing_key_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path());
    let mut options = NodeOptions::on_loopback("n", None, &key);
    options.interface = "thunderbolt77".into();
    let log = refusal(&options);
    assert!(log.contains("thunderbolt77") && log.contains("lo"), "{log}");
    let mut options = NodeOptions::on_loopback("n", None, &key);
    options.cluster_key_file = None;
    let log = refusal(&options);
    assert!(log.contains("--cluster-key-file") && log.contains("hint"), "{log}");
}

#[test]
fn ports_in_use_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut options = NodeOptions::on_loopback("n", None, &key);
    options.listen = port;
    let log = refusal(&options);
    assert!(log.contains(&port.to_string()) && log.contains("hint"), "{log}");
    let (key, api) = (key.display().to_string(), format!("127.0.0.1:{port}"));
    let output = exo_node(&[
        "serve",
        "--interface",
        "lo",
        "--listen",
        "0",
        "--no-discovery",
        "--cluster-key-file",
        &key,
        "--api",
        &api,
        "--data",
        &dir.path().display().to_string(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&api) && said.contains("hint"), "{said}");
}

/// Bytes that no node sends: the peer is cut off, and the node goes on.
#[test]
fn strangers_on_the_transport_port_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut options = NodeOptions::on_loopback("n", Some(&tiny()), &key_file(dir.path()));
    options.listen = port;
    let mut node = Node::spawn(&options);
    node.wait_ready(Duration::from_secs(60));
    let address = format!("127.0.0.1:{port}");

    let mut other_version = Vec::from(*b"EXO-TBN\n");
    other_version.extend_from_slice(&[9, 0, 9, 0, 1, 0, 0, 0]);
    let mut garbage = vec![0xffu8; 64 << 10];
    garbage[..8].copy_from_slice(b"GET / HT");
    let mut half = Vec::from(*b"EXO-TBN\n");
    half.extend_from_slice(&[1, 0, 1, 0, 1, 0, 0, 0]);
    half.extend_from_slice(&[0xff, 0xff]);
    half.extend_from_slice(&[0; 100]);
    for bytes in [&other_version, &garbage, &half] {
        let begun = Instant::now();
        let mut socket = TcpStream::connect(&address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let _ = socket.write_all(bytes);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(begun.elapsed() < SOON, "the stranger was not cut off");
        assert!(answer.len() < 4096);
    }
    // Those that say nothing cost no more than a socket each.
    let silent: Vec<TcpStream> =
        (0..50).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    let view = node.wait_ready(SOON);
    assert_eq!(view["nodes"].as_array().unwrap().len(), 1);
    drop(silent);
    let begun = Instant::now();
    while !(node.log().contains("version 9") && node.log().contains("it is no exo-node")) {
        assert!(begun.elapsed() < SOON, "the strangers are not named: {}", node.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(node.stop(SOON).success(), "{}", node.log());
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
