//! The cluster as this node sees it.

use super::{
    BytesView, ClusterView, HopView, LinkView, MachineView, NodeView, RateView, StepView, run::Node,
};
use crate::{
    cluster::{Phase, epoch_count},
    fabric::{
        NodeId,
        messages::{LinkReport, Record},
    },
    layers::LayerRange,
    scheduler::times::{StepCount, StepKind},
};

/// Everything, for people and programs.
pub(super) fn view(node: &Node) -> ClusterView {
    let cluster = node.core.cluster();
    let (state, mut reason) = match cluster.phase() {
        Phase::Waiting(why) => ("waiting", why),
        Phase::Loading(why) => ("loading", why),
        Phase::Ready => ("ready", String::new()),
        Phase::Failed(why) => ("failed", why),
    };
    if let Some(next) = cluster.next() {
        let names: Vec<String> =
            next.placement.assignments().iter().map(|part| cluster.name(part.node)).collect();
        let moves = format!("layers are loaded for a ring of {}", names.join(", "));
        reason = if reason.is_empty() { moves } else { format!("{reason}; {moves}") };
    }
    if let Some(trouble) = &node.link_trouble {
        reason = if reason.is_empty() { trouble.clone() } else { format!("{trouble}; {reason}") };
    }
    for told in node.society.told() {
        reason = if reason.is_empty() { told } else { format!("{told}; {reason}") };
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
    for record in node.society.up() {
        let id = NodeId::from_bytes(record.node);
        if id != node.node && cluster.member(id).is_none() {
            nodes.push(heard_of(&record));
        }
    }
    let start = |view: &NodeView| view.layers.map_or(u32::MAX, LayerRange::start);
    nodes.sort_by(|a, b| start(a).cmp(&start(b)).then_with(|| a.id.cmp(&b.id)));
    let mut links: Vec<LinkView> =
        node.ways.links.iter().map(|report| link_view(&node.name, report)).collect();
    for (member, record) in cluster.members() {
        let reported = node.ways.reports.get(&member).into_iter().flatten();
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
        requests_running: node.core.running(),
    }
}

fn node_view(node: &Node, id: NodeId, record: &Record) -> NodeView {
    let placed = node.core.cluster().placed();
    let assignment = placed.and_then(|placed| {
        let position = placed.placement.position(id)?;
        Some(placed.placement.assignments()[position].range)
    });
    let loaded = node.core.cluster().loaded_bytes(id);
    let state = match (node.core.cluster().is_suspected(id), assignment, loaded) {
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
        machine: machine_view(node, id, record),
        steps: node.core.steps(id).iter().map(step_view).collect(),
    }
}

fn machine_view(node: &Node, id: NodeId, record: &Record) -> MachineView {
    let condition = if id == node.node {
        Some(node.own_condition())
    } else {
        node.ways.conditions.get(&id).cloned()
    };
    let facts = &record.facts;
    MachineView {
        device: facts.device.clone(),
        chip: facts.chip.clone(),
        memory_total_bytes: facts.memory_total,
        reads_bytes_per_s: facts.speed.map(|speed| speed.0),
        multiplies_per_s: facts.speed.map(|speed| speed.1),
        software: facts.software.clone(),
        start: facts.incarnation,
        addresses: facts.addresses.iter().map(|address| address.address.clone()).collect(),
        models: facts.models.iter().map(|model| model.name.clone()).collect(),
        bytes: condition.as_ref().map(|condition| BytesView {
            transport_sent: condition.own.0,
            transport_received: condition.own.1,
            interface_sent: condition.carried.map(|carried| carried.0),
            interface_received: condition.carried.map(|carried| carried.1),
        }),
        awake: condition.as_ref().map_or_else(String::new, |condition| condition.awake.clone()),
        power: condition.map_or_else(String::new, |condition| condition.power),
    }
}

/// A node that is only heard of: it is told by others, and not connected.
fn heard_of(record: &Record) -> NodeView {
    NodeView {
        id: NodeId::from_bytes(record.node).to_string(),
        name: record.name.clone(),
        listen: record.listen.clone(),
        interface: record.interface.clone(),
        link_kind: record.link_kind.clone(),
        memory_bytes: record.memory,
        state: "heard-of".to_owned(),
        ..NodeView::default()
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

fn hop_view((count, p50, p90, p99): (u64, f64, f64, f64)) -> HopView {
    HopView { count, p50, p90, p99 }
}

fn link_view(from: &str, report: &LinkReport) -> LinkView {
    let (rates, p10, rate, best) = report.rate;
    LinkView {
        from: from.to_owned(),
        to: report.to.clone(),
        interface: report.interface.clone(),
        kind: report.kind.clone(),
        encrypted: report.encrypted,
        hop_us: hop_view(report.hop),
        rtt_us: hop_view(report.rtt),
        bytes_per_s: RateView { count: rates, p10, p50: rate, p90: best },
        bytes_sent: report.bytes.0,
        bytes_received: report.bytes.1,
    }
}
