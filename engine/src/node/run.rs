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
    Command, EncryptChoice, NodeConfig, NodeHandle, NodePort, Shared, StartError, TrustChoice,
    entry::Entry,
    models::{Model, Models, WeightsPolicy},
    stage0::Stage0,
    view,
};
use crate::{
    cluster::{Action, Cluster, NodesWanted, Phase, PlacedModel},
    fabric::{
        Encrypt, Event, Fabric, FabricConfig, Incoming, Lane, Link, LinkError, NodeId,
        TrustWithoutKey,
        messages::{self, ClusterMessage, OpenSequence, Record, Submit, TokenMessage},
    },
    prompt::PromptModel,
    request::{GenerateError, GenerateRequest, RequestId},
    sampler,
    scheduler::Scheduler,
    stage::worker::{self, Job, Route, WorkerEvent},
};

/// Jobs that may wait for the worker: opens and closes of all sequences, and one step.
const JOBS_MAX: usize = 4096;
/// Events of the worker that may wait for the loop.
const WORKER_EVENTS_MAX: usize = 1024;
/// How often the loop looks after what nobody reports.
const TICK: Duration = Duration::from_millis(100);
/// How long a placement waits for the connection to a neighbour on the ring.
const NEIGHBOUR_WAIT: Duration = Duration::from_secs(10);
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
    let policy = WeightsPolicy { choice: config.weights, memory_bytes: config.memory_bytes };
    // A model that cannot run is said at once, before anything listens.
    let wanted = config.model.as_ref().map(|model| Model::open(model, policy)).transpose()?;
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
        models: Models::new(&config.data, policy),
        cluster: Cluster::new(record, wanted_nodes),
        fabric,
        jobs,
        stage0: None,
        entry: Entry::default(),
        shared: port.shared.clone(),
        loading_bytes: 0,
        link_trouble: None,
        first: None,
        pending: None,
        own_links: Vec::new(),
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
            node.run(&port, &events, looks);
            // Closes the worker's jobs, and its way to report: it may be about to.
            drop((node, events));
            let _ = worker.join();
        })
        .map_err(StartError::Thread)?;
    Ok((handle, thread))
}

pub(super) struct Node {
    pub(super) node: NodeId,
    pub(super) name: String,
    models: Models,
    pub(super) cluster: Cluster,
    pub(super) fabric: Fabric,
    jobs: Sender<Job>,
    stage0: Option<Stage0>,
    pub(super) entry: Entry,
    shared: Arc<Shared>,
    pub(super) loading_bytes: u64,
    pub(super) link_trouble: Option<String>,
    /// The node of layer 0, as long as a placement is known.
    first: Option<NodeId>,
    /// A placement whose neighbours are not connected yet, and since when it waits.
    pending: Option<(PlacedModel, Instant)>,
    pub(super) own_links: Vec<messages::LinkReport>,
    pub(super) reports: HashMap<NodeId, Vec<messages::LinkReport>>,
    reported: Instant,
}

impl Node {
    fn run(
        &mut self,
        port: &NodePort,
        worker: &Receiver<WorkerEvent>,
        mut looks: Receiver<Result<Link, LinkError>>,
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
                recv(worker) -> event => match event {
                    Ok(event) => self.handle_worker(event),
                    Err(_) => {
                        tracing::error!("the MLX thread has ended: this node ends, too");
                        break;
                    }
                },
                recv(transport) -> event => match event {
                    Ok(event) => {
                        self.handle_transport(event);
                        self.publish();
                    }
                    Err(_) => {
                        tracing::error!("the transport has ended: this node ends, too");
                        break;
                    }
                },
                recv(sent) -> completion => if let Ok(completion) = completion {
                    self.fabric.handle_sent(&completion);
                },
                recv(found) -> found => if let Ok(found) = found {
                    self.fabric.handle_found(&found);
                },
                recv(looks) -> look => match look {
                    Ok(look) => self.handle_link(look),
                    Err(_) => looks = channel::never(),
                },
                recv(ticks) -> _ => self.handle_tick(),
            }
        }
        self.fail_requests(&GenerateError::ShuttingDown);
        self.fabric.close();
        let mut view = view::view(self);
        view.state = "stopped".into();
        self.shared.publish_model(None);
        self.shared.publish(view);
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
                    self.handle_submit(self.node, submit);
                } else {
                    self.tell(first, &ClusterMessage::Submit(submit));
                }
            }
            Command::Cancel(id) => self.cancel(id),
            Command::Place(choice) => match Model::open(&choice, self.models.policy()) {
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
        self.models.insert(model);
        let actions = self.cluster.handle_want(known);
        self.act(actions);
    }

    fn cancel(&mut self, id: RequestId) {
        if self.entry.remove(id).is_none() {
            return;
        }
        self.tell_cancelled(id);
    }

    /// Stage 0 need not go on with a request of this node's clients.
    fn tell_cancelled(&mut self, id: RequestId) {
        match self.first {
            Some(first) if first == self.node => self.end_sequence(id),
            Some(first) => self.tell(first, &ClusterMessage::Cancel { sequence: id.0 }),
            None => {}
        }
    }

    /// Ends the requests of all of this node's clients.
    fn fail_requests(&mut self, error: &GenerateError) {
        for id in self.entry.fail_all(error) {
            self.tell_cancelled(id);
        }
    }

    fn handle_incoming(&mut self, from: NodeId, incoming: Incoming) {
        // What came before a loss may be looked at after it.
        if self.fabric.peer(from).is_none() {
            return;
        }
        match incoming {
            Incoming::Token(message) => {
                let last = self.cluster.placed().map(|placed| placed.placement.last());
                let believed = match message {
                    TokenMessage::Token { .. } => last == Some(from),
                    TokenMessage::Failed { .. } | TokenMessage::Busy { .. } => {
                        self.cluster.holds_layers(from)
                    }
                };
                if believed {
                    self.handle_token(message);
                }
            }
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
            ClusterMessage::Place(place) => self.cluster.handle_place(from, &place),
            ClusterMessage::Loaded { placement_epoch, bytes_read } => {
                self.cluster.handle_load(from, placement_epoch, Ok(bytes_read))
            }
            ClusterMessage::LoadFailed { placement_epoch, cause } => {
                self.cluster.handle_load(from, placement_epoch, Err(cause))
            }
            ClusterMessage::Abandon { placement_epoch, node, cause } => {
                self.cluster.handle_abandon(from, placement_epoch, &node, &cause)
            }
            ClusterMessage::Submit(submit) => return self.handle_submit(from, submit),
            ClusterMessage::Cancel { sequence } => {
                let id = RequestId(sequence);
                let stage0 = self.stage0.as_ref();
                if stage0.is_some_and(|stage0| stage0.entries.get(&id) == Some(&from)) {
                    self.end_sequence(id);
                }
                return;
            }
            ClusterMessage::Report(report) => {
                self.reports.insert(from, report);
                return;
            }
        };
        self.act(actions);
        self.publish();
    }

    fn handle_submit(&mut self, from: NodeId, submit: Submit) {
        let Submit { mut open, prompt } = submit;
        let sequence = RequestId(open.sequence);
        if NodeId::from_bytes(open.entry) != from {
            return self.cut_off(from, "a request in another node's name");
        }
        let stage0 = self.stage0.as_mut().filter(|stage0| stage0.epoch == open.placement_epoch);
        let failed = |cause| {
            let node = self.name.clone();
            TokenMessage::Failed { sequence: sequence.0, node, cause }
        };
        let taken = match stage0 {
            Some(stage0) => stage0.check(&open, &prompt).map_err(failed).and_then(|()| {
                let taken = stage0.scheduler.handle_submit(sequence, open.attempt, &prompt);
                taken.map_err(|_full| TokenMessage::Busy { sequence: sequence.0 })
            }),
            None => Err(failed("the model has been placed anew meanwhile".into())),
        };
        match taken {
            Ok(()) => {
                if let Some(stage0) = &mut self.stage0 {
                    stage0.entries.insert(sequence, NodeId::from_bytes(open.entry));
                }
                open.prompt_tokens = sampler::prompt_tokens(&open.sampling, &prompt);
                self.job(Job::Open(open));
                self.pump();
            }
            Err(message) => self.deliver(NodeId::from_bytes(open.entry), message),
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
            TokenMessage::Token { sequence, .. }
            | TokenMessage::Failed { sequence, .. }
            | TokenMessage::Busy { sequence } => {
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
                self.load_pending();
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
                    self.shared.publish_model(None);
                    self.fail_requests(&GenerateError::NodeLost { node, cause });
                    (self.stage0, self.first, self.pending) = (None, None, None);
                    self.job(Job::Unload);
                }
                Action::Ready => self.ready(),
            }
        }
    }

    fn load(&mut self, placed: &PlacedModel) {
        let why = "the model is being placed anew".to_owned();
        self.fail_requests(&GenerateError::NotReady { why });
        self.shared.publish_model(None);
        (self.stage0, self.pending) = (None, None);
        self.first = Some(placed.placement.first());
        self.loading_bytes = 0;
        let placement = &placed.placement;
        let Some(position) = placement.position(self.node) else {
            return self.job(Job::Unload);
        };
        // The neighbours may be connecting just now.
        let neighbours = [placement.before(self.node), placement.after(self.node)];
        if neighbours.into_iter().flatten().any(|node| self.fabric.peer(node).is_none()) {
            self.pending = Some((placed.clone(), Instant::now()));
            return;
        }
        let range = placement.assignments()[position].range;
        let policy = self.models.policy();
        let found = self.models.find(placed).map(|model| {
            let Model { folder, config, .. } = model;
            let sizes = (config.hidden, config.vocabulary, config.context);
            (folder.clone(), model.precision(range, policy), sizes)
        });
        tracing::info!(epoch = placed.epoch, model = placed.name, %range, "loading layers");
        let [before, after] =
            neighbours.map(|node| node.and_then(|node| self.fabric.peer(node)).cloned());
        match found {
            Ok((folder, precision, (hidden, vocabulary, context))) => {
                let route = Route { before, after };
                if placement.first() == self.node {
                    let stages = placement.assignments().len();
                    let scheduler = Scheduler::new(stages, worker::chunk_tokens(hidden));
                    self.stage0 = Some(Stage0 {
                        epoch: placed.epoch,
                        scheduler,
                        busy: false,
                        entries: HashMap::new(),
                        vocabulary,
                        context,
                    });
                }
                self.job(Job::Load { epoch: placed.epoch, folder, range, precision, route });
            }
            Err(cause) => {
                tracing::error!(cause, "cannot load");
                let actions = self.cluster.handle_own_load(placed.epoch, Err(cause));
                self.act(actions);
            }
        }
    }

    /// Loads what waited for a neighbour to connect, or gives up waiting.
    fn load_pending(&mut self) {
        let Some((placed, since)) = self.pending.clone() else { return };
        let ring = &placed.placement;
        let missing = [ring.before(self.node), ring.after(self.node)]
            .into_iter()
            .flatten()
            .find(|&node| self.fabric.peer(node).is_none());
        match missing {
            None => self.load(&placed),
            Some(node) if since.elapsed() > NEIGHBOUR_WAIT => {
                self.pending = None;
                let name = self.cluster.member(node).map_or("?", |record| &record.name);
                let cause = format!("no connection to {name}, its neighbour on the ring");
                let actions = self.cluster.handle_own_load(placed.epoch, Err(cause));
                self.act(actions);
            }
            Some(_) => {}
        }
    }

    fn ready(&mut self) {
        let Some(placed) = self.cluster.placed().cloned() else { return };
        tracing::info!(model = placed.name, epoch = placed.epoch, "ready");
        // A node without the model's files is a stage of the ring, but no entry.
        let Ok(model) = self.models.find(&placed) else { return };
        match PromptModel::open(&model.choice.dir, &placed.name) {
            Ok(model) => self.shared.publish_model(Some(Arc::new(model))),
            Err(error) => tracing::error!(%error, "no tokenizer: this node takes no requests"),
        }
    }

    fn handle_tick(&mut self) {
        for gone in self.entry.abandoned() {
            self.cancel(gone);
        }
        self.load_pending();
        let listening: Vec<&str> =
            self.cluster.members().map(|(_, record)| record.listen.as_str()).collect();
        self.fabric.redial(&listening);
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.own_links = view::own_links(&self.fabric);
            self.fabric.broadcast(&ClusterMessage::Report(self.own_links.clone()));
            if let Some(reminder) = self.cluster.reminder() {
                self.fabric.broadcast(&reminder);
            }
        }
        self.publish();
    }

    /// Says what is wrong with the link, and announces this node anew when it is right again.
    fn handle_link(&mut self, look: Result<Link, LinkError>) {
        let link = self.fabric.endpoint().link();
        let trouble = match look {
            Err(error) => Some(error.to_string()),
            Ok(now) if now.index() != link.index() => Some(format!(
                "{} was made anew (index {} became {}), and this node is moving to it",
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
    let open = OpenSequence {
        placement_epoch,
        sequence: id.0,
        attempt: 0,
        sampling,
        prompt_tokens: Vec::new(),
        max_tokens,
        stop_tokens,
        entry: *entry.as_bytes(),
    };
    Submit { open, prompt }
}
