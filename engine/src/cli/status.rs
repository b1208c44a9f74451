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
    let below = [ways(&view.links), bytes(&view.nodes), machines(&view.nodes)].concat();
    format!("{model}{}{reason}\n\n{}{below}{running}", view.state, table(head, &rows))
}

/// The ways between nodes, as measured.
fn ways(links: &[LinkView]) -> String {
    let measured = links.iter().filter(|link| link.rtt_us.count > 0);
    let rows: Vec<_> = measured
        .map(|link| {
            let rtt = &link.rtt_us;
            let carries = match link.bytes_per_s.count {
                0 => "-".to_owned(),
                _ => bits(link.bytes_per_s.p50),
            };
            [
                format!("{} → {}", link.from, link.to),
                link.kind.clone(),
                format!("{} / {}", micros(rtt.p50), micros(rtt.p99)),
                carries,
            ]
        })
        .collect();
    match rows[..] {
        [] => String::new(),
        _ => format!("\n{}", table(["WAY", "LINK", "RTT p50 / p99", "CARRIES"], &rows)),
    }
}

/// What exo-node has sent and received beside what the interface has, at every end: the proof of
/// which cable carries it.
fn bytes(nodes: &[NodeView]) -> String {
    let size = |bytes: u64| ByteSize(bytes).display().iec().to_string();
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
    let counted: Vec<_> =
        nodes.iter().filter_map(|node| Some((node, node.machine.bytes?))).collect();
    if counted.iter().all(|(_, bytes)| bytes.transport_sent + bytes.transport_received == 0) {
        return String::new();
    }
    let rows: Vec<_> = counted
        .iter()
        .map(|(node, bytes)| {
            [
                node.name.clone(),
                node.interface.clone(),
                format!("{} / {}", size(bytes.transport_sent), size(bytes.transport_received)),
                format!("{} / {}", known(bytes.interface_sent), known(bytes.interface_received)),
            ]
        })
        .collect();
    let head = ["BYTES", "INTERFACE", "EXO-NODE out / in", "INTERFACE out / in"];
    let mut verdict = String::new();
    for (node, bytes) in &counted {
        let (name, interface) = (&node.name, &node.interface);
        match (bytes.interface_sent, bytes.interface_received) {
            (Some(sent), Some(received))
                if sent < bytes.transport_sent || received < bytes.transport_received =>
            {
                verdict += &format!(
                    "{name}: {interface} has carried less than exo-node: not all goes over it\n"
                );
            }
            (Some(_), Some(_)) => {}
            _ => verdict += &format!("{name}: the system does not count {interface}'s bytes\n"),
        }
    }
    if verdict.is_empty() {
        verdict = "Every interface has carried all that exo-node sent and received.\n".to_owned();
    }
    format!("\n{}{verdict}", table(head, &rows))
}

/// Who is what, and whether it may fall asleep.
fn machines(nodes: &[NodeView]) -> String {
    let words = nodes.iter().filter_map(|node| {
        let machine = &node.machine;
        let device = match (machine.device.as_str(), machine.chip.as_str()) {
            ("", chip) => chip.to_owned(),
            (device, "") => device.to_owned(),
            (device, chip) => format!("{device}, {chip}"),
        };
        let reads = machine.reads_bytes_per_s.map(|bytes| format!("reads {}", gigabytes(bytes)));
        let battery = machine.power.starts_with("battery").then(|| format!("on {}", machine.power));
        let awake = Some(machine.awake.clone());
        let parts = [Some(device), reads, battery, awake].into_iter().flatten();
        let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| format!("{}: {}\n", node.name, parts.join("; ")))
    });
    let words: String = words.collect();
    if words.is_empty() { words } else { format!("\n{words}") }
}

fn bits(bytes_per_s: f64) -> String {
    match bytes_per_s * 8.0 / 1e9 {
        gigabits if gigabits >= 1.0 => format!("{gigabits:.1} Gb/s"),
        gigabits => format!("{:.0} Mb/s", gigabits * 1e3),
    }
}

fn gigabytes(bytes_per_s: u64) -> String {
    format!("{:.0} GB/s", bytes_per_s as f64 / 1e9)
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
    use exo_engine::{
        layers::LayerRange,
        node::{BytesView, HopView, MachineView, RateView},
    };

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
            machine: MachineView {
                chip: if name == "mini" { "Apple M4 Pro".into() } else { "Apple M2".into() },
                reads_bytes_per_s: Some(if name == "mini" {
                    218_000_000_000
                } else {
                    80_000_000_000
                }),
                bytes: Some(BytesView {
                    transport_sent: 1 << 20,
                    transport_received: 3 << 20,
                    interface_sent: Some(1_100_000),
                    interface_received: Some(3_300_000),
                }),
                awake: "kept awake by caffeinate".into(),
                power: if name == "mini" { "mains".into() } else { "battery, 85 %".into() },
                ..MachineView::default()
            },
        };
        let link = |to: &str, count, p50, p99| LinkView {
            from: "mini".to_owned(),
            to: to.to_owned(),
            interface: "bridge0".to_owned(),
            kind: "thunderbolt".to_owned(),
            encrypted: false,
            hop_us: HopView { count, p50, p90: p99, p99 },
            rtt_us: HopView { count: count * 7, p50: p50 * 2.0, p90: p99 * 2.0, p99: p99 * 2.0 },
            bytes_per_s: RateView { count: 3, p10: 1e9, p50: 2e9, p90: 2.1e9 },
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

        WAY         LINK         RTT p50 / p99    CARRIES
        mini → old  thunderbolt  2 µs / 2 µs      16.0 Gb/s
        mini → air  thunderbolt  365 µs / 2.5 ms  16.0 Gb/s

        BYTES  INTERFACE  EXO-NODE out / in  INTERFACE out / in
        mini   bridge0    1.0 MiB / 3.0 MiB  1.0 MiB / 3.1 MiB
        air    bridge0    1.0 MiB / 3.0 MiB  1.0 MiB / 3.1 MiB
        Every interface has carried all that exo-node sent and received.

        mini: Apple M4 Pro; reads 218 GB/s; kept awake by caffeinate
        air: Apple M2; reads 80 GB/s; on battery, 85 %; kept awake by caffeinate

        1 request runs here
        ");
        let mut astray = view;
        astray.nodes[1].machine.bytes.as_mut().unwrap().interface_sent = Some(5_000);
        astray.nodes[0].machine.bytes.as_mut().unwrap().interface_sent = None;
        let text = cluster(&astray);
        assert!(text.contains("air: bridge0 has carried less than exo-node"), "{text}");
        assert!(text.contains("mini: the system does not count bridge0's bytes"), "{text}");
        assert!(!text.contains("Every interface"), "{text}");
        let waiting = ClusterView {
            state: "waiting".to_owned(),
            reason: "1 of 2 nodes are there".to_owned(),
            ..ClusterView::default()
        };
        assert!(cluster(&waiting).starts_with("waiting: 1 of 2 nodes are there\n"));
    }
}
