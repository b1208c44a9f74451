//! The loop of a node: one thread that hears everything and decides nothing by itself.
//!
//! What is decided is decided by [`Core`]; what is computed, by the stage worker; what is said to
//! clients, by the API.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam::{
    channel::{self, Receiver, Sender},
    select,
};
use tokio::sync::mpsc;

use super::{
    Command, NodePort, Shared, condition::Condition, models::Models, shards::Shards,
    society::Society, view, ways::Ways,
};
use crate::{
    cluster::{
        PlacedModel,
        core::{Core, Out, Work},
    },
    fabric::{
        Fabric, Lane, LinkEvent, NodeId,
        messages::{self, ClusterMessage},
    },
    request::{GenerateEvent, RequestId},
    stage::worker::{Job, WorkerEvent},
};

/// How often the loop looks after what nobody reports.
const TICK: Duration = Duration::from_millis(100);
/// How often nodes tell each other the state of their connections.
const REPORT_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Node {
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) models: Models,
    pub(super) core: Core,
    pub(super) fabric: Fabric,
    pub(super) society: Society,
    pub(super) jobs: Sender<Job>,
    /// The placement of the last job that changes what the worker holds: see [`worker::start`].
    ///
    /// [`worker::start`]: crate::stage::worker::start
    pub(super) wanted: Arc<AtomicU64>,
    /// Those who wait for the answers.
    pub(super) clients: HashMap<RequestId, mpsc::Sender<GenerateEvent>>,
    pub(super) shared: Arc<Shared>,
    pub(super) loading_bytes: u64,
    pub(super) link_trouble: Option<String>,
    /// A placement whose neighbours are not connected yet, and since when it waits.
    pub(super) pending: Option<(PlacedModel, Instant)>,
    pub(super) ways: Ways,
    pub(super) condition: Condition,
    pub(super) reported: Instant,
    pub(super) shards: Shards,
}

impl Node {
    pub(super) fn run(
        &mut self,
        port: &NodePort,
        worker: &Receiver<WorkerEvent>,
        mut link: Receiver<LinkEvent>,
    ) {
        let transport = self.fabric.events();
        let (received, sent) = (self.fabric.received(), self.fabric.sent());
        let (found, said) = (self.fabric.found(), self.fabric.said());
        let shards = self.shards.events();
        let ticks = channel::tick(TICK);
        loop {
            select! {
                recv(port.commands) -> command => match command {
                    Ok(Command::Shutdown) | Err(_) => break,
                    Ok(command) => self.handle_command(command),
                },
                recv(received) -> _ => if let Some((from, incoming)) = self.fabric.take_received() {
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
                        self.do_all();
                        self.publish();
                    }
                    Err(_) => {
                        tracing::error!("the transport has ended: this node ends, too");
                        break;
                    }
                },
                recv(sent) -> _ => self.fabric.take_sent(),
                recv(shards) -> event => if let Ok(event) = event {
                    self.handle_shards(event);
                    self.do_all();
                    self.publish();
                },
                recv(found) -> found => if let Ok(found) = found
                    && self.fabric.handle_found(&found)
                {
                    self.handle_own_key(&found.name, found.addr);
                },
                recv(said) -> said => if let Ok(said) = said
                    && let Some((from, incoming)) = self.fabric.handle_said(said)
                {
                    self.handle_incoming(from, incoming);
                },
                recv(link) -> event => match event {
                    Ok(event) => self.handle_link(event),
                    Err(_) => link = channel::never(),
                },
                recv(ticks) -> _ => {
                    self.handle_tick();
                    if self.core.may_leave() {
                        break;
                    }
                }
            }
            self.do_all();
        }
        self.core.handle_shutdown();
        self.do_all();
        self.fabric.close();
        let mut view = view::view(self);
        view.state = "stopped".into();
        self.shared.publish_model(None);
        self.shared.publish(view);
    }

    pub(super) fn handle_tick(&mut self) {
        self.core.handle_time(self.society.now());
        let gone = self.clients.iter().filter(|(_, events)| events.is_closed());
        for id in gone.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.clients.remove(&id);
            self.core.handle_cancel(id);
        }
        self.do_all();
        self.load_pending();
        self.go_on_asking();
        self.keep_company();
        let members = self.core.cluster().members();
        let listening: Vec<&str> = members.map(|(_, record)| record.listen.as_str()).collect();
        self.fabric.redial(&listening);
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.look_at_ways(self.society.now());
            self.core.remind();
            self.do_all();
        }
        self.publish();
    }

    /// Does what the core wants done.
    pub(super) fn do_all(&mut self) {
        while let Some(out) = self.core.poll() {
            match out {
                Out::Tell(to, message) => self.tell(to, &message),
                Out::Broadcast(message) => self.fabric.broadcast(&message),
                Out::Token(to, message) => {
                    self.fabric.send(to, Lane::Urgent, messages::TOKEN, &message);
                }
                Out::Client(id, event) => self.tell_client(id, event),
                Out::Load(placed) => self.load(&placed),
                Out::Prepare(placed) => self.prepare(&placed),
                Out::PrepareNoMore => self.job(Job::PrepareNoMore),
                Out::FreeCaches(epoch) => self.job(Job::FreeCaches { epoch }),
                Out::Stage(Work::Open(open)) => self.job(Job::Open(open)),
                Out::Stage(Work::Order { epoch, order }) => self.job(Job::Order { epoch, order }),
                Out::Stage(Work::Step { epoch, step }) => self.job(Job::Step { epoch, step }),
                Out::Ready(placed) => self.ready(&placed),
                Out::NotReady => self.shared.publish_model(None),
                Out::CutOff(node, what) => self.cut_off(node, what),
            }
        }
    }

    pub(super) fn publish(&self) {
        self.shared.publish(view::view(self));
    }

    pub(super) fn tell(&self, node: NodeId, message: &ClusterMessage) {
        self.fabric.tell(node, message);
    }

    pub(super) fn job(&self, job: Job) {
        match &job {
            Job::Load { epoch, .. } => self.wanted.store(*epoch, Ordering::Relaxed),
            Job::Unload | Job::FreeCaches { .. } => self.wanted.store(0, Ordering::Relaxed),
            _ => {}
        }
        if self.jobs.try_send(job).is_err() {
            tracing::error!("the MLX worker does not keep up, or has ended: a job was dropped");
        }
    }
}
