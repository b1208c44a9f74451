//! The rules. Each looks at the case and adds what it finds; where one finding explains others,
//! only the cause is reported.

mod address;
mod cable;
mod route;
mod service;

use ipnet::IpNet;

use super::{
    Case,
    finding::{Finding, FindingId, Findings, Severity},
};
use crate::{
    evidence::Evidence,
    snapshot::{Interface, Platform},
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    kind(case, findings);
    if case.snapshot.platform == Platform::MacOs && case.subject.is_cable {
        service::judge(case, findings);
    }
    cable::judge(case, findings);
    address::judge(case, findings);
    route::judge(case, findings);
    mtu(case, findings);
}

/// Whether it is shown to be a cable.
fn kind(case: &Case<'_>, findings: &mut Findings) {
    let name = &case.subject.name;
    match &case.subject.evidence {
        Ok(Some(_)) => {}
        Ok(None) if case.subject.interface.is_none() || case.subject.is_cable => {}
        Ok(None) => findings.push(
            Finding::new(
                FindingId::NotThunderbolt,
                Severity::Info,
                format!("{name} is not shown to be a Thunderbolt link"),
            )
            .seen_in(Evidence::ChosenByHand.to_string(), &case.snapshot.interfaces)
            .why("It can be used as a link chosen by hand. Trust on first use is for cables alone: such a link wants a cluster key."),
        ),
        Err(undecided) => {
            let mut finding = Finding::new(
                FindingId::NotThunderbolt,
                Severity::Unknown,
                format!("Whether {name} is a Thunderbolt link is not known"),
            )
            .seen(undecided.why.to_string(), &undecided.source)
            .why("Without the list of hardware ports its members could be anything.");
            finding.withholds_verdict = case.subject.is_cable;
            findings.push(finding);
        }
    }
}

fn mtu(case: &Case<'_>, findings: &mut Findings) {
    let Some(mtu) = case.subject.interface.and_then(|i| i.mtu) else { return };
    findings.push(
        Finding::new(
            FindingId::Mtu,
            Severity::Info,
            format!("The largest packet on {} is {mtu} bytes", case.subject.name),
        )
        .seen_in(format!("mtu {mtu}"), &case.snapshot.interfaces)
        .why("Both ends must have the same: larger packets from one end vanish at the other."),
    );
}

/// The networks of this machine's other links: what an address on the subject could collide with.
pub(super) fn other_networks<'a>(case: &Case<'a>) -> Vec<(&'a Interface, IpNet)> {
    let subject = case.subject.interface;
    let members = subject.and_then(|i| i.members.as_deref()).unwrap_or_default();
    case.snapshot
        .interfaces
        .items()
        .iter()
        .filter(|other| {
            other.name != case.subject.name
                && !other.is_loopback()
                && other.up != Some(false)
                && !members.contains(&other.name)
                && subject.is_none_or(|s| s.master.as_deref() != Some(other.name.as_str()))
        })
        .flat_map(|other| other.addresses.iter().flatten().map(move |a| (other, a.net)))
        .filter(|(_, net)| !is_automatic(net))
        .collect()
}

/// Link-local addresses are on every link: they overlap by design.
pub(super) fn is_automatic(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}

/// Whether one holds the other.
pub(super) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}
