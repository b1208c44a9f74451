//! Two `exo-node` processes that share a model over one emulated link.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use serde_json::Value;

use crate::{
    cluster::{
        child::Running,
        client::{self, Ask, Heard},
        served,
    },
    emulator::{Link, Machines, Plan, lay},
    job,
    namespace::on,
};

/// The link's interface in both namespaces.
pub(super) const INTERFACE: &str = "link0";
/// The link's network.
pub(super) const NET: [u8; 3] = [192, 168, 2];
const NODE_PORT: u16 = 52_416;
const API_PORT: u16 = 52_415;
const MEMORY: &str = "2GiB";
const READY_PATIENCE: Duration = Duration::from_secs(120);

/// What all nodes have in common.
pub(super) struct Setup {
    pub(super) node: PathBuf,
    pub(super) model: PathBuf,
    pub(super) layers: Vec<u32>,
    /// Logs and data.
    pub(super) folder: PathBuf,
}

/// Fields in the order in which they have to go.
pub(super) struct Pair {
    nodes: Vec<Running>,
    _link: Link,
    machines: Machines,
    model: String,
}

impl Pair {
    /// Lays the link, starts both nodes, and waits until they are ready.
    pub(super) fn start(setup: &Setup, tag: &str, plan: &Plan<'_>) -> anyhow::Result<Self> {
        let machines = Machines::new(&format!("tbbench-tokens-{tag}"), 2)?;
        let link = lay(&machines.names(), plan)?;
        let folder = setup.folder.join(tag);
        std::fs::create_dir_all(&folder)?;
        let key = folder.join("key");
        crate::cluster_key::write(&key)?;
        let mut pair = Self { nodes: Vec::new(), _link: link, machines, model: String::new() };
        for machine in 0..2 {
            let mut command = pair.machines.command(machine, &setup.node);
            command.arg("serve").args(["--interface", INTERFACE, "--memory", MEMORY]);
            command.args(["--name", &format!("node{machine}")]).arg("--model").arg(&setup.model);
            command.args(["--layers", &by_hand(&setup.layers), "--no-discovery"]);
            command.args(["--listen", &NODE_PORT.to_string()]);
            command.args(["--api", &format!("127.0.0.1:{API_PORT}")]);
            command.arg("--cluster-key-file").arg(&key);
            if machine == 1 {
                command.args(["--peer", &format!("{}:{NODE_PORT}", plan.address(0))]);
            }
            served::quiet(&mut command, &folder.join(format!("node{machine}")));
            pair.nodes.push(Running::start(command, &folder.join(format!("node{machine}.log")))?);
        }
        (0..2).try_for_each(|machine| pair.wait_ready(machine))?;
        pair.model = served::model_name(&pair.get(0, "/v1/models")?)?;
        Ok(pair)
    }

    pub(super) fn machines(&self) -> &Machines {
        &self.machines
    }

    /// One answer of the first node, token by token.
    pub(super) fn ask(&mut self, prompt: Vec<u32>, tokens: usize) -> anyhow::Result<Heard> {
        self.nodes.iter_mut().try_for_each(Running::must_live)?;
        let ask = Ask { port: API_PORT, model: self.model.clone(), prompt, tokens };
        on(self.machines.names()[0], || client::stream(&ask))
    }

    fn get(&self, machine: usize, path: &str) -> anyhow::Result<Value> {
        on(self.machines.names()[machine], || client::get(API_PORT, path))
    }

    fn wait_ready(&mut self, machine: usize) -> anyhow::Result<()> {
        let Self { machines, nodes, .. } = self;
        let view = || on(machines.names()[machine], || client::get(API_PORT, "/v1/cluster"));
        served::wait_ready(READY_PATIENCE, view, || {
            ensure!(!job::interrupted(), "interrupted");
            nodes.iter_mut().try_for_each(Running::must_live)
        })
    }
}

/// As `--layers` takes them.
fn by_hand(layers: &[u32]) -> String {
    let (first, all) = (layers[0], layers.iter().sum::<u32>());
    format!("node0=0-{},node1={first}-{}", first - 1, all - 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_nodes_get_their_layers() {
        assert_eq!(super::by_hand(&[18, 12]), "node0=0-17,node1=18-29");
    }
}
