//! The loop of a node: one thread that hears everything and decides nothing by itself.
//!
//! What is decided is decided by [`Cluster`] (who holds which layers) and [`Scheduler`] (what stage 0
//! computes next); what is computed, by the stage worker; what is said to clients, by the API.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam::{
    channel::{self, Receiver, Sender},
    select,
};

use super::{
    Command, EncryptChoice, ModelChoice, NodeConfig, NodeHandle, NodePort, Shared, StartError,
    TrustChoice, entry::Entry, view,
};
use crate::{
    cluster::{Action, Cluster, KnownModel, NodesWanted, Phase, PlacedModel},
    fabric::{
        Encrypt, Event, Fabric, FabricConfig, Incoming, Lane, Link, LinkError, NodeId,
        messages::{self, ClusterMessage, OpenSequence, Record, Submit, TokenMessage},
    },
    model::{LlamaConfig, ModelShape},
    prompt::PromptModel,
    request::{GenerateError, GenerateRequest, RequestId, Sampling},
    scheduler::Scheduler,
    stage::worker::{self, Job, Route, WorkerEvent},
    weights::{ModelFolder, ModelLibrary},
};

/// Jobs that may wait for the worker: opens and closes of all sequences, and one step.
const JOBS_MAX: usize = 4096;
/// Events of the worker that may wait for the loop.
const WORKER_EVENTS_MAX: usize = 1024;
/// How often the loop looks after what nobody reports.
const TICK: Duration = Duration::from_millis(100);
/// How often nodes tell each other the state of their connections.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Opens the link, listens on it and starts the node: its loop runs on a thread of its own until
/// [`NodeHandle::shutdown`].
///
/// # Errors
/// [`StartError`]: the link, the keys, the port or the model, each with what to do next.
pub fn start(config: NodeConfig) -> Result<(NodeHandle, thread::JoinHandle<()>), StartError> {
    let data = &config.data;
    std::fs::create_dir_all(data)
        .map_err(|source| StartError::Data { dir: data.clone(), source })?;
    // A model that cannot run is said at once, before anything listens.
    let wanted = config.model.as_ref().map(Model::open).transpose()?;
    let fabric = Fabric::open(&FabricConfig {
        interface: &config.interface,
        listen: config.listen,
        name: &config.name,
        peers: &config.peers,
        discovery: config.discovery,
        data,
        cluster_key_file: config.cluster_key_file.as_deref(),
        first_use: config.trust == TrustChoice::FirstUse,
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
    let (jobs, worker_jobs) = channel::bounded(JOBS_MAX);
    let (worker_events, events) = channel::bounded(WORKER_EVENTS_MAX);
    let worker = worker::start(config.name.clone(), worker_jobs, worker_events)
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
    };
    let wanted_nodes = match config.nodes {
        super::NodesWanted::Smallest => NodesWanted::Smallest,
        super::NodesWanted::Exactly(count) => NodesWanted::Exactly(count as usize),
        super::NodesWanted::All => NodesWanted::All,
    };
    let mut node = Node {
        node,
        name: config.name.clone(),
        library: ModelLibrary::new(&config.data),
        cluster: Cluster::new(record, wanted_nodes),
        fabric,
        jobs,
        models: Vec::new(),
        stage0: None,
        entry: Entry::default(),
        shared: port.shared.clone(),
        loading_bytes: 0,
        link_trouble: None,
        reports: HashMap::new(),
        reported: Instant::now(),
    };
    if let Some(model) = wanted {
        node.want(model);
    }
    node.publish();
    let looks = node.fabric.watch_link().map_err(StartError::Thread)?;
    let thread = thread::Builder::new()
        .name("node".into())
        .spawn(move || {
            node.run(&port, &events, &looks);
            drop(node); // closes the worker's jobs
            let _ = worker.join();
        })
        .map_err(StartError::Thread)?;
    Ok((handle, thread))
}

/// A model on this disk.
pub(super) struct Model {
    known: KnownModel,
    choice: ModelChoice,
    folder: Arc<ModelFolder>,
    hidden: usize,
}

impl Model {
    fn open(choice: &ModelChoice) -> Result<Self, StartError> {
        let folder = ModelFolder::open(&choice.dir)?;
        let config = LlamaConfig::from_json(folder.config())?;
        let known = KnownModel {
            name: choice.name.clone(),
            fingerprint: folder.fingerprint(),
            shape: ModelShape::from(&config),
        };
        let hidden = config.hidden;
        Ok(Self { known, choice: choice.clone(), folder: Arc::new(folder), hidden })
    }
}

/// What the node that holds layer 0 keeps.
struct Stage0 {
    epoch: u64,
    scheduler: Scheduler,
    busy: bool,
    /// The nodes whose clients wait.
    entries: HashMap<RequestId, NodeId>,
}

pub(super) struct Node {
    pub(super) node: NodeId,
    pub(super) name: String,
    library: ModelLibrary,
    pub(super) cluster: Cluster,
    pub(super) fabric: Fabric,
    jobs: Sender<Job>,
    models: Vec<Model>,
    stage0: Option<Stage0>,
    pub(super) entry: Entry,
    shared: Arc<Shared>,
    pub(super) loading_bytes: u64,
    pub(super) link_trouble: Option<String>,
    pub(super) reports: HashMap<NodeId, Vec<messages::LinkReport>>,
    reported: Instant,
}

impl Node {
    fn run(
        &mut self,
        port: &NodePort,
        worker: &Receiver<WorkerEvent>,
        looks: &Receiver<Result<Link, LinkError>>,
    ) {
        let transport = self.fabric.events();
        let (received, sent) = (self.fabric.received(), self.fabric.sent());
        let found = self.fabric.found();
        let ticks = channel::tick(TICK);
        loop {
            select! {
                recv(port.commands) -> command => match command {
                    Ok(Command::Shutdown) | Err(_) => break,
                    Ok(command) => self.handle_command(command),
                },
                recv(received) -> completion => if let Ok(completion) = completion
                    && let Some((from, incoming)) = self.fabric.handle_received(completion)
                {
                    self.handle_incoming(from, incoming);
                },
                recv(worker) -> event => if let Ok(event) = event {
                    self.handle_worker(event);
                },
                recv(transport) -> event => if let Ok(event) = event {
                    self.handle_transport(event);
                    self.publish();
                },
                recv(sent) -> completion => if let Ok(completion) = completion {
                    self.fabric.handle_sent(&completion);
                },
                recv(found) -> found => if let Ok(found) = found {
                    self.fabric.handle_found(&found);
                },
                recv(looks) -> look => if let Ok(look) = look {
                    self.handle_link(look);
                },
                recv(ticks) -> _ => self.handle_tick(),
            }
        }
        self.entry.fail_all(&GenerateError::ShuttingDown);
        self.fabric.close();
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Generate { id, request, events } => {
                let placed = self.cluster.placed().filter(|_| self.cluster.phase() == Phase::Ready);
                let Some(placed) = placed else {
                    let why = view::view(self).reason;
                    let _ = events.try_send(crate::request::GenerateEvent::Failed(
                        GenerateError::NotReady { why },
                    ));
                    return;
                };
                let (first, epoch) = (placed.placement.first(), placed.epoch);
                let submit = submit(id, epoch, self.node, request);
                self.entry.insert(id, events);
                if first == self.node {
                    self.handle_submit(submit);
                } else {
                    self.tell(first, &ClusterMessage::Submit(submit));
                }
            }
            Command::Cancel(id) => self.cancel(id),
            Command::Place(choice) => match Model::open(&choice) {
                Ok(model) => {
                    self.want(model);
                    self.publish();
                }
                Err(error) => tracing::error!(%error, model = choice.name, "not placed"),
            },
            Command::Shutdown => {}
        }
    }

    /// Has a model placed.
    fn want(&mut self, model: Model) {
        let known = model.known.clone();
        self.models.retain(|other| other.known.fingerprint != known.fingerprint);
        self.models.push(model);
        let actions = self.cluster.handle_want(known);
        self.act(actions);
    }

    fn cancel(&mut self, id: RequestId) {
        if self.entry.remove(id).is_none() {
            return;
        }
        let Some(first) = self.cluster.placed().map(|placed| placed.placement.first()) else {
            return;
        };
        if first == self.node {
            self.end_sequence(id);
        } else {
            self.tell(first, &ClusterMessage::Cancel { sequence: id.0 });
        }
    }

    fn handle_incoming(&mut self, from: NodeId, incoming: Incoming) {
        match incoming {
            Incoming::Token(message) => self.handle_token(message),
            Incoming::Cluster(message) => self.handle_cluster(from, message),
            Incoming::Malformed(what) => self.cut_off(from, &what),
        }
    }

    fn cut_off(&mut self, node: NodeId, what: &str) {
        tracing::error!(%node, what, "closing the connection: it sent what no node sends");
        if let Some(queue_pair) = self.fabric.peer(node) {
            queue_pair.close();
        }
    }

    fn handle_cluster(&mut self, from: NodeId, message: ClusterMessage) {
        let actions = match message {
            ClusterMessage::Record(record) if NodeId::from_bytes(record.node) != from => {
                return self.cut_off(from, "the record of another node");
            }
            ClusterMessage::Record(record) => self.cluster.handle_record(record),
            ClusterMessage::Place(place) => self.cluster.handle_place(&place),
            ClusterMessage::Loaded { placement_epoch, bytes_read } => {
                self.cluster.handle_load(from, placement_epoch, Ok(bytes_read))
            }
            ClusterMessage::LoadFailed { placement_epoch, cause } => {
                self.cluster.handle_load(from, placement_epoch, Err(cause))
            }
            ClusterMessage::Abandon { placement_epoch, node, cause } => {
                self.cluster.handle_abandon(placement_epoch, &node, &cause)
            }
            ClusterMessage::Submit(submit) => return self.handle_submit(submit),
            ClusterMessage::Cancel { sequence } => return self.end_sequence(RequestId(sequence)),
            ClusterMessage::Report(report) => {
                self.reports.insert(from, report);
                return;
            }
        };
        self.act(actions);
        self.publish();
    }

    fn handle_submit(&mut self, submit: Submit) {
        let Submit { open, prompt } = submit;
        let sequence = RequestId(open.sequence);
        let stage0 = self.stage0.as_mut().filter(|stage0| stage0.epoch == open.placement_epoch);
        let taken = match stage0 {
            Some(stage0) => stage0
                .scheduler
                .handle_submit(sequence, open.attempt, &prompt)
                .map_err(|full| full.to_string()),
            None => Err("the model has been placed anew meanwhile".into()),
        };
        match taken {
            Ok(()) => {
                if let Some(stage0) = &mut self.stage0 {
                    stage0.entries.insert(sequence, NodeId::from_bytes(open.entry));
                }
                self.job(Job::Open(open));
                self.pump();
            }
            Err(cause) => {
                let node = self.name.clone();
                let message = TokenMessage::Failed { sequence: sequence.0, node, cause };
                self.deliver(NodeId::from_bytes(open.entry), message);
            }
        }
    }

    /// Hands the worker its next step, if it is free and there is one.
    fn pump(&mut self) {
        let Some(stage0) = self.stage0.as_mut().filter(|stage0| !stage0.busy) else { return };
        if let Some(step) = stage0.scheduler.next_step() {
            stage0.busy = true;
            let epoch = stage0.epoch;
            self.job(Job::Step { epoch, step });
        }
    }

    fn end_sequence(&mut self, sequence: RequestId) {
        let Some(stage0) = &mut self.stage0 else { return };
        stage0.entries.remove(&sequence);
        if stage0.scheduler.handle_end(sequence) {
            self.job(Job::Close(sequence.0));
        }
    }

    /// The clients of a node that is gone wait no more.
    fn end_sequences_of(&mut self, entry: NodeId) {
        let Some(stage0) = &self.stage0 else { return };
        let theirs = stage0.entries.iter().filter(|&(_, &node)| node == entry);
        let theirs: Vec<RequestId> = theirs.map(|(&sequence, _)| sequence).collect();
        for sequence in theirs {
            self.end_sequence(sequence);
        }
    }

    fn handle_worker(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::StepDone { epoch } => {
                if let Some(stage0) = self.stage0.as_mut().filter(|stage0| stage0.epoch == epoch) {
                    stage0.busy = false;
                }
                self.pump();
            }
            WorkerEvent::Token { entry, message } => {
                let first = self.cluster.placed().map(|placed| placed.placement.first());
                if let Some(first) = first.filter(|&first| first != entry) {
                    self.deliver(first, message.clone());
                }
                self.deliver(entry, message);
            }
            WorkerEvent::Loading { epoch, bytes_read } => {
                if self.cluster.placed().is_some_and(|placed| placed.epoch == epoch) {
                    self.loading_bytes = bytes_read;
                }
            }
            WorkerEvent::Loaded { epoch, result } => {
                match &result {
                    Ok(bytes) => {
                        tracing::info!(epoch, bytes_read = bytes, "layers are loaded");
                    }
                    Err(error) => tracing::error!(epoch, error, "layers cannot be loaded"),
                }
                let actions = self.cluster.handle_own_load(epoch, result);
                self.act(actions);
                self.publish();
            }
            WorkerEvent::Misbehaved { node, what } => self.cut_off(node, &what),
        }
    }

    /// A token message for a node: over the link, or here.
    fn deliver(&mut self, to: NodeId, message: TokenMessage) {
        if to == self.node {
            self.handle_token(message);
        } else {
            self.fabric.send(to, Lane::Urgent, messages::TOKEN, &message);
        }
    }

    /// A token came: this node holds layer 0, or its client waits, or both.
    fn handle_token(&mut self, message: TokenMessage) {
        match &message {
            TokenMessage::Token { sequence, attempt, token, finish: 0, .. } => {
                let id = RequestId(*sequence);
                if let Some(stage0) = &mut self.stage0 {
                    stage0.scheduler.handle_token(id, *attempt, *token);
                }
                self.pump();
            }
            TokenMessage::Token { sequence, .. } | TokenMessage::Failed { sequence, .. } => {
                self.end_sequence(RequestId(*sequence));
            }
        }
        if let Some(gone) = self.entry.handle_token(message) {
            self.cancel(gone);
        }
    }

    fn handle_transport(&mut self, event: Event) {
        match event {
            Event::Connected { queue_pair } => {
                let peer = queue_pair.peer().clone();
                tracing::info!(
                    peer = peer.name, interface = peer.interface, kind = %peer.link_kind,
                    encrypted = peer.encrypted, "connected"
                );
                if self.fabric.peer(peer.node).is_some() {
                    // Both had dialled; what was said on the first connection may be lost.
                    let actions = self.cluster.handle_lost(peer.node, "connected anew");
                    self.act(actions);
                }
                self.fabric.handle_connected(queue_pair);
                self.tell(peer.node, &ClusterMessage::Record(self.cluster.record().clone()));
            }
            Event::Suspected { peer, link, silent_ms } => {
                tracing::warn!(peer = peer.name, link, silent_ms, "silent");
                self.cluster.handle_suspected(peer.node, true);
            }
            Event::Recovered { peer } => {
                tracing::info!(peer = peer.name, "heard again");
                self.cluster.handle_suspected(peer.node, false);
            }
            Event::Disconnected { peer, cause } => {
                tracing::warn!(peer = peer.name, %cause, "lost");
                self.fabric.handle_disconnected(peer.node);
                self.reports.remove(&peer.node);
                self.end_sequences_of(peer.node);
                let actions = self.cluster.handle_lost(peer.node, &cause.to_string());
                self.act(actions);
            }
            Event::ConnectFailed { addr, error } => {
                tracing::debug!(%addr, %error, "not connected");
            }
            Event::Refused { addr, error } => tracing::warn!(%addr, %error, "refused"),
            other => tracing::debug!(?other, "an event this node has no use for"),
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(to, message) => self.tell(to, &message),
                Action::Broadcast(message) => self.fabric.broadcast(&message),
                Action::Load(model) => self.load(&model),
                Action::Unload { node, cause } => {
                    tracing::warn!(node, cause, "the placement is gone");
                    self.stage0 = None;
                    self.shared.publish_model(None);
                    self.entry.fail_all(&GenerateError::NodeLost { node, cause });
                    self.job(Job::Unload);
                }
                Action::Ready => self.ready(),
            }
        }
    }

    fn load(&mut self, placed: &PlacedModel) {
        let why = "the model is being placed anew".to_owned();
        self.entry.fail_all(&GenerateError::NotReady { why });
        self.shared.publish_model(None);
        self.stage0 = None;
        self.loading_bytes = 0;
        let found = self.find_model(placed);
        let placement = &placed.placement;
        let Some(position) = placement.position(self.node) else {
            return self.job(Job::Unload);
        };
        let range = placement.assignments()[position].range;
        tracing::info!(epoch = placed.epoch, model = placed.name, %range, "loading layers");
        let neighbour = |node: Option<NodeId>| match node {
            None => Ok(None),
            Some(node) => match self.fabric.peer(node) {
                Some(queue_pair) => Ok(Some(queue_pair.clone())),
                None => Err(format!("no connection to its neighbour {node} on the ring")),
            },
        };
        let prepared = found.and_then(|model| {
            let before = neighbour(placement.before(self.node))?;
            let after = neighbour(placement.after(self.node))?;
            let model = &self.models[model];
            Ok((model.folder.clone(), model.hidden, Route { before, after }))
        });
        match prepared {
            Ok((folder, hidden, route)) => {
                if placement.first() == self.node {
                    let stages = placement.assignments().len();
                    let scheduler = Scheduler::new(stages, worker::chunk_tokens(hidden));
                    self.stage0 = Some(Stage0 {
                        epoch: placed.epoch,
                        scheduler,
                        busy: false,
                        entries: HashMap::new(),
                    });
                }
                self.job(Job::Load { epoch: placed.epoch, folder, range, route });
            }
            Err(cause) => {
                tracing::error!(cause, "cannot load");
                let actions = self.cluster.handle_own_load(placed.epoch, Err(cause));
                self.act(actions);
            }
        }
    }

    /// The placed model on this disk: by its name, and the same files.
    fn find_model(&mut self, placed: &PlacedModel) -> Result<usize, String> {
        let same = |model: &Model| model.known.fingerprint == placed.fingerprint;
        if let Some(index) = self.models.iter().position(same) {
            return Ok(index);
        }
        let entry = self.library.find(&placed.name).map_err(|error| error.to_string())?;
        let choice = ModelChoice { name: placed.name.clone(), dir: entry.dir };
        let model = Model::open(&choice).map_err(|error| error.to_string())?;
        if !same(&model) {
            let dir = choice.dir.display();
            return Err(format!("{dir} holds other files than the node that placed the model"));
        }
        self.models.push(model);
        Ok(self.models.len() - 1)
    }

    fn ready(&mut self) {
        let Some(placed) = self.cluster.placed().cloned() else { return };
        tracing::info!(model = placed.name, epoch = placed.epoch, "ready");
        // A node without the model's files is a stage of the ring, but no entry.
        let Ok(index) = self.find_model(&placed) else { return };
        match PromptModel::open(&self.models[index].choice.dir, &placed.name) {
            Ok(model) => self.shared.publish_model(Some(Arc::new(model))),
            Err(error) => tracing::error!(%error, "no tokenizer: this node takes no requests"),
        }
    }

    fn handle_tick(&mut self) {
        for gone in self.entry.abandoned() {
            self.cancel(gone);
        }
        let listening: Vec<&str> =
            self.cluster.members().map(|(_, record)| record.listen.as_str()).collect();
        self.fabric.redial(&listening);
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.fabric.broadcast(&ClusterMessage::Report(view::own_links(self)));
        }
        self.publish();
    }

    /// Says what is wrong with the link, and announces this node anew when it is right again.
    fn handle_link(&mut self, look: Result<Link, LinkError>) {
        let link = self.fabric.endpoint().link();
        let trouble = match look {
            Err(error) => Some(error.to_string()),
            Ok(now) if now.index() != link.index() => Some(format!(
                "{} was made anew (index {} became {}), and this node listens on the old one (hint: \
                 restart exo-node)",
                link.name(),
                link.index(),
                now.index()
            )),
            Ok(now) => {
                if self.link_trouble.is_some() {
                    tracing::info!(interface = now.name(), "the link is usable again");
                    self.fabric.handle_link_back(now);
                }
                None
            }
        };
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != self.link_trouble) {
            tracing::warn!(trouble, "the link is not usable");
        }
        self.link_trouble = trouble;
    }

    fn publish(&self) {
        self.shared.publish(view::view(self));
    }

    fn tell(&self, node: NodeId, message: &ClusterMessage) {
        self.fabric.send(node, Lane::Cluster, messages::CLUSTER, message);
    }

    fn job(&self, job: Job) {
        if self.jobs.try_send(job).is_err() {
            tracing::error!("the MLX worker does not keep up, or has ended: a job was dropped");
        }
    }
}

fn submit(id: RequestId, placement_epoch: u64, entry: NodeId, request: GenerateRequest) -> Submit {
    let GenerateRequest { prompt, sampling, max_tokens, stop_tokens } = request;
    let Sampling { temperature, top_p, seed, logprobs } = sampling;
    let open = OpenSequence {
        placement_epoch,
        sequence: id.0,
        attempt: 0,
        temperature,
        top_p,
        seed,
        logprobs: logprobs.unwrap_or(worker::NO_LOGPROBS),
        max_tokens,
        stop_tokens,
        entry: *entry.as_bytes(),
    };
    Submit { open, prompt }
}
