//! A hub on loopback that has one repository: a folder's files, whole or by ranges of bytes.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// See the module. It answers as long as the process lives.
#[derive(Debug)]
pub struct Hub {
    /// What `HF_ENDPOINT` has to say.
    pub endpoint: String,
    /// Of each file, bytes that were sent since this was last asked.
    sent: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Hub {
    /// A hub with the files of `dir` as the repository `repo`.
    ///
    /// # Panics
    /// If the folder cannot be read, or the system gives no port.
    #[must_use]
    pub fn start(repo: &'static str, dir: &Path) -> Self {
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.expect("an entry of the folder");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            (name, fs::read(entry.path()).expect("a file"))
        };
        let files: BTreeMap<String, Vec<u8>> =
            fs::read_dir(dir).expect("the folder").map(read).collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let sent = Arc::default();
        let (files, counted) = (Arc::new(files), Arc::clone(&sent));
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (files, counted) = (Arc::clone(&files), Arc::clone(&counted));
                thread::spawn(move || while reply(&socket, repo, &files, &counted).is_some() {});
            }
        });
        Self { endpoint: format!("http://{address}"), sent }
    }

    /// Bytes of the file `name` that were sent since this was last asked.
    #[must_use]
    pub fn sent(&self, name: &str) -> u64 {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(name).unwrap_or(0)
    }
}

/// Answers one request; `None` if the connection is over.
fn reply(
    mut socket: &TcpStream,
    repo: &str,
    files: &BTreeMap<String, Vec<u8>>,
    sent: &Mutex<BTreeMap<String, u64>>,
) -> Option<()> {
    let mut lines = BufReader::with_capacity(1, socket).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut range = None;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (key, value) = line.split_once(": ")?;
        if key.eq_ignore_ascii_case("range") {
            let (start, last) = value.strip_prefix("bytes=")?.split_once('-')?;
            range = Some(start.parse::<usize>().ok()?..last.parse::<usize>().ok()? + 1);
        }
    }
    if path == format!("/api/models/{repo}/revision/main?blobs=true") {
        let body = listing(repo, files).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        return socket.write_all((head + &body).as_bytes()).ok();
    }
    let name = path.strip_prefix(&format!("/{repo}/resolve/{COMMIT}/"))?;
    let Some(file) = files.get(name) else {
        return socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok();
    };
    let range = range.unwrap_or(0..file.len());
    let body = file.get(range.clone())?;
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {}-{}/{}\r\nContent-Length: {}\r\n\r\n",
        range.start,
        range.end - 1,
        file.len(),
        body.len()
    );
    *sent.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() +=
        body.len() as u64;
    socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(body)).ok()
}

fn listing(repo: &str, files: &BTreeMap<String, Vec<u8>>) -> Value {
    let sibling = |(name, content): (&String, &Vec<u8>)| {
        let sha256 = hex::encode(Sha256::digest(content));
        json!({
            "rfilename": name, "size": content.len(), "blobId": "0".repeat(40),
            "lfs": {"sha256": sha256, "size": content.len(), "pointerSize": 134},
        })
    };
    let siblings: Vec<Value> = files.iter().map(sibling).collect();
    json!({"id": repo, "sha": COMMIT, "siblings": siblings})
}
