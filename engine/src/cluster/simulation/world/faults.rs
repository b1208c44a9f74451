//! What does a fault do to the world?

use super::{
    super::{
        Ms,
        faults::Fault,
        net::{Pair, pair},
    },
    Event, World,
};

impl World {
    pub(super) fn ways_of(&self, node: usize) -> Vec<Pair> {
        self.ways.keys().copied().filter(|&(a, b)| a == node || b == node).collect()
    }

    pub(super) fn die(&mut self, node: usize, notice: Ms) {
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

    pub(super) fn fault(&mut self, fault: Fault) {
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
                    self.nodes[node].well_since = self.now;
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

    pub(super) fn look_at_ways_of(&mut self, node: usize) {
        self.ways_of(node).into_iter().for_each(|of| self.look_at(of));
    }

    pub(super) fn set_down(&mut self, of: Pair, down: bool) {
        let way = self.ways.get_mut(&of).expect("a way");
        way.ends.iter_mut().for_each(|end| end.cut = down);
        self.look_at(of);
    }

    pub(super) fn last_fault(&self) -> Ms {
        self.plan.faults.iter().map(|&(at, _)| at).max().unwrap_or(0)
    }

    pub(super) fn mend(&mut self) {
        for node in 0..self.plan.nodes {
            self.fault(Fault::Thaw(node));
            self.fault(Fault::MendAll(node));
            self.nodes[node].slow = self.nodes[node].slow.min(200);
        }
    }
}
