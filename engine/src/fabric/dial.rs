//! Whom to dial, where, and when? Pure: what was named, found and lost goes in, addresses come out.
//!
//! A node may be known at several addresses (two interfaces, IPv4 and IPv6, an address it had
//! before): they are tried in turn, and one connection is enough.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::NodeId;

/// Pause between two attempts to reach a peer that was named.
const REDIAL: Duration = Duration::from_secs(1);
/// Pause between two attempts to reach a node that was found.
const REDIAL_FOUND: Duration = Duration::from_secs(2);
/// Nodes found that are remembered: whoever is on the link can announce as many as it likes.
const SEEN_MAX: usize = 256;
/// Addresses of one node that are remembered: the latest.
const ADDRESSES_MAX: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub struct DialBook {
    named: Vec<Named>,
    seen: BTreeMap<NodeId, Seen>,
}

#[derive(Debug)]
struct Named {
    addr: SocketAddr,
    dialled: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    /// The next to try is first.
    addrs: Vec<SocketAddr>,
    dialled: Instant,
}

impl DialBook {
    /// These were named: they are dialled again and again, whether or not anybody answers.
    #[must_use]
    pub fn new(named: impl IntoIterator<Item = SocketAddr>) -> Self {
        let named = named.into_iter().map(|addr| Named { addr, dialled: None }).collect();
        Self { named, seen: BTreeMap::new() }
    }

    /// A node was found at an address. Gives whether that is news: then it is to be dialled now.
    pub fn handle_found(&mut self, node: NodeId, addr: SocketAddr, now: Instant) -> bool {
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&node) {
            let longest = self.seen.iter().min_by_key(|(_, seen)| seen.dialled);
            if let Some(node) = longest.map(|(&node, _)| node) {
                self.seen.remove(&node);
            }
        }
        let seen = self.seen.entry(node).or_insert(Seen { addrs: Vec::new(), dialled: now });
        let known = seen.addrs.iter().position(|other| *other == addr);
        match known {
            // It was heard there just now: that is where to try next.
            Some(at) => seen.addrs.swap(0, at),
            None => seen.addrs.insert(0, addr),
        }
        seen.addrs.truncate(ADDRESSES_MAX);
        seen.dialled = now;
        known.is_none()
    }

    /// The connection to a node has ended: it is tried again after a pause.
    pub fn handle_lost(&mut self, node: NodeId, now: Instant) {
        if let Some(seen) = self.seen.get_mut(&node) {
            seen.dialled = now;
        }
    }

    /// A node is known to be gone.
    pub fn forget(&mut self, node: NodeId) {
        self.seen.remove(&node);
    }

    /// The addresses a node was found at, the likeliest first.
    #[must_use]
    pub fn addresses(&self, node: NodeId) -> &[SocketAddr] {
        self.seen.get(&node).map_or(&[], |seen| &seen.addrs)
    }

    /// The machine slept, or the link is back: whoever is missing is tried now.
    pub fn handle_wake(&mut self) {
        self.named.iter_mut().for_each(|named| named.dialled = None);
        for seen in self.seen.values_mut() {
            let long_ago = seen.dialled.checked_sub(REDIAL_FOUND);
            seen.dialled = long_ago.unwrap_or(seen.dialled);
        }
    }

    /// Whom to dial now: those missing whose pause is over. `listening` are the addresses on which
    /// the nodes that are there listen, and this one.
    pub fn due(
        &mut self,
        is_there: impl Fn(NodeId) -> bool,
        listening: &[&str],
        now: Instant,
    ) -> Vec<SocketAddr> {
        let mut due = Vec::new();
        for named in &mut self.named {
            let there = listening.iter().any(|addr| *addr == named.addr.to_string());
            let waited = named.dialled.is_none_or(|dialled| now - dialled >= REDIAL);
            if !there && waited {
                named.dialled = Some(now);
                due.push(named.addr);
            }
        }
        for (&node, seen) in &mut self.seen {
            if !is_there(node) && now.saturating_duration_since(seen.dialled) >= REDIAL_FOUND {
                seen.dialled = now;
                due.extend(seen.addrs.first());
                seen.addrs.rotate_left(1);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u8) -> NodeId {
        NodeId::from_bytes([id; 16])
    }

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 2, last], 52416))
    }

    #[test]
    fn a_peer_that_was_named_is_dialled_until_it_is_there() {
        let now = Instant::now();
        let mut book = DialBook::new([addr(2)]);
        assert_eq!(book.due(|_| false, &[], now), [addr(2)]);
        assert!(book.due(|_| false, &[], now + REDIAL / 2).is_empty());
        assert_eq!(book.due(|_| false, &[], now + REDIAL), [addr(2)]);
        assert!(book.due(|_| false, &["192.168.2.2:52416"], now + REDIAL * 9).is_empty());
    }

    #[test]
    fn two_addresses_of_a_node_are_tried_in_turn_and_neither_once_it_is_there() {
        let now = Instant::now();
        let mut book = DialBook::default();
        assert!(book.handle_found(node(1), addr(2), now));
        assert!(book.handle_found(node(1), addr(3), now), "another address is news");
        assert!(!book.handle_found(node(1), addr(3), now));
        let mut tried = Vec::new();
        for turn in 1..=4 {
            tried.extend(book.due(|_| false, &[], now + REDIAL_FOUND * turn));
        }
        assert_eq!(tried, [addr(3), addr(2), addr(3), addr(2)]);
        assert!(book.due(|there| there == node(1), &[], now + REDIAL_FOUND * 9).is_empty());
        assert_eq!(book.addresses(node(1)).len(), 2);
        for last in 10..30 {
            book.handle_found(node(1), addr(last), now);
        }
        assert_eq!(book.addresses(node(1)).len(), ADDRESSES_MAX);
    }

    #[test]
    fn after_sleep_nobody_waits_for_a_pause_to_end_and_who_is_gone_is_not_dialled() {
        let now = Instant::now();
        let mut book = DialBook::new([addr(9)]);
        book.handle_found(node(1), addr(2), now + REDIAL_FOUND);
        assert_eq!(book.due(|_| false, &[], now + REDIAL_FOUND), [addr(9)]);
        book.handle_wake();
        assert_eq!(book.due(|_| false, &[], now + REDIAL_FOUND), [addr(9), addr(2)]);
        book.forget(node(1));
        assert_eq!(book.due(|_| false, &[], now + REDIAL_FOUND * 9), [addr(9)]);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let now = Instant::now();
        let mut book = DialBook::default();
        for number in 0..1_000_u16 {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            book.handle_found(NodeId::from_bytes(id), addr(1), now);
        }
        assert_eq!(book.seen.len(), SEEN_MAX);
    }
}
