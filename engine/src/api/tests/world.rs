//! A real API on a loopback port, before a node that is played by a script.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crossbeam::channel::{self, Receiver};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::{
    api::{ApiConfig, bind},
    node::{ClusterView, Command, NodeHandle, NodePort},
    prompt::PromptModel,
    request::{FinishReason, GenerateEvent, GenerateRequest, RequestId, TokenLogprobs},
};

/// Id of the token that ends an answer; those below 256 are the bytes.
pub(super) const END: u32 = 258;
/// Tokens of the test model's context.
pub(super) const CONTEXT: usize = 200;
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) type Events = mpsc::Sender<GenerateEvent>;

pub(super) struct World {
    pub(super) address: SocketAddr,
    pub(super) node: NodeHandle,
    pub(super) requests: Arc<Mutex<Vec<GenerateRequest>>>,
    pub(super) cancelled: Receiver<RequestId>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) serving: Option<thread::JoinHandle<()>>,
}

impl World {
    /// Each request is handed to `script` on a thread of its own.
    pub(super) fn new(script: impl Fn(&GenerateRequest, &Events) + Clone + Send + 'static) -> Self {
        let (mut world, port) = Self::unattended(None);
        port.shared.publish_model(Some(model()));
        let requests = world.requests.clone();
        let (cancels, cancelled) = channel::bounded(64);
        thread::spawn(move || {
            for command in port.commands {
                match command {
                    Command::Generate { request, events, .. } => {
                        requests.lock().unwrap().push(request.clone());
                        let script = script.clone();
                        thread::spawn(move || script(&request, &events));
                    }
                    Command::Cancel(id) => {
                        let _ = cancels.send(id); // a test that is over listens no more
                    }
                    Command::Place(_) | Command::Leave => {}
                    Command::Shutdown => return,
                }
            }
        });
        world.cancelled = cancelled;
        world
    }

    /// Nobody takes what the API asks of the node, and no model is ready.
    pub(super) fn unattended(key: Option<&str>) -> (Self, NodePort) {
        let (node, port) = NodeHandle::new(7);
        let config =
            ApiConfig { listen: "127.0.0.1:0".parse().unwrap(), key: key.map(str::to_owned) };
        let api = bind(&config).unwrap();
        let address = api.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = thread::spawn({
            let node = node.clone();
            move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let stop = async {
                    let _ = stopped.await;
                };
                runtime.block_on(api.serve(node, stop)).unwrap();
            }
        });
        let world = Self {
            address,
            node,
            requests: Arc::default(),
            cancelled: channel::never(),
            stop: Some(stop),
            serving: Some(serving),
        };
        (world, port)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], body.to_string().as_bytes())
    }

    pub(super) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    /// One request over a socket of its own, as bytes: what is sent is what is meant.
    pub(super) fn send(&self, method: &str, path: &str, more: &[&str], body: &[u8]) -> Reply {
        let mut socket = self.open(method, path, more, body);
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        Reply::parse(&answer)
    }

    pub(super) fn open(&self, method: &str, path: &str, more: &[&str], body: &[u8]) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        head += &format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
        for line in more {
            head += &format!("{line}\r\n");
        }
        socket.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        socket.write_all(body).unwrap();
        socket
    }

    /// Waits for `after_bytes` of the answer and until the node has heard of the request; then
    /// breaks the connection that made it.
    pub(super) fn leave(&self, mut socket: TcpStream, after_bytes: &[u8]) {
        let mut seen = Vec::new();
        while !seen.ends_with(after_bytes) {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.requests.lock().unwrap().is_empty() {
            assert!(std::time::Instant::now() < deadline, "the request never arrived");
            thread::sleep(Duration::from_millis(2));
        }
        assert!(self.cancelled.is_empty(), "it was cancelled before the client left");
        socket.shutdown(Shutdown::Both).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.node.shutdown();
        drop(self.stop.take());
        if let Some(serving) = self.serving.take()
            && !thread::panicking()
        {
            serving.join().unwrap();
        }
    }
}

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head");
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body =
            if head.contains("transfer-encoding: chunked") { joined(body) } else { body.into() };
        Self { status, head, body }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of each event; each has exactly one line of it.
    pub(super) fn events(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        assert!(self.head.contains("content-type: text/event-stream"), "{self:?}");
        let events =
            self.body.strip_suffix("\n\n").expect("the last event is complete").split("\n\n");
        events.map(|event| event.strip_prefix("data: ").expect(event).to_owned()).collect()
    }

    /// The chunks of a stream that ended well.
    pub(super) fn chunks(&self) -> Vec<Value> {
        let mut events = self.events();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    /// `(status, code, param)` of an error, which has OpenAI's four members.
    pub(super) fn error(&self) -> (u16, String, Value) {
        let body = self.json();
        let error = &body["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        assert!(error["type"].as_str().is_some_and(|kind| kind.ends_with("_error")), "{self:?}");
        assert_eq!(error.as_object().unwrap().len(), 4, "{self:?}");
        (self.status, error["code"].as_str().unwrap().to_owned(), error["param"].clone())
    }
}

fn joined(mut chunked: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, rest) = chunked.split_once("\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(&rest[..size]);
        chunked = &rest[size + 2..];
    }
}

/// A script: these tokens, then the end.
pub(super) fn says(
    tokens: impl IntoIterator<Item = u32>,
    reason: FinishReason,
) -> impl Fn(&GenerateRequest, &Events) + Clone + Send + 'static {
    let tokens: Vec<u32> = tokens.into_iter().collect();
    move |request, events| {
        for &id in &tokens {
            let logprobs = request.sampling.logprobs.map(|top| TokenLogprobs {
                chosen: -0.5,
                top: [(id, -0.5), (u32::from(b'?'), f32::NEG_INFINITY)][..usize::from(top.min(2))]
                    .to_vec(),
            });
            // The API drops the request once a stop string came: then nobody listens.
            let _ = events.blocking_send(GenerateEvent::Token { id, logprobs });
        }
        let _ = events.blocking_send(GenerateEvent::Finished(reason));
    }
}

/// The tokens of a text: its bytes.
pub(super) fn bytes(text: &str) -> impl Iterator<Item = u32> + Clone {
    text.as_bytes().iter().map(|&byte| u32::from(byte))
}

pub(super) fn view(state: &str, reason: &str) -> ClusterView {
    ClusterView { state: state.to_owned(), reason: reason.to_owned(), ..ClusterView::default() }
}

/// A model named `org/tiny` whose tokens are bytes, so that characters and stop strings cross them.
fn model() -> Arc<PromptModel> {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    Arc::new(PromptModel::open(dir.path(), "org/tiny").unwrap())
}

fn write_model(dir: &Path) {
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let added: Vec<_> = special
        .iter()
        .zip(256..)
        .map(|(content, id)| {
            json!({ "id": id, "content": content, "special": true, "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false })
        })
        .collect();
    let vocabulary: serde_json::Map<_, _> =
        (0..=255).map(|byte| (visible(byte).to_string(), byte.into())).collect();
    let level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                        "use_regex": false });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
                   "continuing_subword_prefix": null, "end_of_word_suffix": null,
                   "byte_fallback": false, "ignore_merges": false, "vocab": vocabulary,
                   "merges": [] },
    });
    let template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + \
                    '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}\
                    {{ '<|im_start|>assistant\n' }}{% endif %}";
    let tokens = json!({ "eos_token": "<|im_end|>", "chat_template": template });
    let config = json!({ "vocab_size": 259, "max_position_embeddings": CONTEXT });
    for (name, value) in
        [("tokenizer.json", tokenizer), ("tokenizer_config.json", tokens), ("config.json", config)]
    {
        std::fs::write(dir.join(name), value.to_string()).unwrap();
    }
}

/// GPT-2's character for a byte: itself if it prints, else one from 256 on.
fn visible(byte: u32) -> char {
    let prints = |byte| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let hidden = || 256 + (0..byte).filter(|&byte| !prints(byte)).count() as u32;
    char::from_u32(if prints(byte) { byte } else { hidden() }).unwrap()
}
