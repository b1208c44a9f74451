//! `exo-node` processes, each on a machine and under a quota of its own.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    child::Running,
    client::{self, Ask, Heard},
    lab::{INTERFACE, Lab},
    profile::Counts,
    quota::{Met, Quota},
    served,
};
use crate::emulator::Profile;

const NODE_PORT: u16 = 52_416;
const API_PORT: u16 = 52_415;
const MEMORY: &str = "2GiB";
/// Reading the weights under a quota takes its time.
const READY_PATIENCE: Duration = Duration::from_secs(300);

/// What every node of a run has in common.
#[derive(Clone)]
pub(super) struct Setup {
    /// The `exo-node` program.
    pub(super) node: PathBuf,
    pub(super) model: PathBuf,
    /// Of one processor, for each node.
    pub(super) share: f64,
    pub(super) period_us: u64,
    /// Logs and data.
    pub(super) folder: PathBuf,
    /// The link between them, if it is emulated.
    pub(super) link: Option<&'static Profile>,
}

/// A model over some nodes. Fields in the order in which they have to go.
pub(super) struct Cluster {
    nodes: Vec<Running>,
    quotas: Vec<Quota>,
    lab: Lab,
    model: String,
    /// What its stages had counted when they were last asked: nothing has run since.
    counts: Mutex<Option<Counts>>,
}

impl Cluster {
    /// Starts a node for each of `layers`, and waits until all are ready.
    pub(super) fn start(
        setup: &Setup,
        tag: &str,
        layers: &[u32],
        more: &[String],
    ) -> anyhow::Result<Self> {
        let lab = Lab::new(tag, layers.len(), setup.link)?;
        let link = setup.link.map_or("cable", |link| link.name);
        let folder = setup.folder.join(format!("{tag}-{link}"));
        std::fs::create_dir_all(&folder)?;
        let key = folder.join("key");
        if !key.exists() {
            crate::cluster_key::write(&key)?; // else it is that of the link before
        }
        let mut cluster = Self {
            nodes: Vec::new(),
            quotas: Vec::new(),
            lab,
            model: String::new(),
            counts: Mutex::new(None),
        };
        for machine in 0..layers.len() {
            let quota = Quota::new(&format!("{tag}-{machine}"), setup.share, setup.period_us)?;
            let mut words = cluster.lab.within(machine);
            words.extend(arguments(setup, machine, layers, &key));
            words.extend(more.iter().cloned());
            let data = folder.join(format!("node{machine}"));
            let mut command = quota.command(&words);
            served::quiet(&mut command, &data);
            let log = folder.join(format!("node{machine}.log"));
            cluster.quotas.push(quota);
            cluster.nodes.push(Running::start(command, &log)?);
        }
        for machine in 0..layers.len() {
            cluster.wait_ready(machine)?;
        }
        cluster.model = served::model_name(&cluster.get(0, "/v1/models")?)?;
        Ok(cluster)
    }

    fn wait_ready(&mut self, machine: usize) -> anyhow::Result<()> {
        let Self { lab, nodes, .. } = self;
        let view = || lab.on(machine, || client::get(API_PORT, "/v1/cluster"));
        served::wait_ready(READY_PATIENCE, view, || {
            nodes.iter_mut().try_for_each(Running::must_live)
        })
    }

    pub(super) fn must_live(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(Running::must_live)
    }

    pub(super) fn get(&self, machine: usize, path: &str) -> anyhow::Result<Value> {
        self.lab.on(machine, || client::get(API_PORT, path))
    }

    /// A request to any node of this cluster.
    pub(super) fn ask(&self, prompt: Vec<u32>, tokens: usize) -> Ask {
        Ask { port: API_PORT, model: self.model.clone(), prompt, tokens }
    }

    /// Runs requests at the same time, each node being the entry of its share of them.
    pub(super) fn together(&self, asks: &[Ask]) -> anyhow::Result<Vec<Heard>> {
        let nodes = self.nodes.len();
        let parts: Vec<Vec<Ask>> = (0..nodes)
            .map(|node| asks.iter().skip(node).step_by(nodes).cloned().collect())
            .collect();
        thread::scope(|scope| {
            let threads: Vec<_> = parts
                .iter()
                .enumerate()
                .map(|(node, part)| {
                    scope.spawn(move || self.lab.on(node, || client::together(part)))
                })
                .collect();
            let mut heard = Vec::with_capacity(asks.len());
            for thread in threads {
                heard.extend(thread.join().expect("a client's thread does not panic")?);
            }
            Ok(heard)
        })
    }

    /// Runs requests one after the other.
    pub(super) fn in_turn(&self, asks: &[Ask]) -> anyhow::Result<Vec<Heard>> {
        self.lab.on(0, || asks.iter().map(client::stream).collect())
    }

    /// Runs something on the machine of the first node, as a client of it.
    pub(super) fn beside<T: Send>(
        &self,
        what: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.lab.on(0, what)
    }

    /// What its stages count from now on: how that went on, it says when it is asked again.
    pub(super) fn counts(&self) -> anyhow::Result<Counts> {
        let kept = self.counts.lock().ok().and_then(|mut counts| counts.take());
        kept.map_or_else(|| Counts::now(self), Ok)
    }

    /// Keeps counts that hold until something runs.
    pub(super) fn keep_counts(&self, of: Counts) {
        if let Ok(mut counts) = self.counts.lock() {
            *counts = Some(of);
        }
    }

    /// How often each node's quota was met.
    pub(super) fn met(&self) -> Vec<Met> {
        self.quotas.iter().map(Quota::met).collect()
    }
}

fn arguments(setup: &Setup, machine: usize, layers: &[u32], key: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let mut words = vec![text(&setup.node), "serve".into()];
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    add("--name", format!("node{machine}"));
    add("--interface", INTERFACE.into());
    add("--listen", NODE_PORT.to_string());
    add("--api", format!("127.0.0.1:{API_PORT}"));
    add("--model", text(&setup.model));
    add("--memory", MEMORY.into());
    add("--layers", by_hand(layers));
    add("--cluster-key-file", text(key));
    // A cable's frames are not sealed, and this stands for a cable.
    add("--encrypt", "off".into());
    for before in 0..machine {
        add("--peer", format!("{}:{NODE_PORT}", Lab::address(before)));
    }
    words.push("--no-discovery".into());
    words
}

/// As `--layers` takes them.
fn by_hand(layers: &[u32]) -> String {
    let mut next = 0;
    let each = layers.iter().enumerate().map(|(node, &count)| {
        let first = next;
        next += count;
        format!("node{node}={first}-{}", next - 1)
    });
    each.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn layers_are_given_out_as_the_node_takes_them() {
        assert_eq!(super::by_hand(&[13, 12, 5]), "node0=0-12,node1=13-24,node2=25-29");
    }
}
