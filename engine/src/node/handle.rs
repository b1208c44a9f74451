//! How the rest of the program talks to a running node.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering},
};

use crossbeam::channel::{self, Receiver, Sender};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    layers::LayerRange,
    prompt::PromptModel,
    request::{CancelGuard, GenerateEvent, GenerateRequest, Generation, RequestId, SubmitError},
    scheduler::SEQUENCES_MAX,
};

/// What the node loop is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Run a request; its events go to the sender, which never fills up.
    Generate {
        /// The request's number.
        id: RequestId,
        /// What to run.
        request: GenerateRequest,
        /// Where its events go.
        events: mpsc::Sender<GenerateEvent>,
    },
    /// The client is gone.
    Cancel(RequestId),
    /// Place this model over the cluster.
    Place(ModelChoice),
    /// End the loop once other nodes have this one's layers, and its clients their answers; or after
    /// [`LEAVE_MAX`](crate::cluster::core::LEAVE_MAX).
    Leave,
    /// End the loop.
    Shutdown,
}

/// A model as a user names it, found on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// The name the API shows.
    pub name: String,
    /// Its folder.
    pub dir: std::path::PathBuf,
}

/// The cluster as this node sees it: `GET /v1/cluster`, `exo-node status`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ClusterView {
    /// Name and number of the node that answers.
    pub this_node: String,
    /// `waiting`, `loading`, `ready` or `failed`, and why in `reason`.
    pub state: String,
    /// What `state` is waiting for, or why it failed, in words for a person.
    pub reason: String,
    /// The model that is placed, if any.
    pub model: Option<String>,
    /// The placement's epoch: 0 before the first.
    pub placement_epoch: u64,
    /// All nodes known here, in ring order where they hold layers.
    pub nodes: Vec<NodeView>,
    /// Connections from this node, and reported ones between others.
    pub links: Vec<LinkView>,
    /// Requests that this node has taken and not finished.
    pub requests_running: usize,
}

/// One node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeView {
    /// 32 hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where it listens for other nodes: `address:port`.
    pub listen: String,
    /// The interface its end of the link is pinned to.
    pub interface: String,
    /// `thunderbolt` or `by-hand`.
    pub link_kind: String,
    /// Memory it offers, in bytes.
    pub memory_bytes: u64,
    /// The layers it holds.
    pub layers: Option<LayerRange>,
    /// Bytes of tensors it has read from disk for those layers.
    pub weight_bytes_read: u64,
    /// `idle`, `loading`, `ready`, `suspected`; `heard-of`, if others are connected with it and
    /// this node is not.
    pub state: String,
    /// The machine it runs on.
    #[serde(default)]
    pub machine: MachineView,
    /// How long its steps have taken since its layers were loaded, by size.
    #[serde(default)]
    pub steps: Vec<StepView>,
}

/// The machine of a node: what it is, how fast, and how it is just now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MachineView {
    /// What its maker calls it.
    pub device: String,
    /// Its processor.
    pub chip: String,
    /// Bytes of memory it has.
    pub memory_total_bytes: u64,
    /// Bytes of weights it reads in a second, as measured.
    pub reads_bytes_per_s: Option<u64>,
    /// Multiplications, each with its addition, it does in a second, as measured.
    pub multiplies_per_s: Option<u64>,
    /// The node's program and version.
    pub software: String,
    /// Counts the starts of the program there.
    pub start: u64,
    /// Where it listens for other nodes.
    pub addresses: Vec<String>,
    /// The models on its disk.
    pub models: Vec<String>,
    /// What it has carried since its program was started.
    pub bytes: Option<BytesView>,
    /// How it is kept awake, or why not.
    pub awake: String,
    /// `mains`, or `battery` and how full; empty if the system does not tell.
    pub power: String,
}

/// The transport's own count beside the system's count of the interface it is pinned to.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct BytesView {
    /// Bytes that the transport sent, frames' headers included.
    pub transport_sent: u64,
    /// Bytes that the transport received.
    pub transport_received: u64,
    /// Bytes that the interface sent since, headers of all layers included.
    pub interface_sent: Option<u64>,
    /// Bytes that the interface received since.
    pub interface_received: Option<u64>,
}

/// Steps of one size on one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepView {
    /// `decode`: one row of each sequence; `prompt`: a part of a prompt is among the rows.
    pub kind: String,
    /// Rows of the step.
    pub rows: u32,
    /// How many such steps.
    pub count: u64,
    /// Milliseconds of one on average.
    pub mean_ms: f64,
    /// Milliseconds of one lately.
    pub recent_ms: f64,
}

/// One direction of one connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkView {
    /// Name of the sending node.
    pub from: String,
    /// Name of the receiving node.
    pub to: String,
    /// Interface at the sending end.
    pub interface: String,
    /// `thunderbolt` or `by-hand`.
    pub kind: String,
    /// Whether frames are sealed.
    pub encrypted: bool,
    /// Activations: from post to the peer's acknowledgement, on the sender's clock.
    pub hop_us: HopView,
    /// Round trips to that peer over this kind of link, all its sessions together.
    #[serde(default)]
    pub rtt_us: HopView,
    /// What the way carries, by long messages and probes.
    #[serde(default)]
    pub bytes_per_s: RateView,
    /// Bytes this end has sent and received over it.
    pub bytes_sent: u64,
    /// See `bytes_sent`.
    pub bytes_received: u64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HopView {
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Percentiles in bytes per second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RateView {
    /// How many were measured.
    pub count: u64,
    /// 10th percentile.
    pub p10: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
}

/// A handle to the node loop: cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct NodeHandle {
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

/// What the loop publishes for readers.
pub struct Shared {
    view: RwLock<Arc<ClusterView>>,
    model: RwLock<Option<Arc<PromptModel>>>,
    next_request: AtomicU64,
}

/// The loop's end of a [`NodeHandle`].
pub struct NodePort {
    /// What it is asked.
    pub commands: Receiver<Command>,
    /// Where it publishes.
    pub shared: Arc<Shared>,
}

/// Requests that may wait for the loop to take them.
const COMMANDS_MAX: usize = 1024;
/// Requests of one node's clients at once. (Stage 0 takes [`SEQUENCES_MAX`] of all nodes together.)
const REQUESTS_MAX: usize = SEQUENCES_MAX;

impl NodeHandle {
    /// A handle and the port that serves it. `first_request` starts the request numbers: distinct
    /// per node, so that numbers are unique in the cluster.
    #[must_use]
    pub fn new(first_request: u64) -> (Self, NodePort) {
        let (sender, commands) = channel::bounded(COMMANDS_MAX);
        let shared = Arc::new(Shared {
            view: RwLock::default(),
            model: RwLock::new(None),
            next_request: AtomicU64::new(first_request),
        });
        (Self { commands: sender, shared: shared.clone() }, NodePort { commands, shared })
    }

    /// Starts a request.
    ///
    /// # Errors
    /// [`SubmitError`]: nothing is ready, too much is running, or the node is stopping.
    pub fn generate(&self, request: GenerateRequest) -> Result<Generation, SubmitError> {
        if self.model().is_none() {
            return Err(SubmitError::NotReady { why: self.cluster().reason.clone() });
        }
        let running = self.cluster().requests_running;
        if running >= REQUESTS_MAX {
            return Err(SubmitError::Full { running });
        }
        let id = RequestId(self.shared.next_request.fetch_add(1, Ordering::Relaxed));
        // Room for every token and the last event: the loop never waits for a slow client.
        let (sender, events) = mpsc::channel(request.max_tokens as usize + 2);
        self.commands.try_send(Command::Generate { id, request, events: sender }).map_err(
            |error| match error {
                channel::TrySendError::Full(_) => SubmitError::Full { running: COMMANDS_MAX },
                channel::TrySendError::Disconnected(_) => SubmitError::ShuttingDown,
            },
        )?;
        Ok(Generation { id, events, guard: CancelGuard { id, commands: self.commands.clone() } })
    }

    /// Asks for a model to be placed.
    ///
    /// # Errors
    /// [`SubmitError`] if the node cannot take the command.
    pub fn place(&self, model: ModelChoice) -> Result<(), SubmitError> {
        self.commands.try_send(Command::Place(model)).map_err(|_| SubmitError::ShuttingDown)
    }

    /// Has the node leave: see [`Command::Leave`].
    pub fn leave(&self) {
        let _ = self.commands.send(Command::Leave);
    }

    /// Ends the node's loop.
    pub fn shutdown(&self) {
        let _ = self.commands.send(Command::Shutdown);
    }

    /// The model that is ready, with its tokenizer and chat template.
    #[must_use]
    pub fn model(&self) -> Option<Arc<PromptModel>> {
        self.shared.model.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The cluster as this node sees it now.
    #[must_use]
    pub fn cluster(&self) -> Arc<ClusterView> {
        self.shared.view.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Shared {
    /// Shows readers a new view.
    pub fn publish(&self, view: ClusterView) {
        *self.view.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(view);
    }

    /// Says which model is ready (or that none is).
    pub fn publish_model(&self, model: Option<Arc<PromptModel>>) {
        *self.model.write().unwrap_or_else(std::sync::PoisonError::into_inner) = model;
    }
}
