//! Several sessions with one peer, each over a link of its own, used as one for large messages.
//!
//! A message is cut into stripes, and the receiver *reads* each over the rail that will have it
//! first, straight into the region it posted. A link that dies, even in the middle of a stripe, costs
//! nothing but time: its stripes are read over the others. Messages arrive in the order sent, each
//! exactly once, as long as one of the rails lives.
//!
//! Contract: the rails of a set go to one peer, over different links; both ends make their set of
//! them. Nobody else posts receives on the set's control lane of these sessions; the lane of the
//! stripes may be shared. Endpoints are driven in the background.
//!
//! Layout: `stripes` decides (no I/O), `message` is what both ends say, this file posts the work.

mod message;
#[cfg(test)]
mod simulation;
mod stripes;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use thiserror::Error;

use self::message::{MESSAGE_BYTES, Message};
pub use self::stripes::RailsMisuse;
use self::stripes::{Action, Stripes, stripe_len};
use crate::NodeId;
use crate::driver::{Clock, QueuePair, ReadableRegion};
use crate::limits::{
    COMPLETIONS_MAX, MESSAGE_BYTES_MAX, RAIL_MESSAGES_MAX, RAIL_READS, RAILS_MAX,
    STRIPE_BYTES_DEFAULT,
};
use crate::memory::{Region, RegionPool, RegionSlice, RemoteRegion, Split};
use crate::proto::Time;
use crate::queue::{Completion, CompletionQueue, Opcode, Payload, Read, Send, WorkError, WorkId};
use crate::wire::header::Lane;

/// How often rails are looked after that say nothing of themselves.
const TICK: Duration = Duration::from_millis(20);
/// Messages between the ends that may wait in each direction of a rail: an offer and a word of its
/// arrival for each message.
const MESSAGES: usize = 2 * RAIL_MESSAGES_MAX;

/// How a set of rails behaves. Both ends must agree on the control lane.
#[derive(Clone, Copy, Debug)]
pub struct RailsConfig {
    /// Bytes of a stripe.
    pub stripe_bytes: usize,
    /// The lane on which the ends talk about messages. It is theirs alone.
    pub control: Lane,
    /// The lane of the stripes.
    pub data: Lane,
}

impl Default for RailsConfig {
    fn default() -> Self {
        let (control, data) = (Lane::Urgent, Lane::Bulk);
        Self { stripe_bytes: STRIPE_BYTES_DEFAULT, control, data }
    }
}

/// Why something cannot be done with a set of rails.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RailsError {
    /// All rails of the set are gone: make a new one.
    #[error("all rails to this peer are gone")]
    Over,
    /// There are as many rails as there may be.
    #[error("a set has at most {RAILS_MAX} rails")]
    TooMany,
    /// A rail to somebody else.
    #[error("a rail to {found} cannot join a set to {expected}")]
    OtherPeer {
        /// Its peer.
        found: NodeId,
        /// The set's.
        expected: NodeId,
    },
    /// As many messages are under way as may be. Wait for a completion.
    #[error("{RAIL_MESSAGES_MAX} messages are under way: wait for a completion")]
    Full,
    /// The message is longer than any may be.
    #[error("a message of {len} bytes is longer than {MESSAGE_BYTES_MAX}")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
    },
}

/// What became of a message.
#[derive(Debug)]
pub struct RailsCompletion {
    /// [`Opcode::Send`] or [`Opcode::Recv`].
    pub opcode: Opcode,
    /// The number of the message in its direction, from 1; 0 of a receive that no message took.
    pub number: u64,
    /// `Ok` of a send: the whole message lies in the peer's region. Of a receive: it lies in `region`.
    pub status: Result<(), WorkError>,
    /// Bytes of the message.
    pub bytes: usize,
    /// What the sender gave along, of a receive.
    pub immediate: u32,
    /// The region that was posted, of a receive. What arrived is its first `bytes` bytes.
    pub region: Option<Region>,
}

/// What was counted of one rail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RailStats {
    /// The interface of this machine.
    pub interface: String,
    /// Whether it is used.
    pub live: bool,
    /// Stripes that came over it, and their bytes.
    pub stripes: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Stripes that were asked for over it and did not come: they came over another.
    pub moved: u64,
}

struct Rail {
    pair: QueuePair,
    stats: RailStats,
    /// Where messages that have not arrived may be read over this rail.
    from: HashMap<u64, RemoteRegion>,
    /// Messages between the ends that are on their way over it.
    saying: usize,
    /// What is to be said when there is room again. A rail that is silent holds up nobody else.
    unsaid: VecDeque<Action>,
}

impl Rail {
    fn new(pair: QueuePair) -> Self {
        let interface = pair.peer().interface.clone();
        let stats = RailStats { interface, live: true, stripes: 0, bytes: 0, moved: 0 };
        Self { pair, stats, from: HashMap::new(), saying: 0, unsaid: VecDeque::new() }
    }

    fn is_gone(&self) -> bool {
        !self.stats.live || !self.pair.is_open()
    }
}

/// What work requests of the set are for.
enum Posted {
    Listen { rail: usize },
    Say { rail: usize },
    Read { rail: usize, number: u64, stripe: usize },
}

impl Posted {
    fn rail(&self) -> usize {
        match self {
            Self::Listen { rail } | Self::Say { rail } | Self::Read { rail, .. } => *rail,
        }
    }
}

struct Sending {
    slice: RegionSlice,
    immediate: u32,
    /// Held until the message has arrived.
    granted: Vec<ReadableRegion>,
}

struct Arriving {
    split: Split,
    /// Those that nobody is asked to fill.
    parts: Vec<Option<Region>>,
    len: u64,
}

/// Several sessions with one peer, used as one.
///
/// One thread uses it; [`wait`](Self::wait) does its work.
pub struct Rails {
    config: RailsConfig,
    stripes: Stripes,
    rails: Vec<Rail>,
    posted: HashMap<WorkId, Posted>,
    queue: CompletionQueue,
    pool: RegionPool,
    sending: BTreeMap<u64, Sending>,
    rooms: VecDeque<Region>,
    arriving: BTreeMap<u64, Arriving>,
    done: VecDeque<RailsCompletion>,
    peer: NodeId,
    /// Why the last rail went, once none is left.
    over: Option<WorkError>,
    clock: Clock,
    /// When the rails are looked after next.
    look_at: Time,
}

impl Rails {
    /// A set of one rail.
    pub fn new(config: RailsConfig, first: QueuePair) -> Self {
        let work = RAILS_MAX * (2 * MESSAGES + RAIL_READS);
        let mut rails = Self {
            config,
            stripes: Stripes::new(config.stripe_bytes),
            rails: Vec::new(),
            posted: HashMap::new(),
            queue: CompletionQueue::with_capacity(work.min(COMPLETIONS_MAX)),
            pool: RegionPool::new(RAILS_MAX * 2 * MESSAGES, MESSAGE_BYTES),
            sending: BTreeMap::new(),
            rooms: VecDeque::new(),
            arriving: BTreeMap::new(),
            done: VecDeque::new(),
            peer: first.peer().node,
            over: None,
            clock: Clock::start(),
            look_at: Time::default(),
        };
        let added = rails.add(first);
        debug_assert!(added.is_ok(), "the first rail has room and the right peer");
        rails
    }

    /// Adds a session with the same peer over another link, or over one that was lost and is back.
    ///
    /// # Errors
    ///
    /// [`RailsError`].
    pub fn add(&mut self, pair: QueuePair) -> Result<(), RailsError> {
        if self.over.is_some() || (!self.rails.is_empty() && self.rails.iter().all(Rail::is_gone)) {
            return Err(RailsError::Over);
        }
        let (found, expected) = (pair.peer().node, self.peer);
        if found != expected {
            return Err(RailsError::OtherPeer { found, expected });
        }
        // What a rail that is gone still has to give back must not be taken for the new one's.
        let posted = &self.posted;
        let is_in_use = |rail| posted.values().any(|posted| posted.rail() == rail);
        let rail = self.stripes.add_rail(is_in_use).ok_or(RailsError::TooMany)?;
        if rail < self.rails.len() {
            self.rails[rail] = Rail::new(pair);
        } else {
            self.rails.push(Rail::new(pair));
        }
        for _ in 0..MESSAGES {
            self.listen(rail);
        }
        self.act();
        Ok(())
    }

    /// Sends a message. Never waits; the completion comes from [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// [`RailsError`], and the message back.
    pub fn post_send(
        &mut self,
        slice: RegionSlice,
        immediate: u32,
    ) -> Result<u64, (RailsError, RegionSlice)> {
        let len = slice.len();
        let error = match () {
            () if self.over.is_some() => RailsError::Over,
            () if len > MESSAGE_BYTES_MAX => RailsError::TooLong { len },
            () if self.stripes.unfinished() >= RAIL_MESSAGES_MAX as u64 => RailsError::Full,
            () => {
                let number = self.stripes.post_send();
                self.sending.insert(number, Sending { slice, immediate, granted: Vec::new() });
                self.act();
                return Ok(number);
            }
        };
        Err((error, slice))
    }

    /// Gives a region for one message, in the order of messages.
    ///
    /// # Errors
    ///
    /// [`RailsError`], and the region back.
    pub fn post_recv(&mut self, region: Region) -> Result<(), (RailsError, Region)> {
        if self.over.is_some() {
            return Err((RailsError::Over, region));
        }
        if self.rooms.len() >= RAIL_MESSAGES_MAX {
            return Err((RailsError::Full, region));
        }
        let room = region.len() as u64;
        self.rooms.push_back(region);
        if let Err(misuse) = self.stripes.post_recv(room, self.clock.now()) {
            self.give_all_up(&misuse);
        }
        self.act();
        Ok(())
    }

    /// The next completion, waiting for it at most `timeout`, and doing the set's work meanwhile.
    pub fn wait(&mut self, timeout: Duration) -> Option<RailsCompletion> {
        let end = self.clock.now().after(timeout);
        loop {
            self.progress();
            if let Some(done) = self.done.pop_front() {
                return Some(done);
            }
            let left = end.since(self.clock.now());
            if left.is_zero() {
                return None;
            }
            match self.queue.wait(left.min(TICK)) {
                Ok(completion) => self.handle(completion),
                Err(_) => self.look_after_rails(),
            }
        }
    }

    /// Does what can be done without waiting.
    pub fn progress(&mut self) {
        while let Some(completion) = self.queue.poll() {
            self.handle(completion);
        }
        if self.clock.now() >= self.look_at {
            self.look_after_rails();
        }
        self.act();
        self.finish_if_over();
    }

    /// What was counted, rail by rail.
    pub fn stats(&self) -> Vec<RailStats> {
        self.rails.iter().map(|rail| rail.stats.clone()).collect()
    }

    // ---- what comes ------------------------------------------------------------------------------

    fn handle(&mut self, completion: Completion) {
        match self.posted.remove(&completion.id) {
            Some(Posted::Listen { rail }) => self.handle_message(rail, completion),
            Some(Posted::Read { rail, number, stripe }) => {
                self.handle_read(rail, number, stripe, completion);
            }
            Some(Posted::Say { rail }) => {
                self.rails[rail].saying -= 1;
                if let Err(error) = completion.status {
                    self.close(rail);
                    self.note_loss(&error);
                }
            }
            None => debug_assert!(false, "a completion of work that was never posted"),
        }
        self.act();
    }

    fn handle_message(&mut self, rail: usize, completion: Completion) {
        if let Err(error) = &completion.status {
            self.remove(rail);
            self.note_loss(error);
            return;
        }
        let bytes = completion.region.as_ref().map_or(&[][..], Region::as_slice);
        let message = Message::parse(&bytes[..completion.bytes]);
        self.listen(rail);
        let now = self.clock.now();
        let heard = match message {
            Some(Message::Offer { number, immediate, from }) => {
                self.rails[rail].from.insert(number, from);
                self.stripes.handle_offer(rail, number, from.len(), immediate, now)
            }
            Some(Message::Told { number }) => self.stripes.handle_told(number),
            None => Err(RailsMisuse::Unreadable),
        };
        if let Err(misuse) = heard {
            self.give_all_up(&misuse);
        }
    }

    fn handle_read(&mut self, rail: usize, number: u64, stripe: usize, completion: Completion) {
        let came = completion.status.is_ok();
        if let (Some(arriving), Some(region)) = (self.arriving.get_mut(&number), completion.region)
        {
            // What is here is not needed as a region any more.
            arriving.parts[stripe] = (!came).then_some(region);
        }
        let stats = &mut self.rails[rail].stats;
        match completion.status {
            Ok(()) => {
                stats.stripes += 1;
                stats.bytes += completion.bytes as u64;
            }
            Err(error) => {
                stats.moved += 1;
                if !matches!(error, WorkError::Cancelled) {
                    // Refused, or gone: either way nothing more comes over it.
                    self.close(rail);
                    self.note_loss(&error);
                }
            }
        }
        self.stripes.handle_read(rail, number, stripe, came, self.clock.now());
    }

    fn look_after_rails(&mut self) {
        self.look_at = self.clock.now().after(TICK);
        for rail in 0..self.rails.len() {
            let Rail { pair, stats, .. } = &self.rails[rail];
            if !stats.live {
                continue;
            }
            if pair.is_open() {
                let resting = pair.is_suspected();
                self.stripes.rest(rail, resting, self.clock.now());
            } else {
                self.remove(rail);
            }
        }
        self.act();
    }

    // ---- what is done ----------------------------------------------------------------------------

    fn act(&mut self) {
        for rail in 0..self.rails.len() {
            while let Some(action) = self.rails[rail].unsaid.pop_front() {
                if !self.speak(action) {
                    self.rails[rail].unsaid.push_front(action);
                    break;
                }
            }
        }
        while let Some(action) = self.stripes.poll_action() {
            self.perform(action);
        }
    }

    /// Says something to the other end. Gives whether it is said, or need not be.
    fn speak(&mut self, action: Action) -> bool {
        match action {
            Action::Offer { rail, number } => self.offer(rail, number),
            Action::Tell { rail, number } => self.say(rail, Message::Told { number }),
            _ => true,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Offer { rail, .. } | Action::Tell { rail, .. } => {
                if !self.rails[rail].unsaid.is_empty() || !self.speak(action) {
                    // What has arrived meanwhile, and what was told before, need not be said any more.
                    let Self { rails, sending, .. } = self;
                    let unsaid = &mut rails[rail].unsaid;
                    let tells = matches!(action, Action::Tell { .. });
                    unsaid.retain(|other| match other {
                        Action::Offer { number, .. } => sending.contains_key(number),
                        _ => !tells,
                    });
                    unsaid.push_back(action);
                }
            }
            Action::Begin { number, len } => {
                if let Some(region) = self.rooms.pop_front() {
                    let (split, parts) =
                        Split::cut(region, len as usize, self.config.stripe_bytes.max(1));
                    let parts = parts.into_iter().map(Some).collect();
                    self.arriving.insert(number, Arriving { split, parts, len });
                }
            }
            Action::Read { rail, number, stripe } => self.read(rail, number, stripe),
            Action::GiveUp { rail, number, stripe } => {
                let of = |posted: &Posted| matches!(posted, Posted::Read { rail: r, number: n, stripe: s } if (*r, *n, *s) == (rail, number, stripe));
                if let Some((id, _)) = self.posted.iter().find(|(_, posted)| of(posted)) {
                    self.rails[rail].pair.cancel(*id);
                }
            }
            Action::Received { number, immediate, len } => self.received(number, immediate, len),
            Action::Sent { number } => {
                if let Some(Sending { slice, .. }) = self.sending.remove(&number) {
                    self.complete_send(number, slice.len(), Ok(()));
                }
            }
        }
    }

    fn offer(&mut self, rail: usize, number: u64) -> bool {
        let Some(sending) = self.sending.get_mut(&number) else { return true };
        let Ok(granted) = self.rails[rail].pair.grant_read(sending.slice.clone()) else {
            return true; // the session is over, or has granted all it may: others offer it
        };
        let (immediate, from) = (sending.immediate, granted.remote());
        let said = self.say(rail, Message::Offer { number, immediate, from });
        if said && let Some(sending) = self.sending.get_mut(&number) {
            sending.granted.push(granted);
        }
        said
    }

    /// Gives `false` if as much is on its way over this rail as may be.
    fn say(&mut self, rail: usize, message: Message) -> bool {
        if self.rails[rail].is_gone() {
            return true;
        }
        if self.rails[rail].saying >= MESSAGES {
            return false;
        }
        let Some(mut region) = self.pool.lease() else { return false };
        message.encode(region.as_mut_slice());
        let payload = Payload::from_slice(region.freeze());
        let send = Send { lane: self.config.control, payload, immediate: 0, deadline: None };
        match self.rails[rail].pair.post_send(send, &self.queue) {
            Ok(id) => {
                self.posted.insert(id, Posted::Say { rail });
                self.rails[rail].saying += 1;
                true
            }
            Err((crate::PostError::QueueFull, _)) => false,
            Err(_) => true,
        }
    }

    fn listen(&mut self, rail: usize) {
        let Rail { pair, .. } = &self.rails[rail];
        let region = Region::pages(MESSAGE_BYTES);
        if let Ok(id) = pair.post_recv(self.config.control, region, &self.queue) {
            self.posted.insert(id, Posted::Listen { rail });
        }
    }

    fn read(&mut self, rail: usize, number: u64, stripe: usize) {
        let asked = self.ask(rail, number, stripe);
        if asked.is_none() {
            self.close(rail);
            self.stripes.handle_read(rail, number, stripe, false, self.clock.now());
        }
    }

    fn ask(&mut self, rail: usize, number: u64, stripe: usize) -> Option<()> {
        let from = *self.rails[rail].from.get(&number)?;
        let arriving = self.arriving.get_mut(&number)?;
        let bytes = self.config.stripe_bytes.max(1) as u64;
        let len = stripe_len(arriving.len, bytes, stripe) as usize;
        let into = arriving.parts[stripe].take()?;
        let offset = stripe as u64 * bytes;
        let read = Read { lane: self.config.data, from, offset, len, into, deadline: None };
        match self.rails[rail].pair.post_read(read, &self.queue) {
            Ok(id) => {
                self.posted.insert(id, Posted::Read { rail, number, stripe });
                Some(())
            }
            Err((_, read)) => {
                arriving.parts[stripe] = Some(read.into);
                None
            }
        }
    }

    fn received(&mut self, number: u64, immediate: u32, len: u64) {
        for rail in &mut self.rails {
            rail.from.remove(&number);
        }
        let Some(Arriving { split, parts, .. }) = self.arriving.remove(&number) else { return };
        drop(parts);
        let region = split.join().ok();
        debug_assert!(region.is_some(), "every part of a whole message is here");
        self.done.push_back(RailsCompletion {
            opcode: Opcode::Recv,
            number,
            status: Ok(()),
            bytes: len as usize,
            immediate,
            region,
        });
    }

    fn complete_send(&mut self, number: u64, bytes: usize, status: Result<(), WorkError>) {
        self.done.push_back(RailsCompletion {
            opcode: Opcode::Send,
            number,
            status,
            bytes,
            immediate: 0,
            region: None,
        });
    }

    // ---- the end ---------------------------------------------------------------------------------

    fn remove(&mut self, rail: usize) {
        if std::mem::replace(&mut self.rails[rail].stats.live, false) {
            self.rails[rail].from.clear();
            self.rails[rail].unsaid.clear();
            self.stripes.remove_rail(rail, self.clock.now());
        }
    }

    fn close(&mut self, rail: usize) {
        self.rails[rail].pair.close();
        self.remove(rail);
    }

    fn give_all_up(&mut self, misuse: &RailsMisuse) {
        tracing::warn!(peer = %self.peer, error = %misuse, "the peer broke the rules of its rails");
        (0..self.rails.len()).for_each(|rail| self.close(rail));
        self.note_loss(&WorkError::Flushed);
    }

    fn note_loss(&mut self, error: &WorkError) {
        if self.rails.iter().all(|rail| !rail.stats.live) {
            self.over.get_or_insert_with(|| error.clone());
        }
    }

    /// When the last rail is gone and everything posted on the rails is back, and with it the reason,
    /// all that is pending ends.
    fn finish_if_over(&mut self) {
        if self.rails.iter().any(|rail| rail.stats.live) || !self.posted.is_empty() {
            return;
        }
        let error = self.over.get_or_insert(WorkError::Flushed).clone();
        for (number, Sending { slice, .. }) in std::mem::take(&mut self.sending) {
            self.complete_send(number, slice.len(), Err(error.clone()));
        }
        let arriving = std::mem::take(&mut self.arriving);
        let begun = arriving.into_iter().map(|(number, Arriving { split, parts, .. })| {
            drop(parts);
            (number, split.join().ok())
        });
        let rooms = std::mem::take(&mut self.rooms).into_iter().map(|room| (0, Some(room)));
        for (number, region) in begun.chain(rooms) {
            let status = Err(error.clone());
            let opcode = Opcode::Recv;
            let done = RailsCompletion { opcode, number, status, bytes: 0, immediate: 0, region };
            self.done.push_back(done);
        }
    }
}

impl std::fmt::Debug for Rails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rails").field("peer", &self.peer).field("rails", &self.stats()).finish()
    }
}
