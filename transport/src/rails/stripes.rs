//! Which stripe of which message comes over which rail.
//!
//! No I/O and no memory: messages are numbers, stripes are places in them, time is an argument. Both
//! directions of a connection are here, each with its own numbers from 1.
//!
//! Sending, a message is offered on every rail and is done when the peer says that all up to it have
//! arrived. Receiving, a message that was offered takes the next room there is, in order, and its
//! stripes are read, each over the rail that is likely to have it first. What a rail did not bring is
//! read over another. Nothing is asked for twice at once, so nothing can arrive twice.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use thiserror::Error;

use crate::limits::{RAIL_MESSAGES_MAX, RAIL_READS, RAILS_MAX};
use crate::proto::Time;

/// A rail that was not worth a stripe for so long is tried again: it may be faster by now.
const PROBE_AFTER: Duration = Duration::from_millis(100);

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Tell the peer over this rail that this message may be read.
    Offer { rail: usize, number: u64 },
    /// Tell the peer over this rail that all messages up to this one are here.
    Tell { rail: usize, number: u64 },
    /// The oldest room is for this message.
    Begin { number: u64, len: u64 },
    /// Read this stripe over this rail.
    Read { rail: usize, number: u64, stripe: usize },
    /// Give up reading this stripe over this rail, which is silent.
    GiveUp { rail: usize, number: u64, stripe: usize },
    /// The message is here whole, and so are all before it.
    Received { number: u64, immediate: u32, len: u64 },
    /// The peer has the message.
    Sent { number: u64 },
}

/// What a peer said about its rails that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RailsMisuse {
    /// An offer of a message that is not one of the next.
    #[error("it offered message {number}, when {low} to {high} were to come")]
    Number {
        /// The message.
        number: u64,
        /// The first that could be offered.
        low: u64,
        /// The last.
        high: u64,
    },
    /// Two offers of one message that differ.
    #[error("it offered message {number} in two lengths")]
    Differs {
        /// The message.
        number: u64,
    },
    /// A message longer than the room for it.
    #[error("message {number} has {len} bytes, and the region for it {room}")]
    TooLong {
        /// The message.
        number: u64,
        /// Its length, in bytes.
        len: u64,
        /// Bytes of the region.
        room: u64,
    },
    /// It has more than was sent, or less than before.
    #[error("it said that all up to message {found} arrived, of {low} to {high}")]
    Arrived {
        /// What it said.
        found: u64,
        /// What it had said before.
        low: u64,
        /// What was sent.
        high: u64,
    },
    /// Bytes that are no message between rails.
    #[error("it said something that is no message between rails")]
    Unreadable,
}

#[derive(Default)]
struct Rail {
    live: bool,
    /// Silent: nothing new is read over it while there is another.
    resting: bool,
    reads: usize,
    bytes: u64,
    /// Bytes a nanosecond, of late.
    rate: Option<f64>,
    /// Since when it has been busy with its oldest read.
    busy_since: Time,
    /// It was idle before that read: how long that takes is the way there and back too, and says
    /// little of its speed.
    from_idle: bool,
}

impl Rail {
    fn is_useful(&self) -> bool {
        self.live && !self.resting
    }

    /// Its speed, unless nobody has used it for long.
    fn known_rate(&self, now: Time) -> Option<f64> {
        self.rate.filter(|_| self.reads > 0 || now.since(self.busy_since) < PROBE_AFTER)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stripe {
    Wanted,
    Asked { rail: usize, given_up: bool },
    Here,
}

struct Offered {
    len: u64,
    immediate: u32,
    /// One bit for each rail over which it may be read.
    rails: u32,
}

impl Offered {
    fn is_on(&self, rail: usize) -> bool {
        self.rails & 1 << rail != 0
    }

    /// The rails that are useful, of those over which it may be read.
    fn useful<'a>(&self, rails: &'a [Rail]) -> impl Iterator<Item = (usize, &'a Rail)> {
        let offer = self.rails;
        let all = rails.iter().enumerate();
        all.filter(move |(at, rail)| rail.is_useful() && offer & 1 << at != 0)
    }

    /// Whether it is to be read over this rail: over a silent one only if there is no other.
    fn may_use(&self, at: usize, rails: &[Rail]) -> bool {
        let rail = &rails[at];
        let any = rail.is_useful() || self.useful(rails).next().is_none();
        self.is_on(at) && rail.live && any
    }
}

struct Coming {
    number: u64,
    offer: Offered,
    stripes: Vec<Stripe>,
    missing: usize,
}

pub(super) struct Stripes {
    stripe_bytes: u64,
    rails: Vec<Rail>,
    /// Last message sent, and last that the peer has.
    sent: u64,
    acknowledged: u64,
    /// Bytes that each room has, oldest first.
    rooms: VecDeque<u64>,
    /// Last message that has a room, and last that was handed out.
    begun: u64,
    received: u64,
    offers: BTreeMap<u64, Offered>,
    coming: VecDeque<Coming>,
    actions: VecDeque<Action>,
}

impl Stripes {
    pub(super) fn new(stripe_bytes: usize) -> Self {
        Self {
            stripe_bytes: stripe_bytes.max(1) as u64,
            rails: Vec::new(),
            sent: 0,
            acknowledged: 0,
            rooms: VecDeque::new(),
            begun: 0,
            received: 0,
            offers: BTreeMap::new(),
            coming: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    // ---- rails -----------------------------------------------------------------------------------

    /// Another rail, if there may be one more: with the number of one that is gone, unless that is
    /// still in use. All that is under way is offered and told there too.
    pub(super) fn add_rail(&mut self, is_in_use: impl Fn(usize) -> bool) -> Option<usize> {
        let mut gone = self.rails.iter().enumerate().filter(|(_, rail)| !rail.live);
        let free = gone.find(|(at, rail)| rail.reads == 0 && !is_in_use(*at));
        let rail = match free.map(|(rail, _)| rail) {
            Some(rail) => rail,
            None if self.rails.len() < RAILS_MAX => {
                self.rails.push(Rail::default());
                self.rails.len() - 1
            }
            None => return None,
        };
        self.rails[rail] = Rail { live: true, ..Rail::default() };
        let unfinished = self.acknowledged + 1..=self.sent;
        self.actions.extend(unfinished.map(|number| Action::Offer { rail, number }));
        if self.received > 0 {
            self.actions.push_back(Action::Tell { rail, number: self.received });
        }
        Some(rail)
    }

    /// The rail is gone. What was asked for over it still has to be handed to
    /// [`handle_read`](Self::handle_read), as not come.
    pub(super) fn remove_rail(&mut self, rail: usize, now: Time) {
        self.rails[rail].live = false;
        let others = !(1 << rail);
        self.offers.values_mut().for_each(|offer| offer.rails &= others);
        self.coming.iter_mut().for_each(|coming| coming.offer.rails &= others);
        self.actions.retain(|action| {
            !matches!(action, Action::Offer { rail: of, .. } | Action::Tell { rail: of, .. }
                if *of == rail)
        });
        // What waited for this rail, because it would have been faster, waits for it no more.
        self.dispatch(now);
    }

    /// The rail is silent, or speaks again. What was asked for over a silent one is given up if
    /// another can bring it.
    pub(super) fn rest(&mut self, rail: usize, resting: bool, now: Time) {
        if self.rails[rail].resting == resting {
            return;
        }
        self.rails[rail].resting = resting;
        self.give_up_silent();
        self.dispatch(now);
    }

    fn give_up_silent(&mut self) {
        let Self { rails, coming, actions, .. } = self;
        for Coming { number, offer, stripes, .. } in coming.iter_mut() {
            if offer.useful(rails).next().is_none() {
                continue;
            }
            for (stripe, state) in stripes.iter_mut().enumerate() {
                if let Stripe::Asked { rail, given_up } = state
                    && rails[*rail].resting
                    && !std::mem::replace(given_up, true)
                {
                    actions.push_back(Action::GiveUp { rail: *rail, number: *number, stripe });
                }
            }
        }
    }

    // ---- sending ---------------------------------------------------------------------------------

    /// Messages that were sent and have not arrived.
    pub(super) fn unfinished(&self) -> u64 {
        self.sent - self.acknowledged
    }

    /// The number of another message, which is offered on all rails.
    pub(super) fn post_send(&mut self) -> u64 {
        self.sent += 1;
        let number = self.sent;
        let live = self.rails.iter().enumerate().filter(|(_, rail)| rail.live);
        self.actions.extend(live.map(|(rail, _)| Action::Offer { rail, number }));
        number
    }

    /// The peer says that all messages up to this one are there. It says so on each rail.
    pub(super) fn handle_told(&mut self, number: u64) -> Result<(), RailsMisuse> {
        if number > self.sent {
            let (low, high) = (self.acknowledged, self.sent);
            return Err(RailsMisuse::Arrived { found: number, low, high });
        }
        // Another rail may have been faster.
        for number in self.acknowledged + 1..=number {
            self.actions.push_back(Action::Sent { number });
        }
        self.acknowledged = self.acknowledged.max(number);
        Ok(())
    }

    // ---- receiving -------------------------------------------------------------------------------

    /// Room for one message.
    pub(super) fn post_recv(&mut self, room: u64, now: Time) -> Result<(), RailsMisuse> {
        self.rooms.push_back(room);
        self.begin(now)
    }

    /// The peer offers a message on this rail.
    pub(super) fn handle_offer(
        &mut self,
        rail: usize,
        number: u64,
        len: u64,
        immediate: u32,
        now: Time,
    ) -> Result<(), RailsMisuse> {
        if number <= self.received {
            return Ok(()); // it was whole before this rail told of it
        }
        let high = self.received + RAIL_MESSAGES_MAX as u64;
        if number > high {
            return Err(RailsMisuse::Number { number, low: self.received + 1, high });
        }
        let known = match self.coming.iter_mut().find(|coming| coming.number == number) {
            Some(coming) => &mut coming.offer,
            None => self.offers.entry(number).or_insert(Offered { len, immediate, rails: 0 }),
        };
        if (known.len, known.immediate) != (len, immediate) {
            return Err(RailsMisuse::Differs { number });
        }
        // Its rail may have gone since it was said.
        known.rails |= u32::from(self.rails[rail].live) << rail;
        self.begin(now)
    }

    /// Gives messages their rooms, in order.
    fn begin(&mut self, now: Time) -> Result<(), RailsMisuse> {
        while !self.rooms.is_empty()
            && let Some(offer) = self.offers.remove(&(self.begun + 1))
        {
            let number = self.begun + 1;
            let room = self.rooms.pop_front().unwrap_or(0);
            let len = offer.len;
            if len > room {
                return Err(RailsMisuse::TooLong { number, len, room });
            }
            self.begun = number;
            let missing = len.div_ceil(self.stripe_bytes) as usize;
            let stripes = vec![Stripe::Wanted; missing];
            self.actions.push_back(Action::Begin { number, len });
            self.coming.push_back(Coming { number, offer, stripes, missing });
        }
        self.deliver();
        self.give_up_silent();
        self.dispatch(now);
        Ok(())
    }

    /// A stripe came, or did not: its rail is gone, or it was given up.
    pub(super) fn handle_read(
        &mut self,
        rail: usize,
        number: u64,
        stripe: usize,
        came: bool,
        now: Time,
    ) {
        let Some(coming) = self.coming.iter_mut().find(|coming| coming.number == number) else {
            debug_assert!(false, "a message is not over while a stripe is asked for");
            return;
        };
        let bytes = stripe_len(coming.offer.len, self.stripe_bytes, stripe);
        let of = &mut self.rails[rail];
        of.reads -= 1;
        of.bytes -= bytes;
        if came {
            let took = now.since(std::mem::replace(&mut of.busy_since, now)).as_nanos().max(1);
            let sample = bytes as f64 / took as f64;
            let slower_from_idle =
                std::mem::take(&mut of.from_idle) && of.rate.is_some_and(|rate| sample < rate);
            let weight = if slower_from_idle { 0.1 } else { 0.3 };
            let blend = |rate| (1.0 - weight) * rate + weight * sample;
            of.rate = Some(of.rate.map_or(sample, blend));
            coming.stripes[stripe] = Stripe::Here;
            coming.missing -= 1;
        } else {
            coming.stripes[stripe] = Stripe::Wanted;
        }
        self.deliver();
        self.dispatch(now);
    }

    /// Hands out what is whole, in order, and says so on all rails.
    fn deliver(&mut self) {
        let before = self.received;
        while let Some(coming) = self.coming.pop_front_if(|coming| coming.missing == 0) {
            let Coming { number, offer: Offered { len, immediate, .. }, .. } = coming;
            self.received = number;
            self.actions.push_back(Action::Received { number, immediate, len });
        }
        if self.received > before {
            let live = self.rails.iter().enumerate().filter(|(_, rail)| rail.live);
            let number = self.received;
            self.actions.extend(live.map(|(rail, _)| Action::Tell { rail, number }));
        }
    }

    /// Whether a stripe could be asked for, and none is.
    #[cfg(test)]
    pub(super) fn stand_still(&self) -> bool {
        let live = self.rails.iter().enumerate().filter(|(_, rail)| rail.live);
        self.rails.iter().all(|rail| rail.reads == 0)
            && live.into_iter().any(|(rail, _)| self.wanted_over(rail).is_some())
    }

    /// Asks for stripes, as long as there is one and a rail that is worth it.
    fn dispatch(&mut self, now: Time) {
        while let Some((rail, at, stripe)) = self.next_read(now) {
            let Coming { number, offer, stripes, .. } = &mut self.coming[at];
            stripes[stripe] = Stripe::Asked { rail, given_up: false };
            let of = &mut self.rails[rail];
            if of.reads == 0 {
                of.rate = of.known_rate(now);
                of.busy_since = now;
                of.from_idle = true;
            }
            of.reads += 1;
            of.bytes += stripe_len(offer.len, self.stripe_bytes, stripe);
            self.actions.push_back(Action::Read { rail, number: *number, stripe });
        }
    }

    /// The rail that would have its next stripe first, and that stripe.
    ///
    /// A stripe that is wanted never waits for nothing: of the rails that may bring the first such,
    /// the one that would have it soonest is busy or worth it.
    fn next_read(&self, now: Time) -> Option<(usize, usize, usize)> {
        let free = |(_, rail): &(usize, &Rail)| rail.reads < RAIL_READS;
        let mut best: Option<(f64, (usize, usize, usize))> = None;
        for (rail, state) in self.rails.iter().enumerate().filter(free) {
            let Some((at, stripe)) = self.wanted_over(rail) else { continue };
            let len = stripe_len(self.coming[at].offer.len, self.stripe_bytes, stripe);
            // A rail of which nothing is known is tried, with one: so its speed is found out.
            let rate = state.known_rate(now);
            let until = rate.map_or(0.0, |rate| (state.bytes + len) as f64 / rate);
            let worth = match rate {
                None => state.reads == 0,
                Some(_) => until <= self.without(rail, &self.coming[at].offer, len),
            };
            if worth && best.is_none_or(|(earliest, _)| until < earliest) {
                best = Some((until, (rail, at, stripe)));
            }
        }
        best.map(|(_, read)| read)
    }

    /// The first stripe that is wanted and may be read over this rail.
    fn wanted_over(&self, rail: usize) -> Option<(usize, usize)> {
        self.coming.iter().enumerate().find_map(|(at, coming)| {
            let usable = coming.offer.may_use(rail, &self.rails);
            let wanted = || coming.stripes.iter().position(|stripe| *stripe == Stripe::Wanted);
            usable.then(wanted).flatten().map(|stripe| (at, stripe))
        })
    }

    /// How long the other rails that may bring this stripe would need, by their speed of late: for
    /// all that is asked of them and all that nobody was asked for, but no less than the soonest of
    /// them for the stripe alone. Without such others, for ever.
    fn without(&self, rail: usize, offer: &Offered, len: u64) -> f64 {
        let others = || offer.useful(&self.rails).filter(|(at, _)| *at != rail);
        let known = || others().filter_map(|(_, other)| other.rate.map(|rate| (other, rate)));
        let rate: f64 = known().map(|(_, rate)| rate).sum();
        let asked: u64 = others().map(|(_, other)| other.bytes).sum();
        let open: u64 = self.coming.iter().map(|coming| self.open_bytes(coming)).sum();
        let together = if rate == 0.0 { f64::INFINITY } else { (asked + open) as f64 / rate };
        let alone = known().map(|(other, rate)| (other.bytes + len) as f64 / rate);
        together.max(alone.fold(f64::INFINITY, f64::min))
    }

    fn open_bytes(&self, coming: &Coming) -> u64 {
        let wanted = coming.stripes.iter().filter(|stripe| **stripe == Stripe::Wanted).count();
        wanted as u64 * self.stripe_bytes.min(coming.offer.len)
    }
}

/// Bytes of a stripe: the last may be shorter.
pub(super) fn stripe_len(len: u64, stripe_bytes: u64, stripe: usize) -> u64 {
    (len - stripe as u64 * stripe_bytes).min(stripe_bytes)
}
