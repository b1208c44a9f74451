//! The two links of this machine, and where the peer is behind each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use exo_netconfig::{InterfaceChoice, LinkKind, Snapshot, system};
use exo_transport::Event;
use serde::{Deserialize, Serialize};

use crate::{
    exercise::{Side, meeting::Meeting},
    link::{LinkArgs, Mode, Node, Peer},
};

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// What a link is, for whoever reads the figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LinkFacts {
    pub(super) interface: String,
    /// What people call it; an emulated one says that it is.
    pub(super) title: String,
    pub(super) kind: LinkKind,
    pub(super) mtu: u32,
    /// As the system tells it.
    pub(super) speed: Option<String>,
    pub(super) encrypted: Option<bool>,
    /// What it was made of, if it is emulated.
    pub(super) emulated: Option<EmulatedLink>,
}

/// What an emulated link does, and how that is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EmulatedLink {
    pub(crate) interface: String,
    pub(crate) profile: String,
    pub(crate) title: String,
    /// Name, value and how it is known.
    pub(crate) values: Vec<(String, String, String)>,
    /// What the emulator carries here, in megabits per second, if the link is meant to carry more.
    pub(crate) rate_capped_mbps: Option<f64>,
    pub(crate) seed: u64,
}

/// One of the two links.
pub(super) struct Way {
    pub(super) facts: LinkFacts,
    doors: Vec<(Mode, Node, SocketAddr)>,
    /// How often the path was down for a while.
    pub(super) interruptions: u64,
}

/// What `versus` is told of the links.
pub(super) struct Wanted<'a> {
    pub(super) link: &'a LinkArgs,
    pub(super) interfaces: [InterfaceChoice; 2],
    pub(super) peer: Peer,
    pub(super) emulated: Vec<EmulatedLink>,
}

/// Opens both links at both ends, and hears what the peer is.
pub(super) fn open(wanted: &Wanted<'_>) -> anyhow::Result<([Way; 2], Meeting)> {
    let nodes = |interface: &InterfaceChoice| -> anyhow::Result<Vec<(Mode, Node)>> {
        let one = |mode| {
            let link = LinkArgs { interface: interface.clone(), mode, ..wanted.link.clone() };
            Ok((mode, Node::open(&link, 0)?))
        };
        [Mode::Wait, Mode::Spin].into_iter().map(one).collect()
    };
    let [over, versus] = &wanted.interfaces;
    let (over, versus) = (nodes(over)?, nodes(versus)?);
    // The first door is the one that was named; behind it the peer tells of the others.
    let pair = over[0].1.connect(wanted.peer)?;
    let mut side = Side::new(&over[0].1.endpoint, pair)?;
    let meeting = side.meet()?;
    side.hang_up();
    let snapshot = system::collect(&system::Request::default());
    let way = |nodes| Way::open(nodes, &meeting, &snapshot, wanted);
    Ok(([way(over)?, way(versus)?], meeting))
}

impl Way {
    fn open(
        nodes: Vec<(Mode, Node)>,
        meeting: &Meeting,
        snapshot: &Snapshot,
        wanted: &Wanted<'_>,
    ) -> anyhow::Result<Self> {
        let link = nodes[0].1.endpoint.link();
        let mut doors = Vec::new();
        for (mode, node) in nodes {
            let behind = meeting.doors.iter().filter(|door| door.mode == mode);
            let mut addresses = behind.flat_map(|door| &door.addresses);
            let Some(addr) = addresses.find(|addr| link.contains(addr.ip())) else {
                let served: Vec<_> =
                    meeting.doors.iter().map(|door| door.interface.as_str()).collect();
                bail!(
                    "the peer listens on {} and on nothing that {} reaches; hint: there, \
                     `tbbench serve --interface ONE --also OTHER` names both links",
                    served.join(", "),
                    link.name()
                );
            };
            doors.push((mode, node, link.peer_addr(addr.ip(), addr.port())));
        }
        let emulated = wanted.emulated.iter().find(|one| one.interface == link.name()).cloned();
        let medium = emulated.as_ref().map_or_else(
            || medium(snapshot, link.name(), link.kind()),
            |emulated| format!("emulated {}", emulated.title),
        );
        let facts = LinkFacts {
            interface: link.name().into(),
            title: medium,
            kind: link.kind(),
            mtu: link.mtu(),
            speed: if emulated.is_some() { None } else { speed(snapshot, link.name()) },
            encrypted: None,
            emulated,
        };
        Ok(Self { facts, doors, interruptions: 0 })
    }

    /// A connection to the peer over this link, for one exercise.
    pub(super) fn connect(&mut self, mode: Mode) -> anyhow::Result<Side<'_>> {
        let Self { doors, facts, interruptions } = self;
        let door = doors.iter().find(|(own, ..)| *own == mode);
        let (_, node, addr) = door.with_context(|| format!("no door for {mode:?}"))?;
        *interruptions += interruptions_of(node);
        node.endpoint.connect(*addr)?;
        let deadline = Instant::now() + CONNECT_PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match node.endpoint.events().recv_timeout(left) {
                Ok(Event::Connected { queue_pair }) => {
                    facts.encrypted = Some(queue_pair.peer().encrypted);
                    return Side::new(&node.endpoint, queue_pair);
                }
                Ok(Event::ConnectFailed { error, .. }) => return Err(error.into()),
                Ok(Event::Suspected { .. }) => *interruptions += 1,
                Ok(_) => {}
                Err(_) => return Err(anyhow!("no connection with {addr} in {CONNECT_PATIENCE:?}")),
            }
        }
    }

    /// Counts what has happened to its connections since it was last looked.
    pub(super) fn look(&mut self) {
        let new: u64 = self.doors.iter().map(|(_, node, _)| interruptions_of(node)).sum();
        self.interruptions += new;
    }
}

fn interruptions_of(node: &Node) -> u64 {
    let events = node.endpoint.events().try_iter();
    events.filter(|event| matches!(event, Event::Suspected { .. })).count() as u64
}

/// What an interface is, by evidence.
fn medium(snapshot: &Snapshot, name: &str, kind: LinkKind) -> String {
    let port = snapshot.hardware_port(name).map(|port| port.port.clone());
    let wireless = std::path::Path::new("/sys/class/net").join(name).join("wireless").exists();
    match (kind, port) {
        (LinkKind::Thunderbolt, _) => format!("Thunderbolt ({name})"),
        (_, Some(port)) => format!("{port} ({name})"),
        _ if wireless => format!("Wi-Fi ({name})"),
        _ => name.to_owned(),
    }
}

fn speed(snapshot: &Snapshot, name: &str) -> Option<String> {
    let ports = snapshot.thunderbolt_ports.items();
    let thunderbolt = ports.iter().find(|port| {
        let own = snapshot.device_of(port);
        let member = |device| {
            let interface = snapshot.interface(name);
            let members = interface.into_iter().flat_map(|one| one.members.iter().flatten());
            members.into_iter().any(|member| member == device)
        };
        port.connected == Some(true) && own.is_some_and(|own| own == name || member(own))
    });
    if let Some(gbps) = thunderbolt.and_then(exo_netconfig::snapshot::ThunderboltPort::gbps) {
        return Some(format!("{gbps} Gb/s"));
    }
    let told = std::fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?;
    let mbps: f64 = told.trim().parse().ok().filter(|mbps| *mbps > 0.0)?;
    Some(format!("{} Gb/s", mbps / 1000.0))
}
