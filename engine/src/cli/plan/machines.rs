//! Over which machines is it planned?

use anyhow::Result;
use bytesize::ByteSize;
use exo_engine::{
    cluster::{LinkSpeed, Links, NodeSpeed, Offer, links::WayNumbers},
    node::ClusterView,
};
use exo_transport::NodeId;

use crate::cli::{
    args::{AssumedLink, DescribedNode, PlanArgs},
    client::Client,
    host,
};

/// The machines of a plan.
pub(super) struct Machines {
    pub(super) offers: Vec<Offer>,
    pub(super) links: Links,
    /// Where they are known from, for a person.
    pub(super) known_from: &'static str,
    /// Whether they are described, not asked.
    pub(super) described: bool,
}

impl Machines {
    /// Those that were described, else the nodes of the cluster that serves, else this one.
    pub(super) fn of(args: &PlanArgs) -> Result<Self> {
        let links = Links::assumed(match args.link {
            AssumedLink::Thunderbolt => LinkSpeed::THUNDERBOLT,
            AssumedLink::Ethernet => LinkSpeed::ETHERNET,
            AssumedLink::Wifi => LinkSpeed::WIFI,
        });
        if !args.described.is_empty() {
            let offers = numbered(args.described.iter().map(described));
            return Ok(Self { offers, links, known_from: "as described", described: true });
        }
        if !args.memory.is_empty() {
            let named = args.memory.iter();
            let offers = numbered(named.map(|(name, size)| offer(name, *size)));
            return Ok(Self { offers, links, known_from: "as described", described: true });
        }
        let client = Client::new(&args.api.api, args.api.api_key.clone());
        if client.is_there() {
            let view: ClusterView = client.get("/v1/cluster")?;
            let offers = view.nodes.iter().filter_map(|node| {
                let machine = &node.machine;
                let speed = machine.reads_bytes_per_s.zip(machine.multiplies_per_s);
                let speed = speed.map(|(bytes_per_s, multiplies_per_s)| NodeSpeed {
                    bytes_per_s,
                    multiplies_per_s,
                });
                let size = ByteSize(node.memory_bytes);
                Some(Offer { node: node.id.parse().ok()?, speed, ..offer(&node.name, size) })
            });
            let offers: Vec<Offer> = offers.collect();
            let links = measured(&view, &offers, links);
            return Ok(Self {
                offers,
                links,
                known_from: "the nodes that serve",
                described: false,
            });
        }
        let here = offer(&host::name(), ByteSize(host::memory_bytes()?));
        Ok(Self { offers: vec![here], links, known_from: "this machine", described: false })
    }
}

/// What the cluster has measured of the ways between its nodes.
fn measured(view: &ClusterView, offers: &[Offer], mut links: Links) -> Links {
    let named = |name: &str| offers.iter().find(|offer| offer.name == name).map(|it| it.node);
    for link in &view.links {
        let (rtt, rate) = (&link.rtt_us, &link.bytes_per_s);
        let numbers = WayNumbers {
            rtt_us: (rtt.count, rtt.p50, rtt.p90, rtt.p99),
            bytes_per_s: (rate.count, rate.p10, rate.p50, rate.p90),
        };
        if let (Some(from), Some(to), Some(speed)) =
            (named(&link.from), named(&link.to), numbers.speed())
        {
            links.insert(from, to, speed);
        }
    }
    links
}

fn offer(name: &str, memory: ByteSize) -> Offer {
    let node = NodeId::from_bytes([0; 16]);
    Offer { node, name: name.to_owned(), memory: memory.as_u64(), speed: None }
}

fn described(node: &DescribedNode) -> Offer {
    let quarters = (node.memory.as_u64() as f64 * host::OFFERED) as u64;
    let offers = node.offers.unwrap_or(ByteSize(quarters));
    Offer { speed: node.chip.map(exo_engine::cluster::Chip::speed), ..offer(&node.name, offers) }
}

/// Numbers in the order in which they were given, for want of keys.
fn numbered(offers: impl Iterator<Item = Offer>) -> Vec<Offer> {
    let numbered = offers.zip(0_u64..).map(|(offer, number)| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Offer { node: NodeId::from_bytes(id), ..offer }
    });
    numbered.collect()
}
