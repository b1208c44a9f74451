//! Is a node that is heard of again the same start of it, a later one, or another machine with its
//! key? Pure.
//!
//! A start has a number that only grows on one data folder (the incarnation), and a random one (the
//! instance). A folder that was copied to another machine brings its key along: two programs then
//! are one node to all others, and take each other's connections away. That is told by the numbers:
//! one incarnation with two instances, or an earlier start after a later one.

use std::{collections::BTreeMap, time::Duration};

use crate::fabric::NodeId;

/// For so long after it was last seen, a copy is told of.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// Nodes that are remembered.
const NODES_MAX: usize = 1024;

/// What a node's record shows of its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Counts the starts on its data folder.
    pub incarnation: u64,
    /// A random number of this start.
    pub instance: u64,
    /// What it calls itself.
    pub name: String,
    /// Where it was met.
    pub at: String,
}

/// What a sighting means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen before.
    New,
    /// The same start as before.
    Same,
    /// Its program was started anew.
    Restarted,
    /// Another machine has the same key.
    Copied,
}

#[derive(Debug)]
struct Seen {
    last: Sighting,
    /// Whoever else has this key, and when that was seen.
    copy: Option<(Sighting, Duration)>,
}

/// See the module. Times are since the node started.
#[derive(Debug)]
pub struct Sightings {
    own: (NodeId, Sighting),
    own_copy: Option<(String, Duration)>,
    seen: BTreeMap<NodeId, Seen>,
}

impl Sightings {
    /// Of all but this node, which is started so.
    #[must_use]
    pub fn new(node: NodeId, own: Sighting) -> Self {
        Self { own: (node, own), own_copy: None, seen: BTreeMap::new() }
    }

    /// A node showed its record.
    pub fn handle_record(&mut self, node: NodeId, sighting: Sighting, now: Duration) -> Verdict {
        if node == self.own.0 {
            self.handle_own_key(&format!("{} ({})", sighting.name, sighting.at), now);
            return Verdict::Copied;
        }
        if self.seen.len() >= NODES_MAX && !self.seen.contains_key(&node) {
            self.seen.pop_first();
        }
        let Some(seen) = self.seen.get_mut(&node) else {
            self.seen.insert(node, Seen { last: sighting, copy: None });
            return Verdict::New;
        };
        let before = (seen.last.incarnation, seen.last.instance);
        let verdict = match sighting.incarnation.cmp(&before.0) {
            _ if (sighting.incarnation, sighting.instance) == before => Verdict::Same,
            std::cmp::Ordering::Greater => Verdict::Restarted,
            _ => Verdict::Copied,
        };
        let last = std::mem::replace(&mut seen.last, sighting);
        if verdict == Verdict::Copied {
            seen.copy = Some((last, now));
        }
        verdict
    }

    /// This node's own key was met at an address that is not this node's.
    pub fn handle_own_key(&mut self, at: &str, now: Duration) {
        self.own_copy = Some((at.to_owned(), now));
    }

    /// What a person must know of copied keys, in words; a sentence each.
    #[must_use]
    pub fn told(&self, now: Duration) -> Vec<String> {
        let fresh = |since: Duration| now.saturating_sub(since) < TOLD_FOR;
        let hint = "a copied data folder? remove identity.key there, and start it again";
        let mut told = Vec::new();
        if let Some((at, since)) = &self.own_copy
            && fresh(*since)
        {
            told.push(format!(
                "{at} has this node's key, so that only one of the two can be \
                               connected (hint: {hint})"
            ));
        }
        for seen in self.seen.values() {
            if let Some((other, since)) = &seen.copy
                && fresh(*since)
            {
                let (a, b) = (&seen.last, other);
                told.push(format!(
                    "{} at {} and {} at {} have one key, so that only one of them can be \
                     connected (hint: {hint})",
                    a.name, a.at, b.name, b.at
                ));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sighting(incarnation: u64, instance: u64, name: &str) -> Sighting {
        Sighting { incarnation, instance, name: name.into(), at: format!("{name}:1") }
    }

    fn node(id: u8) -> NodeId {
        NodeId::from_bytes([id; 16])
    }

    fn sightings() -> Sightings {
        Sightings::new(node(1), sighting(5, 50, "me"))
    }

    #[test]
    fn a_restart_is_no_copy() {
        let mut all = sightings();
        assert_eq!(all.handle_record(node(2), sighting(3, 30, "air"), SECOND), Verdict::New);
        assert_eq!(all.handle_record(node(2), sighting(3, 30, "air"), SECOND), Verdict::Same);
        assert_eq!(all.handle_record(node(2), sighting(4, 31, "air"), SECOND), Verdict::Restarted);
        assert!(all.told(SECOND).is_empty());
    }

    #[test]
    fn a_key_in_two_places_is_named_with_both_and_for_a_while() {
        let mut all = sightings();
        // The same count of starts, another start.
        all.handle_record(node(2), sighting(3, 30, "air"), SECOND);
        assert_eq!(all.handle_record(node(2), sighting(3, 31, "copy"), SECOND), Verdict::Copied);
        let told = all.told(2 * SECOND);
        assert!(told[0].contains("copy at copy:1 and air at air:1 have one key"), "{told:?}");
        assert!(told[0].contains("hint: a copied data folder?"));
        assert!(all.told(SECOND + TOLD_FOR).is_empty());
        // An earlier start after a later one.
        all.handle_record(node(3), sighting(9, 90, "pro"), SECOND);
        assert_eq!(all.handle_record(node(3), sighting(8, 80, "old"), SECOND), Verdict::Copied);
        assert_eq!(all.handle_record(node(3), sighting(9, 90, "pro"), SECOND), Verdict::Restarted);
    }

    #[test]
    fn this_node_s_own_key_elsewhere_is_named() {
        let mut all = sightings();
        let verdict = all.handle_record(node(1), sighting(5, 51, "twin"), SECOND);
        assert_eq!(verdict, Verdict::Copied);
        let told = all.told(2 * SECOND);
        assert!(told[0].starts_with("twin (twin:1) has this node's key"), "{told:?}");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut all = sightings();
        for number in 0..3_000_u16 {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            all.handle_record(NodeId::from_bytes(id), sighting(1, 1, "n"), SECOND);
        }
        assert_eq!(all.seen.len(), NODES_MAX);
    }
}
