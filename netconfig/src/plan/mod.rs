//! From findings to steps. Pure: a snapshot, what was found wrong with it and a wish in, a [`Plan`]
//! out. Nothing is asked of the system and nothing is changed.
//!
//! - [`action`]: what a step can be, the exact commands of each, and how to see that it took effect
//! - `address`: which addresses the two ends get
//! - `guard`: what is never touched
//! - `linux`, `macos`: which steps mend which findings
//! - `ports`: one /30 per cable, without a bridge
//! - [`state`]: what is saved before the first step
//! - `restore`: the commands that lead from what is now back to what was saved
//!
//! What a plan cannot or may not mend is in [`Plan::left`], each with its reason.

pub mod action;
mod address;
mod guard;
mod linux;
mod macos;
mod ports;
mod restore;
pub mod state;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::Serialize;

pub use self::{
    action::{Action, CommandLine},
    address::Pair,
    restore::restore,
    state::State,
};
use crate::{
    check::{FindingId, Report},
    facts::Facts,
    snapshot::{Platform, Snapshot},
};

/// A plan never has more steps than this: ten cables in per-port mode need fewer.
pub(crate) const STEPS_MAX: usize = 64;

/// Who keeps the network's configuration across restarts on this Linux machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeper {
    /// systemd-networkd: a `.network` file.
    Networkd,
    /// NetworkManager: a connection profile.
    NetworkManager {
        /// The profile that setup would make is there already.
        has_profile: bool,
    },
}

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The peer's address, if it is known.
    pub peer: Option<IpAddr>,
    /// This end's address, if a person chose it.
    pub address: Option<Ipv4Net>,
    /// The largest packet, if a person chose it.
    pub mtu: Option<u32>,
    /// One /30 per cable instead of a bridge.
    pub per_port: bool,
    /// Linux: who keeps the configuration.
    pub keeper: Option<Keeper>,
    /// Linux: interfaces that sysfs shows to be Wi-Fi.
    pub wifi: Vec<String>,
    /// What the peer said of itself, if it answered.
    pub answered: Option<Facts>,
}

impl Wish {
    /// The peer's IPv4 address: as given, else the one that the peer itself names.
    fn peer_v4(&self) -> Option<Ipv4Addr> {
        match self.peer {
            Some(IpAddr::V4(peer)) => Some(peer),
            _ => None,
        }
    }
}

/// One step: it is done, seen to have taken effect, and only then comes the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// The findings that it mends.
    pub mends: Vec<FindingId>,
}

/// Why a finding is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Only hands can do it: a cable, another machine, a window of System Settings.
    ByHand,
    /// It belongs to the user: Internet Sharing, Wi-Fi, a VPN, another location.
    NotOurs,
    /// A bridge in a ring: switching anything on could flood the network.
    Ring,
    /// The other machine has to change.
    OtherEnd,
    /// It is not known well enough to change it.
    NotKnown,
}

/// A finding that the plan does not mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Which.
    pub finding: FindingId,
    /// Why.
    pub reason: Reason,
}

/// What would be done, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whose commands these are.
    pub platform: Platform,
    /// The interfaces that are changed.
    pub interfaces: Vec<String>,
    /// The addresses of the two ends, in a plan for one link.
    pub pair: Option<Pair>,
    /// The steps; none if there is nothing to do.
    pub steps: Vec<Step>,
    /// What stays as it is.
    pub left: Vec<Left>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is no interface to set up.
    #[error("there is no link to set up")]
    NoInterface {
        /// The findings that say why.
        findings: Vec<FindingId>,
    },
    /// Two cables of one bridge form a ring.
    #[error("{interface} is part of a ring: nothing is changed on it")]
    Ring {
        /// The bridge.
        interface: String,
    },
    /// The interface belongs to a bridge or bond, which carries the addresses.
    #[error("{interface} belongs to {master}, which carries the addresses")]
    Member {
        /// The interface.
        interface: String,
        /// The bridge or bond.
        master: String,
    },
    /// The interface is Wi-Fi.
    #[error("{interface} is Wi-Fi: setup does not touch it")]
    Wifi {
        /// The interface.
        interface: String,
    },
    /// The interface carries this machine's default route.
    #[error("{interface} carries this machine's way to the internet: setup does not touch it")]
    Uplink {
        /// The interface.
        interface: String,
    },
    /// The chosen address cannot be used.
    #[error("{address} cannot be used: {with}")]
    Collides {
        /// The address.
        address: Ipv4Net,
        /// With what it collides.
        with: String,
    },
    /// Every network that setup knows of is taken.
    #[error(
        "every network that setup would choose collides with one of this machine's or the peer's"
    )]
    NoFreeNetwork,
    /// The chosen size cannot be.
    #[error("a largest packet of {mtu} bytes is out of bounds: {min} to {max}")]
    Mtu {
        /// As asked for.
        mtu: u32,
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// What is there is not known well enough.
    #[error("not known: {what}")]
    NotKnown {
        /// What.
        what: &'static str,
    },
    /// Per-port mode found no cable of its own.
    #[error("no Thunderbolt port can be set up by itself: {}", .why.join("; "))]
    NoPort {
        /// For each port, why not.
        why: Vec<String>,
    },
}

impl PlanError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NoInterface { findings } if findings.contains(&FindingId::BridgeMissing) => {
                "make the bridge as `tbnet check` says, or give each cable a network of its own: \
                 tbnet setup --per-port"
                    .into()
            }
            Self::NoInterface { .. } => "`tbnet check` says what is missing".into(),
            Self::Ring { interface } => format!(
                "unplug one of the two cables and run it again; or take the ports out of \
                 {interface} (System Settings > Network > Manage Virtual Interfaces…) and run \
                 `tbnet setup --per-port`"
            ),
            Self::Member { master, .. } => format!("use --interface {master}"),
            Self::Wifi { .. } | Self::Uplink { .. } => {
                "name the interface of the cable with --interface; `tbnet show` lists them".into()
            }
            Self::Collides { .. } => {
                "leave --address out to have one chosen that collides with nothing".into()
            }
            Self::NoFreeNetwork => "choose one with --address, for example 10.200.7.1/30".into(),
            Self::Mtu { .. } => "1500 always works; both ends must have the same".into(),
            Self::NotKnown { .. } => "`tbnet show` says what did not answer, and why".into(),
            Self::NoPort { .. } => {
                "take the ports out of the bridge first (System Settings > Network > Manage Virtual \
                 Interfaces…), connect the cable and wake the other machine"
                    .into()
            }
        }
    }
}

/// Plans what would mend `report`, which is the judgement of `snapshot`.
///
/// # Errors
/// [`PlanError`]: nothing may or can be changed, and why.
pub fn plan(snapshot: &Snapshot, report: &Report, wish: &Wish) -> Result<Plan, PlanError> {
    if wish.per_port {
        return ports::plan(snapshot, wish);
    }
    let ids = || report.findings.iter().map(|f| f.id).collect::<Vec<_>>();
    let judged =
        report.judged.as_ref().ok_or_else(|| PlanError::NoInterface { findings: ids() })?;
    let name = &judged.interface;
    guard::check(snapshot, report, wish, name)?;
    if let Some(mtu) = wish.mtu {
        guard::mtu(snapshot.platform, mtu)?;
    }
    let plan = match snapshot.platform {
        Platform::Linux => linux::plan(snapshot, report, wish, name)?,
        Platform::MacOs => macos::plan(snapshot, report, wish, name)?,
    };
    debug_assert!(plan.steps.len() <= STEPS_MAX);
    Ok(plan)
}

/// Collects steps and what is left, finding by finding.
struct Draft {
    plan: Plan,
}

impl Draft {
    fn new(platform: Platform, interface: &str) -> Self {
        let interfaces = vec![interface.to_owned()];
        let (steps, left) = (Vec::new(), Vec::new());
        Self { plan: Plan { platform, interfaces, pair: None, steps, left } }
    }

    fn step(&mut self, action: Action, mends: &[FindingId]) {
        self.plan.steps.push(Step { action, mends: mends.to_vec() });
    }

    fn leave(&mut self, finding: FindingId, reason: Reason) {
        self.plan.left.push(Left { finding, reason });
    }

    /// Names every finding that no step mends and that has no reason yet.
    fn finish(mut self, report: &Report, reason: impl Fn(FindingId) -> Reason) -> Plan {
        use crate::check::Severity;
        for finding in &report.findings {
            let mended = self.plan.steps.iter().any(|step| step.mends.contains(&finding.id));
            let named = self.plan.left.iter().any(|left| left.finding == finding.id);
            if !mended && !named && finding.severity != Severity::Info {
                let reason = match finding.severity {
                    Severity::Unknown => Reason::NotKnown,
                    _ => reason(finding.id),
                };
                self.leave(finding.id, reason);
            }
        }
        self.plan
    }
}

#[cfg(test)]
mod tests;
