//! The loop of a node: one thread that hears everything and decides nothing by itself.
//!
//! What is decided is decided by [`Cluster`] (who holds which layers) and [`Scheduler`] (what stage 0
//! computes next); what is computed, by the stage worker; what is said to clients, by the API.
//!
//! [`Scheduler`]: crate::scheduler::Scheduler

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam::{
    channel::{self, Receiver, Sender},
    select,
};

use super::{
    Command, NodePort, Shared, condition::Condition, entry::Entry, models::Models, shards::Shards,
    society::Society, stage0::Stage0, view, ways::Ways,
};
use crate::{
    cluster::{Cluster, PlacedModel},
    fabric::{Fabric, LinkEvent, NodeId, messages::ClusterMessage},
    request::GenerateError,
    scheduler::{Policy, times::StepCount},
    stage::worker::{Job, WorkerEvent},
};

/// How often the loop looks after what nobody reports.
const TICK: Duration = Duration::from_millis(100);
/// How often nodes tell each other the state of their connections.
const REPORT_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Node {
    pub(super) node: NodeId,
    pub(super) policy: Policy,
    pub(super) name: String,
    pub(super) models: Models,
    pub(super) cluster: Cluster,
    pub(super) fabric: Fabric,
    pub(super) society: Society,
    pub(super) jobs: Sender<Job>,
    pub(super) stage0: Option<Stage0>,
    pub(super) entry: Entry,
    pub(super) shared: Arc<Shared>,
    pub(super) loading_bytes: u64,
    pub(super) link_trouble: Option<String>,
    /// The node of layer 0, as long as a placement is known.
    pub(super) first: Option<NodeId>,
    /// A placement whose neighbours are not connected yet, and since when it waits.
    pub(super) pending: Option<(PlacedModel, Instant)>,
    pub(super) ways: Ways,
    pub(super) condition: Condition,
    pub(super) reported: Instant,
    pub(super) shards: Shards,
    /// How long steps take on the stages of the placement, as far as they have said so.
    pub(super) steps: HashMap<NodeId, Vec<StepCount>>,
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
                recv(shards) -> event => if let Ok(event) = event {
                    self.handle_shards(event);
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

    pub(super) fn handle_tick(&mut self) {
        for gone in self.entry.abandoned() {
            self.cancel(gone);
        }
        self.load_pending();
        self.go_on_asking();
        self.keep_company();
        let listening: Vec<&str> =
            self.cluster.members().map(|(_, record)| record.listen.as_str()).collect();
        self.fabric.redial(&listening);
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.look_at_ways(self.society.now());
            if let (Some(placed), Some(counts)) =
                (self.cluster.placed(), self.steps.get(&self.node))
            {
                let (placement_epoch, counts) = (placed.epoch, counts.clone());
                self.fabric.broadcast(&ClusterMessage::Steps { placement_epoch, counts });
            }
            if let Some(reminder) = self.cluster.reminder() {
                self.fabric.broadcast(&reminder);
            }
        }
        self.publish();
    }

    pub(super) fn publish(&self) {
        self.shared.publish(view::view(self));
    }

    pub(super) fn tell(&self, node: NodeId, message: &ClusterMessage) {
        self.fabric.tell(node, message);
    }

    pub(super) fn job(&self, job: Job) {
        if self.jobs.try_send(job).is_err() {
            tracing::error!("the MLX worker does not keep up, or has ended: a job was dropped");
        }
    }
}
