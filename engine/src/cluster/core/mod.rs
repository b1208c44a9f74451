//! What a node decides. Pure: what was heard, and the time, go in; [`Out`]s come out.
//!
//! | file | question |
//! |---|---|
//! | `entry` | what do this node's clients wait for, and what have they heard? |
//! | `requests` | how does a request get to a ring, and to the next one when that is lost? |
//! | `stage0` | what does the node of layer 0 keep of the sequences that run on its ring? |
//! | `sequences` | what runs on the ring: requests go in, tokens come back |
//! | `placing` | what follows from what the [`Cluster`] decides? |
//!
//! The [node](crate::node) joins it to the transport, the MLX thread and the API; the simulator
//! joins many of them to each other.

mod entry;
mod placing;
mod requests;
mod sequences;
mod stage0;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use self::{entry::Entry, stage0::Stage0};
pub use self::{placing::LEAVE_MAX, stage0::RingFacts};
use super::{Cluster, PlacedModel, Wish};
use crate::{
    fabric::{
        NodeId,
        messages::{ClusterMessage, OpenSequence, Record, TokenMessage},
    },
    request::{GenerateEvent, RequestId},
    scheduler::{Order, Policy, Step, times::StepCount},
};

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Out {
    /// Tell one node.
    Tell(NodeId, ClusterMessage),
    /// Tell all that are connected.
    Broadcast(ClusterMessage),
    /// Tell another node of a token.
    Token(NodeId, TokenMessage),
    /// Tell a client of this node. It may be gone: then [`Core::handle_cancel`].
    Client(RequestId, GenerateEvent),
    /// Load this node's layers of the placement, from what is held, prepared or on disk, and join
    /// its ring; or let go of what is held, if it has none in it. Answered by
    /// [`Core::handle_loaded`]; before that by [`Core::handle_ring`], if the first layer is one.
    Load(Box<PlacedModel>),
    /// Load what this node lacks for this placement, beside what it holds. Answered by
    /// [`Core::handle_prepared`].
    Prepare(Box<PlacedModel>),
    /// Let go of what was loaded so.
    PrepareNoMore,
    /// This placement goes on no more, nor do those before it, though none may have taken its place
    /// yet: let go of the caches of its sequences, and keep the layers.
    FreeCaches(u64),
    /// For this node's stage.
    Stage(Work),
    /// Requests may come: the placement is ready.
    Ready(Box<PlacedModel>),
    /// They may not.
    NotReady,
    /// A node sent what no node sends.
    CutOff(NodeId, &'static str),
}

/// What the stage of the node that holds layer 0 is asked. It answers a step by
/// [`Core::handle_step_done`].
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A sequence begins.
    Open(OpenSequence),
    /// What every stage has to do with its caches.
    Order {
        /// The placement it belongs to.
        epoch: u64,
        /// What.
        order: Order,
    },
    /// Compute this.
    Step {
        /// The placement it belongs to.
        epoch: u64,
        /// What.
        step: Step,
    },
}

/// See the module.
pub struct Core {
    node: NodeId,
    name: String,
    policy: Policy,
    cluster: Cluster,
    entry: Entry,
    stage0: Option<Stage0>,
    /// How long steps take on the stages of the placement, as far as they have said so.
    steps: BTreeMap<NodeId, Vec<StepCount>>,
    /// Since when it wants to leave.
    leaving: Option<Duration>,
    /// The placement that this node prepares.
    preparing: Option<u64>,
    /// The placement that this node has lost, and let go of the caches of.
    lost: Option<u64>,
    /// Whether requests were told that they may come.
    is_ready: bool,
    out: VecDeque<Out>,
    now: Duration,
}

impl Core {
    /// Of a node that is alone.
    #[must_use]
    pub fn new(record: Record, wish: impl Into<Wish>, policy: Policy) -> Self {
        let (node, name) = (NodeId::from_bytes(record.node), record.name.clone());
        Self {
            node,
            name,
            policy,
            cluster: Cluster::new(record, wish),
            entry: Entry::default(),
            stage0: None,
            steps: BTreeMap::new(),
            leaving: None,
            preparing: None,
            lost: None,
            is_ready: false,
            out: VecDeque::new(),
            now: Duration::ZERO,
        }
    }

    /// What has to be done next. To be asked until there is nothing, after every event.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// The nodes, and the placement in force.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How long steps take on a stage of the placement, as far as it has said so.
    #[must_use]
    pub fn steps(&self, node: NodeId) -> &[StepCount] {
        self.steps.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Requests of this node's clients that are not over.
    #[must_use]
    pub fn running(&self) -> usize {
        self.entry.running()
    }

    /// Sequences that this node schedules, as the one that holds layer 0.
    #[must_use]
    pub fn scheduled(&self) -> usize {
        self.stage0.as_ref().map_or(0, |stage0| stage0.scheduler.running())
    }

    /// Of those that it has scheduled, the caches that are kept, and the tokens in memory: none if
    /// this node does not hold layer 0.
    #[must_use]
    pub fn kept(&self) -> Option<(usize, u64)> {
        self.stage0.as_ref().map(|stage0| stage0.scheduler.memory())
    }

    /// Time goes on. Every event that comes after it happens then.
    pub fn handle_time(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let actions = self.cluster.handle_time(self.now);
        self.act(actions);
        self.look_after_requests();
    }

    fn put(&mut self, out: Out) {
        self.out.push_back(out);
    }
}
