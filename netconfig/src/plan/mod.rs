//! From findings to steps. Pure: a snapshot, what was found wrong with it and a wish in, a [`Plan`]
//! out. Nothing is asked of the system and nothing is changed.
//!
//! - [`action`]: what a step can be, the exact commands of each, and how to see that it took effect
//! - `address`: which addresses the two ends get
//! - `guard`: what is never touched
//! - `linux`, `macos`: which steps mend which findings
//! - `ports`: one /30 per cable, without a bridge
//! - [`state`]: what is saved before the first step
//! - `error`: why there is no plan
//! - `outlook`: what a check would come to after the last step
//! - `restore`: the commands that lead from what is now back to what was saved
//!
//! What a plan cannot or may not mend is in [`Plan::left`], each with its reason.

pub mod action;
mod address;
mod error;
mod guard;
mod linux;
mod macos;
mod outlook;
mod ports;
mod restore;
pub mod state;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use self::{
    action::{Action, CommandLine},
    address::Pair,
    error::PlanError,
    restore::restore,
    state::State,
};
pub(crate) use self::{macos::free_name, restore::restore_keepers};
use crate::{
    check::{Finding, FindingId, Report, Severity},
    peer::EndReport,
    snapshot::{Platform, Snapshot},
    text::{Text, plan as say},
};

/// A plan never has more steps than this: ten cables in per-port mode need fewer.
pub(crate) const STEPS_MAX: usize = 64;

/// Who keeps an interface's configuration across restarts on this Linux machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Linux: who keeps the configuration of each interface, if anybody does; those of which it is
    /// not known are not in it.
    pub keepers: BTreeMap<String, Option<Keeper>>,
    /// Linux: interfaces that sysfs shows to be Wi-Fi.
    pub wifi: Vec<String>,
    /// What the peer said of itself, if it answered.
    pub answered: Option<EndReport>,
}

impl Wish {
    /// Whether the peer is said, by whoever asks or by itself, to have this address.
    fn is_at(&self, address: Ipv4Addr) -> bool {
        let said = self.answered.iter().flat_map(|report| &report.addresses);
        self.peer_v4() == Some(address) || said.into_iter().any(|net| net.addr() == address)
    }

    /// The peer's IPv4 address, if it is given.
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
    /// The other machine has to change.
    OtherEnd,
    /// It is not known well enough to change it.
    NotKnown,
}

impl Reason {
    /// Why setup leaves a finding that it is sure of.
    fn of(finding: FindingId) -> Self {
        match finding {
            FindingId::InternetSharing | FindingId::WrongRoute | FindingId::RouteRejected => {
                Self::NotOurs
            }
            FindingId::MtuMismatch | FindingId::MaskMismatch => Self::OtherEnd,
            _ => Self::ByHand,
        }
    }

    /// The reason in words.
    pub fn text(self) -> Text {
        match self {
            Self::ByHand => say::left_by_hand(),
            Self::NotOurs => say::left_not_ours(),
            Self::OtherEnd => say::left_other_end("tbnet setup"),
            Self::NotKnown => say::left_not_known(),
        }
    }
}

/// A finding that the plan does not mend, or that it brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Which.
    pub finding: FindingId,
    /// Why.
    pub reason: Reason,
}

/// The addresses of the two ends of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkPair {
    /// The link.
    pub interface: String,
    /// The addresses.
    #[serde(flatten)]
    pub pair: Pair,
}

/// What would be done, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whose commands these are.
    pub platform: Platform,
    /// The interfaces that are changed.
    pub interfaces: Vec<String>,
    /// The addresses of the two ends of each of them.
    pub pairs: Vec<LinkPair>,
    /// The steps; none if there is nothing to do.
    pub steps: Vec<Step>,
    /// What stays as it is.
    pub left: Vec<Left>,
    /// Per-port mode: the ports with a computer at the other end that are left alone, with the reason.
    #[serde(skip)]
    pub skipped: Vec<Text>,
    /// What of it does not last, and why.
    #[serde(skip)]
    pub fleeting: Vec<Text>,
    /// The command that gives the other machine its end, if nothing says that it has it.
    pub there: Option<String>,
    /// Made for one network per cable.
    #[serde(skip)]
    pub per_port: bool,
}

impl Plan {
    /// Why a finding is left, in words.
    pub fn why(&self, left: &Left) -> Text {
        match (left.reason, &self.pairs[..]) {
            (Reason::OtherEnd, _) if self.per_port => say::left_other_end(THERE_PER_PORT),
            (Reason::OtherEnd, [link]) => say::left_other_end(there(&link.pair)),
            (reason, _) => reason.text(),
        }
    }

    /// Whether a step gives this machine an address.
    fn gives_an_address(&self) -> bool {
        let gives = |step: &Step| {
            matches!(step.action, Action::AddAddress { .. } | Action::SetManual { .. })
        };
        self.steps.iter().any(gives)
    }
}

/// What the other machine runs in per-port mode: it finds the same networks by itself.
const THERE_PER_PORT: &str = "tbnet setup --per-port";

/// What the other machine runs to get its end of a link. Of a peer that does not answer it takes the
/// network to have 24 bits.
pub(crate) fn there(pair: &Pair) -> String {
    let Pair { own, peer } = pair;
    let address = match own.prefix_len() {
        address::PREFIX_LEN => String::new(),
        bits => format!(" --address {peer}/{bits}"),
    };
    format!("tbnet setup --peer {}{address}", own.addr())
}

/// Plans what would mend `report`, which is the judgement of `snapshot`.
///
/// # Errors
/// [`PlanError`]: nothing may or can be changed, and why.
pub fn plan(snapshot: &Snapshot, report: &Report, wish: &Wish) -> Result<Plan, PlanError> {
    let mut plan = draw(snapshot, report, wish)?;
    plan.per_port = wish.per_port;
    outlook::leave_stranded(&mut plan, wish);
    if plan.gives_an_address() {
        plan.there = match &plan.pairs[..] {
            _ if wish.per_port => Some(THERE_PER_PORT.to_owned()),
            [link] if wish.is_at(link.pair.peer) => None,
            [link] => Some(there(&link.pair)),
            _ => None,
        };
    }
    Ok(plan)
}

fn draw(snapshot: &Snapshot, report: &Report, wish: &Wish) -> Result<Plan, PlanError> {
    if let Some(mtu) = wish.mtu {
        guard::mtu(snapshot.platform, mtu)?;
    }
    if wish.per_port {
        return ports::plan(snapshot, report, wish);
    }
    let judged = report.judged.as_ref().ok_or_else(|| no_interface(report))?;
    guard::peer(snapshot, wish, &judged.interface)?;
    let name = &judged.interface;
    guard::check(snapshot, report, wish, name)?;
    let plan = match snapshot.platform {
        Platform::Linux => linux::plan(snapshot, report, wish, name)?,
        Platform::MacOs => macos::plan(snapshot, report, wish, name)?,
    };
    debug_assert!(plan.steps.len() <= STEPS_MAX);
    Ok(plan)
}

/// There is none, or it is not known whether there is.
fn no_interface(report: &Report) -> PlanError {
    let is = |severity| report.findings.iter().any(|finding| finding.severity == severity);
    if is(Severity::Unknown) && !is(Severity::Error) {
        return PlanError::NotKnown { what: say::what_link() };
    }
    PlanError::NoInterface { findings: report.findings.iter().map(|f| f.id).collect() }
}

/// The interfaces that a plan may be for: the one that was judged, or in per-port mode each that is
/// shown to be a cable.
pub fn candidates<'a>(snapshot: &'a Snapshot, report: &'a Report, per_port: bool) -> Vec<&'a str> {
    if per_port {
        return ports::interfaces(snapshot).map(|interface| interface.name.as_str()).collect();
    }
    report.judged.iter().map(|judged| judged.interface.as_str()).collect()
}

/// Collects steps and what is left, finding by finding.
struct Draft<'a> {
    plan: Plan,
    report: &'a Report,
}

impl<'a> Draft<'a> {
    fn new(platform: Platform, interfaces: Vec<String>, report: &'a Report) -> Self {
        let plan = Plan {
            platform,
            interfaces,
            pairs: Vec::new(),
            steps: Vec::new(),
            left: Vec::new(),
            skipped: Vec::new(),
            fleeting: Vec::new(),
            there: None,
            per_port: false,
        };
        Self { plan, report }
    }

    fn pair(&mut self, interface: &str, pair: Pair) {
        self.plan.pairs.push(LinkPair { interface: interface.to_owned(), pair });
    }

    /// Whether the check found this.
    fn found(&self, id: FindingId) -> bool {
        let is_wrong = |finding: &Finding| finding.id == id && finding.severity != Severity::Info;
        self.report.findings.iter().any(is_wrong)
    }

    /// Adds a step; of `may_mend` it mends what was found.
    fn step(&mut self, action: Action, may_mend: &[FindingId]) {
        let mends = may_mend.iter().copied().filter(|id| self.found(*id)).collect();
        self.plan.steps.push(Step { action, mends });
    }

    /// The last step brings this with it as well.
    fn last_mends(&mut self, id: FindingId) {
        if let Some(step) = self.plan.steps.last_mut()
            && !step.mends.contains(&id)
        {
            step.mends.push(id);
        }
    }

    fn leave(&mut self, finding: FindingId, reason: Reason) {
        self.plan.left.push(Left { finding, reason });
    }

    /// Names every finding that no step mends and that has no reason yet.
    fn finish(mut self) -> Plan {
        for finding in &self.report.findings {
            let mended = self.plan.steps.iter().any(|step| step.mends.contains(&finding.id));
            let named = self.plan.left.iter().any(|left| left.finding == finding.id);
            if !mended && !named && finding.severity != Severity::Info {
                let reason = match finding.severity {
                    Severity::Unknown => Reason::NotKnown,
                    _ => Reason::of(finding.id),
                };
                self.leave(finding.id, reason);
            }
        }
        self.plan
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
pub(crate) mod tests;
