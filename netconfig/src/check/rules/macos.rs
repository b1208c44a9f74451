//! macOS: what else the system does to the link: renumbered ports, exo's daemon, the firewall, RDMA,
//! and the permission to use the local network.

use crate::{
    check::{
        Case,
        finding::{Finding, FindingId, Findings, Severity},
        subject,
    },
    peer::{Contact, Silence},
    shell,
    snapshot::{Firewall, InterfaceType, Reading, Source},
    text::{self, Text, cable, service as say},
};

const SOCKETFILTERFW: &str = "/usr/libexec/ApplicationFirewall/socketfilterfw";

/// Our own programs: what macOS refuses to others is nothing of ours.
const OUR_PROGRAMS: [&str; 2] = ["tbnet", "exo-node"];

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    renumbered(case, findings);
    exo(case, findings);
    firewall(case, findings);
    rdma(case, findings);
    local_network(case, findings);
}

/// A size that is configured and not in use (`mtu` is): the next start, or the next replug, brings it.
/// Where the peer's is known and another, that is said already.
pub(super) fn mtu_not_as_configured(
    case: &Case<'_>,
    mtu: u32,
    findings: &Findings,
) -> Option<Finding> {
    let name = &case.subject.name;
    let configured = case.snapshot.preferences.value()?.mtus.get(name).copied()?;
    let unsettled = [FindingId::MtuMismatch, FindingId::ServiceDisabled, FindingId::LinkDown];
    if configured == mtu
        || !case.subject.is_cable
        || case.subject.is_inactive()
        || unsettled.iter().any(|id| findings.has(*id))
    {
        return None;
    }
    let title = cable::mtu_not_as_configured(name, mtu, configured);
    let finding = Finding::new(FindingId::Mtu, Severity::Warning, title)
        .seen_in(Text::verbatim(format_args!("mtu {mtu}")), &case.snapshot.interfaces)
        .seen_in(cable::mtu_configured(configured), &case.snapshot.preferences)
        .why(cable::mtu_not_as_configured_why())
        .click(cable::mtu_not_as_configured_do(mtu, configured));
    Some(super::peer::set_mtu(case, finding, mtu))
}

fn is_bridge(case: &Case<'_>) -> bool {
    case.subject.interface.is_some_and(|i| i.interface_type == InterfaceType::Bridge)
}

/// Configured and kernel membership can disagree.
fn renumbered(case: &Case<'_>, findings: &mut Findings) {
    let name = &case.subject.name;
    let configured =
        case.snapshot.preferences.value().and_then(|preferences| {
            preferences.bridges.iter().find(|bridge| bridge.device == *name)
        });
    let actual = case.subject.interface.and_then(|i| i.members.as_deref());
    let (Some(configured), Some(actual)) = (configured, actual) else { return };
    let all_in = |some: &[String], others: &[String]| some.iter().all(|m| others.contains(m));
    let same = all_in(&configured.members, actual) && all_in(actual, &configured.members);
    // A bridge without any member is a finding of its own.
    if same || actual.is_empty() {
        return;
    }
    let list = |members: &[String]| match members.is_empty() {
        true => say::none_at_all(),
        false => Text::verbatim(members.join(", ")),
    };
    findings.push(
        Finding::new(FindingId::PortsRenumbered, Severity::Warning, say::ports_renumbered(name))
            .seen_in(say::configured_members(list(&configured.members)), &case.snapshot.preferences)
            .seen_in(say::actual_members(list(actual)), &case.snapshot.interfaces)
            .why(say::ports_renumbered_why())
            .click(text::subject::manage_virtual_interfaces())
            .click(cable::bridge_edit())
            .command("networksetup -listallhardwareports"),
    );
}

/// A bridge does not stay while exo's daemon is installed; without a bridge its services may be
/// what is used.
fn exo(case: &Case<'_>, findings: &mut Findings) {
    let Some(mut finding) = subject::removed_by_exo(case.snapshot) else { return };
    if is_bridge(case) {
        finding.severity = Severity::Warning;
        finding.title = text::subject::exo_beside_bridge(&case.subject.name);
    } else {
        finding.severity = Severity::Info;
    }
    findings.push(finding);
}

fn firewall(case: &Case<'_>, findings: &mut Findings) {
    let reading = &case.snapshot.firewall;
    let allow = |finding: Finding| {
        finding
            .click(say::firewall_do())
            .command(format!("sudo {SOCKETFILTERFW} --add \"$(command -v exo-node)\""))
            .command(format!("sudo {SOCKETFILTERFW} --unblockapp \"$(command -v exo-node)\""))
    };
    let finding = match reading {
        Reading::Known { value: Firewall::On, .. } => allow(
            Finding::new(FindingId::Firewall, Severity::Info, say::firewall_on())
                .seen_in(say::firewall_state(1), reading),
        ),
        Reading::Known { value: Firewall::BlockAll, .. } => {
            Finding::new(FindingId::Firewall, Severity::Warning, say::firewall_blocks_all())
                .seen_in(say::firewall_state(2), reading)
                .click(say::firewall_all_do())
                .command(format!("sudo {SOCKETFILTERFW} --setblockall off"))
        }
        unknown @ Reading::Unknown { .. } => {
            Finding::unknown(FindingId::Firewall, say::firewall_unknown(), unknown, false)
        }
        _ => return,
    };
    findings.push(finding.why(say::firewall_why()));
}

fn rdma(case: &Case<'_>, findings: &mut Findings) {
    let reading = &case.snapshot.rdma;
    let finding = match reading {
        Reading::Known { value, .. } if value.enabled && is_bridge(case) => {
            let title = say::rdma_excludes_bridge(&case.subject.name);
            let finding = Finding::new(FindingId::RdmaExcludesBridge, Severity::Info, title)
                .seen_in(say::rdma_enabled(), reading)
                .click(say::rdma_excludes_bridge_do());
            match &value.devices {
                Some(devices) if !devices.is_empty() => {
                    finding.seen_in(say::rdma_devices(devices.join(", ")), reading)
                }
                _ => finding,
            }
        }
        unknown @ Reading::Unknown { .. } => {
            Finding::unknown(FindingId::RdmaExcludesBridge, say::rdma_unknown(), unknown, false)
        }
        _ => return,
    };
    findings.push(finding.why(say::rdma_excludes_bridge_why()));
}

/// The permission cannot be asked for. Its absence shows in the system's log, and in a peer that
/// cannot be reached although everything is right.
fn local_network(case: &Case<'_>, findings: &mut Findings) {
    // Without a peer there is nobody to be kept from, and one that was heard is not.
    let Some(peer) = case.peer else { return };
    if case.expectation.contact.as_ref().is_some_and(was_heard) {
        return;
    }
    // No command gives the permission: this one shows whether it is what is missing.
    let ping = if peer.is_ipv4() { "ping" } else { "ping6" };
    let look = shell::command([ping, "-c", "3", &super::scoped(case, peer)]);
    let mend = |finding: Finding| {
        finding
            .why(say::local_network_why())
            .click(say::local_network_do())
            .click(say::local_network_let_peer_dial())
            .command(look.clone())
    };
    let refusals = &case.snapshot.local_network_refusals;
    let ours = refusals.items().iter().find(|refusal| {
        let here = refusal.interface.as_deref().is_none_or(|i| i == case.subject.name);
        here && OUR_PROGRAMS.contains(&refusal.program.as_str())
    });
    if let Some(refusal) = ours {
        let title = say::local_network_refused(&refusal.program);
        let finding = Finding::new(FindingId::LocalNetwork, Severity::Error, title)
            .seen_in(say::local_network_refused_seen(&refusal.program), refusals);
        findings.push(mend(finding));
        return;
    }
    // If the system's own programs have no way there either, it is not there.
    let system_ping = match case.expectation.contact {
        Some(Contact::Silent { why: Silence::HostUnreachable, system_ping, .. }) => {
            Some(system_ping)
        }
        _ => None,
    };
    let unreachable = system_ping.is_some_and(|reached| reached != Some(false));
    let explained = [
        FindingId::WrongRoute,
        FindingId::RouteRejected,
        FindingId::PeerOutsideSubnet,
        FindingId::SameAddress,
        FindingId::ScopeMissing,
    ];
    if unreachable && !case.subject.is_inactive() && !explained.iter().any(|id| findings.has(*id)) {
        let title = say::local_network_suspected(peer);
        let finding = Finding::new(FindingId::LocalNetwork, Severity::Error, title)
            .seen(say::host_unreachable(), &super::peer::connection(peer));
        let finding = match system_ping.flatten() {
            Some(_) => finding.seen(say::system_ping_answers(), &Source::new("ping")),
            None => finding,
        };
        findings.push(mend(finding));
        return;
    }
    if refusals.is_unknown() {
        let title = say::local_network_unknown();
        findings.push(
            Finding::unknown(FindingId::LocalNetwork, title, refusals, true)
                .why(say::local_network_why()),
        );
    }
}

/// Something came back from the peer, if only that nothing listens: whoever hears was let through.
fn was_heard(contact: &Contact) -> bool {
    match contact {
        Contact::Answered { .. } => true,
        Contact::Silent { why, .. } => matches!(
            why,
            Silence::Refused
                | Silence::NotTrusted { .. }
                | Silence::OtherVersion { .. }
                | Silence::Mute { .. }
        ),
    }
}
