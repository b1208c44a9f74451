//! How do nodes, sessions and clients live together in virtual time?

mod checks;
mod faults;
mod sessions;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::{
    Ms, Random,
    clients::{self, Client, Clients},
    faults::{Fault, Plan},
    ms,
    net::{Lane, Packet, Pair, Way, pair},
    stage::{Held, Job, Said, Stage, VOCABULARY},
};
use crate::{
    cluster::{
        KnownModel, NodesWanted, PlacedModel, Wish,
        core::{Core, Out, RingFacts},
    },
    fabric::{
        NodeId,
        messages::{self, Record},
        record::Facts,
    },
    model::{ModelShape, PartShape},
    request::{GenerateError, RequestId},
    scheduler::{Policy, Reuse, Ring},
};

const TICK: Ms = 100;
const GIB: u64 = 1 << 30;
const LAYERS: usize = 8;
/// As the node's loop has it.
const NEIGHBOUR_WAIT: Ms = 10_000;
/// How long a cluster may take to be well once everything is mended: a session's window, the steps
/// and loads of slow nodes, and a node that has to be steady first.
const WELL_WITHIN: Ms = 240_000;
/// What may happen in one world: beyond it something talks for ever.
const EVENTS_MAX: u64 = 2_000_000;

#[derive(Debug)]
enum Event {
    Tick(usize, u32),
    Fault(Fault),
    Ask(usize),
    Cancel(RequestId),
    Arrive {
        from: usize,
        to: usize,
        session: u64,
        lane: Lane,
    },
    /// The stage is through with its job.
    Worked(usize, u32, Ms),
    Prepared(usize, u32, u64),
    /// A way that has been silent for so long, since then.
    /// An end has heard nothing for so long that it suspects the other.
    Silent {
        from: usize,
        to: usize,
        since: Ms,
    },
    /// For so long that the session is over.
    Over {
        from: usize,
        to: usize,
        since: Ms,
    },
    /// One end hears that a session is over.
    Parted {
        node: usize,
        start: u32,
        from: usize,
    },
    Connect(Pair),
}

struct Node {
    core: Core,
    stage: Stage,
    /// Counts the starts of its program.
    start: u32,
    alive: bool,
    frozen: bool,
    /// Since when it has been neither frozen nor without a placement that works.
    well_since: Ms,
    /// What it would have done while it was frozen.
    missed: Vec<Event>,
    slow: Ms,
    /// Its clock: `time * rate / 1000 + offset`.
    clock: (u64, Ms),
    leaving: bool,
    /// What it is to load, once its neighbours are connected.
    pending: Option<(PlacedModel, Ms)>,
    /// Whether its API takes requests.
    open: bool,
}

pub(super) struct World {
    now: Ms,
    events: BinaryHeap<Reverse<(Ms, u64)>>,
    what: BTreeMap<u64, Event>,
    count: u64,
    random: Random,
    nodes: Vec<Node>,
    ways: BTreeMap<Pair, Way>,
    /// How much longer what one node sends another takes.
    latency: Vec<Vec<Ms>>,
    sessions: u64,
    clients: Clients,
    /// When each request was over, or its entry node.
    over: BTreeMap<RequestId, Ms>,
    plan: Plan,
    tell: bool,
    requests: u64,
}

fn id(node: usize) -> NodeId {
    NodeId::from_bytes([node as u8 + 1; 16])
}

fn index(node: NodeId) -> usize {
    usize::from(node.as_bytes()[0]) - 1
}

fn model() -> KnownModel {
    let shape = ModelShape {
        layers: vec![PartShape::dense(GIB / 2, 1 << 20); LAYERS],
        embedding_bytes: GIB / 8,
        head: PartShape::dense(GIB / 8, 1 << 18),
        tied: false,
        kv_token_layer_bytes: 256,
        context: 4096,
        token_bytes: 64,
    };
    KnownModel { name: "m".into(), fingerprint: [7; 32], shape }
}

fn record(node: usize, start: u32, memory: u64) -> Record {
    Record {
        node: *id(node).as_bytes(),
        name: format!("n{node}"),
        memory: memory * GIB,
        interface: "thunderbolt0".into(),
        link_kind: "by-hand".into(),
        listen: String::new(),
        api: String::new(),
        wants: None,
        placement_epoch: 0,
        leaving: false,
        facts: Facts { incarnation: u64::from(start), ..Facts::default() },
    }
}

impl World {
    /// A whole life, from one seed.
    pub(super) fn run(seed: u64, kind: u64, tell: bool) {
        let mut random = Random(seed.wrapping_mul(4).wrapping_add(kind));
        let plan = Plan::new(&mut random, kind);
        if tell {
            println!("kind {kind}, seed {seed}: {plan:?}");
        }
        let calm = plan.calm;
        let mut world = Self {
            now: 0,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            count: 0,
            random,
            nodes: Vec::new(),
            ways: BTreeMap::new(),
            latency: plan.latency.clone(),
            sessions: 0,
            clients: Clients::default(),
            over: BTreeMap::new(),
            tell,
            requests: 0,
            plan,
        };
        world.begin();
        world.live_until(calm);
        world.mend();
        let until = world.last_fault().max(calm) + WELL_WITHIN;
        // Well, and for long enough that nothing is on its way any more.
        let mut well = 0;
        while world.now < until && well < 3 {
            let next = world.now + 1_000;
            world.live_until(next);
            well = if world.is_well() { well + 1 } else { 0 };
        }
        world.check_well(kind);
    }

    fn begin(&mut self) {
        for node in 0..self.plan.nodes {
            let node = self.started(node, 1);
            self.nodes.push(node);
        }
        for a in 0..self.plan.nodes {
            for b in a + 1..self.plan.nodes {
                self.ways.insert((a, b), Way::default());
                self.connect_soon((a, b));
            }
        }
        for node in 0..self.plan.nodes {
            self.want(node);
        }
        for (at, fault) in self.plan.faults.clone() {
            self.at(at, Event::Fault(fault));
        }
        for (at, node) in self.plan.requests.clone() {
            self.at(at, Event::Ask(node));
        }
    }

    fn started(&mut self, node: usize, start: u32) -> Node {
        let nodes = match self.plan.all_nodes {
            true => NodesWanted::All,
            false => NodesWanted::Smallest,
        };
        let wish = Wish { rebalance: self.plan.rebalance, ..Wish::from(nodes) };
        let record = record(node, start, self.plan.memory[node]);
        let clock = (self.random.between(900, 1_100), self.random.between(0, 1_000_000));
        let first = self.now + self.random.between(1, TICK);
        self.at(first, Event::Tick(node, start));
        let mut core = Core::new(record, wish, Policy::default());
        core.handle_time(ms(self.now * clock.0 / 1000 + clock.1));
        Node {
            core,
            stage: Stage::default(),
            start,
            alive: true,
            frozen: false,
            well_since: self.now,
            missed: Vec::new(),
            slow: 0,
            clock,
            leaving: false,
            pending: None,
            open: false,
        }
    }

    /// Some nodes are started with the model, the first always.
    fn want(&mut self, node: usize) {
        if node == 0 || self.random.chance(300) {
            self.nodes[node].core.handle_want(model());
            self.settle(node);
        }
    }

    fn at(&mut self, at: Ms, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at.max(self.now), self.count)));
        self.what.insert(self.count, event);
        assert!(self.count < EVENTS_MAX, "the nodes never stop talking");
    }

    fn live_until(&mut self, until: Ms) {
        while let Some(&Reverse((at, number))) = self.events.peek() {
            if at > until {
                break;
            }
            self.events.pop();
            self.now = at;
            let event = self.what.remove(&number).expect("once");
            self.happen(event);
        }
        self.now = until;
    }

    /// A node that is frozen does all of this later.
    fn later(&mut self, node: usize, start: u32, event: Event) -> Option<Event> {
        let own = &mut self.nodes[node];
        if !own.alive || own.start != start {
            return None;
        }
        if own.frozen {
            own.missed.push(event);
            return None;
        }
        Some(event)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(node, start) => {
                let Some(_) = self.later(node, start, Event::Tick(node, start)) else { return };
                self.tick(node);
                self.check_leaks(node);
                self.at(self.now + TICK, Event::Tick(node, start));
            }
            Event::Worked(node, start, took) => {
                let event = Event::Worked(node, start, took);
                if self.later(node, start, event).is_some() {
                    self.nodes[node].stage.busy = None;
                    let said = self.nodes[node].stage.work(took);
                    self.handle_said(node, said);
                    self.settle(node);
                }
            }
            Event::Prepared(node, start, epoch) => {
                if self.later(node, start, Event::Prepared(node, start, epoch)).is_some() {
                    if self.tell {
                        println!("{:>6} n{node} has prepared {epoch:x}", self.now);
                    }
                    self.nodes[node].core.handle_prepared(epoch, Ok(()));
                    self.settle(node);
                }
            }
            Event::Parted { node, start, from } => {
                if self.later(node, start, Event::Parted { node, start, from }).is_some() {
                    self.parted(node, from);
                } else if !self.nodes[node].alive || self.nodes[node].start != start {
                    self.has_parted(pair(node, from));
                }
            }
            Event::Arrive { from, to, session, lane } => self.arrive(from, to, session, lane),
            Event::Fault(fault) => self.fault(fault),
            Event::Ask(node) => self.ask(node),
            Event::Cancel(id) => {
                let client = self.clients.by_id.get_mut(&id).expect("a client that asked");
                let (node, start) = (client.node, client.start);
                let own = &mut self.nodes[node];
                if client.end.is_none() && own.alive && !own.frozen && own.start == start {
                    client.end = Some(Err(GenerateError::ShuttingDown));
                    own.core.handle_cancel(id);
                    self.settle(node);
                }
            }
            Event::Silent { from, to, since } => self.suspect(from, to, since),
            Event::Over { from, to, since } => {
                if self.is_silent(from, to, since) {
                    self.end_session(pair(from, to), 0);
                }
            }
            Event::Connect(of) => self.connect(of),
        }
    }

    fn tick(&mut self, node: usize) {
        let own = &mut self.nodes[node];
        let (rate, offset) = own.clock;
        own.core.handle_time(ms(self.now * rate / 1000 + offset));
        if self.now / 1000 != (self.now + TICK) / 1000 {
            own.core.remind();
        }
        let leaves = own.leaving && own.core.may_leave();
        self.settle(node);
        self.load_pending(node);
        self.settle(node);
        if leaves {
            self.nodes[node].core.handle_shutdown();
            self.settle(node);
            self.die(node, 1);
        }
    }

    /// Does what a node's core wants done.
    fn settle(&mut self, node: usize) {
        while let Some(out) = self.nodes[node].core.poll() {
            match out {
                Out::Tell(to, message) => self.tell(node, index(to), message),
                Out::Broadcast(message) => {
                    for to in (0..self.plan.nodes).filter(|&to| to != node) {
                        self.tell(node, to, message.clone());
                    }
                }
                Out::Token(to, message) => self.send(node, index(to), Packet::Token(message)),
                Out::Client(id, event) => {
                    let gone =
                        self.clients.by_id.get(&id).is_some_and(|client| {
                            client.end == Some(Err(GenerateError::ShuttingDown))
                        });
                    if !gone {
                        if self.tell {
                            println!("{:>6} n{node} client {id:?}: {event:?}", self.now);
                        }
                        self.clients.hear(id, event);
                    }
                }
                Out::Load(placed) => {
                    if self.tell {
                        let ring = placed.placement.assignments();
                        println!("{:>6} n{node} loads {:x} {ring:?}", self.now, placed.epoch);
                    }
                    self.nodes[node].pending = Some((*placed, self.now));
                    self.load_pending(node);
                }
                Out::Prepare(placed) => {
                    if self.tell {
                        let ring = placed.placement.assignments();
                        println!("{:>6} n{node} prepares {:x} {ring:?}", self.now, placed.epoch);
                    }
                    let at = self.now + self.random.between(20, 3_000);
                    let start = self.nodes[node].start;
                    self.at(at, Event::Prepared(node, start, placed.epoch));
                }
                Out::Stage(work) => self.job(node, Job::Work(work)),
                Out::PrepareNoMore => {}
                Out::FreeCaches(epoch) => self.job(node, Job::FreeCaches(epoch)),
                Out::Ready(_) => self.nodes[node].open = true,
                Out::NotReady => self.nodes[node].open = false,
                Out::CutOff(from, what) => panic!("n{node} cuts n{} off: {what}", index(from)),
            }
        }
        self.begin_work(node);
    }

    /// Loads what a node is to hold, once it has sessions with its neighbours on the ring.
    fn load_pending(&mut self, node: usize) {
        let Some((placed, since)) = self.nodes[node].pending.take() else { return };
        let placement = &placed.placement;
        let neighbours = [placement.before(id(node)), placement.after(id(node))];
        let [before, after] = neighbours.map(|neighbour| {
            let neighbour = index(neighbour?);
            let session = self.ways[&pair(node, neighbour)].session;
            Some(session.map(|session| (neighbour, session)))
        });
        if placement.position(id(node)).is_none() {
            return self.job(node, Job::Unload);
        }
        if before == Some(None) || after == Some(None) {
            if self.now - since > NEIGHBOUR_WAIT {
                let cause = "no connection to its neighbour on the ring".into();
                if self.tell {
                    println!("{:>6} n{node} cannot load {:x}", self.now, placed.epoch);
                }
                self.nodes[node].core.handle_loaded(placed.epoch, Err(cause));
            } else {
                self.nodes[node].pending = Some((placed, since));
            }
            return;
        }
        if placement.first() == id(node) {
            let ring = Ring {
                stages: placement.assignments().len(),
                chunk_tokens: 16,
                cache_tokens: 1 << 12,
                reuse: Reuse::Prefix,
            };
            let facts = RingFacts { ring, vocabulary: VOCABULARY as usize, context: 4096 };
            self.nodes[node].core.handle_ring(placed.epoch, facts);
        }
        let (before, after) = (before.flatten(), after.flatten());
        self.job(node, Job::Load(Held { epoch: placed.epoch, before, after, ..Held::default() }));
    }

    fn tell(&mut self, from: usize, to: usize, message: messages::ClusterMessage) {
        let packet = match message {
            messages::ClusterMessage::Record(record) => Packet::Record(Box::new(record)),
            message => Packet::Cluster(Box::new(message)),
        };
        self.send(from, to, packet);
    }

    fn job(&mut self, node: usize, job: Job) {
        self.nodes[node].stage.jobs.push_back(job);
        self.begin_work(node);
    }

    fn begin_work(&mut self, node: usize) {
        let load = self.random.between(5, 800);
        let step = self.random.between(10, 40);
        let own = &mut self.nodes[node];
        if own.stage.busy.is_none()
            && let Some(took) = own.stage.next_takes(step + own.slow, load)
        {
            own.stage.busy = Some(self.now + took);
            let start = own.start;
            self.at(self.now + took, Event::Worked(node, start, took));
        }
    }

    fn handle_said(&mut self, node: usize, said: Vec<Said>) {
        for said in said {
            let core = &mut self.nodes[node].core;
            match said {
                Said::Loaded(epoch) => core.handle_loaded(epoch, Ok(1)),
                Said::StepDone(epoch) => core.handle_step_done(epoch),
                Said::Chosen(entry, message) => {
                    core.handle_chosen(NodeId::from_bytes(entry), message);
                }
                Said::Round(epoch, step) => core.handle_round(epoch, step),
                Said::Steps(epoch, counts) => core.handle_steps(id(node), epoch, counts),
                Said::Send((to, session), packet) => {
                    if self.ways[&pair(node, to)].session == Some(session) {
                        self.send(node, to, packet);
                    }
                }
            }
        }
    }

    fn ask(&mut self, node: usize) {
        let request = clients::request(&mut self.random);
        let own = &mut self.nodes[node];
        if !own.alive || own.frozen || own.leaving || !own.open {
            return;
        }
        self.requests += 1;
        let number = RequestId(self.requests);
        let client = Client {
            node,
            start: own.start,
            request: request.clone(),
            heard: Vec::new(),
            end: None,
        };
        self.clients.by_id.insert(number, client);
        own.core.handle_generate(number, request);
        if self.random.chance(self.plan.cancels) {
            let at = self.now + self.random.between(1, 3_000);
            self.at(at, Event::Cancel(number));
        }
        self.settle(node);
    }
}
