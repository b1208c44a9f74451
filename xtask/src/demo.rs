//! What does exo-node do? Two processes, each with half of a real language model, answer a question
//! together, and what passed between them is shown.

use std::{
    fs::OpenOptions,
    io::Write,
    net::TcpListener,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    api::{Api, Cluster, Link},
    layout::{Layout, make_dir, remove},
    lock::Lock,
    mlx_linux, model,
    nodes::Nodes,
    prerequisites,
    progress::{human, say, step},
    shell::failure,
};

const QUESTION: &str = "What is the capital of France?";
const EXPECTED: &str = "Paris";
const NAMES: [&str; 2] = ["alpha", "beta"];
/// How long two nodes have to find each other, share the model out and load it.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A node looks at its connections once a second: after this long it shows all hops of the answer.
const LOOKS_WAIT: Duration = Duration::from_millis(1200);

/// Everything from a bare clone to the answer.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    let start = Instant::now();
    if cfg!(target_os = "macos") {
        prerequisites::check()?;
    }
    mlx_linux::ensure(layout)?;
    let exo_node = model::release_exo_node(layout)?;
    model::ensure(layout, false, || Ok(exo_node.clone()))?;
    let prepared = start.elapsed();
    let answer = show(layout, &exo_node)?;
    println!(
        "Everything took {}: {} to prepare, {} to start, answer and stop.",
        human(start.elapsed()),
        human(prepared),
        human(start.elapsed() - prepared),
    );
    if !answer.contains(EXPECTED) {
        bail!("the answer to {QUESTION:?} does not contain {EXPECTED:?}: {answer:?}");
    }
    Ok(())
}

fn show(layout: &Layout, exo_node: &Path) -> Result<String> {
    let _lock = Lock::take(&layout.exo().join("demo.lock"), "the demo")?;
    remove(&layout.demo())?; // two new nodes each time, that have never met
    let key = layout.demo().join("cluster.key");
    write_key(&key)?;
    let [alpha_link, beta_link, alpha_api, beta_api] = free_ports()?;
    let plans = [
        NodePlan { name: NAMES[0], listen: alpha_link, peer: beta_link, api: alpha_api },
        NodePlan { name: NAMES[1], listen: beta_link, peer: alpha_link, api: beta_api },
    ];
    let nodes = Nodes::new()?;
    let mut pids = Vec::new();
    for plan in &plans {
        let log = layout.demo().join(format!("{}.log", plan.name));
        let pid = nodes.start(plan.name, &mut plan.command(layout, exo_node, &key), &log)?;
        say(&format!("{} is process {pid}, its log {}", plan.name, log.display()));
        pids.push(pid);
    }

    let api = Api::new(&format!("127.0.0.1:{alpha_api}"));
    step("waiting until both hold their layers", || wait_until_ready(&nodes, &api))?;
    let model = api.model()?;

    println!("\n{QUESTION}\n");
    let asked = Instant::now();
    let answer = api.chat(&model, QUESTION, |piece| {
        print!("{piece}");
        let _ = std::io::stdout().flush(); // nobody may be reading any more
    });
    println!("\n");
    let answer = answer.map_err(|error| match nodes.check() {
        Err(ended) => ended,
        Ok(()) => failure(
            format!("the nodes did not answer: {error:#}\n{}", nodes.logs()),
            format!("the whole logs are in {}", layout.demo().display()),
        ),
    })?;
    let took = asked.elapsed();
    thread::sleep(LOOKS_WAIT);
    let mut cluster = api.cluster()?;
    cluster.links = measured_links(&plans)?;
    for line in summary(&cluster, &pids) {
        println!("{line}");
    }
    println!("Answered in {}.", human(took));
    let killed = nodes.stop();
    if !killed.is_empty() {
        bail!("{} did not stop when asked to and had to be killed", killed.join(" and "));
    }
    Ok(answer)
}

/// One node's part in the demo; ports on the loopback interface.
struct NodePlan {
    name: &'static str,
    listen: u16,
    peer: u16,
    api: u16,
}

impl NodePlan {
    fn command(&self, layout: &Layout, exo_node: &Path, key: &Path) -> Command {
        let loopback = if cfg!(target_os = "macos") { "lo0" } else { "lo" };
        let mut serve = Command::new(exo_node);
        serve.args(["serve", "--interface", loopback, "--no-discovery"]);
        serve.args(["--name", self.name, "--memory", "1GiB", "--nodes", "2"]);
        serve.arg("--listen").arg(self.listen.to_string());
        serve.arg("--peer").arg(format!("127.0.0.1:{}", self.peer));
        serve.arg("--api").arg(format!("127.0.0.1:{}", self.api));
        serve.arg("--cluster-key-file").arg(key).arg("--model").arg(layout.model_dir());
        // Each node has an identity of its own, as on two machines.
        serve.arg("--data").arg(layout.demo().join(self.name));
        serve
    }
}

fn wait_until_ready(nodes: &Nodes, api: &Api) -> Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        nodes.check()?;
        let seen = api.cluster();
        match &seen {
            Ok(cluster) if cluster.is_ready(NAMES.len()) => return Ok(()),
            Ok(cluster) if cluster.state == "failed" => {
                bail!("the nodes cannot run the model: {}\n{}", cluster.reason, nodes.logs())
            }
            _ if Instant::now() > deadline => {
                let seen = match seen {
                    Ok(cluster) => format!("{} ({})", cluster.state, cluster.reason),
                    Err(error) => format!("{error:#}"),
                };
                bail!(
                    "the nodes were not ready after {}: {seen}\n{}",
                    human(READY_TIMEOUT),
                    nodes.logs()
                );
            }
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The connections, each as the node at its sending end sees it: there the hops are measured, and
/// the others hear of them later.
fn measured_links(plans: &[NodePlan]) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for plan in plans {
        let cluster = Api::new(&format!("127.0.0.1:{}", plan.api)).cluster()?;
        links.extend(cluster.links.into_iter().filter(|link| link.from == plan.name));
    }
    Ok(links)
}

/// Who holds what, and how long the way between them takes.
fn summary(cluster: &Cluster, pids: &[u32]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, pid) in NAMES.iter().zip(pids) {
        let Some(node) = cluster.nodes.iter().find(|node| node.name == *name) else {
            lines.push(format!("{name:<5} process {pid}: not in the cluster any more"));
            continue;
        };
        let layers = node.layers.map_or("no layers".into(), |layers| {
            let (first, last) = (layers.start, layers.end.saturating_sub(1));
            format!("layers {first} to {last} ({} of them)", layers.end - layers.start)
        });
        lines.push(format!(
            "{name:<5} process {pid} holds {layers}, read {} MB of weights for them, \
             and is pinned to {} ({})",
            node.weight_bytes_read / 1_000_000,
            node.interface,
            node.link_kind,
        ));
    }
    lines.push("Per hop, from posting an activation to its acknowledgement:".into());
    for link in &cluster.links {
        let hop = &link.hop_us;
        if hop.count > 0 {
            lines.push(format!(
                "  {} to {} over {} ({}): median {:.0} µs, 90 % {:.0} µs, 99 % {:.0} µs, {} hops",
                link.from, link.to, link.interface, link.kind, hop.p50, hop.p90, hop.p99, hop.count,
            ));
        }
    }
    lines
}

/// Writes a new cluster key, which nobody else may read: 32 random bytes in hexadecimal.
fn write_key(path: &Path) -> Result<()> {
    make_dir(path.parent().context("a file lies in a folder")?)?;
    remove(path)?;
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    writeln!(file, "{digits}").with_context(|| path.display().to_string())
}

/// Ports that are free now, on loopback; all are held until the last is found, so they differ.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port on loopback")?;
        *port = listener.local_addr().context("its address")?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Hop, Layers, Node},
        layout::tests::Scratch,
    };
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_key_is_new_each_time_and_private() {
        let scratch = Scratch::new("key");
        let path = scratch.0.join("demo/cluster.key");
        let mut keys = Vec::new();
        for _ in 0..2 {
            write_key(&path).expect("a key");
            let key = fs::read_to_string(&path).expect("readable");
            assert_eq!(key.trim().len(), 64);
            assert!(key.trim().chars().all(|c| c.is_ascii_hexdigit()), "{key}");
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            keys.push(key);
        }
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn ports_differ() {
        let mut ports: [u16; 4] = free_ports().expect("ports");
        ports.sort_unstable();
        assert!(ports.is_sorted_by(|a, b| a < b), "{ports:?}");
    }

    #[test]
    fn the_summary_names_who_holds_what() {
        let node = |name: &str, start, end| Node {
            name: name.into(),
            interface: "lo".into(),
            link_kind: "by-hand".into(),
            layers: Some(Layers { start, end }),
            weight_bytes_read: 270_000_000,
            state: "ready".into(),
        };
        let hop = Hop { count: 12, p50: 31.4, p90: 40.0, p99: 80.0 };
        let link = Link {
            from: "alpha".into(),
            to: "beta".into(),
            interface: "lo".into(),
            kind: "by-hand".into(),
            hop_us: hop,
        };
        let idle = Link { from: "beta".into(), hop_us: Hop::default(), ..link.clone() };
        let cluster = Cluster {
            nodes: vec![node("beta", 15, 30), node("alpha", 0, 15)],
            links: vec![link, idle],
            ..Cluster::default()
        };
        let lines = summary(&cluster, &[7, 8]).join("\n");
        assert!(lines.contains("alpha process 7 holds layers 0 to 14 (15 of them)"), "{lines}");
        assert!(lines.contains("beta  process 8 holds layers 15 to 29"), "{lines}");
        assert!(lines.contains("alpha to beta over lo (by-hand): median 31 µs"), "{lines}");
        assert!(!lines.contains("beta to"), "nothing was measured there: {lines}");
    }
}
