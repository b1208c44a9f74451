//! An Ethernet switch whose ports are joined by paths with a character. Pure: frames, time and a seed
//! go in, frames come out.

use std::{collections::HashMap, time::Duration};

use fastrand::Rng;

use super::path::{Character, Counts, Medium, Path, Stalls};

/// Hardware addresses that are remembered. Beyond it frames go to every port.
const ADDRESSES_MAX: usize = 1024;
/// Bytes of the two addresses and the type before a frame's payload.
pub(crate) const ETHERNET_HEADER_BYTES: usize = 14;

type Mac = [u8; 6];

/// An Ethernet frame in a buffer that may be longer, and is used again.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    buffer: Box<[u8]>,
    len: usize,
}

impl Frame {
    /// Room for a frame.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes].into(), len: 0 }
    }

    #[cfg(test)]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { buffer: bytes.into(), len: bytes.len() }
    }

    /// Lets somebody fill the buffer, who says how many bytes.
    pub(crate) fn fill<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.len = fill(&mut self.buffer)?.min(self.buffer.len());
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn mac(&self, at: usize) -> Option<Mac> {
        self.bytes().get(at..at + 6)?.try_into().ok()
    }
}

/// What joins two ports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Joint {
    /// From the port with the lower number to the other.
    pub(crate) there: Character,
    /// The other way.
    pub(crate) back: Character,
    /// Whether only one of all ports can send at a time, as on one radio channel.
    pub(crate) shared: bool,
    /// When nobody can send. Both directions of a joint stall at once.
    pub(crate) stalls: Option<Stalls>,
}

impl Joint {
    /// Does nothing to frames.
    pub(crate) const CLEAR: Self =
        Self { there: Character::CLEAR, back: Character::CLEAR, shared: false, stalls: None };
}

/// Ports, the paths between them, and what is under way.
#[derive(Debug)]
pub(crate) struct Switch {
    ports: usize,
    /// From port × ports + to port. Those from a port to itself carry nothing.
    paths: Vec<Path>,
    /// As `paths`: which medium each path takes.
    medium_of: Vec<usize>,
    media: Vec<Medium>,
    known: HashMap<Mac, usize>,
    rng: Rng,
    spare: Vec<Frame>,
    room: usize,
}

impl Switch {
    /// `ports` ports, each joined with each other in the same way. Frames have up to `room` bytes.
    pub(crate) fn new(ports: usize, joint: &Joint, room: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut media = Vec::new();
        if joint.shared {
            media.push(Medium::new(joint.stalls, &mut rng));
        }
        let (mut paths, mut medium_of) = (Vec::new(), Vec::new());
        for from in 0..ports {
            for to in 0..ports {
                paths.push(Path::new(if from <= to { joint.there } else { joint.back }));
                let own = medium_of.len();
                medium_of.push(if joint.shared { 0 } else { own });
                if !joint.shared {
                    media.push(Medium::new(joint.stalls, &mut rng));
                }
            }
        }
        Self { ports, paths, medium_of, media, known: HashMap::new(), rng, spare: vec![], room }
    }

    /// A buffer for the next frame.
    pub(crate) fn buffer(&mut self) -> Frame {
        self.spare.pop().unwrap_or_else(|| Frame::with_room(self.room))
    }

    /// Gives a buffer back.
    pub(crate) fn recycle(&mut self, frame: Frame) {
        self.spare.push(frame);
    }

    /// A frame came in at a port.
    pub(crate) fn handle_frame(&mut self, now: Duration, from: usize, frame: Frame) {
        let (Some(to), Some(source)) = (frame.mac(0), frame.mac(6)) else {
            return self.recycle(frame);
        };
        if self.known.len() < ADDRESSES_MAX || self.known.contains_key(&source) {
            self.known.insert(source, from);
        }
        let is_group = to[0] & 1 == 1;
        match self.known.get(&to) {
            Some(port) if !is_group && *port == from => self.recycle(frame),
            Some(port) if !is_group => self.send(now, from, *port, frame),
            _ => {
                let others: Vec<_> = (0..self.ports).filter(|port| *port != from).collect();
                let Some((last, rest)) = others.split_last() else { return self.recycle(frame) };
                for port in rest {
                    self.send(now, from, *port, frame.clone());
                }
                self.send(now, from, *last, frame);
            }
        }
    }

    fn send(&mut self, now: Duration, from: usize, to: usize, frame: Frame) {
        let at = from * self.ports + to;
        let medium = &mut self.media[self.medium_of[at]];
        if let Err(frame) = self.paths[at].push(now, frame, medium, &mut self.rng) {
            self.recycle(frame);
        }
    }

    /// A frame that has arrived, and at which port.
    pub(crate) fn poll_due(&mut self, now: Duration) -> Option<(usize, Frame)> {
        let arrived =
            |(at, path): (usize, &Path)| Some((path.due().filter(|due| *due <= now)?, at));
        let (_, at) = self.paths.iter().enumerate().filter_map(arrived).min()?;
        let frame = self.paths[at].pop(now)?;
        Some((at % self.ports, frame))
    }

    /// When the next frame arrives.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.paths.iter().filter_map(Path::due).min()
    }

    /// What has become of all frames.
    pub(crate) fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for path in &self.paths {
            let counts = path.counts();
            all.taken += counts.taken;
            all.lost += counts.lost;
            all.overflowed += counts.overflowed;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::spell::Spells;

    const MS: Duration = Duration::from_millis(1);

    fn frame(to: u8, from: u8) -> Frame {
        let mut bytes = [0; 20];
        (bytes[5], bytes[11]) = (to, from);
        Frame::of(&bytes)
    }

    fn arrivals(switch: &mut Switch) -> Vec<(Duration, usize)> {
        let mut all = Vec::new();
        while let Some(due) = switch.next_due() {
            while let Some((port, frame)) = switch.poll_due(due) {
                all.push((due, port));
                switch.recycle(frame);
            }
        }
        all
    }

    #[test]
    fn what_is_not_known_goes_everywhere_and_what_is_known_to_its_port() {
        let mut switch = Switch::new(3, &Joint::CLEAR, 64, 1);
        switch.handle_frame(MS, 0, frame(12, 10));
        assert_eq!(arrivals(&mut switch), [(MS, 1), (MS, 2)]);
        switch.handle_frame(MS, 2, frame(10, 12));
        switch.handle_frame(MS, 0, frame(12, 10));
        let mut ports: Vec<_> = arrivals(&mut switch).iter().map(|(_, port)| *port).collect();
        ports.sort_unstable();
        assert_eq!(ports, [0, 2]);
        // A frame for somebody behind the same port, and one that is none.
        switch.handle_frame(MS, 2, frame(12, 12));
        switch.handle_frame(MS, 2, Frame::of(&[1, 2, 3]));
        assert_eq!(switch.next_due(), None);
    }

    #[test]
    fn each_way_has_its_character() {
        let joint = Joint {
            there: Character { delay: MS, ..Character::CLEAR },
            back: Character { delay: 9 * MS, ..Character::CLEAR },
            ..Joint::CLEAR
        };
        let mut switch = Switch::new(2, &joint, 64, 1);
        switch.handle_frame(Duration::ZERO, 0, frame(2, 1));
        switch.handle_frame(Duration::ZERO, 1, frame(1, 2));
        assert_eq!(arrivals(&mut switch), [(MS, 1), (9 * MS, 0)]);
    }

    #[test]
    fn on_one_radio_channel_both_ways_wait_for_each_other() {
        // 20 bytes at 160 kb/s take a millisecond.
        let character = Character { rate_bps: Some(160_000), ..Character::CLEAR };
        let joint = Joint { there: character, back: character, ..Joint::CLEAR };
        for (shared, last) in [(false, MS), (true, 2 * MS)] {
            let mut switch = Switch::new(2, &Joint { shared, ..joint }, 64, 1);
            switch.handle_frame(Duration::ZERO, 0, frame(2, 1));
            switch.handle_frame(Duration::ZERO, 1, frame(1, 2));
            assert_eq!(arrivals(&mut switch).last().unwrap().0, last, "shared: {shared}");
        }
    }

    #[test]
    fn one_seed_gives_one_run() {
        let character = Character {
            delay: 3 * MS,
            jitter: MS,
            tail: Spells { share: 0.1, mean: 10 * MS },
            loss: Spells { share: 0.1, mean: 2 * MS },
            ..Character::CLEAR
        };
        let joint = Joint { there: character, back: character, ..Joint::CLEAR };
        let run = |seed| {
            let mut switch = Switch::new(2, &joint, 64, seed);
            for at in 0..500 {
                switch.handle_frame(MS * at, 0, frame(2, 1));
            }
            let counts = switch.counts();
            (arrivals(&mut switch), counts)
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5).0, run(6).0);
        assert!(run(5).1.lost > 0);
    }
}
