//! The rules. Each looks at the case and adds what it finds; where one finding explains others,
//! only the cause is reported.

mod address;
mod cable;
mod macos;
mod peer;
mod ring;
mod route;
mod service;
pub(crate) mod wrong_port;

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Case,
    finding::{Finding, FindingId, Findings, Severity},
};
use crate::{
    evidence::Evidence,
    shell,
    snapshot::{Interface, Platform},
    text::{Text, cable as say},
};

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    kind(case, findings);
    if case.snapshot.platform == Platform::MacOs && case.subject.is_cable {
        service::judge(case, findings);
    }
    cable::judge(case, findings);
    address::judge(case, findings);
    route::judge(case, findings);
    if case.snapshot.platform == Platform::MacOs && case.subject.is_cable {
        wrong_port::judge(case, findings);
        macos::judge(case, findings);
    }
    ring::judge(case, findings);
    peer::judge(case, findings);
    mtu(case, findings);
}

/// Whether it is shown to be a cable.
fn kind(case: &Case<'_>, findings: &mut Findings) {
    let name = &case.subject.name;
    match &case.subject.evidence {
        Ok(Some(_)) => {}
        Ok(None) if case.subject.interface.is_none() || case.subject.is_cable => {}
        Ok(None) => findings.push(
            Finding::new(FindingId::NotThunderbolt, Severity::Info, say::not_thunderbolt(name))
                .seen_in(Evidence::ChosenByHand.text(), &case.snapshot.interfaces)
                .why(say::not_thunderbolt_why()),
        ),
        Err(undecided) => {
            let mut finding = Finding::new(
                FindingId::NotThunderbolt,
                Severity::Unknown,
                say::thunderbolt_unknown(name),
            )
            .seen(undecided.why.text(), &undecided.source)
            .why(say::thunderbolt_unknown_why());
            finding.withholds_verdict = case.subject.is_cable;
            findings.push(finding);
        }
    }
}

fn mtu(case: &Case<'_>, findings: &mut Findings) {
    let Some(mtu) = case.subject.interface.and_then(|i| i.mtu) else { return };
    let as_it_is = || {
        Finding::new(FindingId::Mtu, Severity::Info, say::mtu(&case.subject.name, mtu))
            .seen_in(Text::verbatim(format_args!("mtu {mtu}")), &case.snapshot.interfaces)
            .why(say::mtu_why())
    };
    let finding = macos::mtu_not_as_configured(case, mtu, findings).unwrap_or_else(as_it_is);
    findings.push(finding);
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

/// The peer's address as commands take it: one of the link alone with its interface.
pub(super) fn scoped(case: &Case<'_>, peer: IpAddr) -> String {
    let scope = case.expectation.peer_scope.as_deref().unwrap_or(&case.subject.name);
    shell::scoped(peer, scope)
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
