//! How do sessions begin, carry, fall silent and end?

use super::{
    super::{
        Ms,
        net::{Lane, Packet, Pair, SUSPECT, WINDOW, Way, pair},
        stage::Job,
    },
    Event, Node, World, id,
};

impl World {
    pub(super) fn connect_soon(&mut self, of: Pair) {
        let at = self.now + self.random.between(50, 1_500);
        self.at(at, Event::Connect(of));
    }

    pub(super) fn connect(&mut self, of: Pair) {
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
    pub(super) fn is_open(&mut self, from: usize, to: usize) -> bool {
        let is_frozen = self.nodes[from].frozen || self.nodes[to].frozen;
        let way = self.ways.get_mut(&pair(from, to)).expect("a way");
        !is_frozen && !way.end(from, to).cut
    }

    pub(super) fn is_silent(&mut self, from: usize, to: usize, since: Ms) -> bool {
        let way = self.ways.get_mut(&pair(from, to)).expect("a way");
        way.session.is_some() && way.end(from, to).silent == Some(since)
    }

    pub(super) fn send(&mut self, from: usize, to: usize, packet: Packet) {
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

    pub(super) fn arrive(&mut self, from: usize, to: usize, session: u64, lane: Lane) {
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
    pub(super) fn look_at(&mut self, of: Pair) {
        self.look_at_end(of.1, of.0);
        self.look_at_end(of.0, of.1);
    }

    pub(super) fn look_at_end(&mut self, from: usize, to: usize) {
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

    pub(super) fn suspect(&mut self, from: usize, to: usize, since: Ms) {
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
    pub(super) fn end_session(&mut self, of: Pair, at_least: Ms) {
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

    pub(super) fn parted(&mut self, node: usize, from: usize) {
        self.has_parted(pair(node, from));
        self.nodes[node].core.handle_lost(id(from), "the session is over");
        self.settle(node);
    }

    pub(super) fn has_parted(&mut self, of: Pair) {
        let way = self.ways.get_mut(&of).expect("a way");
        way.parting = way.parting.saturating_sub(1);
    }
}
