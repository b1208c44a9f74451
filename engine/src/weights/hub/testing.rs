//! A hub on loopback with a small model, that breaks as it is told to.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{HubClient, HubOptions};

pub(in crate::weights) const REPO: &str = "org/tiny";
pub(in crate::weights) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a request meets instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::weights) enum Fault {
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// Too many requests: come back in so many seconds.
    Busy(u64),
    /// The server has a bad day.
    Broken,
    /// The right length of other bytes of the file.
    WrongRange,
    /// The whole file, whatever was asked for.
    NoRanges,
    /// The right bytes but one.
    Changed,
    /// Who are you?
    Forbidden,
}

/// A request for a file, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::weights) struct Asked {
    pub(in crate::weights) file: String,
    pub(in crate::weights) range: Option<(u64, u64)>,
    pub(in crate::weights) token: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Of a file: what its next requests meet, in turn.
    faults: BTreeMap<String, Vec<Fault>>,
    asked: Vec<Asked>,
}

pub(in crate::weights) struct Hub {
    state: Arc<Mutex<State>>,
    pub(in crate::weights) endpoint: String,
    stop: Arc<AtomicBool>,
}

impl Hub {
    pub(in crate::weights) fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        thread::spawn({
            let (state, stop) = (state.clone(), stop.clone());
            move || {
                for socket in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let state = state.clone();
                    thread::spawn(move || answer(socket.unwrap(), &state));
                }
            }
        });
        Self { state, endpoint, stop }
    }

    pub(in crate::weights) fn client(&self) -> HubClient {
        let token = Some("s3cret".to_owned());
        HubClient::new(HubOptions { endpoint: self.endpoint.clone(), token, pause: record_pause })
    }

    pub(in crate::weights) fn fail(&self, file: &str, faults: &[Fault]) {
        self.state.lock().unwrap().faults.insert(file.to_owned(), faults.to_vec());
    }

    /// What was asked for since this was last called.
    pub(in crate::weights) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    pub(in crate::weights) fn file(&self, name: &str) -> Vec<u8> {
        self.state.lock().unwrap().files[name].clone()
    }

    pub(in crate::weights) fn remove(&self, name: &str) {
        self.state.lock().unwrap().files.remove(name);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://"));
    }
}

thread_local! {
    static PAUSES: std::cell::RefCell<Vec<Duration>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Pauses cost a test no time.
fn record_pause(pause: Duration) {
    PAUSES.with_borrow_mut(|pauses| pauses.push(pause));
}

/// The pauses that this thread was asked for.
pub(in crate::weights) fn pauses() -> Vec<Duration> {
    PAUSES.take()
}

fn answer(socket: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(socket.try_clone().unwrap());
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        if !reply(&socket, &head, state) {
            return;
        }
    }
}

/// False if the connection is over.
fn reply(mut socket: &TcpStream, head: &[String], state: &Mutex<State>) -> bool {
    let path = head[0].split(' ').nth(1).unwrap();
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut state = state.lock().unwrap();
    if path == format!("/api/models/{REPO}/revision/main?blobs=true") {
        let body = listing(&state.files).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        return socket.write_all((head + &body).as_bytes()).is_ok();
    }
    let name = path.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/")).unwrap_or("?").to_owned();
    let Some(file) = state.files.get(&name).cloned() else {
        return socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").is_ok();
    };
    let range = header("range").map(|range| {
        let (start, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        (start.parse::<u64>().unwrap(), last.parse::<u64>().unwrap() + 1)
    });
    let token = header("authorization");
    state.asked.push(Asked { file: name.clone(), range, token });
    let faults = state.faults.get_mut(&name).filter(|faults| !faults.is_empty());
    let fault = faults.map(|faults| faults.remove(0));
    drop(state);
    let (start, end) = range.unwrap_or((0, file.len() as u64));
    let mut body = file[start as usize..end as usize].to_vec();
    let mut told = format!("Content-Range: bytes {start}-{}/{}\r\n", end - 1, file.len());
    let mut status = "206 Partial Content";
    match fault {
        None | Some(Fault::Cut(_)) => {}
        Some(Fault::Busy(seconds)) => {
            (status, body) = ("429 Too Many Requests", Vec::new());
            told = format!("Retry-After: {seconds}\r\n");
        }
        Some(Fault::Broken) => (status, body) = ("502 Bad Gateway", Vec::new()),
        Some(Fault::Forbidden) => (status, body) = ("403 Forbidden", Vec::new()),
        Some(Fault::WrongRange) => {
            told = format!("Content-Range: bytes {}-{end}/{}\r\n", start + 1, file.len());
        }
        Some(Fault::NoRanges) => (status, told, body) = ("200 OK", String::new(), file.clone()),
        Some(Fault::Changed) => body[0] ^= 1,
    }
    let head = format!("HTTP/1.1 {status}\r\n{told}Content-Length: {}\r\n\r\n", body.len());
    let cut = match fault {
        Some(Fault::Cut(after)) => after.min(body.len()),
        _ => body.len(),
    };
    let sent = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(&body[..cut]));
    sent.is_ok() && cut == body.len()
}

fn listing(files: &BTreeMap<String, Vec<u8>>) -> Value {
    let siblings: Vec<Value> = files
        .iter()
        .map(|(name, content)| {
            let git = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
            let blob = hex::encode(git.chain_update(content).finalize());
            let mut sibling = json!({ "rfilename": name, "size": content.len(), "blobId": blob });
            if name.ends_with(".safetensors") {
                let sha256 = hex::encode(Sha256::digest(content));
                sibling["lfs"] =
                    json!({ "sha256": sha256, "size": content.len(), "pointerSize": 134 });
            }
            sibling
        })
        .collect();
    json!({ "id": REPO, "sha": COMMIT, "siblings": siblings })
}

/// A model of four layers in two shards, with untied embeddings, and what else repositories hold.
pub(in crate::weights) fn files() -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let mut map = serde_json::Map::new();
    let numbers = |from: usize| -> Vec<f32> { (from..from + 3000).map(|n| n as f32).collect() };
    let shards = [
        ("model-00001-of-00002.safetensors", &["model.embed_tokens.weight", "0", "1"][..]),
        ("model-00002-of-00002.safetensors", &["2", "3", "lm_head.weight", "model.norm.weight"]),
    ];
    let mut files = BTreeMap::new();
    for (shard, names) in shards {
        let tensors: Vec<(String, Vec<f32>)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| match name.parse::<u32>() {
                Ok(layer) => {
                    (format!("model.layers.{layer}.mlp.up_proj.weight"), numbers(n * 7000))
                }
                Err(_) => ((*name).to_owned(), numbers(n * 7000)),
            })
            .collect();
        let path = dir.path().join(shard);
        let borrowed: Vec<(&str, &[f32])> =
            tensors.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
        crate::weights::write::tests::write_file(&path, &borrowed);
        files.insert(shard.to_owned(), std::fs::read(&path).unwrap());
        map.extend(tensors.into_iter().map(|(name, _)| (name, shard.into())));
    }
    let text = |value: Value| value.to_string().into_bytes();
    files.extend([
        (
            "config.json".to_owned(),
            text(
                json!({"model_type": "llama", "num_hidden_layers": 4, "tie_word_embeddings": false,
                        "max_position_embeddings": 64}),
            ),
        ),
        ("tokenizer.json".to_owned(), text(crate::prompt::testing::tokenizer())),
        ("model.safetensors.index.json".to_owned(), text(json!({"weight_map": map}))),
        ("LICENSE".to_owned(), b"Do as you like.".to_vec()),
        ("README.md".to_owned(), b"# Tiny".to_vec()),
        ("consolidated.safetensors".to_owned(), vec![1; 100]),
        ("onnx/model.onnx".to_owned(), vec![2; 100]),
        ("../outside.json".to_owned(), b"{}".to_vec()),
    ]);
    files
}
