//! What to send when, and what an answer means: discovery without sockets and clocks.
//!
//! Time is an argument, as the duration since any fixed moment. [`Protocol::poll_send`] says what
//! is due, [`Protocol::poll_timeout`] when to ask again, [`Protocol::handle_packet`] takes what
//! came in. A new or mended link starts it over ([`Protocol::handle_link`]).
//!
//! - Questions: after 20–120 ms, then 1 s, 2 s, 4 s … 60 s apart (RFC 6762 §5.2).
//! - Announcements: two, 1 s apart (§8.3); then when somebody asks, after 20–120 ms and at most
//!   once a second (§6). The delays are spread by the node's id, so that nodes that wake up
//!   together do not speak together, and a run can be repeated.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, time::Duration};

use exo_netconfig::Link;
use exo_transport::{MDNS_PORT, NodeId};

use super::{
    Announcement, Found,
    message::{Identity, Ignored, Message, Said},
};

/// Nodes remembered. If one more comes, the one that was silent for the longest is forgotten.
const NODES_MAX: usize = 256;
/// Time between the first two questions; it doubles up to `QUERY_EVERY_MAX`.
const QUERY_EVERY_MIN: Duration = Duration::from_secs(1);
const QUERY_EVERY_MAX: Duration = Duration::from_secs(60);
/// Announcements that nobody asked for.
const ANNOUNCEMENTS: u8 = 2;
/// Time between two announcements, and between two reports of the same node.
const ONCE_IN: Duration = Duration::from_secs(1);
/// Bounds of the delay before anything is said.
const DELAY_MS_MIN: u64 = 20;
const DELAY_MS_MAX: u64 = 120;

/// What came of a packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Nodes to be reported.
    pub(super) found: Vec<Found>,
    /// What was not used, and why.
    pub(super) ignored: Vec<Ignored>,
}

/// Discovery on one link, as seen by one node.
#[derive(Debug)]
pub(super) struct Protocol {
    me: Announcement,
    identity: Identity,
    link: Link,
    delay: Duration,
    query_at: Duration,
    query_every: Duration,
    announce_at: Option<Duration>,
    announced_at: Option<Duration>,
    announcements_left: u8,
    nodes: BTreeMap<NodeId, Reported>,
}

#[derive(Debug)]
struct Reported {
    at: Duration,
    addr: SocketAddr,
    name: String,
}

impl Protocol {
    /// Begins to ask and to announce at `now`.
    pub(super) fn new(me: Announcement, link: Link, now: Duration) -> Self {
        let spread = me.node.as_bytes().iter().fold(0, |sum, byte| sum + u64::from(*byte));
        let delay = DELAY_MS_MIN + spread % (DELAY_MS_MAX - DELAY_MS_MIN);
        let mut protocol = Self {
            identity: Identity::new(me.node, &me.name, me.port),
            me,
            link,
            delay: Duration::from_millis(delay),
            query_at: now,
            query_every: QUERY_EVERY_MIN,
            announce_at: None,
            announced_at: None,
            announcements_left: 0,
            nodes: BTreeMap::new(),
        };
        protocol.begin(now);
        protocol
    }

    /// The link came back, or is another one: everybody is asked, told and reported anew.
    pub(super) fn handle_link(&mut self, link: Link, now: Duration) {
        self.link = link;
        self.nodes.clear();
        self.begin(now);
    }

    fn begin(&mut self, now: Duration) {
        self.query_at = now + self.delay;
        self.query_every = QUERY_EVERY_MIN;
        self.announcements_left = ANNOUNCEMENTS;
        self.announce_soon(now);
    }

    fn announce_soon(&mut self, now: Duration) {
        let free = self.announced_at.map_or(now, |at| at + ONCE_IN);
        let at = free.max(now + self.delay);
        self.announce_at = Some(self.announce_at.map_or(at, |due| due.min(at)));
    }

    /// When [`Protocol::poll_send`] will next have something.
    pub(super) fn poll_timeout(&self) -> Duration {
        self.announce_at.map_or(self.query_at, |at| at.min(self.query_at))
    }

    /// The next packet that is due at `now`.
    pub(super) fn poll_send(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announced_at = Some(now);
            self.announcements_left = self.announcements_left.saturating_sub(1);
            self.announce_at = (self.announcements_left > 0).then(|| now + ONCE_IN);
            return Some(self.identity.announcement(&self.addresses()));
        }
        if self.query_at <= now {
            self.query_at = now + self.query_every;
            self.query_every = (self.query_every * 2).min(QUERY_EVERY_MAX);
            return Some(self.identity.query());
        }
        None
    }

    /// What to send last.
    pub(super) fn goodbye(&self) -> Vec<u8> {
        self.identity.goodbye(&self.addresses())
    }

    /// The link's own addresses among those that were to be announced; all of them if none is left
    /// (they change when a cable is plugged again).
    fn addresses(&self) -> Vec<IpAddr> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's path would need ipnet among our own dependencies"
        )]
        let own = self.link.addresses().iter().map(|net| net.addr());
        let wanted: Vec<IpAddr> = own.clone().filter(|ip| self.me.addresses.contains(ip)).collect();
        if wanted.is_empty() { own.collect() } else { wanted }
    }

    /// Takes a packet that came in at `now`.
    pub(super) fn handle_packet(&mut self, from: SocketAddr, bytes: &[u8], now: Duration) -> Heard {
        let mut heard = Heard::default();
        match self.read(from, bytes) {
            Ok(Message::Query { us: true }) => self.announce_soon(now),
            Ok(Message::Query { us: false }) => {}
            Ok(Message::Response(said)) => {
                for said in said {
                    match said.and_then(|said| self.handle_said(said, now)) {
                        Ok(found) => heard.found.extend(found),
                        Err(ignored) => heard.ignored.push(ignored),
                    }
                }
            }
            Err(ignored) => heard.ignored.push(ignored),
        }
        heard
    }

    fn read(&self, from: SocketAddr, bytes: &[u8]) -> Result<Message, Ignored> {
        if from.port() != MDNS_PORT {
            return Err(Ignored::WrongPort);
        }
        if !self.link.contains(from.ip()) {
            return Err(Ignored::SenderElsewhere);
        }
        self.identity.read(bytes)
    }

    fn handle_said(&mut self, said: Said, now: Duration) -> Result<Option<Found>, Ignored> {
        let (node, name, port, addresses) = match said {
            Said::Here { node, name, port, addresses } => (node, name, port, addresses),
            Said::Gone { node } => {
                self.nodes.remove(&node);
                return Ok(None);
            }
        };
        if node == self.me.node {
            return Err(Ignored::Ourselves);
        }
        let ip = self.best(&addresses).ok_or(Ignored::AddressElsewhere)?;
        if port == self.me.port && self.link.addresses().iter().any(|net| net.addr() == ip) {
            return Err(Ignored::AtOurAddress);
        }
        let addr = self.link.peer_addr(ip, port);
        let known = self.nodes.get(&node).is_some_and(|reported| {
            reported.addr == addr && reported.name == name && now < reported.at + ONCE_IN
        });
        if known {
            return Ok(None);
        }
        self.make_room_for(node);
        self.nodes.insert(node, Reported { at: now, addr, name: name.clone() });
        Ok(Some(Found { node, name, addr }))
    }

    fn make_room_for(&mut self, node: NodeId) {
        if self.nodes.len() < NODES_MAX || self.nodes.contains_key(&node) {
            return;
        }
        let silent = self.nodes.iter().min_by_key(|(_, reported)| reported.at).map(|(n, _)| *n);
        if let Some(silent) = silent {
            self.nodes.remove(&silent);
        }
    }

    /// The address inside the first of the link's networks that has one: IPv4 before IPv6, as the
    /// link orders them.
    fn best(&self, addresses: &[IpAddr]) -> Option<IpAddr> {
        self.link.addresses().iter().find_map(|net| {
            let is_host = |ip: &IpAddr| match ip {
                // All ones and all zeros are no hosts, where there is room for them (RFC 3021).
                IpAddr::V4(_) if net.prefix_len() < 31 => {
                    *ip != net.network() && *ip != net.broadcast()
                }
                _ => !ip.is_unspecified() && !ip.is_multicast(),
            };
            addresses.iter().copied().find(|ip| net.contains(ip) && is_host(ip))
        })
    }
}

#[cfg(test)]
mod tests;
