//! The thread that owns a [`Stage`]: MLX runs here and nowhere else.
//!
//! It hears [`Job`]s from the node loop and activations from the stage before it, straight from the
//! transport, and posts its own to the stage after it. What concerns a whole request goes to the
//! node loop as a [`WorkerEvent`].

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam::{
    channel::{Receiver, Sender},
    select,
};
use mlx_rs::{Array, error::Exception, ops::indexing::TryIndexOp};

use super::{Rows, Stage, StageError, StageInput, StageOutput};
use crate::{
    fabric::{
        Completion, CompletionQueue, Lane, NodeId, Payload, QueuePair, Region, RegionPool,
        SendRequest,
        activation::{self, ActivationMeta, Dtype, Phase, SequenceRows},
        messages::{self, OpenSequence, StageMessage, TokenMessage},
    },
    layers::LayerRange,
    mlx::ArrayRegion,
    request::{RequestId, TokenLogprobs},
    sampler::{Sampler, Scratch},
    scheduler::{
        Order, Source, Step, StepRows,
        times::{StepCount, StepKind, StepTimes},
    },
    weights::{ModelFolder, Precision},
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
    /// Load layers, and forget what is held.
    Load {
        /// The placement they are for.
        epoch: u64,
        /// Where the tensors are.
        folder: Arc<ModelFolder>,
        /// Which.
        range: LayerRange,
        /// How they are held.
        precision: Precision,
        /// Its neighbours on the ring.
        route: Route,
    },
    /// Forget what is held.
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
    /// Layers are loaded, or cannot be.
    Loaded {
        /// The placement.
        epoch: u64,
        /// Bytes read, or why not.
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
    events: Sender<WorkerEvent>,
    received: CompletionQueue,
    sent: CompletionQueue,
    outstanding: usize,
    tails: RegionPool,
    scratch: Scratch,
    /// Connections on which receive regions are posted.
    receiving: HashMap<NodeId, QueuePair>,
    loaded: Option<Loaded>,
}

struct Loaded {
    epoch: u64,
    stage: Stage,
    route: Route,
    open: HashMap<u64, Open>,
    times: StepTimes,
    times_told: Instant,
}

/// Starts the worker. It ends when `jobs` is closed.
///
/// # Errors
/// No thread can be started.
pub fn start(
    name: String,
    jobs: Receiver<Job>,
    events: Sender<WorkerEvent>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("mlx".into()).spawn(move || {
        let mut worker = Worker {
            name,
            events,
            received: CompletionQueue::with_capacity(64),
            sent: CompletionQueue::with_capacity(64),
            outstanding: 0,
            tails: RegionPool::new(SENDS_OUTSTANDING_MAX * 2, ACTIVATION_TAIL_BYTES),
            scratch: Scratch::default(),
            receiving: HashMap::new(),
            loaded: None,
        };
        worker.run(&jobs);
    })
}

impl Worker {
    fn run(&mut self, jobs: &Receiver<Job>) {
        let received = self.received.receiver().clone();
        let sent = self.sent.receiver().clone();
        loop {
            select! {
                recv(received) -> completion => {
                    if let Ok(completion) = completion { self.handle_received(completion) }
                }
                recv(sent) -> completion => {
                    if let Ok(completion) = completion { self.handle_sent(&completion) }
                }
                recv(jobs) -> job => match job {
                    Ok(job) => self.handle_job(job),
                    Err(_) => return,
                },
            }
        }
    }

    fn handle_job(&mut self, job: Job) {
        match job {
            Job::Load { epoch, folder, range, precision, route } => {
                self.load(epoch, &folder, range, precision, route);
            }
            Job::Unload => self.unload(),
            Job::Open(open) => self.handle_open(open),
            Job::Order { epoch, order } => self.handle_order(epoch, order),
            Job::Step { epoch, step } => {
                let open: Vec<&StepRows> =
                    step.rows.iter().filter(|own| self.is_open(own.sequence.0)).collect();
                let tokens: Vec<u32> =
                    open.iter().flat_map(|rows| rows.tokens.iter().copied()).collect();
                let rows: Vec<Rows> = open
                    .iter()
                    .map(|rows| Rows {
                        sequence: rows.sequence.0,
                        attempt: rows.attempt,
                        start: rows.start,
                        count: rows.tokens.len() as u32,
                        wants_token: rows.wants_token,
                    })
                    .collect();
                if self.loaded.as_ref().is_some_and(|loaded| loaded.epoch == epoch) {
                    self.step(StageInput::Tokens(&tokens), &rows, step.number);
                }
                self.report(WorkerEvent::StepDone { epoch });
            }
        }
    }

    fn load(
        &mut self,
        epoch: u64,
        folder: &ModelFolder,
        range: LayerRange,
        precision: Precision,
        route: Route,
    ) {
        self.unload();
        let events = self.events.clone();
        let told = std::cell::Cell::new(Instant::now());
        let progress = move |bytes_read| {
            if told.get().elapsed() > Duration::from_millis(200) {
                told.set(Instant::now());
                let _ = events.try_send(WorkerEvent::Loading { epoch, bytes_read });
            }
        };
        let result = Stage::load(folder, range, precision, &progress);
        let result = result.map_err(|error| error.to_string());
        let result = result.and_then(|stage| {
            if let Some(before) = &route.before {
                self.post_receives(before)?;
            }
            let bytes_read = stage.bytes_read();
            self.loaded = Some(Loaded {
                epoch,
                stage,
                route,
                open: HashMap::new(),
                times: StepTimes::default(),
                times_told: Instant::now(),
            });
            Ok(bytes_read)
        });
        self.report(WorkerEvent::Loaded { epoch, result });
    }

    fn unload(&mut self) {
        self.loaded = None;
        // MLX keeps freed buffers for reuse: a new model has other sizes.
        let _ = mlx_rs::memory::clear_cache();
    }

    /// Posts MLX memory on a connection, once for its lifetime: a region goes back after each use.
    fn post_receives(&mut self, from: &QueuePair) -> Result<(), String> {
        let peer = from.peer().node;
        if self.receiving.get(&peer).is_some_and(QueuePair::is_open) {
            return Ok(());
        }
        for _ in 0..RECEIVE_REGIONS {
            let numbers = (ACTIVATION_BULK_BYTES_MAX + ACTIVATION_TAIL_BYTES) / size_of::<f32>();
            let memory = ArrayRegion::to_receive(numbers, mlx_rs::Dtype::Float32)
                .map_err(|error| error.to_string())?;
            let region = Region::from_backing(Box::new(memory));
            from.post_recv(Lane::Activations, region, &self.received)
                .map_err(|(error, _)| error.to_string())?;
        }
        self.receiving.insert(peer, from.clone());
        Ok(())
    }

    fn handle_open(&mut self, about: OpenSequence) {
        let Some(loaded) = self.loaded.as_mut().filter(|l| l.epoch == about.placement_epoch) else {
            return;
        };
        let sampler = Sampler::new(about.sampling.clone(), &about.prompt_tokens, &[]);
        let sequence = about.sequence;
        if let Some(after) = loaded.route.after.clone() {
            self.send_stage_message(&after, &StageMessage::Open(about.clone()));
        }
        if let Some(loaded) = &mut self.loaded {
            loaded.open.insert(sequence, Open { about, sampler });
        }
    }

    /// Does what stage 0 says of caches, and tells the next stage.
    fn handle_order(&mut self, epoch: u64, order: Order) {
        let Some(loaded) = self.loaded.as_mut().filter(|loaded| loaded.epoch == epoch) else {
            return;
        };
        let placement_epoch = epoch;
        let message = match order {
            Order::Close { sequence, keep } => {
                loaded.open.remove(&sequence.0);
                if !keep {
                    loaded.stage.close(sequence.0);
                }
                StageMessage::Close { placement_epoch, sequence: sequence.0, keep }
            }
            Order::Forget(sequence) => {
                loaded.stage.close(sequence.0);
                StageMessage::Forget { placement_epoch, sequence: sequence.0 }
            }
            Order::Reuse {
                sequence,
                attempt,
                source: Source { sequence: source, tokens, take },
            } => {
                let (sequence, source, tokens) = (sequence.0, source.0, tokens as u32);
                match loaded.stage.reuse(sequence, attempt, (source, tokens), take) {
                    Ok(true) => {}
                    // Its rows will not fit what is here, and it fails by name.
                    Ok(false) => tracing::error!(sequence, source, "no cache to begin with"),
                    Err(error) => tracing::error!(sequence, %error, "cache not copied"),
                }
                StageMessage::Reuse { placement_epoch, sequence, attempt, source, tokens, take }
            }
        };
        if let Some(after) = loaded.route.after.clone() {
            self.send_stage_message(&after, &message);
        }
    }

    fn handle_stage_message(&mut self, message: StageMessage) {
        let id = RequestId;
        match message {
            StageMessage::Open(open) => self.handle_open(open),
            StageMessage::Close { placement_epoch, sequence, keep } => {
                self.handle_order(placement_epoch, Order::Close { sequence: id(sequence), keep });
            }
            StageMessage::Forget { placement_epoch, sequence } => {
                self.handle_order(placement_epoch, Order::Forget(id(sequence)));
            }
            StageMessage::Reuse { placement_epoch, sequence, attempt, source, tokens, take } => {
                let tokens = tokens as usize;
                let source = Source { sequence: id(source), tokens, take };
                let order = Order::Reuse { sequence: id(sequence), attempt, source };
                self.handle_order(placement_epoch, order);
            }
        }
    }

    fn send_stage_message(&mut self, to: &QueuePair, message: &StageMessage) {
        let bytes = messages::encode(message);
        let fits = bytes.len() <= ACTIVATION_TAIL_BYTES;
        let mut region = if fits { self.tail() } else { Region::pages(bytes.len()) };
        region.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
        let payload = Payload::from_slice(region.freeze().slice(..bytes.len()));
        self.post(to, payload, messages::STAGE);
    }

    fn tail(&self) -> Region {
        self.tails.lease().unwrap_or_else(|| Region::pages(ACTIVATION_TAIL_BYTES))
    }

    /// Posts on the activation lane, after at most [`SENDS_OUTSTANDING_MAX`] others: a slow stage
    /// holds up the one before it, and memory stays bounded.
    fn post(&mut self, to: &QueuePair, payload: Payload, immediate: u32) {
        let deadline = Instant::now() + ACTIVATION_DEADLINE;
        while self.outstanding >= SENDS_OUTSTANDING_MAX {
            match self.sent.wait(deadline.saturating_duration_since(Instant::now())) {
                Ok(completion) => self.handle_sent(&completion),
                Err(_) => {
                    tracing::warn!(peer = to.peer().name, "it does not keep up: closing");
                    return to.close();
                }
            }
        }
        let deadline = Some(ACTIVATION_DEADLINE);
        let send = SendRequest { lane: Lane::Activations, payload, immediate, deadline };
        match to.post_send(send, &self.sent) {
            Ok(_) => self.outstanding += 1,
            // The node loop hears of a lost peer, and ends what ran over it.
            Err((error, _)) => {
                tracing::warn!(peer = %to.peer().name, %error, "activation not posted: closing");
                to.close();
            }
        }
    }

    fn handle_sent(&mut self, completion: &Completion) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let after = self.loaded.as_ref().and_then(|loaded| loaded.route.after.as_ref());
        if let Err(error) = &completion.status
            && let Some(after) = after.filter(|after| after.peer().node == completion.peer)
        {
            tracing::warn!(peer = %after.peer().name, %error, "activation lost: closing");
            after.close();
        }
    }

    fn handle_received(&mut self, completion: Completion) {
        let Completion { status, region, bytes, immediate, peer, .. } = completion;
        let (Ok(()), Some(region)) = (status, region) else { return };
        let message = &region.as_slice()[..bytes];
        let before = self.loaded.as_ref().and_then(|loaded| loaded.route.before.as_ref());
        let is_before = before.is_some_and(|before| before.peer().node == peer);
        let outcome = match immediate {
            // Of a placement that was: the stage before this one is another now.
            _ if !is_before => Ok(()),
            Some(messages::STAGE) => match messages::decode::<StageMessage>(message) {
                Ok(message) => {
                    self.handle_stage_message(message);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
            Some(messages::ACTIVATION) => self.handle_activation(&region, bytes),
            other => Err(format!("immediate {other:?} on the activation lane")),
        };
        if let Err(what) = outcome {
            self.report(WorkerEvent::Misbehaved { node: peer, what });
            return;
        }
        // The step that read the region is evaluated: it may be written again.
        if let Some(from) = self.receiving.get(&peer)
            && let Err((error, _)) = from.post_recv(Lane::Activations, region, &self.received)
        {
            tracing::debug!(%peer, %error, "receive region not posted again");
        }
    }

    fn handle_activation(&mut self, region: &Region, bytes: usize) -> Result<(), String> {
        let message = activation::access(&region.as_slice()[..bytes]);
        let message = message.map_err(|error| error.to_string())?;
        let Some(loaded) = &self.loaded else { return Ok(()) };
        if message.placement_epoch() != loaded.epoch {
            tracing::debug!(
                theirs = message.placement_epoch(),
                ours = loaded.epoch,
                "activation of another placement dropped"
            );
            return Ok(());
        }
        let rows: Vec<Rows> = message
            .sequences()
            .filter(|rows| rows.tokens > 0)
            .map(|rows| Rows {
                sequence: rows.sequence,
                attempt: rows.attempt,
                start: rows.start,
                count: rows.tokens,
                wants_token: rows.phase == Phase::Decode as u8,
            })
            .collect();
        let (tokens, hidden) = (message.tokens() as i32, message.hidden() as i32);
        let memory = region.backing::<ArrayRegion>().ok_or("not a region of this worker")?;
        // A view of the region's first numbers: nothing is copied.
        let dtype = mlx_dtype(message.dtype());
        let view = memory.array().view_dtype(dtype);
        let view = view.and_then(|view| view.try_index(..tokens * hidden));
        let view = view.and_then(|view| view.reshape(&[tokens, hidden]));
        let view = view.and_then(|view| self.open_rows(view, &rows));
        let view = view.map_err(|error| error.to_string())?;
        let number = message.step();
        let open: Vec<Rows> = rows.into_iter().filter(|own| self.is_open(own.sequence)).collect();
        self.step(StageInput::Hidden(view), &open, number);
        Ok(())
    }

    /// Of `hidden` the rows of sequences that are open.
    fn open_rows(&self, hidden: Array, rows: &[Rows]) -> Result<Array, Exception> {
        if rows.iter().all(|own| self.is_open(own.sequence)) {
            return Ok(hidden);
        }
        let (mut numbers, mut next) = (Vec::new(), 0);
        for own in rows {
            let end = next + own.count as i32;
            if self.is_open(own.sequence) {
                numbers.extend(next..end);
            }
            next = end;
        }
        let count = numbers.len() as i32;
        hidden.take_axis(Array::from_slice(&numbers, &[count]), 0)
    }

    /// Whether a sequence was opened here and not closed: rows of others come late, and must not
    /// take others along.
    fn is_open(&self, sequence: u64) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.open.contains_key(&sequence))
    }

    fn step(&mut self, input: StageInput<'_>, rows: &[Rows], number: u64) {
        let Some(loaded) = self.loaded.as_mut().filter(|_| !rows.is_empty()) else {
            return self.round(number);
        };
        let begun = Instant::now();
        match loaded.stage.step(input, rows) {
            Ok(StageOutput::Hidden(hidden)) => {
                self.took(rows, begun.elapsed());
                self.send_activation(hidden, rows, number);
            }
            Ok(StageOutput::Logits(logits)) => {
                if let Some(logits) = logits {
                    self.sample(&logits, rows);
                }
                self.took(rows, begun.elapsed());
                self.round(number);
            }
            Err(error) => {
                self.give_up(rows, &error);
                self.round(number);
            }
        }
    }

    /// The last stage tells stage 0 that it is through with a step.
    fn round(&self, step: u64) {
        let Some(loaded) = &self.loaded else { return };
        if loaded.route.after.is_none() {
            self.report(WorkerEvent::Round { epoch: loaded.epoch, step });
        }
    }

    fn took(&mut self, rows: &[Rows], took: Duration) {
        let Some(loaded) = &mut self.loaded else { return };
        let decode = rows.iter().all(|own| own.count == 1);
        let kind = if decode { StepKind::Decode } else { StepKind::Prompt };
        loaded.times.record(kind, rows.iter().map(|own| own.count).sum(), took);
        if loaded.times_told.elapsed() >= TIMES_EVERY {
            loaded.times_told = Instant::now();
            let (epoch, counts) = (loaded.epoch, loaded.times.counts());
            self.report(WorkerEvent::StepTimes { epoch, counts });
        }
    }

    fn send_activation(&mut self, hidden: Array, rows: &[Rows], step: u64) {
        let Some(Loaded { epoch, route: Route { after: Some(after), .. }, .. }) = &self.loaded
        else {
            return;
        };
        let (epoch, after) = (*epoch, after.clone());
        let sequences: Vec<SequenceRows> = rows
            .iter()
            .map(|own| SequenceRows {
                sequence: own.sequence,
                attempt: own.attempt,
                start: own.start,
                tokens: own.count,
                phase: if own.wants_token { Phase::Decode } else { Phase::Prefill } as u8,
            })
            .collect();
        let meta = ActivationMeta {
            placement_epoch: epoch,
            step,
            dtype: match hidden.dtype() {
                mlx_rs::Dtype::Float16 => Dtype::F16,
                mlx_rs::Dtype::Bfloat16 => Dtype::Bf16,
                _ => Dtype::F32,
            },
            tokens: hidden.dim(0) as u32,
            hidden: hidden.dim(1) as u32,
            sequences: &sequences,
        };
        let bulk = Region::from_backing(Box::new(ArrayRegion::to_send(hidden))).freeze();
        let mut tail = self.tail();
        match activation::encode_tail(&meta, bulk.len(), &mut tail) {
            Ok(written) => {
                let mut payload = Payload::from_slice(bulk);
                payload.push(tail.freeze().slice(..written));
                self.post(&after, payload, messages::ACTIVATION);
            }
            Err(error) => tracing::error!(%error, "activation not sent"),
        }
    }

    fn sample(&mut self, logits: &Array, rows: &[Rows]) {
        let Some(loaded) = &mut self.loaded else { return };
        let vocabulary = logits.dim(1) as usize;
        let numbers = logits.as_slice::<f32>();
        let wanting = rows.iter().filter(|own| own.wants_token);
        let mut events = Vec::new();
        for (own, logits) in wanting.zip(numbers.chunks_exact(vocabulary)) {
            let Some(open) = loaded.open.get_mut(&own.sequence) else { continue };
            let (sequence, attempt, index) = (own.sequence, own.attempt, open.sampler.index());
            let message = match open.sampler.choose(logits, &mut self.scratch) {
                Ok(chosen) => TokenMessage::Token {
                    sequence,
                    attempt,
                    index,
                    token: chosen.token,
                    logprobs: chosen.logprobs.map(|TokenLogprobs { chosen, top }| (chosen, top)),
                    finish: finish(&open.about, chosen.token, index + 1),
                },
                Err(error) => failed(&self.name, sequence, error.to_string()),
            };
            events
                .push(WorkerEvent::Token { entry: NodeId::from_bytes(open.about.entry), message });
        }
        for event in events {
            self.report(event);
        }
    }

    fn give_up(&mut self, rows: &[Rows], error: &StageError) {
        tracing::error!(%error, "step not computed");
        let Some(loaded) = &mut self.loaded else { return };
        let mut events = Vec::new();
        for own in rows {
            loaded.stage.close(own.sequence);
            if let Some(open) = loaded.open.remove(&own.sequence) {
                let message = failed(&self.name, own.sequence, error.to_string());
                events.push(WorkerEvent::Token {
                    entry: NodeId::from_bytes(open.about.entry),
                    message,
                });
            }
        }
        for event in events {
            self.report(event);
        }
    }

    fn report(&self, event: WorkerEvent) {
        // The node loop outlives the worker's jobs; at the very end nobody listens any more.
        let _ = self.events.send(event);
    }
}

fn mlx_dtype(dtype: Dtype) -> mlx_rs::Dtype {
    match dtype {
        Dtype::F32 => mlx_rs::Dtype::Float32,
        Dtype::F16 => mlx_rs::Dtype::Float16,
        Dtype::Bf16 => mlx_rs::Dtype::Bfloat16,
    }
}

fn failed(node: &str, sequence: u64, cause: String) -> TokenMessage {
    TokenMessage::Failed { sequence, node: node.to_owned(), cause }
}

/// `finish` of a token: see [`TokenMessage::Token`].
fn finish(about: &OpenSequence, token: u32, generated: u32) -> u8 {
    if about.stop_tokens.contains(&token) {
        1
    } else if generated >= about.max_tokens {
        2
    } else {
        0
    }
}
