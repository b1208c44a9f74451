//! How do nodes, sessions and clients live together in virtual time? And what must hold at its end?

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::{
    Ms, Random,
    clients::{self, Client, Clients},
    faults::{Fault, Plan},
    ms,
    net::{Lane, Packet, Pair, SUSPECT, WINDOW, Way, pair},
    stage::{Held, Job, Said, Stage, VOCABULARY},
};
use crate::{
    cluster::{
        KnownModel, NodesWanted, Phase, PlacedModel, Wish,
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

/// Sessions.
impl World {
    fn connect_soon(&mut self, of: Pair) {
        let at = self.now + self.random.between(50, 1_500);
        self.at(at, Event::Connect(of));
    }

    fn connect(&mut self, of: Pair) {
        let (a, b) = of;
        let way = &self.ways[&of];
        if way.session.is_some() {
            return;
        }
        let awake = |node: &Node| node.alive && !node.frozen;
        let able = awake(&self.nodes[a]) && awake(&self.nodes[b]);
        if way.ends.iter().any(|end| end.cut) || !able || way.parting > 0 {
            return self.connect_soon(of);
        }
        self.sessions += 1;
        self.ways.insert(of, Way { session: Some(self.sessions), ..Way::default() });
        for (from, to) in [(a, b), (b, a)] {
            let record = self.nodes[from].core.cluster().record().clone();
            self.send(from, to, Packet::Record(Box::new(record)));
        }
    }

    /// Whether `to` hears what `from` sends.
    fn is_open(&mut self, from: usize, to: usize) -> bool {
        let is_frozen = self.nodes[from].frozen || self.nodes[to].frozen;
        let way = self.ways.get_mut(&pair(from, to)).expect("a way");
        !is_frozen && !way.end(from, to).cut
    }

    fn is_silent(&mut self, from: usize, to: usize, since: Ms) -> bool {
        let way = self.ways.get_mut(&pair(from, to)).expect("a way");
        way.session.is_some() && way.end(from, to).silent == Some(since)
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet) {
        let of = pair(from, to);
        let delay = self.random.between(1, 4) + self.latency[from][to];
        let way = self.ways.get_mut(&of).expect("a way");
        let Some(session) = way.session else { return };
        let lane = packet.lane();
        let flow = way.flows.entry((from, lane)).or_default();
        flow.packets.push_back(packet);
        flow.last = flow.last.max(self.now + delay);
        let at = flow.last;
        self.at(at, Event::Arrive { from, to, session, lane });
    }

    fn arrive(&mut self, from: usize, to: usize, session: u64, lane: Lane) {
        let of = pair(from, to);
        let open = self.is_open(from, to);
        let way = self.ways.get_mut(&of).expect("a way");
        if way.session != Some(session) {
            return;
        }
        let flow = way.flows.entry((from, lane)).or_default();
        if !open {
            flow.due += 1; // the transport sends it once more
            return;
        }
        let Some(packet) = flow.packets.pop_front() else { return };
        if !self.nodes[to].alive {
            return;
        }
        match packet {
            Packet::Record(record) => self.nodes[to].core.handle_record(*record),
            Packet::Cluster(message) => {
                let left = self.nodes[to].core.handle_cluster(id(from), *message);
                assert_eq!(left, None);
            }
            Packet::Token(message) => self.nodes[to].core.handle_token_of(id(from), message),
            packet @ (Packet::Stage(_) | Packet::Activation { .. }) => {
                self.job(to, Job::Message((from, session), packet));
            }
        }
        self.settle(to);
    }

    /// A way may have opened or closed.
    fn look_at(&mut self, of: Pair) {
        self.look_at_end(of.1, of.0);
        self.look_at_end(of.0, of.1);
    }

    fn look_at_end(&mut self, from: usize, to: usize) {
        let open = self.is_open(from, to);
        let now = self.now;
        let way = self.ways.get_mut(&pair(from, to)).expect("a way");
        let Some(session) = way.session else { return };
        let end = way.end(from, to);
        if !open {
            if end.silent.is_none() {
                end.silent = Some(now);
                self.at(now + SUSPECT, Event::Silent { from, to, since: now });
                self.at(now + WINDOW, Event::Over { from, to, since: now });
            }
            return;
        }
        if end.silent.take().is_none() {
            return;
        }
        let suspected = std::mem::take(&mut end.suspects);
        let mut arrivals = Vec::new();
        for (&(sender, lane), flow) in &mut way.flows {
            if sender == from {
                flow.last = flow.last.max(now + 5);
                arrivals.extend((0..std::mem::take(&mut flow.due)).map(|_| lane));
            }
        }
        for lane in arrivals {
            self.at(now + 5, Event::Arrive { from, to, session, lane });
        }
        if suspected {
            self.nodes[to].core.handle_suspected(id(from), false);
            self.settle(to);
        }
    }

    fn suspect(&mut self, from: usize, to: usize, since: Ms) {
        if !self.is_silent(from, to, since) {
            return;
        }
        self.ways.get_mut(&pair(from, to)).expect("a way").end(from, to).suspects = true;
        let own = &mut self.nodes[to];
        if own.alive && !own.frozen {
            own.core.handle_suspected(id(from), true);
            self.settle(to);
        }
    }

    /// A session is over: its ends hear so, soon.
    fn end_session(&mut self, of: Pair, at_least: Ms) {
        let way = self.ways.get_mut(&of).expect("a way");
        if way.session.take().is_none() {
            return;
        }
        for end in &mut way.ends {
            (end.silent, end.suspects) = (None, false);
        }
        way.flows.clear();
        way.parting += 2;
        for (node, from) in [(of.0, of.1), (of.1, of.0)] {
            let at = self.now + at_least + self.random.between(1, 500);
            let start = self.nodes[node].start;
            self.at(at, Event::Parted { node, start, from });
        }
        self.connect_soon(of);
    }

    fn parted(&mut self, node: usize, from: usize) {
        self.has_parted(pair(node, from));
        self.nodes[node].core.handle_lost(id(from), "the session is over");
        self.settle(node);
    }

    fn has_parted(&mut self, of: Pair) {
        let way = self.ways.get_mut(&of).expect("a way");
        way.parting = way.parting.saturating_sub(1);
    }
}

/// Faults.
impl World {
    fn ways_of(&self, node: usize) -> Vec<Pair> {
        self.ways.keys().copied().filter(|&(a, b)| a == node || b == node).collect()
    }

    fn die(&mut self, node: usize, notice: Ms) {
        if !self.nodes[node].alive {
            return;
        }
        self.nodes[node].alive = false;
        self.nodes[node].frozen = false;
        for event in std::mem::take(&mut self.nodes[node].missed) {
            if let Event::Parted { from, .. } = event {
                self.has_parted(pair(node, from));
            }
        }
        for of in self.ways_of(node) {
            self.end_session(of, notice);
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.tell {
            println!("{:>6} {fault:?}", self.now);
        }
        match fault {
            Fault::Kill(node) => {
                let notice = self.random.between(1, 1_000);
                self.die(node, notice);
            }
            Fault::Start(node) => {
                if !self.nodes[node].alive {
                    let start = self.nodes[node].start + 1;
                    self.nodes[node] = self.started(node, start);
                    self.want(node);
                }
            }
            Fault::Freeze(node) => {
                if self.nodes[node].alive {
                    self.nodes[node].frozen = true;
                    self.look_at_ways_of(node);
                }
            }
            Fault::Thaw(node) => {
                if std::mem::take(&mut self.nodes[node].frozen) {
                    self.look_at_ways_of(node);
                    for event in std::mem::take(&mut self.nodes[node].missed) {
                        self.at(self.now, event);
                    }
                }
            }
            Fault::Cut(a, b) => self.set_down(pair(a, b), true),
            Fault::Mend(a, b) => self.set_down(pair(a, b), false),
            Fault::Deafen(from, to) => {
                self.ways.get_mut(&pair(from, to)).expect("a way").end(from, to).cut = true;
                self.look_at(pair(from, to));
            }
            Fault::CutOff(node) => {
                self.ways_of(node).into_iter().for_each(|of| self.set_down(of, true));
            }
            Fault::MendAll(node) => {
                self.ways_of(node).into_iter().for_each(|of| self.set_down(of, false));
            }
            Fault::Leave(node) => {
                let own = &mut self.nodes[node];
                if own.alive && !own.frozen {
                    own.leaving = true;
                    own.core.handle_leave();
                    self.settle(node);
                }
            }
            Fault::Slow(node, by) => self.nodes[node].slow = by,
        }
    }

    fn look_at_ways_of(&mut self, node: usize) {
        self.ways_of(node).into_iter().for_each(|of| self.look_at(of));
    }

    fn set_down(&mut self, of: Pair, down: bool) {
        let way = self.ways.get_mut(&of).expect("a way");
        way.ends.iter_mut().for_each(|end| end.cut = down);
        self.look_at(of);
    }

    fn last_fault(&self) -> Ms {
        self.plan.faults.iter().map(|&(at, _)| at).max().unwrap_or(0)
    }

    fn mend(&mut self) {
        for node in 0..self.plan.nodes {
            self.fault(Fault::Thaw(node));
            self.fault(Fault::MendAll(node));
            self.nodes[node].slow = self.nodes[node].slow.min(200);
        }
    }
}

/// What must hold.
impl World {
    fn is_well(&self) -> bool {
        self.ails().is_none()
    }

    /// What is not as it should be in the end.
    fn ails(&self) -> Option<String> {
        if self.now <= self.last_fault() {
            return Some("things still go wrong".into());
        }
        let epoch = |node: &Node| node.core.cluster().placed().map(|placed| placed.epoch);
        let first = self.nodes.first().and_then(epoch);
        self.nodes.iter().enumerate().find_map(|(number, node)| {
            let cluster = node.core.cluster();
            let what = match () {
                () if !node.alive => "is not there".to_owned(),
                () if cluster.phase() != Phase::Ready => format!("is {:?}", cluster.phase()),
                () if node.core.running() > 0 => "forgets a client".into(),
                () if node.core.scheduled() > 0 => "schedules what is over".into(),
                () if node.stage.busy.is_some() => "computes for nobody".into(),
                () if cluster.next().is_some() => "still prepares a placement".into(),
                () if epoch(node) != first => "has another placement".into(),
                () => return None,
            };
            Some(format!("n{number} {what}"))
        })
    }

    fn check_well(&self, kind: u64) {
        assert_eq!(self.ails(), None);
        for (number, node) in self.nodes.iter().enumerate() {
            let cluster = node.core.cluster();
            let placed = cluster.placed().expect("ready");
            let held = node.stage.held.as_ref();
            assert_eq!(
                held.map(|held| held.epoch),
                placed.placement.position(id(number)).map(|_| placed.epoch),
                "n{number} holds another placement"
            );
            assert!(held.is_none_or(|held| held.open.is_empty()), "n{number} leaks a sequence");
            if let Some((kept, _)) = node.core.kept() {
                for part in placed.placement.assignments() {
                    let stage = self.nodes[index(part.node)].stage.held.as_ref();
                    let caches = stage.map_or(0, |held| held.caches.len());
                    assert_eq!(caches, kept, "n{} leaks caches", index(part.node));
                }
            }
        }
        for (id, client) in &self.clients.by_id {
            let own = &self.nodes[client.node];
            let gone = !own.alive || own.start != client.start || own.leaving;
            match &client.end {
                None => assert!(gone, "{id:?} never ends"),
                Some(Ok(_)) => {}
                // It was cancelled, or its node said that it leaves.
                Some(Err(GenerateError::ShuttingDown)) => {}
                Some(Err(error)) => {
                    assert!(kind == 1 || kind == 3 || gone, "{id:?} fails: {error}");
                }
            }
        }
    }
}
