//! The thread that owns a [`Stage`]: MLX runs here and nowhere else.
//!
//! It hears [`Job`]s from the node loop and activations from the stage before it, straight from the
//! transport, and posts its own to the stage after it. What concerns a whole request goes to the
//! node loop as a [`WorkerEvent`].
//!
//! | file | question |
//! |---|---|
//! | `layers` | how does it come to hold its layers, and those that it is to hold next? |
//! | `neighbours` | what goes to the next stage, and what comes from the one before? |
//! | `sequences` | what becomes of the sequences that run through the stage? |

mod layers;
mod neighbours;
mod sequences;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::{
    channel::{Receiver, Sender},
    select,
};

use self::layers::Preparing;
use super::{Cut, Stage};
use crate::{
    fabric::{
        CompletionQueue, NodeId, QueuePair, RegionPool,
        messages::{OpenSequence, TokenMessage},
    },
    sampler::{Sampler, Scratch},
    scheduler::{
        Order, Step,
        times::{StepCount, StepTimes},
    },
};

/// Longest bulk of an activation: a prompt's chunk is cut so that it fits.
pub const ACTIVATION_BULK_BYTES_MAX: usize = 4 << 20;
/// Room for the archive behind the bulk.
const ACTIVATION_TAIL_BYTES: usize = 64 << 10;
/// Receive regions per neighbour, and so activations that may wait for this stage.
const RECEIVE_REGIONS: usize = 4;
/// Activations that may be on their way to the next stage.
const SENDS_OUTSTANDING_MAX: usize = 4;
/// After this long without an acknowledgement an activation is given up.
const ACTIVATION_DEADLINE: Duration = Duration::from_secs(60);

/// Tokens of a prompt that go in one step, for a model of this width.
#[must_use]
pub fn chunk_tokens(hidden: usize) -> usize {
    let fits = ACTIVATION_BULK_BYTES_MAX / (hidden.max(1) * size_of::<f32>());
    fits.clamp(1, crate::scheduler::PREFILL_CHUNK_TOKENS)
}

/// How often the worker says how long its steps take.
const TIMES_EVERY: Duration = Duration::from_millis(100);

/// What the worker is asked.
pub enum Job {
    /// Hold these layers as soon as possible. What is held is given up, but for the layers that are
    /// wanted again: only the others are read. Layers prepared for that placement are switched to.
    /// Answered by [`WorkerEvent::Loaded`].
    Load {
        /// The placement they are for.
        epoch: u64,
        /// Which.
        cut: Cut,
        /// Its neighbours on the ring.
        route: Route,
    },
    /// Get these layers ready beside the stage that runs, which goes on: what it does not have is
    /// read one layer at a time, between its steps. Answered by [`WorkerEvent::Prepared`]. Another
    /// preparation is given up, but for the layers that are wanted again.
    Prepare {
        /// The placement they are for.
        epoch: u64,
        /// Which.
        cut: Cut,
    },
    /// The layers prepared for that placement become the stage, those yet to be read after they are;
    /// layers that it has not, and all caches, are freed. Answered by [`WorkerEvent::Loaded`], with an
    /// error and no change if nothing was prepared for that placement.
    Switch {
        /// The placement.
        epoch: u64,
        /// Its neighbours on the ring.
        route: Route,
    },
    /// Forget what is prepared.
    PrepareNoMore,
    /// The ring of this placement is broken: forget its sequences and their caches, and those of a
    /// placement before it, and take no more of them. The layers stay, for the next placement.
    FreeCaches {
        /// The placement.
        epoch: u64,
    },
    /// Forget what is held, and what is prepared.
    Unload,
    /// Stage 0: a sequence begins.
    Open(OpenSequence),
    /// Stage 0: what every stage has to do with its caches.
    Order {
        /// The placement it belongs to.
        epoch: u64,
        /// What.
        order: Order,
    },
    /// Stage 0: compute this.
    Step {
        /// The placement it belongs to.
        epoch: u64,
        /// What.
        step: Step,
    },
}

/// A stage's neighbours.
#[derive(Clone, Default)]
pub struct Route {
    /// Whose activations it receives: none on the first stage.
    pub before: Option<QueuePair>,
    /// Who receives its own: none on the last.
    pub after: Option<QueuePair>,
}

/// What the worker reports.
#[derive(Debug)]
pub enum WorkerEvent {
    /// Loading goes on.
    Loading {
        /// The placement.
        epoch: u64,
        /// Bytes read so far.
        bytes_read: u64,
    },
    /// Layers lie ready to be switched to, or cannot be read.
    Prepared {
        /// The placement.
        epoch: u64,
        /// Bytes read for it: none of layers that were here; or why not.
        result: Result<u64, String>,
    },
    /// Layers are loaded, or cannot be.
    Loaded {
        /// The placement.
        epoch: u64,
        /// Bytes read for it, in preparation too: none of layers that were here; or why not.
        result: Result<u64, String>,
    },
    /// Stage 0 is free for the next step.
    StepDone {
        /// The placement of the last one.
        epoch: u64,
    },
    /// The last stage has chosen a token, or some stage gives a sequence up.
    Token {
        /// The node whose client waits.
        entry: NodeId,
        /// What to tell it and stage 0.
        message: TokenMessage,
    },
    /// The last stage is through with a step: its tokens were reported before.
    Round {
        /// The placement.
        epoch: u64,
        /// Its number.
        step: u64,
    },
    /// How long steps take on this stage.
    StepTimes {
        /// The placement.
        epoch: u64,
        /// Since its layers were loaded.
        counts: Vec<StepCount>,
    },
    /// A neighbour sent what no node sends.
    Misbehaved {
        /// Who.
        node: NodeId,
        /// What.
        what: String,
    },
}

struct Open {
    about: OpenSequence,
    sampler: Sampler,
}

struct Worker {
    name: String,
    wanted: Arc<AtomicU64>,
    events: Sender<WorkerEvent>,
    received: CompletionQueue,
    sent: CompletionQueue,
    /// Activations on their way, by receiver.
    outstanding: HashMap<NodeId, usize>,
    tails: RegionPool,
    scratch: Scratch,
    /// Connections on which receive regions are posted.
    receiving: HashMap<NodeId, QueuePair>,
    loaded: Option<Loaded>,
    preparing: Option<Preparing>,
    /// Since layers were last read, a step was.
    computed: bool,
}

struct Loaded {
    /// The placement it is for: none any more, if that has lost a node.
    epoch: Option<u64>,
    stage: Stage,
    route: Route,
    open: HashMap<u64, Open>,
    times: StepTimes,
    times_told: Instant,
}

/// Starts the worker. It ends when `jobs` is closed. `wanted` is the placement of the last [`Job`]
/// that changes what is held, be it done or not: a worker that waits for a neighbour, which may have
/// fallen silent, then waits no more.
///
/// # Errors
/// No thread can be started.
pub fn start(
    name: String,
    wanted: Arc<AtomicU64>,
    jobs: Receiver<Job>,
    events: Sender<WorkerEvent>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("mlx".into()).spawn(move || {
        let mut worker = Worker {
            name,
            events,
            received: CompletionQueue::with_capacity(64),
            sent: CompletionQueue::with_capacity(64),
            outstanding: HashMap::new(),
            wanted,
            tails: RegionPool::new(SENDS_OUTSTANDING_MAX * 2, ACTIVATION_TAIL_BYTES),
            scratch: Scratch::default(),
            receiving: HashMap::new(),
            loaded: None,
            preparing: None,
            computed: false,
        };
        worker.run(&jobs);
    })
}

impl Worker {
    fn run(&mut self, jobs: &Receiver<Job>) {
        let (received, sent) = (self.received.doorbell().clone(), self.sent.doorbell().clone());
        loop {
            // What waits comes before layers that are read ahead; but steps that come without a pause
            // let one layer in between any two.
            let patience = if self.is_reading_ahead() { Duration::ZERO } else { Duration::MAX };
            let mut idle = false;
            select! {
                recv(received) -> _ => {
                    if let Some(completion) = self.received.poll() {
                        self.handle_received(completion);
                    }
                }
                recv(sent) -> _ => {
                    if let Some(completion) = self.sent.poll() {
                        self.handle_sent(&completion);
                    }
                }
                recv(jobs) -> job => match job {
                    Ok(job) => self.handle_job(job),
                    Err(_) => return,
                },
                default(patience) => idle = true,
            }
            if std::mem::take(&mut self.computed) || idle {
                self.read_ahead();
            }
        }
    }

    fn handle_job(&mut self, job: Job) {
        match job {
            Job::Load { epoch, cut, route } => self.load(epoch, cut, route),
            Job::Prepare { epoch, cut } => self.prepare(epoch, cut),
            Job::Switch { epoch, route } => self.switch(epoch, route),
            Job::PrepareNoMore => self.prepare_no_more(),
            Job::FreeCaches { epoch } => self.free_caches(epoch),
            Job::Unload => self.unload(),
            Job::Open(open) => self.handle_open(open),
            Job::Order { epoch, order } => self.handle_order(epoch, order),
            Job::Step { epoch, step } => self.handle_step(epoch, &step),
        }
    }

    /// Whether another placement is wanted than the one that is loaded.
    fn is_out_of_date(&self) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        self.loaded.as_ref().is_some_and(|loaded| loaded.epoch != Some(wanted))
    }

    fn report(&self, event: WorkerEvent) {
        // The node loop outlives the worker's jobs; at the very end nobody listens any more.
        let _ = self.events.send(event);
    }
}
