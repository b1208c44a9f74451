//! One `exo-node serve` process.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{http, program};

/// How often a process is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What a node is started with; the rest is `exo-node`'s default. Its API takes any free port of
/// loopback, and its data folder is its own.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// `--name`
    pub name: String,
    /// `--interface`; empty for none.
    pub interface: String,
    /// `--listen`
    pub listen: u16,
    /// `--peer`, each.
    pub peers: Vec<String>,
    /// `--model`
    pub model: Option<PathBuf>,
    /// `--memory`
    pub memory: Option<String>,
    /// `--nodes`
    pub nodes: Option<u32>,
    /// `--cluster-key-file`
    pub cluster_key_file: Option<PathBuf>,
    /// `--api-key`
    pub api_key: Option<String>,
    /// Leaves `--no-discovery` out.
    pub discovery: bool,
    /// Whatever else, as typed.
    pub more: Vec<String>,
    /// Words before the program, such as `ip netns exec NAME`.
    pub within: Vec<String>,
}

impl NodeOptions {
    /// A node alone on `lo`, with the key that this needs.
    #[must_use]
    pub fn on_loopback(name: &str, model: Option<&Path>, key_file: &Path) -> Self {
        Self {
            name: name.to_owned(),
            interface: "lo".to_owned(),
            model: model.map(Path::to_owned),
            cluster_key_file: Some(key_file.to_owned()),
            ..Self::default()
        }
    }

    /// The command line.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = vec!["serve".into(), "--api".into(), "127.0.0.1:0".into()];
        let mut add = |flag: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        };
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        add("--name", some(&self.name));
        add("--interface", some(&self.interface));
        add("--listen", Some(self.listen.to_string()));
        self.peers.iter().for_each(|peer| add("--peer", Some(peer.clone())));
        add("--model", text(&self.model));
        add("--memory", self.memory.clone());
        add("--nodes", self.nodes.map(|nodes| nodes.to_string()));
        add("--cluster-key-file", text(&self.cluster_key_file));
        add("--api-key", self.api_key.clone());
        if !self.discovery {
            words.push("--no-discovery".to_owned());
        }
        words.extend(self.more.iter().cloned());
        words
    }
}

/// A running node. It is killed when this is dropped; if the test is failing then, its log is shown.
#[derive(Debug)]
pub struct Node {
    name: String,
    child: Child,
    home: TempDir,
    api: Option<String>,
}

impl Node {
    /// Starts a node, and waits for nothing.
    ///
    /// # Panics
    /// If the program is not built or does not start.
    #[must_use]
    pub fn spawn(options: &NodeOptions) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(home.path().join("log")).expect("a log file");
        let node = program("exo-node");
        let mut words = options.within.iter().map(PathBuf::from).chain([node]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command
            .args(words)
            .args(options.arguments())
            .env("EXO_DATA", home.path())
            .env_remove("EXO_CLUSTER_KEY_FILE")
            .env_remove("EXO_API_KEY")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one log for both outputs"))
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { name: options.name.clone(), child, home, api: None }
    }

    /// Everything it has written.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its data folder, with the log in it.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// `http://ADDRESS:PORT` of its API, as soon as it says so.
    ///
    /// # Panics
    /// If it ends, or says nothing for a minute.
    pub fn url(&mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.api.is_none() {
            let log = self.log();
            let line = log.lines().find_map(|line| line.strip_prefix("API: "));
            self.api = line.map(str::to_owned);
            self.must_live("its API's address", deadline);
        }
        self.api.clone().unwrap_or_default()
    }

    /// `ADDRESS:PORT` of its API.
    ///
    /// # Panics
    /// Like [`url`](Self::url).
    pub fn address(&mut self) -> String {
        self.url().trim_start_matches("http://").to_owned()
    }

    /// What `GET /v1/cluster` answers; null while nobody does. Not for nodes with an API key.
    pub fn cluster(&mut self) -> Value {
        let url = format!("{}/v1/cluster", self.url());
        http::try_get(&url).map(|(_, view)| view).unwrap_or_default()
    }

    /// Waits until the cluster is as `wanted`, and gives it.
    ///
    /// # Panics
    /// If it does not become so within `patience`; with what it was last, and the log.
    pub fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            let view = self.cluster();
            if wanted(&view) {
                return view;
            }
            self.must_live(&format!("{what}; the cluster is {view:#}"), deadline);
        }
    }

    /// Waits until the model is ready.
    ///
    /// # Panics
    /// Like [`wait_for`](Self::wait_for).
    pub fn wait_ready(&mut self, patience: Duration) -> Value {
        self.wait_for("a model that is ready", patience, |view| view["state"] == "ready")
    }

    /// Asks it to stop, as a service manager would, and waits until it has.
    ///
    /// # Panics
    /// If it does not within `patience`.
    pub fn stop(&mut self, patience: Duration) -> ExitStatus {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -TERM {id} failed");
        self.wait_exit(patience)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it does not within `patience`.
    pub fn wait_exit(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} still runs:\n{}", self.name, self.log());
            thread::sleep(POLL);
        }
    }

    /// Ends it without a word, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Fails if it has ended or `deadline` is over; else waits a moment.
    fn must_live(&mut self, waited_for: &str, deadline: Instant) {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            panic!("{} ended ({status}) before {waited_for}", self.name);
        }
        assert!(Instant::now() < deadline, "{}: waited in vain for {waited_for}", self.name);
        thread::sleep(POLL);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- log of {} ---\n{}---", self.name, self.log());
        }
    }
}
