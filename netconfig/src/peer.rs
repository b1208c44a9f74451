//! What machines tell each other about their ends of the link, so that both ends can be compared.
//!
//! Values only: whoever talks to the peer (over an authenticated transport) makes a [`Contact`] of
//! how that went, and [`check`](crate::check) judges it.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::snapshot::{Reading, Snapshot, ThunderboltPort};

/// The version of [`EndReport`]. Within a number fields are only added, each with a default.
pub const END_REPORT_SCHEMA: u32 = 1;

/// A report names no more networks than this: no machine of ours has as many links.
const NETWORKS_MAX: usize = 64;

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What tells this machine from all others, and stays the same.
    pub machine: String,
    /// Its name, for people.
    pub name: String,
    /// The version of the program that reports.
    pub version: String,
}

/// One machine's end of the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndReport {
    /// [`END_REPORT_SCHEMA`] of the program that reports.
    pub schema: u32,
    /// Who reports.
    pub identity: Identity,
    /// macOS or Linux with its version, for people.
    pub system: String,
    /// The interface that is the link.
    pub interface: String,
    /// Its addresses with their networks.
    pub addresses: Vec<IpNet>,
    /// The networks of the machine's other links: what an address of this one could collide with.
    #[serde(default)]
    pub other_networks: Vec<IpNet>,
    /// Its largest packet, in bytes.
    pub mtu: Option<u32>,
    /// The computers at the ends of this machine's Thunderbolt cables.
    #[serde(default)]
    pub cables: Vec<Cable>,
    /// The domain UUIDs of all its Thunderbolt ports, whatever is plugged into them.
    #[serde(default)]
    pub domains: Vec<String>,
    /// The machine's clock when it reported, in milliseconds since 1970.
    pub clock_ms: u64,
}

/// A Thunderbolt cable with a computer at its other end, as one machine sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cable {
    /// The port on this side, for people.
    pub port: String,
    /// The domain UUID at this end.
    pub own_domain: Option<String>,
    /// The domain UUID at the other end.
    pub far_domain: Option<String>,
    /// The port is a member of the bridge; `None` if that is not known.
    pub bridged: Option<bool>,
    /// The generation of Thunderbolt that this machine's port can do, as far as it is known.
    #[serde(default)]
    pub generation: Option<u8>,
    /// The speed that was negotiated, in Gb/s.
    #[serde(default)]
    pub gbps: Option<u32>,
}

impl EndReport {
    /// This machine's own report about `interface`.
    pub fn of(snapshot: &Snapshot, interface: &str, identity: Identity, now: SystemTime) -> Self {
        let found = snapshot.interface(interface);
        let version = snapshot.os_version.value().map(String::as_str).unwrap_or_default();
        Self {
            schema: END_REPORT_SCHEMA,
            identity,
            system: format!("{} {version}", snapshot.platform).trim_end().to_owned(),
            interface: interface.to_owned(),
            addresses: found
                .and_then(|i| i.addresses.as_ref())
                .map(|addresses| addresses.iter().map(|a| a.net).collect())
                .unwrap_or_default(),
            other_networks: other_networks(snapshot, interface),
            mtu: found.and_then(|i| i.mtu),
            cables: cables(snapshot, interface),
            domains: snapshot
                .thunderbolt_ports
                .items()
                .iter()
                .filter_map(|port| port.domain_uuid.clone())
                .collect(),
            clock_ms: since_1970(now),
        }
    }
}

/// Networks of links that are neither `interface` nor part of it, self-assigned ones left out.
fn other_networks(snapshot: &Snapshot, interface: &str) -> Vec<IpNet> {
    let own = snapshot.interface(interface);
    let is_part = |other: &str| {
        own.is_some_and(|own| {
            own.members.iter().flatten().any(|member| member == other)
                || own.master.as_deref() == Some(other)
        })
    };
    let is_automatic = |net: &IpNet| match net {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    };
    let others =
        snapshot.interfaces.items().iter().filter(|other| {
            other.name != interface && !other.is_loopback() && !is_part(&other.name)
        });
    let addresses = others.flat_map(|other| other.addresses.iter().flatten());
    let mut networks: Vec<IpNet> = addresses
        .map(|address| address.net)
        .filter(|net| !is_automatic(net))
        .map(|net| net.trunc())
        .collect();
    networks.sort();
    networks.dedup();
    networks.truncate(NETWORKS_MAX);
    networks
}

fn since_1970(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The cables of this machine that end at a computer; `bridge` is the link that is judged.
pub fn cables(snapshot: &Snapshot, bridge: &str) -> Vec<Cable> {
    let Reading::Known { value: ports, .. } = &snapshot.thunderbolt_ports else {
        return Vec::new();
    };
    let members = snapshot.interface(bridge).and_then(|i| i.members.as_deref());
    let bridged = |port: &ThunderboltPort| -> Option<bool> {
        match (snapshot.device_of(port), members) {
            (Some(device), Some(members)) => Some(members.iter().any(|m| m == device)),
            // Not a bridge at all.
            (_, None) if snapshot.interface(bridge).is_some() => Some(false),
            // A bridge, and no way to tell which port is which member.
            _ => None,
        }
    };
    let place = |port: &ThunderboltPort| port.receptacle.clone().unwrap_or(port.bus.clone());
    ports
        .iter()
        .flat_map(|port| port.peers().map(move |peer| (port, peer)))
        .map(|(port, peer)| Cable {
            port: place(port),
            own_domain: port.domain_uuid.clone(),
            far_domain: peer.domain_uuid.clone(),
            bridged: bridged(port),
            generation: port.generation,
            gbps: port.gbps(),
        })
        .collect()
}

/// Everything that was learned by talking: what a recording keeps of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// This machine's own report at that moment.
    #[serde(default)]
    pub own: Option<EndReport>,
    /// How talking to the peer went.
    pub contact: Contact,
    /// What further machines said.
    #[serde(default)]
    pub others: Vec<EndReport>,
    /// Further machines that said nothing, and why.
    #[serde(default)]
    pub silent_others: Vec<(IpAddr, Silence)>,
}

/// How talking to the peer went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Contact {
    /// It answered, and proved who it is.
    Answered {
        /// What it said about its end.
        report: Box<EndReport>,
        /// How long the way there and back took.
        round_trips: Option<RoundTrips>,
        /// How far its clock is ahead of this one (negative: behind), in milliseconds.
        clock_ahead_ms: Option<i64>,
        /// Whether the largest packet gets there and back.
        #[serde(default)]
        large_echo: Option<LargeEcho>,
    },
    /// It did not answer.
    Silent {
        /// Why not.
        why: Silence,
        /// Whether the machine is there all the same, by ICMP.
        round_trips: Option<RoundTrips>,
        /// If it is: whether the largest packet gets there and back.
        #[serde(default)]
        large_echo: Option<LargeEcho>,
        /// Where our own program is not let through: whether the system's own `ping` is.
        #[serde(default)]
        system_ping: Option<bool>,
    },
}

/// Why a peer did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Silence {
    /// Nothing came back within the bound.
    TimedOut {
        /// The bound.
        limit_ms: u64,
    },
    /// The machine is there, and nothing listens.
    Refused,
    /// The system would not send (`EHOSTUNREACH`): on macOS also the sign of a program that may
    /// not use the local network.
    HostUnreachable,
    /// It answered, but not as one that may be believed.
    NotTrusted {
        /// What was wrong.
        detail: String,
    },
    /// It speaks another version of what is said between machines.
    OtherVersion {
        /// Which, and which this machine speaks.
        detail: String,
    },
    /// It may be believed, but does not tell what its end is like.
    Mute {
        /// Its program.
        software: String,
    },
    /// It was not asked: no network of the link has its address.
    NotOnLink,
    /// It was not asked: the link is no cable, and without the cluster's key nobody on it can be
    /// believed.
    KeyNeeded,
    /// It was not asked: this machine's own node is connected to it, and a second connection would
    /// end the first.
    NodeRuns,
    /// It was not asked: the link cannot be used.
    LinkUnusable {
        /// Why.
        detail: String,
    },
    /// It was not asked when the snapshot was recorded.
    NotRecorded,
    /// It was there and failed otherwise.
    Failed {
        /// What the system said.
        detail: String,
    },
}

impl Silence {
    /// Nothing was said to it: it may be right, or not.
    pub fn is_unasked(&self) -> bool {
        match self {
            Self::NotOnLink
            | Self::KeyNeeded
            | Self::NodeRuns
            | Self::LinkUnusable { .. }
            | Self::NotRecorded => true,
            Self::TimedOut { .. }
            | Self::Refused
            | Self::HostUnreachable
            | Self::NotTrusted { .. }
            | Self::OtherVersion { .. }
            | Self::Mute { .. }
            | Self::Failed { .. } => false,
        }
    }
}

/// How an echo fared that is as large as the link's largest packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeEcho {
    /// Its bytes, with the header of its packet.
    pub bytes: u32,
    /// Whether its answer came.
    pub came_back: bool,
}

/// Round trips that were measured, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// What was sent there and back: `transport` or `icmp`.
    pub by: String,
    /// How many came back.
    pub count: u32,
    /// How many did not.
    pub lost: u32,
    /// The median.
    pub p50_us: u64,
    /// Of a hundred, the slowest but one.
    pub p99_us: u64,
}
