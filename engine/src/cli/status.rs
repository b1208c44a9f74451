//! `exo-node status`.

use anyhow::Result;
use bytesize::ByteSize;
use exo_engine::node::{ClusterView, LinkView, NodeView};

use super::{
    args::StatusArgs,
    client::Client,
    report::{print, table},
};

pub(super) fn status(args: &StatusArgs) -> Result<()> {
    let client = Client::new(&args.api.api, args.api.api_key.clone());
    if args.json {
        let view: serde_json::Value = client.get("/v1/cluster")?;
        return print(&format!("{view:#}\n"));
    }
    print(&cluster(&client.get("/v1/cluster")?))
}

/// The cluster in words and a table.
fn cluster(view: &ClusterView) -> String {
    let model = match &view.model {
        Some(model) => format!("model {model}, "),
        None => String::new(),
    };
    let reason = match view.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let head = ["NODE", "STATE", "LAYERS", "MEMORY", "INTERFACE", "LINK", "HOP p50 / p99"];
    let rows: Vec<_> = view.nodes.iter().map(|node| row(node, view)).collect();
    let running = match view.requests_running {
        0 => String::new(),
        1 => "\n1 request runs here\n".to_owned(),
        n => format!("\n{n} requests run here\n"),
    };
    format!("{model}{}{reason}\n\n{}{running}", view.state, table(head, &rows))
}

fn row(node: &NodeView, view: &ClusterView) -> [String; 7] {
    let here = if node.name == view.this_node || node.id == view.this_node { " *" } else { "" };
    [
        format!("{}{here}", node.name),
        node.state.clone(),
        node.layers.map_or_else(|| "-".to_owned(), |layers| layers.to_string()),
        ByteSize(node.memory_bytes).display().iec().to_string(),
        node.interface.clone(),
        node.link_kind.clone(),
        hop(node, &view.links),
    ]
}

/// Its busiest outgoing link: on a ring, the way to the next stage.
fn hop(node: &NodeView, links: &[LinkView]) -> String {
    let outgoing = links.iter().filter(|link| link.from == node.name && link.hop_us.count > 0);
    match outgoing.max_by_key(|link| link.hop_us.count) {
        Some(link) => {
            let (p50, p99) = (micros(link.hop_us.p50), micros(link.hop_us.p99));
            format!("{p50} / {p99} to {}", link.to)
        }
        None => "-".to_owned(),
    }
}

fn micros(us: f64) -> String {
    if us < 1000.0 { format!("{us:.0} µs") } else { format!("{:.1} ms", us / 1000.0) }
}

#[cfg(test)]
mod tests {
    use exo_engine::{layers::LayerRange, node::HopView};

    use super::*;

    #[test]
    fn a_cluster_of_two_is_shown_line_by_line() {
        let node = |name: &str, start, end, memory| NodeView {
            id: "0".repeat(32),
            name: name.to_owned(),
            listen: "192.168.2.1:52416".to_owned(),
            interface: "bridge0".to_owned(),
            link_kind: "thunderbolt".to_owned(),
            memory_bytes: memory,
            layers: LayerRange::checked(start, end).ok(),
            weight_bytes_read: 0,
            state: "ready".to_owned(),
            steps: Vec::new(),
        };
        let link = |to: &str, count, p50, p99| LinkView {
            from: "mini".to_owned(),
            to: to.to_owned(),
            interface: "bridge0".to_owned(),
            kind: "thunderbolt".to_owned(),
            encrypted: false,
            hop_us: HopView { count, p50, p90: p99, p99 },
            bytes_sent: 0,
            bytes_received: 0,
        };
        let view = ClusterView {
            this_node: "mini".to_owned(),
            state: "ready".to_owned(),
            model: Some("smollm2".to_owned()),
            nodes: vec![node("mini", 0, 24, 64 << 30), node("air", 24, 30, 16 << 30)],
            links: vec![link("old", 2, 1.0, 1.0), link("air", 9, 182.4, 1240.0)],
            requests_running: 1,
            ..ClusterView::default()
        };
        insta::assert_snapshot!(cluster(&view), @r"
        model smollm2, ready

        NODE    STATE  LAYERS  MEMORY    INTERFACE  LINK         HOP p50 / p99
        mini *  ready  0..24   64.0 GiB  bridge0    thunderbolt  182 µs / 1.2 ms to air
        air     ready  24..30  16.0 GiB  bridge0    thunderbolt  -

        1 request runs here
        ");
        let waiting = ClusterView {
            state: "waiting".to_owned(),
            reason: "1 of 2 nodes are there".to_owned(),
            ..ClusterView::default()
        };
        assert!(cluster(&waiting).starts_with("waiting: 1 of 2 nodes are there\n"));
    }
}
