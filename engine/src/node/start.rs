//! What does a node open and start, in which order?

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Instant,
};

use crossbeam::channel;

use super::{
    EncryptChoice, NodeConfig, NodeHandle, StartError, TrustChoice,
    condition::Condition,
    facts::facts,
    models::{Model, Models, WeightsPolicy},
    parts::Parts,
    run::Node,
    shards::Shards,
    society::Society,
    ways::Ways,
};
use crate::{
    cluster::{NodesWanted, Wish, core::Core},
    fabric::{Encrypt, Fabric, FabricConfig, TrustWithoutKey, messages::Record},
    stage::worker,
    weights::manifest::Manifests,
};

/// Jobs that may wait for the worker: opens and closes of all sequences, and one step.
const JOBS_MAX: usize = 4096;
/// Events of the worker that may wait for the loop.
const WORKER_EVENTS_MAX: usize = 1024;

/// Opens the link, listens on it and starts the node: its loop runs on a thread of its own until
/// [`NodeHandle::shutdown`].
///
/// # Errors
/// [`StartError`]: the link, the keys, the port or the model, each with what to do next.
pub fn start(config: NodeConfig) -> Result<(NodeHandle, thread::JoinHandle<()>), StartError> {
    let data = &config.data;
    std::fs::create_dir_all(data)
        .map_err(|source| StartError::Data { dir: data.clone(), source })?;
    let policy = WeightsPolicy { choice: config.weights, memory_bytes: config.memory_bytes };
    // A model that cannot run is said at once, before anything listens.
    let model = config.model.as_ref().map(|model| Model::open(model, policy)).transpose()?;
    let fabric = Fabric::open(&FabricConfig {
        interface: &config.interface,
        listen: config.listen,
        name: &config.name,
        peers: &config.peers,
        discovery: config.discovery,
        data,
        cluster_key_file: config.cluster_key_file.as_deref(),
        trust: match config.trust {
            TrustChoice::FirstUse => TrustWithoutKey::FirstUse,
            TrustChoice::Pinned => TrustWithoutKey::Pinned,
            TrustChoice::None => TrustWithoutKey::Nobody,
        },
        encrypt: match config.encrypt {
            EncryptChoice::Auto => Encrypt::Auto,
            EncryptChoice::On => Encrypt::On,
            EncryptChoice::Off => Encrypt::Off,
        },
    })?;
    let endpoint = fabric.endpoint();
    let node = endpoint.node_id();
    tracing::info!(
        name = config.name, %node, listen = %endpoint.local_addr(),
        interface = endpoint.link().name(), kind = %endpoint.link().kind(), "node is up"
    );
    // Request numbers are unique in the cluster: this node's number above, a count below.
    let id = *node.as_bytes();
    let first_request = u64::from_le_bytes([0, 0, 0, 0, id[0], id[1], id[2], id[3]]);
    let (handle, port) = NodeHandle::new(first_request);
    let wanted = Arc::<AtomicU64>::default();
    let (jobs, worker_jobs) = channel::bounded(JOBS_MAX);
    let (worker_events, events) = channel::bounded(WORKER_EVENTS_MAX);
    let worker = worker::start(config.name.clone(), wanted.clone(), worker_jobs, worker_events)
        .map_err(StartError::Thread)?;
    let record = Record {
        node: id,
        name: config.name.clone(),
        memory: config.memory_bytes,
        interface: endpoint.link().name().to_owned(),
        link_kind: endpoint.link().kind().to_string(),
        listen: endpoint.local_addr().to_string(),
        api: config.api.clone(),
        wants: None,
        placement_epoch: 0,
        leaving: false,
        facts: facts(&config.data, endpoint)
            .map_err(|source| StartError::Data { dir: config.data.clone(), source })?,
    };
    let society = Society::new(&record);
    let condition = Condition::watch(endpoint.clone()).map_err(StartError::Thread)?;
    let nodes = match config.nodes {
        super::NodesWanted::Smallest => NodesWanted::Smallest,
        super::NodesWanted::Exactly(count) => NodesWanted::Exactly(count as usize),
        super::NodesWanted::All => NodesWanted::All,
    };
    let wish = Wish {
        nodes,
        goal: config.goal,
        by_hand: config.layers.clone(),
        rebalance: config.rebalance,
    };
    let mut node = Node {
        node,
        name: config.name.clone(),
        models: Models::new(&config.data, policy),
        core: Core::new(record, wish, config.policy),
        fabric,
        society,
        jobs,
        wanted,
        clients: HashMap::new(),
        shared: port.shared.clone(),
        loading_bytes: 0,
        link_trouble: None,
        pending: None,
        shards: Shards::new(Parts::new(data), Manifests::new(data)),
        ways: Ways::default(),
        condition,
        reported: Instant::now(),
    };
    if let Some(model) = model {
        node.want(model);
        node.do_all();
    }
    node.publish();
    let link = node.fabric.watch_link().map_err(StartError::Thread)?;
    let thread = thread::Builder::new()
        .name("node".into())
        .spawn(move || {
            node.run(&port, &events, link);
            // Closes the worker's jobs, and its way to report: it may be about to.
            drop((node, events));
            let _ = worker.join();
        })
        .map_err(StartError::Thread)?;
    Ok((handle, thread))
}
