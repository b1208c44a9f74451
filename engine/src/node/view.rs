//! The cluster as this node sees it.

use super::{ClusterView, HopView, LinkView, NodeView, StepView, run::Node};
use crate::{
    cluster::{Phase, epoch_count},
    fabric::{
        Fabric, Lane, NodeId,
        messages::{LinkReport, Record},
    },
    layers::LayerRange,
    scheduler::times::{StepCount, StepKind},
};

/// This node's connections. Not for every tick: it reads each connection's histograms.
pub(super) fn own_links(fabric: &Fabric) -> Vec<LinkReport> {
    let stats = fabric.endpoint().stats();
    stats
        .connections
        .iter()
        .map(|connection| {
            let hop = &connection.lanes[Lane::Activations.index()].hop;
            LinkReport {
                to: connection.name.clone(),
                interface: connection.interface.clone(),
                kind: connection.link_kind.to_string(),
                encrypted: connection.encrypted,
                hop: (hop.count, hop.p50_us, hop.p90_us, hop.p99_us),
                bytes: (connection.bytes_out, connection.bytes_in),
            }
        })
        .collect()
}

/// Everything, for people and programs.
pub(super) fn view(node: &Node) -> ClusterView {
    let cluster = &node.cluster;
    let (state, mut reason) = match cluster.phase() {
        Phase::Waiting(why) => ("waiting", why),
        Phase::Loading(why) => ("loading", why),
        Phase::Ready => ("ready", String::new()),
        Phase::Failed(why) => ("failed", why),
    };
    if let Some(trouble) = &node.link_trouble {
        reason = if reason.is_empty() { trouble.clone() } else { format!("{trouble}; {reason}") };
    }
    let suspected: Vec<&str> = cluster
        .members()
        .filter(|(member, _)| cluster.is_suspected(*member))
        .map(|(_, record)| record.name.as_str())
        .collect();
    if !suspected.is_empty() {
        let link = node.fabric.endpoint().link();
        let interface = link.name();
        let silent = format!("nothing is heard of {} on {interface}", suspected.join(", "));
        reason = if reason.is_empty() { silent } else { format!("{silent}; {reason}") };
    }
    let mut nodes: Vec<NodeView> = cluster
        .members()
        .chain([(node.node, cluster.record())])
        .map(|(id, record)| node_view(node, id, record))
        .collect();
    let start = |view: &NodeView| view.layers.map_or(u32::MAX, LayerRange::start);
    nodes.sort_by(|a, b| start(a).cmp(&start(b)).then_with(|| a.id.cmp(&b.id)));
    let mut links: Vec<LinkView> =
        node.own_links.iter().map(|report| link_view(&node.name, report)).collect();
    for (member, record) in cluster.members() {
        let reported = node.reports.get(&member).into_iter().flatten();
        links.extend(reported.map(|report| link_view(&record.name, report)));
    }
    ClusterView {
        this_node: node.name.clone(),
        state: state.to_owned(),
        reason,
        model: cluster.placed().map(|placed| placed.name.clone()),
        placement_epoch: cluster.placed().map_or(0, |placed| epoch_count(placed.epoch)),
        nodes,
        links,
        requests_running: node.entry.running(),
    }
}

fn node_view(node: &Node, id: NodeId, record: &Record) -> NodeView {
    let placed = node.cluster.placed();
    let assignment = placed.and_then(|placed| {
        let position = placed.placement.position(id)?;
        Some(placed.placement.assignments()[position].range)
    });
    let loaded = node.cluster.loaded_bytes(id);
    let state = match (node.cluster.is_suspected(id), assignment, loaded) {
        (true, ..) => "suspected",
        (_, None, _) => "idle",
        (_, Some(_), None) => "loading",
        (_, Some(_), Some(_)) => "ready",
    };
    let loading = if id == node.node { node.loading_bytes } else { 0 };
    NodeView {
        id: id.to_string(),
        name: record.name.clone(),
        listen: record.listen.clone(),
        interface: record.interface.clone(),
        link_kind: record.link_kind.clone(),
        memory_bytes: record.memory,
        layers: assignment,
        weight_bytes_read: loaded.unwrap_or(loading),
        state: state.to_owned(),
        steps: node.steps.get(&id).into_iter().flatten().map(step_view).collect(),
    }
}

fn step_view(step: &StepCount) -> StepView {
    let kind = match step.kind {
        StepKind::Decode => "decode",
        StepKind::Prompt => "prompt",
    };
    StepView {
        kind: kind.to_owned(),
        rows: step.rows,
        count: step.count,
        mean_ms: step.total_us as f64 / 1e3 / step.count.max(1) as f64,
        recent_ms: f64::from(step.recent_us) / 1e3,
    }
}

fn link_view(from: &str, report: &LinkReport) -> LinkView {
    let (count, p50, p90, p99) = report.hop;
    LinkView {
        from: from.to_owned(),
        to: report.to.clone(),
        interface: report.interface.clone(),
        kind: report.kind.clone(),
        encrypted: report.encrypted,
        hop_us: HopView { count, p50, p90, p99 },
        bytes_sent: report.bytes.0,
        bytes_received: report.bytes.1,
    }
}
