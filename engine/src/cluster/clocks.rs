//! Did the machine sleep, or did somebody set its clock? Pure: readings in, a jump out.
//!
//! Nothing in the cluster is timed by the clock on the wall, so setting it changes nothing. Sleep
//! does: others have given this node up meanwhile, while its own timers have not moved.

use std::time::Duration;

/// Smaller differences are the clocks' own.
const JUMP_MIN: Duration = Duration::from_secs(2);

/// Three clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Runs while the machine is awake.
    pub awake: Duration,
    /// Runs always, if the system has such a clock.
    pub always: Option<Duration>,
    /// The one on the wall, since 1970.
    pub wall: Duration,
}

/// What happened between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jump {
    /// The machine slept for so long.
    Slept(Duration),
    /// The clock on the wall was set forward by so much.
    SetForward(Duration),
    /// The clock on the wall was set back by so much.
    SetBack(Duration),
}

/// See the module.
#[derive(Debug, Default)]
pub struct ClockWatch {
    last: Option<Clocks>,
}

impl ClockWatch {
    /// Takes a reading, and tells what happened since the one before.
    pub fn handle_reading(&mut self, now: Clocks) -> Option<Jump> {
        let before = self.last.replace(now)?;
        let awake = now.awake.saturating_sub(before.awake);
        let asleep = match (now.always, before.always) {
            (Some(now), Some(before)) => now.saturating_sub(before).saturating_sub(awake),
            _ => Duration::ZERO,
        };
        if asleep >= JUMP_MIN {
            return Some(Jump::Slept(asleep));
        }
        let expected = before.wall + awake + asleep;
        let (forward, back) =
            (now.wall.saturating_sub(expected), expected.saturating_sub(now.wall));
        match () {
            // Without a clock that always runs, sleep cannot be told from a clock set forward: to
            // look around anew costs little, not to costs the cluster.
            () if forward >= JUMP_MIN && now.always.is_none() => Some(Jump::Slept(forward)),
            () if forward >= JUMP_MIN => Some(Jump::SetForward(forward)),
            () if back >= JUMP_MIN => Some(Jump::SetBack(back)),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(awake: u64, always: u64, wall: u64) -> Clocks {
        let [awake, always, wall] = [awake, always, wall].map(Duration::from_secs);
        Clocks { awake, always: Some(always), wall }
    }

    #[test]
    fn sleep_is_told_from_a_clock_that_was_set() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.handle_reading(at(10, 10, 1_000)), None);
        assert_eq!(watch.handle_reading(at(11, 11, 1_001)), None);
        let slept = Jump::Slept(Duration::from_secs(3_600));
        assert_eq!(watch.handle_reading(at(12, 3_612, 4_602)), Some(slept));
        let forward = Jump::SetForward(Duration::from_secs(86_400));
        assert_eq!(watch.handle_reading(at(13, 3_613, 91_003)), Some(forward));
        let back = Jump::SetBack(Duration::from_secs(90_000));
        assert_eq!(watch.handle_reading(at(14, 3_614, 1_004)), Some(back));
        assert_eq!(watch.handle_reading(at(15, 3_615, 1_005)), None);
        // A program that was stopped for a while was not asleep.
        assert_eq!(watch.handle_reading(at(115, 3_715, 1_105)), None);
    }

    #[test]
    fn sleep_while_the_clock_was_set_back_is_sleep_all_the_same() {
        let mut watch = ClockWatch::default();
        watch.handle_reading(at(10, 10, 1_000));
        let slept = Jump::Slept(Duration::from_secs(100));
        assert_eq!(watch.handle_reading(at(11, 111, 500)), Some(slept));
    }

    #[test]
    fn without_a_clock_that_always_runs_a_leap_is_taken_for_sleep() {
        let mut watch = ClockWatch::default();
        let blind = |clocks: Clocks| Clocks { always: None, ..clocks };
        watch.handle_reading(blind(at(10, 0, 1_000)));
        let slept = Jump::Slept(Duration::from_secs(60));
        assert_eq!(watch.handle_reading(blind(at(11, 0, 1_061))), Some(slept));
    }
}
