//! The ways to the other nodes, and what all tell of theirs.

use std::{collections::HashMap, time::Duration};

use super::run::Node;
use crate::{
    cluster::{
        LinkSpeed, Links,
        links::{LinkBook, PROBE_BYTES, WayId, WayNumbers},
    },
    fabric::{
        Lane, LinkKind, NodeId,
        messages::{ClusterMessage, ConditionReport, LinkReport},
    },
};

/// See the module.
#[derive(Default)]
pub(super) struct Ways {
    book: LinkBook,
    /// This node's own.
    pub(super) links: Vec<LinkReport>,
    /// What others say of theirs.
    pub(super) reports: HashMap<NodeId, Vec<LinkReport>>,
    pub(super) conditions: HashMap<NodeId, ConditionReport>,
}

impl Ways {
    pub(super) fn handle_parted(&mut self, node: NodeId) {
        self.book.handle_parted(node);
        self.reports.remove(&node);
        self.conditions.remove(&node);
    }

    /// What was measured between all nodes.
    fn known(&self, me: NodeId, kind: LinkKind) -> Links {
        let mut links = Links::assumed(match kind {
            LinkKind::Thunderbolt => LinkSpeed::THUNDERBOLT,
            LinkKind::ByHand => LinkSpeed::ETHERNET,
        });
        let own = self.links.iter().map(|report| (me, report));
        let others = self
            .reports
            .iter()
            .flat_map(|(&from, reports)| reports.iter().map(move |report| (from, report)));
        for (from, report) in own.chain(others) {
            let numbers = WayNumbers { rtt_us: report.rtt, bytes_per_s: report.rate };
            if let Some(speed) = numbers.speed() {
                links.insert(from, NodeId::from_bytes(report.to_node), speed);
            }
        }
        links
    }
}

impl Node {
    /// Looks at this node's connections, probes idle ones, and tells the others. Not for every
    /// tick: it reads each connection's histograms.
    pub(super) fn look_at_ways(&mut self, now: Duration) {
        let stats = self.fabric.endpoint().stats();
        let (mut links, mut probes) = (Vec::with_capacity(stats.connections.len()), Vec::new());
        for connection in &stats.connections {
            let Some(pair) = self.fabric.peer(connection.peer) else { continue };
            let id = WayId { peer: connection.peer, kind: connection.link_kind.to_string() };
            let carried = connection.bytes_out + connection.bytes_in;
            if self.ways.book.handle_look(id.clone(), pair.measured(), carried, now) {
                probes.push(connection.peer);
            }
            let numbers = self.ways.book.numbers(&id);
            let hop = &connection.lanes[Lane::Activations.index()].hop;
            links.push(LinkReport {
                to: connection.name.clone(),
                to_node: *connection.peer.as_bytes(),
                interface: connection.interface.clone(),
                kind: id.kind,
                encrypted: connection.encrypted,
                hop: (hop.count, hop.p50_us, hop.p90_us, hop.p99_us),
                rtt: numbers.rtt_us,
                rate: numbers.bytes_per_s,
                bytes: (connection.bytes_out, connection.bytes_in),
            });
        }
        for peer in probes {
            self.tell(peer, &ClusterMessage::Probe(vec![0; PROBE_BYTES]));
        }
        self.fabric.broadcast(&ClusterMessage::Report(links.clone()));
        self.fabric.broadcast(&ClusterMessage::Condition(self.own_condition()));
        self.ways.links = links;
        let kind = self.fabric.endpoint().link().kind();
        self.core.handle_links(self.ways.known(self.node, kind));
    }

    pub(super) fn own_condition(&self) -> ConditionReport {
        let seen = self.condition.seen();
        ConditionReport {
            own: (seen.own.sent, seen.own.received),
            carried: seen.carried.map(|carried| (carried.sent, carried.received)),
            awake: seen.awake,
            power: seen.power,
        }
    }
}
