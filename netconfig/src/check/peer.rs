//! Do both ends fit together? What the peer said of itself, beside what this machine says.

use std::net::IpAddr;

use ipnet::IpNet;

use super::finding::{Finding, FindingId, Severity};
use crate::{
    facts::{Facts, is_automatic},
    rtt::Rtt,
    snapshot::Source,
};

/// Clocks further apart than this make the logs of two machines hard to lay beside each other.
const CLOCK_MS_MAX: u64 = 5_000;
/// A cable takes less there and back; the guide's machines take about 300 µs.
const RTT_US_FINE: f64 = 1_000.0;
/// No cable takes this long.
const RTT_US_MAX: f64 = 3_000.0;

/// What came of asking the peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Where it was asked.
    pub peer: IpAddr,
    /// What it said, or why it said nothing.
    pub said: Result<Facts, Silence>,
    /// How long packets take.
    pub rtt: Option<Rtt>,
}

/// Why nothing was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It was asked and did not answer.
    Asked(String),
    /// It could not be asked from here.
    NotAsked(String),
}

/// Compares both ends.
pub fn compare(own: &Facts, heard: &Heard) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &heard.said {
        Ok(theirs) => {
            addresses(own, theirs, heard.peer, &mut findings);
            sizes(own, theirs, &mut findings);
            versions(own, theirs, &mut findings);
            clocks(own, theirs, &mut findings);
        }
        Err(why) => findings.push(silent(own, heard, why)),
    }
    if let Some(rtt) = &heard.rtt {
        findings.push(round_trip(own, heard.peer, rtt));
    }
    findings
}

fn source(peer: &Facts) -> Source {
    Source::new(format!("{} on {}", peer.software, peer.name))
}

fn here(own: &Facts) -> Source {
    Source::new(format!("this machine's {}", own.interface))
}

fn silent(own: &Facts, heard: &Heard, silence: &Silence) -> Finding {
    let peer = heard.peer;
    let (severity, title, why) = match (silence, heard.rtt) {
        // Somebody is there, but nothing of ours: the link works.
        (Silence::Asked(why), Some(_)) => (
            Severity::Warning,
            format!("{peer} answers pings, but neither tbnet nor exo-node answers there"),
            why,
        ),
        (Silence::NotAsked(why), Some(_)) => {
            (Severity::Unknown, format!("{peer} answers pings, but could not be asked"), why)
        }
        (Silence::Asked(why) | Silence::NotAsked(why), None) => {
            (Severity::Error, format!("Nobody answers at {peer}"), why)
        }
    };
    Finding::new(FindingId::PeerSilent, severity, title)
        .seen(why.as_str(), &here(own))
        .why("Only the peer can say whether its end fits: its mask, its largest packet, its version.")
        .click("On the other machine, run `tbnet check`, then `tbnet serve` (or exo-node serve)")
        .click("If it runs there: let it through the other machine's firewall")
        .command("tbnet serve")
}

/// The addresses that somebody chose.
fn chosen(facts: &Facts) -> impl Iterator<Item = &IpNet> {
    facts.addresses.iter().filter(|net| !is_automatic(net))
}

fn addresses(own: &Facts, theirs: &Facts, peer: IpAddr, findings: &mut Vec<Finding>) {
    let list =
        |facts: &Facts| chosen(facts).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let seen = |finding: Finding| {
        finding
            .seen(format!("{} has {}", own.interface, list(own)), &here(own))
            .seen(format!("{} has {}", theirs.interface, list(theirs)), &source(theirs))
    };
    let both = chosen(own).find(|net| chosen(theirs).any(|other| other.addr() == net.addr()));
    if let Some(net) = both {
        let title = format!("Both ends have the address {}", net.addr());
        findings.push(
            seen(Finding::new(FindingId::SameAddress, Severity::Error, title))
                .why("Packets for the peer never leave this machine.")
                .click("Give one of the two another address in the same subnet")
                .command("tbnet setup"),
        );
        return;
    }
    // The network by which this machine knows the peer, and the peer's own idea of it.
    let ours = chosen(own).find(|net| net.contains(&peer));
    let its = chosen(theirs).find(|net| net.addr() == peer);
    let (Some(ours), Some(its)) = (ours, its) else { return };
    if ours.prefix_len() == its.prefix_len() {
        return;
    }
    let (mine, other) = (ours.netmask(), its.netmask());
    let title = format!("The masks of the two ends differ: {mine} here, {other} there");
    let outside = !its.contains(&ours.addr());
    let severity = if outside { Severity::Error } else { Severity::Warning };
    findings.push(
        seen(Finding::new(FindingId::MaskMismatch, severity, title))
            .why(if outside {
                "To the peer this machine is outside its subnet: its answers go to its router, not over the cable."
            } else {
                "One end believes more addresses to be on the cable than the other."
            })
            .click("Give both ends the same mask")
            .command("tbnet setup"),
    );
}

fn sizes(own: &Facts, theirs: &Facts, findings: &mut Vec<Finding>) {
    if own.mtu == theirs.mtu {
        return;
    }
    let title = format!("The largest packets differ: {} bytes here, {} there", own.mtu, theirs.mtu);
    let larger = if own.mtu > theirs.mtu { "here" } else { "on the other machine" };
    findings.push(
        Finding::new(FindingId::MtuMismatch, Severity::Error, title)
            .seen(format!("mtu {} on {}", own.mtu, own.interface), &here(own))
            .seen(format!("mtu {} on {}", theirs.mtu, theirs.interface), &source(theirs))
            .why("Packets larger than the lesser of the two vanish without a word.")
            .click(format!("Set {} bytes {larger}", own.mtu.min(theirs.mtu)))
            .command("tbnet setup"),
    );
}

fn versions(own: &Facts, theirs: &Facts, findings: &mut Vec<Finding>) {
    // `tbnet/0.1.0` and `exo-node/0.1.0` are of one release.
    let release = |software: &str| software.rsplit('/').next().map(str::to_owned);
    if release(&own.software) == release(&theirs.software) {
        return;
    }
    let title =
        format!("The two ends run different versions: {}, {}", own.software, theirs.software);
    findings.push(
        Finding::new(FindingId::VersionMismatch, Severity::Warning, title)
            .seen(own.software.as_str(), &here(own))
            .seen(theirs.software.as_str(), &source(theirs))
            .why("Nodes of different versions may refuse to place a model together.")
            .click("Install the same version on both machines"),
    );
}

fn clocks(own: &Facts, theirs: &Facts, findings: &mut Vec<Finding>) {
    let apart = own.clock_ms.abs_diff(theirs.clock_ms);
    if apart <= CLOCK_MS_MAX {
        return;
    }
    let which = if theirs.clock_ms > own.clock_ms { "ahead of" } else { "behind" };
    let title = format!("The peer's clock is {:.1} s {which} this one", apart as f64 / 1000.0);
    findings.push(
        Finding::new(FindingId::ClockSkew, Severity::Warning, title)
            .seen(format!("{} ms since 1970", own.clock_ms), &here(own))
            .seen(format!("{} ms since 1970", theirs.clock_ms), &source(theirs))
            .why("Nothing here depends on it, but the logs of the two machines cannot be laid beside each other.")
            .click("Let both machines set their clocks from the network"),
    );
}

fn round_trip(own: &Facts, peer: IpAddr, rtt: &Rtt) -> Finding {
    let seen = format!(
        "{} of {} by {}: min {:.0}, p50 {:.0}, p99 {:.0}, max {:.0} µs",
        rtt.count,
        rtt.count + rtt.lost,
        rtt.way,
        rtt.min_us,
        rtt.p50_us,
        rtt.p99_us,
        rtt.max_us
    );
    let title = format!("A packet to {peer} and back takes {:.0} µs", rtt.p50_us);
    let (severity, why) = if rtt.p50_us > RTT_US_MAX {
        (Severity::Warning, "That is probably not the cable: one takes well under a millisecond.")
    } else if rtt.p50_us > RTT_US_FINE {
        (
            Severity::Warning,
            "A cable takes well under a millisecond: every token pays for the rest.",
        )
    } else {
        (
            Severity::Info,
            "Every token goes once around the machines: this is what it pays for the cable.",
        )
    };
    let finding =
        Finding::new(FindingId::RoundTrip, severity, title).seen(seen, &here(own)).why(why);
    match severity {
        Severity::Warning => finding
            .click("Compare with another interface to see which way packets take")
            .command(format!("tbnet ping {peer} --versus NAME")),
        _ => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkKind, snapshot::Platform};

    fn facts(address: &str) -> Facts {
        Facts {
            name: "mini".into(),
            software: "tbnet/0.1.0".into(),
            platform: Platform::MacOs,
            interface: "bridge0".into(),
            kind: LinkKind::Thunderbolt,
            mtu: 1500,
            addresses: vec![address.parse().unwrap(), "fe80::1/64".parse().unwrap()],
            other_networks: Vec::new(),
            clock_ms: 1_000_000,
            cables: Vec::new(),
        }
    }

    fn ids(own: &Facts, theirs: Facts) -> Vec<(FindingId, Severity)> {
        let peer = "192.168.2.2".parse().unwrap();
        let heard = Heard { peer, said: Ok(theirs), rtt: None };
        compare(own, &heard).into_iter().map(|f| (f.id, f.severity)).collect()
    }

    #[test]
    fn two_ends_that_fit_have_nothing_to_say() {
        let mut node = facts("192.168.2.2/24");
        node.software = "exo-node/0.1.0".into();
        node.clock_ms += 4_000;
        assert_eq!(ids(&facts("192.168.2.1/24"), node), []);
    }

    #[test]
    fn each_difference_is_named() {
        let own = facts("192.168.2.1/24");
        let differ = |change: &dyn Fn(&mut Facts)| {
            let mut theirs = facts("192.168.2.2/24");
            change(&mut theirs);
            ids(&own, theirs)
        };
        use FindingId::{ClockSkew, MaskMismatch, MtuMismatch, SameAddress, VersionMismatch};
        use Severity::{Error, Warning};
        assert_eq!(differ(&|f| f.mtu = 9000), [(MtuMismatch, Error)]);
        assert_eq!(differ(&|f| f.software = "tbnet/0.2.0".into()), [(VersionMismatch, Warning)]);
        assert_eq!(differ(&|f| f.clock_ms = 0), [(ClockSkew, Warning)]);
        let net =
            |text: &'static str| move |f: &mut Facts| f.addresses = vec![text.parse().unwrap()];
        assert_eq!(differ(&net("192.168.2.1/24")), [(SameAddress, Error)]);
        assert_eq!(differ(&net("192.168.2.2/16")), [(MaskMismatch, Warning)]);
        assert_eq!(differ(&net("192.168.2.2/31")), [(MaskMismatch, Error)]);
    }

    #[test]
    fn silence_is_a_finding_and_worse_without_an_echo() {
        let own = facts("192.168.2.1/24");
        let peer = "192.168.2.2".parse().unwrap();
        let rtt = Rtt::of(crate::rtt::Way::Icmp, &[std::time::Duration::from_micros(4_000)], 0);
        let heard =
            |rtt| Heard { peer, said: Err(Silence::Asked("connection refused".into())), rtt };
        let found = compare(&own, &heard(None));
        assert_eq!((found.len(), found[0].id), (1, FindingId::PeerSilent));
        assert_eq!(found[0].severity, Severity::Error);
        let said = Err(Silence::NotAsked("it needs a cluster key".into()));
        assert_eq!(compare(&own, &Heard { peer, said, rtt })[0].severity, Severity::Unknown);
        let found = compare(&own, &heard(rtt));
        let severities: Vec<_> = found.iter().map(|f| (f.id, f.severity)).collect();
        let warning = Severity::Warning;
        assert_eq!(severities, [(FindingId::PeerSilent, warning), (FindingId::RoundTrip, warning)]);
    }
}
