//! Who is in the cluster, beyond those this node is connected with? Pure: gossip, sessions and time
//! go in, messages and news come out.
//!
//! `foca` spreads two things over the connections there are: who is up (SWIM), and every node's
//! [signed record](SignedRecord), so that a node that has met one member learns of all, and dials
//! them. It does not say who is *gone*: the transport notices a silent peer in a second and
//! hears of a closed one at once, which SWIM's probes, seconds apart and without a third node to ask
//! when there are two, cannot. A session that ends is told to foca, which tells the others; its own
//! probes only find out about nodes with whom nobody has a session, so that no ghost is kept.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    num::{NonZeroU8, NonZeroUsize},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use foca::{
    AccumulatingRuntime, BroadcastHandler, Config, Foca, Identity, Invalidates, OwnedNotification,
    PeriodicParams, PostcardCodec, Timer,
};
use rand::{SeedableRng as _, rngs::SmallRng};
use serde::{Deserialize, Serialize};

use crate::fabric::{
    NodeId,
    messages::{self, Record},
    record::SignedRecord,
};

/// Longest message: one record, and more, fit.
pub const GOSSIP_BYTES_MAX: usize = 60 << 10;
/// Nodes whose records are kept.
const RECORDS_MAX: usize = 1024;
/// A member with which nobody has a session is asked for, one each period.
const PROBE_PERIOD: Duration = Duration::from_millis(1_000);
const PROBE_RTT: Duration = Duration::from_millis(400);
/// Who does not answer to its name for so long is gone.
const SUSPECT: Duration = Duration::from_millis(2_000);

/// A node, as foca knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    node: [u8; 16],
    incarnation: u64,
    /// Counts its returns after others had given it up.
    returns: u32,
}

impl Identity for Member {
    type Addr = [u8; 16];

    fn renew(&self) -> Option<Self> {
        Some(Self { returns: self.returns + 1, ..self.clone() })
    }

    fn addr(&self) -> Self::Addr {
        self.node
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.incarnation, self.returns) > (other.incarnation, other.returns)
    }
}

/// What membership wants done, or tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Spread {
    /// Send this to a node, if it is connected.
    Send(NodeId, Vec<u8>),
    /// A node, or something new about it, was heard of.
    Heard(Box<Record>),
    /// A node is gone, as far as anybody knows.
    Gone(NodeId),
}

/// Which record of which node is spread.
struct RecordKey(NodeId, (u64, u64));

impl Invalidates for RecordKey {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0 && self.1 >= other.1
    }
}

/// The records that are known.
#[derive(Default)]
struct Records {
    known: BTreeMap<NodeId, (Record, SignedRecord)>,
    /// Whether those that are known already are to be spread once more.
    again: bool,
    refused: u64,
}

impl Records {
    /// Keeps a record if it is newer than what is known; gives its key if it is to be spread.
    fn take(&mut self, signed: SignedRecord) -> Option<RecordKey> {
        let Ok(record) = signed.open() else {
            self.refused += 1;
            return None;
        };
        let (node, version) = (NodeId::from_bytes(record.node), record.facts.version());
        let key = RecordKey(node, version);
        let known = self.known.get(&node).map(|(known, _)| known.facts.version());
        if known.is_some_and(|known| known >= version) {
            return (self.again && known == Some(version)).then_some(key);
        }
        if self.known.len() >= RECORDS_MAX && known.is_none() {
            return None;
        }
        self.known.insert(node, (record, signed));
        Some(key)
    }
}

#[derive(Clone, Default)]
struct SharedRecords(Arc<Mutex<Records>>);

impl SharedRecords {
    fn with<T>(&self, what: impl FnOnce(&mut Records) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A broadcast that is no record: never an error, as that would drop what came along with it.
#[derive(Debug, thiserror::Error)]
#[error("unreachable")]
pub enum Never {}

impl BroadcastHandler<Member> for SharedRecords {
    type Key = RecordKey;
    type Error = Never;

    fn receive_item(
        &mut self,
        data: &[u8],
        _: Option<&Member>,
    ) -> Result<Option<RecordKey>, Never> {
        let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(data.len());
        aligned.extend_from_slice(data);
        let signed = messages::decode::<SignedRecord>(&aligned);
        Ok(self.with(|records| match signed {
            Ok(signed) => records.take(signed),
            Err(_) => {
                records.refused += 1;
                None
            }
        }))
    }
}

struct Due {
    at: Duration,
    number: u64,
    timer: Timer<Member>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// See the module. Times are since the node started.
pub struct Membership {
    foca: Foca<Member, PostcardCodec, SmallRng, SharedRecords>,
    runtime: AccumulatingRuntime<Member>,
    records: SharedRecords,
    timers: BinaryHeap<Reverse<Due>>,
    timers_set: u64,
    /// The nodes that are connected, and which start of them.
    sessions: BTreeMap<NodeId, u64>,
    /// The records that `Heard` told of.
    told: BTreeMap<NodeId, (u64, u64)>,
    out: Vec<Spread>,
}

impl Membership {
    /// A cluster of one; `seed` is for the random choices of whom to tell first.
    #[must_use]
    pub fn new(me: NodeId, incarnation: u64, seed: u64) -> Self {
        let member = Member { node: *me.as_bytes(), incarnation, returns: 0 };
        let records = SharedRecords::default();
        let rng = SmallRng::seed_from_u64(seed);
        let foca =
            Foca::with_custom_broadcast(member, config(), rng, PostcardCodec, records.clone());
        Self {
            foca,
            runtime: AccumulatingRuntime::new(),
            records,
            timers: BinaryHeap::new(),
            timers_set: 0,
            sessions: BTreeMap::new(),
            told: BTreeMap::new(),
            out: Vec::new(),
        }
    }

    /// This node says something new of itself.
    pub fn handle_own_record(&mut self, signed: &SignedRecord, now: Duration) {
        self.spread(signed);
        self.settle(now);
    }

    /// A connected node showed its record: it is up, whatever was heard of it.
    pub fn handle_session(&mut self, signed: &SignedRecord, now: Duration) {
        let Ok(record) = signed.open() else { return };
        let node = NodeId::from_bytes(record.node);
        self.spread(signed);
        let incarnation = record.facts.incarnation;
        if self.sessions.insert(node, incarnation) != Some(incarnation) {
            let member = Member { node: record.node, incarnation, returns: 0 };
            let up = foca::Member::alive(member.clone());
            let _ = self.foca.apply_many(std::iter::once(up), true, &mut self.runtime);
            // Whoever of the two was given up by the other hears so, and comes back as another.
            let _ = self.foca.announce(member, &mut self.runtime);
            self.spread_again();
        }
        self.settle(now);
    }

    /// The session with a node is over.
    pub fn handle_lost(&mut self, node: NodeId, now: Duration) {
        if self.sessions.remove(&node).is_some() {
            let bytes = *node.as_bytes();
            let known = self.foca.iter_membership_state().find(|other| other.id().node == bytes);
            if let Some(id) = known.map(|member| member.id().clone()) {
                let down = foca::Member::down(id);
                let _ = self.foca.apply_many(std::iter::once(down), true, &mut self.runtime);
            }
        }
        self.settle(now);
    }

    /// Gossip from a connected node.
    pub fn handle_gossip(&mut self, bytes: &[u8], now: Duration) {
        if bytes.len() <= GOSSIP_BYTES_MAX {
            // What cannot be read is dropped: the connection proves who sent it, and its lane
            // carries other things too.
            if let Err(error) = self.foca.handle_data(bytes, &mut self.runtime) {
                tracing::debug!(%error, "gossip was not understood");
            }
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_tick(&mut self, now: Duration) {
        while self.timers.peek().is_some_and(|due| due.0.at <= now) {
            if let Some(Reverse(due)) = self.timers.pop() {
                let _ = self.foca.handle_timer(due.timer, &mut self.runtime);
                self.settle(now);
            }
        }
        self.settle(now);
    }

    /// What is to be done, and what is new.
    pub fn poll(&mut self) -> Vec<Spread> {
        std::mem::take(&mut self.out)
    }

    /// The records of nodes that are up as far as anybody knows, this node's left out.
    #[must_use]
    pub fn up(&self) -> Vec<Record> {
        self.up_where(|_| true)
    }

    fn up_where(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        let up: Vec<[u8; 16]> = self.foca.iter_members().map(|member| member.id().node).collect();
        let known = |records: &mut Records| {
            let of = |node: &[u8; 16]| records.known.get(&NodeId::from_bytes(*node));
            let known = up.iter().filter_map(of).map(|(record, _)| record);
            known.filter(|record| wanted(record)).cloned().collect()
        };
        self.records.with(known)
    }

    /// Records that `Heard` has not told of. Most looks find none, and copy none.
    fn untold(&self) -> Vec<Record> {
        self.up_where(|record| {
            self.told.get(&NodeId::from_bytes(record.node)) != Some(&record.facts.version())
        })
    }

    /// A record is spread so often and no more: a node that comes later has to hear it, too.
    fn spread_again(&mut self) {
        let known: Vec<SignedRecord> = self.records.with(|records| {
            records.again = true;
            records.known.values().map(|(_, signed)| signed.clone()).collect()
        });
        known.iter().for_each(|signed| self.spread(signed));
        self.records.with(|records| records.again = false);
    }

    fn spread(&mut self, signed: &SignedRecord) {
        let bytes = messages::encode(signed);
        if let Err(error) = self.foca.add_broadcast(&bytes) {
            tracing::debug!(%error, "a record is not spread");
        }
    }

    /// Carries out what foca asked for.
    fn settle(&mut self, now: Duration) {
        let mut returned = false;
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.timers_set += 1;
            let due = Due { at: now + after, number: self.timers_set, timer };
            self.timers.push(Reverse(due));
        }
        while let Some((to, bytes)) = self.runtime.to_send() {
            self.out.push(Spread::Send(NodeId::from_bytes(to.node), bytes.to_vec()));
        }
        while let Some(notification) = self.runtime.to_notify() {
            match notification {
                OwnedNotification::MemberDown(member) => {
                    let node = NodeId::from_bytes(member.node);
                    // Others may have lost whom this node still holds by the hand.
                    if !self.sessions.contains_key(&node) && self.told.remove(&node).is_some() {
                        self.out.push(Spread::Gone(node));
                    }
                }
                OwnedNotification::Rejoin(_) => returned = true,
                other => tracing::trace!(?other, "membership"),
            }
        }
        for record in self.untold() {
            self.told.insert(NodeId::from_bytes(record.node), record.facts.version());
            self.out.push(Spread::Heard(Box::new(record)));
        }
        if returned {
            // Under its new name this node is known to nobody yet.
            let connected: Vec<Member> = self
                .sessions
                .iter()
                .map(|(node, &incarnation)| Member {
                    node: *node.as_bytes(),
                    incarnation,
                    returns: 0,
                })
                .collect();
            for member in connected {
                let _ = self.foca.announce(member, &mut self.runtime);
            }
            self.spread_again();
            self.settle(now);
        }
    }
}

fn config() -> Config {
    const ONE: NonZeroUsize = NonZeroUsize::MIN;
    let each = |frequency, num_members| Some(PeriodicParams { frequency, num_members });
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: ONE.saturating_add(2),
        max_transmissions: NonZeroU8::MIN.saturating_add(5),
        suspect_to_down_after: SUSPECT,
        remove_down_after: Some(Duration::from_secs(3_600)),
        max_packet_size: NonZeroUsize::new(GOSSIP_BYTES_MAX).unwrap_or(ONE),
        notify_down_members: true,
        periodic_announce: each(Duration::from_secs(10), ONE),
        periodic_announce_to_down_members: None,
        periodic_gossip: each(Duration::from_millis(500), ONE.saturating_add(2)),
    }
}

#[cfg(test)]
mod tests;
