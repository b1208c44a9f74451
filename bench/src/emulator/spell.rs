//! Spells that come and go by chance: frames are lost, or held up, for a while. Pure.
//!
//! They are told by the share of *time* that they last, not of frames: a frame now and then meets one
//! as often as the share says, and a stream of thousands a second meets one spell, not thousands.
//! That is how radios behave, and what both a sparse ping and TCP at full rate see of them.

use std::time::Duration;

use fastrand::Rng;

/// How much of the time spells last, and how long each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spells {
    /// Of all time, between 0 and 1.
    pub(crate) share: f64,
    /// How long one lasts on average, exponentially distributed; nothing: each frame has its own.
    pub(crate) mean: Duration,
}

impl Spells {
    /// None ever.
    pub(crate) const NONE: Self = Self { share: 0.0, mean: Duration::ZERO };
}

/// The spells of one path.
#[derive(Debug)]
pub(crate) struct Spell {
    spells: Spells,
    /// When the last one that was met ends.
    ends_at: Duration,
    /// When it was last looked.
    looked_at: Duration,
}

impl Spell {
    pub(crate) fn new(spells: Spells) -> Self {
        Self { spells, ends_at: Duration::ZERO, looked_at: Duration::ZERO }
    }

    /// Whether there is a spell at `now`, and when it ends. `now` may not be earlier than before.
    pub(crate) fn at(&mut self, now: Duration, rng: &mut Rng) -> Option<Duration> {
        let Spells { share, mean } = self.spells;
        if share <= 0.0 {
            return None;
        }
        if now < self.ends_at {
            return Some(self.ends_at);
        }
        // Spells and the time between them forget how long they have lasted already, so the chance
        // that one has begun since depends on how long ago there was none.
        let calm = now.saturating_sub(self.looked_at.max(self.ends_at)).as_secs_f64();
        self.looked_at = now;
        let begun = match mean.as_secs_f64() {
            0.0 => 1.0,
            mean => 1.0 - (-calm / (mean * (1.0 - share))).exp(),
        };
        if rng.f64() >= share * begun {
            return None;
        }
        self.ends_at = now + mean.mul_f64(-(1.0 - rng.f64()).ln());
        Some(self.ends_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of `count` frames, one each `every`, that meet a spell, and how many spells they meet.
    fn met(spells: Spells, count: u32, every: Duration) -> (f64, usize) {
        let (mut rng, mut spell) = (Rng::with_seed(11), Spell::new(spells));
        let mut ends = Vec::new();
        for at in 0..count {
            ends.extend(spell.at(every * at, &mut rng));
        }
        let share = ends.len() as f64 / f64::from(count);
        ends.dedup();
        (share, ends.len())
    }

    #[test]
    fn a_ping_and_a_stream_meet_the_same_share_but_the_stream_in_a_row() {
        let spells = Spells { share: 0.05, mean: Duration::from_millis(2) };
        let (share, _) = met(spells, 200_000, Duration::from_millis(100));
        assert!((share / 0.05 - 1.0).abs() < 0.05, "{share} of what comes now and then");
        // Ten frames a millisecond: twenty in a spell.
        let (share, count) = met(spells, 2_000_000, Duration::from_micros(100));
        assert!((share / 0.05 - 1.0).abs() < 0.05, "{share} of a stream");
        let in_a_row = share * 2e6 / count as f64;
        assert!((in_a_row / 20.0 - 1.0).abs() < 0.1, "{in_a_row} in a row");
    }

    #[test]
    fn without_a_length_each_frame_has_its_own_chance() {
        let spells = Spells { share: 0.05, mean: Duration::ZERO };
        for every in [Duration::ZERO, Duration::from_millis(1)] {
            let (share, _) = met(spells, 200_000, every);
            assert!((share / 0.05 - 1.0).abs() < 0.05, "{share}");
        }
        assert_eq!(met(Spells::NONE, 1000, Duration::from_millis(1)), (0.0, 0));
    }
}
