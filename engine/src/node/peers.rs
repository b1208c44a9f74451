//! What do the other nodes, and the link to them, say?

use super::run::Node;
use crate::fabric::{
    Event, Incoming, Link, LinkEvent, NodeId, is_goodbye, messages::ClusterMessage,
};

impl Node {
    pub(super) fn handle_incoming(&mut self, from: NodeId, incoming: Incoming) {
        // What came before a loss may be looked at after it.
        if self.fabric.peer(from).is_none() {
            return;
        }
        match incoming {
            Incoming::Token(message) => self.core.handle_token_of(from, message),
            Incoming::Cluster(message) => self.handle_cluster(from, *message),
            Incoming::Malformed(what) => self.cut_off(from, &what),
        }
    }

    pub(super) fn cut_off(&mut self, node: NodeId, what: &str) {
        tracing::error!(%node, what, "closing the connection: it sent what no node sends");
        if let Some(queue_pair) = self.fabric.peer(node) {
            queue_pair.close();
        }
    }

    pub(super) fn handle_cluster(&mut self, from: NodeId, message: ClusterMessage) {
        match self.core.handle_cluster(from, message) {
            None => {}
            Some(ClusterMessage::Signed(signed)) => {
                if let Some(record) = self.handle_signed(from, &signed) {
                    self.core.handle_record(record);
                }
            }
            Some(ClusterMessage::Gossip(bytes)) => return self.handle_gossip(&bytes),
            Some(ClusterMessage::Condition(condition)) => {
                self.ways.conditions.insert(from, condition);
                return;
            }
            Some(ClusterMessage::Report(report)) => {
                self.ways.reports.insert(from, report);
                return;
            }
            Some(ClusterMessage::WantShards { fingerprint }) => {
                return self.handle_want_shards(from, fingerprint);
            }
            Some(ClusterMessage::Shards { fingerprint, key, len }) => {
                return self.handle_shards_answer(from, fingerprint, Some((key, len)));
            }
            Some(ClusterMessage::NoShards { fingerprint }) => {
                return self.handle_shards_answer(from, fingerprint, None);
            }
            Some(ClusterMessage::Record(_)) => {
                return self.cut_off(from, "a record without a signature");
            }
            // Bytes that mean nothing; the rest is the core's.
            Some(_) => return,
        }
        self.do_all();
        self.publish();
    }

    pub(super) fn handle_transport(&mut self, event: Event) {
        match event {
            Event::Connected { queue_pair } => {
                let peer = queue_pair.peer().clone();
                tracing::info!(
                    peer = peer.name, interface = peer.interface, kind = %peer.link_kind,
                    encrypted = peer.encrypted, "connected"
                );
                if self.fabric.peer(peer.node).is_some() {
                    // Both had dialled; what was said on the first connection may be lost.
                    self.core.handle_lost(peer.node, "connected anew");
                }
                self.fabric.handle_connected(queue_pair);
                self.tell(peer.node, &ClusterMessage::Record(self.core.cluster().record().clone()));
                self.load_pending();
            }
            Event::Suspected { peer, link, silent_ms } => {
                tracing::warn!(peer = peer.name, link, silent_ms, "silent");
                self.core.handle_suspected(peer.node, true);
            }
            Event::Recovered { peer } => {
                tracing::info!(peer = peer.name, "heard again");
                self.core.handle_suspected(peer.node, false);
            }
            Event::Disconnected { peer, cause } => {
                // Who only asked what this end of the link is like is done, not lost.
                if is_goodbye(&cause) && self.core.cluster().member(peer.node).is_none() {
                    tracing::info!(peer = peer.name, software = peer.software, "gone");
                } else {
                    tracing::warn!(peer = peer.name, %cause, "lost");
                }
                self.fabric.handle_disconnected(peer.node);
                self.shards.handle_lost(peer.node);
                self.ways.handle_parted(peer.node);
                self.handle_parted(peer.node);
                self.core.handle_lost(peer.node, &cause.to_string());
            }
            Event::ConnectFailed { addr, error } => {
                tracing::debug!(%addr, %error, "not connected");
            }
            Event::Refused { addr, error } => tracing::warn!(%addr, %error, "refused"),
            Event::LinkChanged { link } => self.link_is_usable(link),
            other => tracing::debug!(?other, "an event this node has no use for"),
        }
    }

    /// Says what is wrong with the link, and announces this node anew when it is right again.
    pub(super) fn handle_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Down { error } => self.link_is_in_trouble(error.to_string()),
            LinkEvent::Up { link } | LinkEvent::Renumbered { link, .. } => {
                let old = self.fabric.endpoint().link();
                if old.index() == link.index() {
                    return self.link_is_usable(link);
                }
                // The transport says when it has moved.
                self.link_is_in_trouble(format!(
                    "{} was made anew (index {} became {}), and this node is moving to it",
                    old.name(),
                    old.index(),
                    link.index()
                ));
            }
            LinkEvent::AddressChanged { was, link } => {
                let now = link.addresses();
                tracing::info!(interface = link.name(), ?was, ?now, "the link's addresses changed");
                self.fabric.handle_link_back(link);
            }
            LinkEvent::MtuChanged { was, link } => {
                tracing::info!(interface = link.name(), was, now = link.mtu(), "the MTU changed");
            }
            other => tracing::debug!(?other, "an event of the link this node has no use for"),
        }
    }

    fn link_is_usable(&mut self, link: Link) {
        if self.link_trouble.take().is_some() {
            tracing::info!(interface = link.name(), "the link is usable again");
        }
        // Also if nobody saw it away: what was pinned to the old interface is dead.
        self.fabric.handle_link_back(link);
    }

    fn link_is_in_trouble(&mut self, trouble: String) {
        if self.link_trouble.as_ref() != Some(&trouble) {
            tracing::warn!(trouble, "the link is not usable");
        }
        self.link_trouble = Some(trouble);
    }
}
