//! What the peer says about its end, compared with this one; and a peer that says nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use super::is_automatic;
use crate::{
    InterfaceChoice, Link,
    check::{
        Case, advice,
        finding::{Finding, FindingId, Findings, Severity},
    },
    peer::{Contact, EndReport, LargeEcho, RoundTrips, Silence},
    shell,
    snapshot::{Platform, Source},
    text::{self, Text, peers as say, words},
};

/// Clocks of one network differ by less than this.
const CLOCK_MS_MAX: u64 = 2_000;
/// Slow for a cable: half the round trips take longer.
const SLOW_US: u64 = 1_000;
/// Too slow for a cable.
const NOT_A_CABLE_US: u64 = 3_000;

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    match &case.expectation.contact {
        None => {}
        Some(Contact::Silent { why, round_trips, large_echo, system_ping }) => {
            silent(case, why, round_trips.as_ref(), *system_ping, findings);
            if let Some(echo) = large_echo.filter(|echo| !echo.came_back) {
                too_large(case, echo, findings);
            }
            if let Some(trips) = round_trips {
                latency(case, trips, findings);
            }
        }
        Some(Contact::Answered { report, round_trips, clock_ahead_ms, large_echo }) => {
            addresses(case, report, findings);
            mtu(case, report, findings);
            // Two ends of one size, and something between them that takes less.
            if let Some(echo) = large_echo.filter(|echo| !echo.came_back)
                && !findings.has(FindingId::MtuMismatch)
            {
                too_large(case, echo, findings);
            }
            version(case, report, findings);
            if let Some(ahead) = clock_ahead_ms {
                clock(case, report, *ahead, findings);
            }
            if let Some(trips) = round_trips {
                latency(case, trips, findings);
            }
        }
    }
    silent_others(case, findings);
}

/// Where a fact about talking to the peer comes from.
pub(super) fn connection(peer: IpAddr) -> Source {
    Source::connection(peer)
}

fn connection_of(case: &Case<'_>) -> Source {
    match case.peer {
        Some(peer) => connection(peer),
        None => Source::connection("peer"),
    }
}

fn report_of(report: &EndReport) -> Source {
    Source::end_report(&report.identity.name)
}

fn peer_name(case: &Case<'_>) -> String {
    case.peer.map_or_else(|| "peer".to_owned(), |peer| super::scoped(case, peer))
}

fn silent(
    case: &Case<'_>,
    why: &Silence,
    icmp: Option<&RoundTrips>,
    system_ping: Option<bool>,
    findings: &mut Findings,
) {
    // A link that is down has nobody to answer, and an address off the link is judged by the routes:
    // that is reported already.
    // So is whatever makes asking be in vain.
    let in_vain = matches!(why, Silence::LinkUnusable { .. } | Silence::NotRecorded);
    if case.subject.is_inactive()
        || *why == Silence::NotOnLink
        || in_vain && findings.has_error()
        || findings.has(FindingId::LocalNetwork)
    {
        return;
    }
    let source = connection_of(case);
    let finding = unanswered(case, &peer_name(case), why, icmp, &source);
    let finding = match icmp {
        Some(trips) if trips.count > 0 => {
            finding.seen(say::icmp_answers(trips.p50_us), &Source::icmp_echo())
        }
        Some(_) => finding.seen(say::icmp_silent(), &Source::icmp_echo()),
        None => finding,
    };
    findings.push(match system_ping {
        Some(false) => finding.seen(say::system_ping_silent(), &Source::new("ping")),
        _ => finding,
    });
}

/// Further machines are asked for the sake of rings: one that is silent may be a part of one.
fn silent_others(case: &Case<'_>, findings: &mut Findings) {
    if case.subject.is_inactive() {
        return;
    }
    for (peer, why) in &case.expectation.silent_others {
        let name = super::scoped(case, *peer);
        let finding = unanswered(case, &name, why, None, &connection(*peer));
        findings.push(finding);
    }
}

fn unanswered(
    case: &Case<'_>,
    peer: &str,
    why: &Silence,
    icmp: Option<&RoundTrips>,
    source: &Source,
) -> Finding {
    let reason = match why {
        Silence::TimedOut { limit_ms } => say::silent_timed_out(limit_ms),
        Silence::Refused => say::silent_refused(),
        Silence::HostUnreachable => say::silent_unreachable(),
        Silence::NotTrusted { detail } => say::silent_not_trusted(detail),
        Silence::OtherVersion { detail } => say::silent_other_version(detail),
        Silence::Mute { software } => say::silent_mute(software),
        Silence::KeyNeeded => say::silent_key_needed(),
        Silence::NodeRuns => say::silent_node_runs(),
        Silence::NotOnLink => say::silent_not_on_link(),
        Silence::LinkUnusable { detail } => {
            // In the reader's language, if this snapshot still tells it.
            let now = Link::from_snapshot(case.snapshot, &case.expectation.interface);
            let detail = now.err().map_or_else(|| Text::verbatim(detail), |error| error.text());
            say::silent_link_unusable(detail)
        }
        Silence::NotRecorded => say::silent_not_recorded(),
        Silence::Failed { detail } => words::failed(detail),
    };
    let remedy = match why {
        Silence::NotTrusted { .. } => say::same_key_do(),
        Silence::OtherVersion { .. } | Silence::Mute { .. } => say::peer_version_do(),
        Silence::KeyNeeded => text::live::key_needed_do(),
        Silence::NodeRuns => say::node_runs_do(),
        Silence::NotOnLink => say::not_on_link_do(),
        Silence::LinkUnusable { .. } => say::link_unusable_do(),
        Silence::NotRecorded => say::not_recorded_do(peer),
        _ => say::start_serve(),
    };
    // The machine is there, only no program of ours that it may talk to is.
    let echoes = icmp.is_some_and(|trips| trips.count > 0);
    let is_there = echoes
        || matches!(
            why,
            Silence::Refused
                | Silence::NotTrusted { .. }
                | Silence::OtherVersion { .. }
                | Silence::Mute { .. }
        );
    let (severity, title) = match why {
        // A machine off the link is one of those that were named, and is not where it should be.
        unasked if unasked.is_unasked() && *unasked != Silence::NotOnLink => {
            (Severity::Unknown, say::peer_not_asked(peer))
        }
        _ if is_there => (Severity::Warning, say::peer_silent(peer)),
        _ => (Severity::Error, say::peer_silent(peer)),
    };
    let mut finding = Finding::new(FindingId::PeerSilent, severity, title)
        .seen(reason, source)
        .why(say::peer_silent_why())
        .click(remedy)
        .command(again(case, peer, why));
    // Whoever echoes has an address of its own and a way back.
    finding.withholds_verdict = severity == Severity::Unknown && !echoes;
    finding
}

/// To ask it once more, when something was done about it.
fn again(case: &Case<'_>, peer: &str, why: &Silence) -> String {
    let mut check = vec!["tbnet", "check", "--peer", peer];
    check.extend(interface_option(case));
    if *why == Silence::KeyNeeded {
        check.extend(["--cluster-key-file", "cluster.key"]);
    }
    shell::command(check)
}

/// `--interface NAME`, where one was named.
fn interface_option<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a str> {
    let name = match &case.expectation.interface {
        InterfaceChoice::Auto => None,
        InterfaceChoice::Named(name) => Some(name.as_str()),
    };
    name.into_iter().flat_map(|name| ["--interface", name])
}

/// Both ends need different addresses of one subnet, with one mask.
fn addresses(case: &Case<'_>, report: &EndReport, findings: &mut Findings) {
    let chosen = |nets: &[IpNet]| -> Vec<IpNet> {
        nets.iter().filter(|net| net.addr().is_ipv4() && !is_automatic(net)).copied().collect()
    };
    let (own, theirs) = (chosen(&case.subject.networks()), chosen(&report.addresses));
    let source = report_of(report);
    let name = &report.identity.name;
    let seen = |finding: Finding, own: &IpNet, theirs: &IpNet| {
        finding.seen(say::both_have(own, theirs), &source)
    };
    let pair = |test: &dyn Fn(&IpNet, &IpNet) -> bool| {
        own.iter().find_map(|a| theirs.iter().find(|b| test(a, b)).map(|b| (a, b)))
    };
    if let Some((a, b)) = pair(&|a, b| a.addr() == b.addr()) {
        if !findings.has(FindingId::SameAddress) {
            let title = say::same_on_both(a.addr(), name);
            let finding = Finding::new(FindingId::SameAddress, Severity::Error, title);
            let finding = seen(finding, a, b).why(text::route::same_address_why());
            findings.push(super::route::change_one(case, finding));
        }
        return;
    }
    let agree = pair(&|a, b| a.network() == b.network() && a.prefix_len() == b.prefix_len());
    if let (None, Some(a), Some(b)) = (agree, own.first(), theirs.first()) {
        let finding =
            Finding::new(FindingId::MaskMismatch, Severity::Error, say::mask_mismatch(name));
        let finding = seen(finding, a, b).why(say::mask_mismatch_why());
        findings.push(match advice::pair(case) {
            Some(pair) => {
                let (net, prefix_len) = (pair.own.trunc(), pair.own.prefix_len());
                finding
                    .click(say::mask_mismatch_do(net, pair.own.addr(), pair.peer, prefix_len))
                    .commands(advice::commands(case, &pair))
            }
            None => advice::none(finding),
        });
    }
}

fn mtu(case: &Case<'_>, report: &EndReport, findings: &mut Findings) {
    let own = case.subject.interface.and_then(|interface| interface.mtu);
    let (Some(own), Some(theirs)) = (own, report.mtu) else { return };
    if own == theirs {
        return;
    }
    // The smaller is one that both are known to take.
    let both = own.min(theirs);
    let title = say::mtu_mismatch(&report.identity.name);
    let finding = Finding::new(FindingId::MtuMismatch, Severity::Warning, title)
        .seen(say::both_have(own, theirs), &report_of(report))
        .why(text::cable::mtu_why())
        .click(same_mtu(case, both));
    // Where this end has the smaller, it is the other's to change.
    findings.push(if own == both { finding } else { set_mtu(case, finding, both) });
}

/// The largest packet that every link of its kind takes.
const MTU_COMMON: u32 = 1_500;
/// The smallest that IPv6 allows.
const MTU_LEAST: u32 = 1_280;

/// The peer echoes, but not a packet as large as this end may send.
fn too_large(case: &Case<'_>, echo: LargeEcho, findings: &mut Findings) {
    let common = if echo.bytes > MTU_COMMON { MTU_COMMON } else { MTU_LEAST };
    let title = say::too_large(peer_name(case), echo.bytes);
    let finding = Finding::new(FindingId::MtuMismatch, Severity::Warning, title)
        .seen(say::too_large_seen(echo.bytes), &Source::icmp_echo())
        .why(text::cable::mtu_why())
        .click(same_mtu(case, common));
    findings.push(set_mtu(case, finding, common));
}

fn same_mtu(case: &Case<'_>, mtu: u32) -> Text {
    match case.snapshot.platform {
        Platform::MacOs => say::mtu_mismatch_do(mtu),
        Platform::Linux => say::mtu_mismatch_do_linux(mtu),
    }
}

/// One of the ways to give the link this size.
pub(super) fn set_mtu(case: &Case<'_>, finding: Finding, mtu: u32) -> Finding {
    let (name, mtu) = (&case.subject.name, mtu.to_string());
    finding.command(match case.snapshot.platform {
        Platform::MacOs => shell::command(["sudo", "networksetup", "-setMTU", name, &mtu]),
        Platform::Linux => shell::command(["sudo", "ip", "link", "set", name, "mtu", &mtu]),
    })
}

fn version(case: &Case<'_>, report: &EndReport, findings: &mut Findings) {
    let Some(own) = &case.expectation.own else { return };
    let (ours, theirs) = (&own.identity.version, &report.identity.version);
    if ours == theirs {
        return;
    }
    let title = say::peer_version(&report.identity.name);
    findings.push(
        Finding::new(FindingId::PeerVersion, Severity::Warning, title)
            .seen(say::both_have(ours, theirs), &report_of(report))
            .why(say::peer_version_why())
            .click(say::peer_version_do())
            .command("tbnet --version"),
    );
}

fn clock(case: &Case<'_>, report: &EndReport, ahead_ms: i64, findings: &mut Findings) {
    let apart = ahead_ms.unsigned_abs();
    if apart <= CLOCK_MS_MAX {
        return;
    }
    let seen = if ahead_ms > 0 { say::clock_ahead(apart) } else { say::clock_behind(apart) };
    let title = say::clock_skew(&report.identity.name, apart / 1_000);
    let finding = Finding::new(FindingId::ClockSkew, Severity::Warning, title)
        .seen(seen, &report_of(report))
        .why(say::clock_skew_why());
    findings.push(match case.snapshot.platform {
        Platform::MacOs => {
            finding.click(say::clock_skew_do_mac()).command("sudo sntp -sS time.apple.com")
        }
        Platform::Linux => {
            finding.click(say::clock_skew_do_linux()).command("sudo timedatectl set-ntp true")
        }
    });
}

/// What a cable takes is known; what any other link takes is only told.
fn latency(case: &Case<'_>, trips: &RoundTrips, findings: &mut Findings) {
    if trips.count == 0 {
        return;
    }
    let p50 = trips.p50_us;
    let is_cable = matches!(case.subject.evidence, Ok(Some(_)));
    let (severity, title): (Severity, Text) = match p50 {
        _ if !is_cable => (Severity::Info, say::latency(p50)),
        slow if slow > NOT_A_CABLE_US => (Severity::Warning, say::latency_not_a_cable(p50)),
        slow if slow > SLOW_US => (Severity::Warning, say::latency_slow(p50)),
        _ => (Severity::Info, say::latency(p50)),
    };
    let source = connection_of(case);
    let seen = say::latency_seen(trips.count, &trips.by, p50, trips.p99_us, trips.lost);
    let finding = Finding::new(FindingId::Latency, severity, title)
        .seen(seen, &source)
        .why(say::latency_why());
    let mend = severity == Severity::Warning;
    findings.push(match mend {
        true => {
            let peer = peer_name(case);
            let ping = ["tbnet", "ping", peer.as_str()].into_iter();
            let ping = shell::command(ping.chain(interface_option(case)));
            finding.click(say::latency_do()).command(ping)
        }
        false => finding,
    });
}
