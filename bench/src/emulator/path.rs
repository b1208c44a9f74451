//! One direction between two ports: what it does to frames. Pure: time comes in as an argument and
//! randomness from the switch's seed.
//!
//! A frame first waits for the medium (until earlier frames have gone and no stall lasts), then takes
//! its time at the link's rate, then travels: delay, jitter, now and then much longer. Frames of one
//! path never overtake each other, as on any of the links that are meant.

use std::{collections::VecDeque, time::Duration};

use fastrand::Rng;

use super::{
    spell::{Spell, Spells},
    switch::Frame,
};

/// Frames under way on one path at once. One more is lost, whatever the queue's bytes say.
pub(crate) const FRAMES_MAX: usize = 4096;

/// A frame that is taken in so shortly after the medium became free has lain in its device while the
/// relay was with others: on a wire it would have followed at once. Without this a busy machine's links
/// are slower than was asked.
const LATE: Duration = Duration::from_micros(200);

/// What a path does to frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Character {
    /// One way, for a frame that meets nothing in its way and weighs nothing.
    pub(crate) delay: Duration,
    /// Standard deviation of that, normally distributed, cut off at four of them.
    pub(crate) jitter: Duration,
    /// Times at which nothing arrives: what was sent does when they end.
    pub(crate) tail: Spells,
    /// Times at which what is sent is lost.
    pub(crate) loss: Spells,
    /// Bits per second, of whole Ethernet frames; `None`: as fast as the machine.
    pub(crate) rate_bps: Option<u64>,
    /// What may wait for the medium. A frame for which there is no room is lost.
    pub(crate) queue_bytes: u64,
    /// Frames that are ready within so long of the first of a burst arrive together with it.
    pub(crate) gather: Duration,
}

impl Character {
    /// A path that does nothing to frames.
    pub(crate) const CLEAR: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        tail: Spells::NONE,
        loss: Spells::NONE,
        rate_bps: None,
        queue_bytes: 64 << 20,
        gather: Duration::ZERO,
    };
}

/// Times at which nobody can send: a radio that is on another channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stalls {
    /// From the beginning of one to that of the next, on average.
    pub(crate) every: Duration,
    /// How far a beginning may lie off that, either way, as a share of `every`.
    pub(crate) spread: f64,
    /// How long each lasts.
    pub(crate) lasts: Duration,
}

/// What frames wait for before they can be sent. The directions of a radio link share one.
#[derive(Debug)]
pub(crate) struct Medium {
    free_at: Duration,
    stalls: Option<Stalls>,
    /// The stall that lasts or comes next.
    stall_at: Duration,
}

impl Medium {
    pub(crate) fn new(stalls: Option<Stalls>, rng: &mut Rng) -> Self {
        // Somewhere within the first period, so that two links of one profile do not stall as one.
        let stall_at = stalls.map_or(Duration::MAX, |stalls| stalls.every.mul_f64(rng.f64()));
        Self { free_at: Duration::ZERO, stalls, stall_at }
    }

    /// Takes the medium for `takes` at the first moment from `now` on at which it is free; says when
    /// it has it no longer.
    fn occupy(&mut self, now: Duration, takes: Duration, rng: &mut Rng) -> Duration {
        let mut begins = if now < self.free_at + LATE { self.free_at } else { now };
        if let Some(stalls) = self.stalls {
            while begins >= self.stall_at + stalls.lasts {
                let off = stalls.spread * (2.0 * rng.f64() - 1.0);
                self.stall_at += stalls.every.mul_f64(1.0 + off).max(stalls.lasts);
            }
            if begins >= self.stall_at {
                begins = self.stall_at + stalls.lasts;
            }
        }
        self.free_at = begins + takes;
        self.free_at.max(now)
    }
}

/// What has become of the frames of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Taken in.
    pub(crate) taken: u64,
    /// Lost by chance.
    pub(crate) lost: u64,
    /// Lost because the queue was full.
    pub(crate) overflowed: u64,
}

/// One direction, and what is under way in it.
#[derive(Debug)]
pub(crate) struct Path {
    character: Character,
    under_way: VecDeque<(Duration, Frame)>,
    /// When each frame that waits for the medium will have been sent, and its bytes.
    waiting: VecDeque<(Duration, u64)>,
    waiting_bytes: u64,
    tail: Spell,
    loss: Spell,
    /// The last arrival: none may be earlier.
    last: Duration,
    /// When the burst that gathers began, and when it arrives.
    burst: Option<(Duration, Duration)>,
    counts: Counts,
}

impl Path {
    pub(crate) fn new(character: Character) -> Self {
        Self {
            tail: Spell::new(character.tail),
            loss: Spell::new(character.loss),
            character,
            under_way: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last: Duration::ZERO,
            burst: None,
            counts: Counts::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// When the next frame arrives.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.under_way.front().map(|(due, _)| *due)
    }

    /// The next frame, if it has arrived.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Frame> {
        if self.due()? > now {
            return None;
        }
        self.under_way.pop_front().map(|(_, frame)| frame)
    }

    /// Takes a frame in. One that is lost is given back.
    pub(crate) fn push(
        &mut self,
        now: Duration,
        frame: Frame,
        medium: &mut Medium,
        rng: &mut Rng,
    ) -> Result<(), Frame> {
        self.counts.taken += 1;
        let bytes = frame.len() as u64;
        self.forget_sent(now);
        if self.is_full(bytes) {
            self.counts.overflowed += 1;
            return Err(frame);
        }
        let ready = medium.occupy(now, self.takes(bytes), rng);
        self.waiting.push_back((ready, bytes));
        self.waiting_bytes += bytes;
        // After the medium was taken: what is lost on its way was sent all the same.
        if self.loss.at(ready, rng).is_some() {
            self.counts.lost += 1;
            return Err(frame);
        }
        let due = self.arrival(ready, rng);
        self.last = due;
        self.under_way.push_back((due, frame));
        Ok(())
    }

    fn takes(&self, bytes: u64) -> Duration {
        let Some(rate) = self.character.rate_bps else { return Duration::ZERO };
        Duration::from_nanos((u128::from(bytes) * 8_000_000_000 / u128::from(rate)) as u64)
    }

    fn forget_sent(&mut self, now: Duration) {
        while let Some((_, bytes)) = self.waiting.pop_front_if(|(ready, _)| *ready <= now) {
            self.waiting_bytes -= bytes;
        }
    }

    /// By what waits, not by how long it will: a stall fills no queue by itself.
    fn is_full(&self, bytes: u64) -> bool {
        self.under_way.len().max(self.waiting.len()) >= FRAMES_MAX
            || self.waiting_bytes + bytes > self.character.queue_bytes
    }

    fn arrival(&mut self, ready: Duration, rng: &mut Rng) -> Duration {
        let Character { delay, jitter, gather, .. } = self.character;
        if let Some((began, arrives)) = self.burst
            && !gather.is_zero()
            && ready <= began + gather
        {
            return arrives.max(ready).max(self.last);
        }
        let shift = jitter.as_secs_f64() * normal(rng).clamp(-4.0, 4.0);
        let travels = Duration::from_secs_f64((delay.as_secs_f64() + shift).max(0.0));
        let leaves = self.tail.at(ready, rng).unwrap_or(ready);
        let arrives = (leaves + travels).max(self.last);
        self.burst = Some((ready, arrives));
        arrives
    }
}

/// Of mean 0 and deviation 1, by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends `count` frames of `bytes`, one each `every`, and says how long each that arrived took.
    fn send(
        character: Character,
        stalls: Option<Stalls>,
        count: u32,
        every: Duration,
        bytes: usize,
    ) -> (Vec<Duration>, Counts) {
        let mut rng = Rng::with_seed(7);
        let mut medium = Medium::new(stalls, &mut rng);
        let mut path = Path::new(character);
        let mut took = Vec::new();
        let mut sent = VecDeque::new();
        let mut arrive = |path: &mut Path, until: Duration, sent: &mut VecDeque<Duration>| {
            while let Some(due) = path.due().filter(|due| *due <= until) {
                path.pop(due).unwrap();
                took.push(due - sent.pop_front().unwrap());
            }
        };
        for at in 0..count {
            let now = every * at;
            arrive(&mut path, now, &mut sent);
            if path.push(now, Frame::of(&vec![0; bytes]), &mut medium, &mut rng).is_ok() {
                sent.push_back(now);
            }
        }
        arrive(&mut path, Duration::MAX, &mut sent);
        (took, path.counts())
    }

    fn mean_and_deviation(took: &[Duration]) -> (f64, f64) {
        let values: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        (mean, (squares / values.len() as f64).sqrt())
    }

    #[test]
    fn delay_and_jitter_are_what_was_asked() {
        let character = Character { delay: 5 * MS, jitter: MS, ..Character::CLEAR };
        let (took, counts) = send(character, None, 20_000, 20 * MS, 100);
        let (mean, deviation) = mean_and_deviation(&took);
        assert!((mean - 5.0).abs() < 0.05, "{mean} ms");
        assert!((deviation - 1.0).abs() < 0.05, "{deviation} ms");
        assert_eq!(counts, Counts { taken: 20_000, lost: 0, overflowed: 0 });
    }

    #[test]
    fn the_rate_is_what_was_asked_and_the_queue_ends() {
        // 12,500 bytes at 100 Mb/s take 1 ms; twice as many are sent.
        let character =
            Character { rate_bps: Some(100_000_000), queue_bytes: 100_000, ..Character::CLEAR };
        let (took, counts) = send(character, None, 1000, MS / 2, 12_500);
        let arrived = took.len() as f64;
        assert!((arrived - 500.0).abs() < 10.0, "{arrived} in half a second");
        assert_eq!(counts.overflowed + took.len() as u64, 1000);
        let longest = took.iter().max().unwrap();
        assert!(*longest <= 8 * MS, "{longest:?} behind a queue of 8 ms");
    }

    #[test]
    fn a_relay_that_is_late_costs_no_rate_and_nothing_arrives_too_early() {
        let us = Duration::from_micros;
        let mut rng = Rng::with_seed(1);
        let mut medium = Medium::new(None, &mut rng);
        assert_eq!(medium.occupy(us(0), us(50), &mut rng), us(50));
        // Taken in 70 µs late, it has gone when it would have gone behind the first.
        assert_eq!(medium.occupy(us(70), us(50), &mut rng), us(100));
        // Never before it was taken in.
        assert_eq!(medium.occupy(us(190), us(50), &mut rng), us(190));
        // After a pause a frame takes its time.
        assert_eq!(medium.occupy(us(1000), us(50), &mut rng), us(1050));
    }

    #[test]
    fn losses_come_as_often_as_asked() {
        for mean in [Duration::ZERO, 4 * MS] {
            let loss = Spells { share: 0.05, mean };
            let (_, counts) = send(Character { loss, ..Character::CLEAR }, None, 200_000, MS, 100);
            let share = counts.lost as f64 / counts.taken as f64;
            assert!((share / 0.05 - 1.0).abs() < 0.05, "{share} lost, {mean:?} at a time");
        }
    }

    #[test]
    fn some_arrive_much_later_and_what_follows_them_with_them() {
        let tail = Spells { share: 0.02, mean: 10 * MS };
        let character = Character { delay: MS, tail, ..Character::CLEAR };
        let (took, counts) = send(character, None, 400_000, MS, 100);
        assert_eq!(counts.lost + counts.overflowed, 0);
        let late = |than: Duration| {
            took.iter().filter(|took| **took > than).count() as f64 / took.len() as f64
        };
        assert!((late(MS) / 0.02 - 1.0).abs() < 0.15, "{} are late", late(MS));
        // Exponentially: later by another mean is one in e.
        let ratio = late(11 * MS) / late(MS);
        assert!((ratio * std::f64::consts::E - 1.0).abs() < 0.2, "{ratio}");
    }

    #[test]
    fn frames_never_overtake_each_other() {
        let character = Character {
            delay: MS,
            jitter: MS,
            tail: Spells { share: 0.1, mean: 20 * MS },
            ..Character::CLEAR
        };
        let mut rng = Rng::with_seed(3);
        let (mut medium, mut path) = (Medium::new(None, &mut rng), Path::new(character));
        for number in 0..1000_u32 {
            let frame = Frame::of(&number.to_le_bytes());
            path.push(MS * number / 10, frame, &mut medium, &mut rng).unwrap();
        }
        let mut next = 0_u32;
        let mut last = Duration::ZERO;
        while let Some(due) = path.due() {
            assert!(due >= last);
            last = due;
            assert_eq!(path.pop(due).unwrap().bytes(), next.to_le_bytes());
            next += 1;
        }
        assert_eq!(next, 1000);
    }

    #[test]
    fn nothing_is_sent_while_the_radio_is_away() {
        let stalls = Stalls { every: 500 * MS, spread: 0.2, lasts: 90 * MS };
        // A queue of 90 ms at its rate is 11 MB; what waits here are 90 frames.
        let character =
            Character { rate_bps: Some(1_000_000_000), queue_bytes: 10_000, ..Character::CLEAR };
        let (took, counts) = send(character, Some(stalls), 100_000, MS, 100);
        assert_eq!(counts.overflowed, 0);
        let held = took.iter().filter(|took| **took > MS / 100).count() as f64 / 100_000.0;
        assert!((held / 0.18 - 1.0).abs() < 0.05, "{held} were held up");
        assert!(*took.iter().max().unwrap() <= 91 * MS);
    }

    #[test]
    fn a_burst_arrives_as_one() {
        let character = Character { delay: 3 * MS, gather: MS, ..Character::CLEAR };
        let (took, _) = send(character, None, 30, MS / 10, 100);
        // The first ten after the first arrive with it, then another burst begins.
        assert_eq!(took[0], 3 * MS);
        assert_eq!(took[10], 2 * MS);
        assert_eq!(took[11], 3 * MS);
    }
}
