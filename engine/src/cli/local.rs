//! A node and its API in this process.

use std::{net::SocketAddr, path::PathBuf, thread};

use anyhow::{Context, Result};
use exo_engine::{
    api::{self, ApiConfig, ApiStartError, BoundApi},
    node::{self, ModelChoice, NodeConfig, NodeHandle, NodesWanted, Policy},
};
use tokio::{runtime::Runtime, sync::oneshot};

use super::{args::NodeArgs, host, pull::find_or_pull};

/// A node that runs until this is dropped.
pub(super) struct LocalNode {
    /// Where its API listens.
    pub(super) address: SocketAddr,
    pub(super) runtime: Runtime,
    handle: NodeHandle,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
    node: Option<thread::JoinHandle<()>>,
}

impl LocalNode {
    /// Takes the API's port, then starts the node: what is wrong with the command line is known
    /// before anything is on the network.
    pub(super) fn start(
        args: NodeArgs,
        model: Option<String>,
        listen: SocketAddr,
        key: Option<String>,
    ) -> Result<Self> {
        let data = host::data_dir(args.data.data.clone())?;
        let model = model.map(|named| find(&data, &named, args.offline)).transpose()?;
        let bound = bind(&ApiConfig { listen, key })?;
        let address = bound.address();
        let config = config(args, model, data, address)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2) // they move text; the computing is done elsewhere
            .thread_name("exo-api")
            .enable_all()
            .build()
            .context("cannot start the API's threads")?;
        let (handle, node) = node::start(config)?;
        let (stop, stopped) = oneshot::channel();
        let serving = runtime.spawn(serve(bound, handle.clone(), stopped));
        Ok(Self {
            address,
            runtime,
            handle,
            stop: Some(stop),
            serving: Some(serving),
            node: Some(node),
        })
    }
}

impl Drop for LocalNode {
    /// Other nodes take this one's layers, and its clients get their answers, as long as that does
    /// not take too long; then the API ends.
    fn drop(&mut self) {
        self.handle.leave();
        if let Some(node) = self.node.take() {
            let _ = node.join();
        }
        drop(self.stop.take());
        if let Some(serving) = self.serving.take() {
            let _ = self.runtime.block_on(serving);
        }
    }
}

async fn serve(api: BoundApi, node: NodeHandle, stopped: oneshot::Receiver<()>) {
    let stop = async {
        let _ = stopped.await;
    };
    if let Err(error) = api.serve(node, stop).await {
        tracing::error!(%error, "the API ended");
    }
}

fn bind(config: &ApiConfig) -> Result<BoundApi> {
    api::bind(config).map_err(|error: ApiStartError| {
        let hint = error.hint();
        anyhow::anyhow!("{error}\nhint: {hint}")
    })
}

fn find(data: &std::path::Path, named: &str, offline: bool) -> Result<ModelChoice> {
    let model = find_or_pull(data, named, offline)?;
    Ok(ModelChoice { name: model.name, dir: model.dir })
}

fn config(
    args: NodeArgs,
    model: Option<ModelChoice>,
    data: PathBuf,
    api: SocketAddr,
) -> Result<NodeConfig> {
    let nodes = match (args.placement.nodes, args.placement.all_nodes) {
        (Some(n), _) => NodesWanted::Exactly(n),
        (None, true) => NodesWanted::All,
        (None, false) => NodesWanted::Smallest,
    };
    Ok(NodeConfig {
        name: args.name.filter(|name| !name.is_empty()).unwrap_or_else(host::name),
        interface: args.interface,
        listen: args.listen,
        peers: args.peers,
        discovery: !args.no_discovery,
        memory_bytes: match args.memory {
            Some(size) => size.as_u64(),
            None => host::memory_bytes()?,
        },
        weights: args.weights,
        model,
        nodes,
        goal: args.placement.place,
        layers: args.placement.layers,
        rebalance: args.rebalance,
        data,
        cluster_key_file: args.cluster_key_file,
        trust: args.trust,
        encrypt: args.encrypt,
        policy: Policy {
            step_sequences: args.step_sequences as usize,
            token_delay: args.token_delay,
        },
        api: api.to_string(),
    })
}
