//! Every recorded situation and what must come of it. What the words look like is for the tests of
//! `tbnet`; here it is the ids, severities and verdicts, and that every finding explains itself.

use std::{fs, path::PathBuf};

use super::*;
use crate::{
    peer::{Cable, Contact, EndReport, Silence},
    snapshot::{Address, Reading, Source, Unknown},
    system::{Request, recorded},
};

fn sets() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sets")
}

fn judge(set: &str, interface: &str, peer: Option<&str>) -> Report {
    let peer = peer.map(|peer| peer.parse().unwrap());
    let request = Request { peers: peer.into_iter().collect() };
    let folder = sets().join(set);
    let snapshot = recorded::load(&folder, &request).unwrap();
    let Ok(interface) = interface.parse();
    let mut expectation = Expectation { interface, peer, ..Expectation::default() };
    if let Some(exchange) = peer.and_then(|peer| recorded::exchange(&folder, peer).unwrap()) {
        expectation.own = exchange.own;
        expectation.contact = Some(exchange.contact);
        expectation.others = exchange.others;
        expectation.silent_others = exchange.silent_others;
    }
    check(&snapshot, &expectation)
}

/// `error bridge-missing`, …; information is left out.
fn found(report: &Report) -> Vec<String> {
    report
        .findings
        .iter()
        .filter(|f| f.severity != Severity::Info)
        .map(|f| format!("{:?} {}", f.severity, f.id).to_lowercase())
        .collect()
}

const GOOD: Verdict = Verdict::Good;
const BAD: Verdict = Verdict::Problems;
const OPEN: Verdict = Verdict::CouldNotCheck;

/// Set, peer, verdict, findings.
const SITUATIONS: &[(&str, Option<&str>, Verdict, &[&str])] = &[
    ("good", Some("10.25.0.2"), GOOD, &[]),
    ("good", None, GOOD, &[]),
    ("good", Some("10.25.0.1"), BAD, &["error same-address"]),
    ("good", Some("10.9.9.9"), BAD, &["error peer-outside-subnet", "error wrong-route"]),
    ("good-korean-names", Some("192.168.2.2"), GOOD, &[]),
    ("good-crlf-without-header", Some("10.25.0.2"), GOOD, &[]),
    ("good-every-source", Some("10.25.0.2"), GOOD, &[]),
    ("ports-not-listed", Some("10.25.0.2"), OPEN, &["unknown local-network"]),
    ("per-port", Some("10.25.0.2"), GOOD, &[]),
    ("no-route-file", Some("10.25.0.2"), GOOD, &[]),
    ("bridge-missing", None, BAD, &["error bridge-missing"]),
    ("bridge-lost", None, BAD, &["error bridge-missing"]),
    ("bridge-removed-by-exo", None, BAD, &["error bridge-missing", "error removed-by-exo"]),
    ("bridge-empty", None, BAD, &["error bridge-empty", "error link-down"]),
    ("service-missing", None, BAD, &["error service-missing"]),
    ("service-disabled", None, BAD, &["error service-disabled"]),
    ("service-below-wifi", None, GOOD, &["warning service-below-wifi"]),
    ("link-down", None, BAD, &["error link-down"]),
    ("no-cable", None, BAD, &["error no-cable"]),
    ("drive-is-no-peer", None, BAD, &["error no-peer"]),
    ("peer-without-network", None, BAD, &["error no-peer"]),
    ("dhcp-lease", None, GOOD, &["warning address-dhcp"]),
    ("dhcp-no-address", None, BAD, &["error address-missing", "warning address-dhcp"]),
    ("self-assigned", None, BAD, &["error address-self-assigned", "warning address-dhcp"]),
    ("router-set", None, BAD, &["error router-set"]),
    ("subnet-overlap", Some("192.168.2.2"), BAD, &["error subnet-overlap", "error wrong-route"]),
    ("vmnet-clash", Some("192.168.2.3"), BAD, &["error vmnet-clash", "error wrong-route"]),
    ("wrong-route-vpn", Some("10.25.0.2"), BAD, &["error wrong-route"]),
    ("route-rejected", Some("10.25.0.2"), BAD, &["error route-rejected"]),
    ("internet-sharing", None, GOOD, &["warning internet-sharing"]),
    (
        "loop-two-cables-one-mac",
        None,
        GOOD,
        &["warning loop", "warning slow-cable", "warning slow-cable"],
    ),
    ("loop-to-itself", None, BAD, &["error loop", "warning slow-cable"]),
    (
        "slow-sources-silent",
        None,
        GOOD,
        &[
            "unknown internet-sharing",
            "unknown loop",
            "unknown firewall",
            "unknown rdma-excludes-bridge",
        ],
    ),
    ("only-ifconfig", None, OPEN, &["unknown bridge-missing"]),
    ("everything-garbled", None, OPEN, &["unknown bridge-missing"]),
    ("exo-daemon-beside-bridge", None, GOOD, &["warning removed-by-exo"]),
    ("ports-renumbered", None, GOOD, &["warning ports-renumbered"]),
    ("slow-cable", None, GOOD, &["warning slow-cable"]),
    ("address-on-usb-port", None, BAD, &["error address-missing", "error address-on-wrong-port"]),
    ("firewall-blocks-all", None, GOOD, &["warning firewall"]),
    ("rdma-enabled", None, GOOD, &[]),
    ("local-network-refused", Some("10.25.0.2"), BAD, &["error local-network"]),
    ("local-network-suspected", Some("10.25.0.2"), BAD, &["error local-network"]),
    ("peer-good", Some("10.25.0.2"), GOOD, &[]),
    ("peer-silent", Some("10.25.0.2"), BAD, &["error peer-silent"]),
    ("peer-not-serving", Some("10.25.0.2"), GOOD, &["warning peer-silent"]),
    ("peer-same-address", Some("10.25.0.2"), BAD, &["error same-address"]),
    ("peer-other-mask", Some("10.25.0.2"), BAD, &["error mask-mismatch"]),
    (
        "peer-differs",
        Some("10.25.0.2"),
        GOOD,
        &["warning mtu-mismatch", "warning peer-version", "warning clock-skew", "warning latency"],
    ),
    ("peer-drops-large", Some("10.25.0.2"), GOOD, &["warning mtu-mismatch"]),
    ("peer-and-a-silent-third", Some("10.25.0.2"), BAD, &["error peer-silent"]),
    ("ring-of-three", Some("10.25.0.2"), BAD, &["error loop"]),
    ("good", Some("fe80::2"), BAD, &["error scope-missing"]),
    ("linux-no-xdomain", None, BAD, &["error xdomain-missing"]),
    ("linux-odd-rows", Some("10.25.0.2"), GOOD, &[]),
    ("linux-good", Some("10.25.0.2"), GOOD, &[]),
    ("linux-bond", None, GOOD, &[]),
    ("linux-two-cables", None, BAD, &["error address-missing"]),
    ("linux-one-cable-bridged", None, GOOD, &[]),
    ("linux-per-port", None, GOOD, &["warning several-links"]),
    ("linux-self-assigned", None, BAD, &["error address-self-assigned"]),
    ("linux-no-address", None, BAD, &["error address-missing"]),
    ("linux-link-down", None, BAD, &["error link-down", "error address-missing"]),
    ("linux-no-carrier", None, BAD, &["error no-peer"]),
    ("linux-overlap", None, BAD, &["error subnet-overlap"]),
    ("linux-leased-and-default-route", None, BAD, &["error router-set", "warning address-dhcp"]),
    ("linux-driver-not-loaded", None, BAD, &["error interface-missing"]),
    ("linux-veth-called-thunderbolt0", None, BAD, &["error xdomain-missing"]),
    ("linux-no-route-file", None, OPEN, &["unknown router-set"]),
    ("linux-sysfs-only", None, OPEN, &["unknown address-missing", "unknown router-set"]),
];

#[test]
fn each_situation_has_its_verdict_and_findings() {
    let mut wrong = Vec::new();
    for (set, peer, verdict, expected) in SITUATIONS {
        let report = judge(set, "auto", *peer);
        let found = found(&report);
        if found != *expected || report.verdict != *verdict {
            wrong.push(format!("{set} {peer:?}: {found:?} {:?}", report.verdict));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An error behind what is not known is not called good: the service's router, and on Linux a default
/// route over the cable.
#[test]
fn what_could_hide_a_router_leaves_no_verdict() {
    let unknown = || (Source::new("a test"), Unknown::Failed { detail: "no answer".into() });
    let load = |set: &str| recorded::load(&sets().join(set), &Request::default()).unwrap();
    let mut mac = load("router-set");
    assert_eq!(check(&mac, &Expectation::default()).verdict, BAD);
    if let Reading::Known { value, .. } = &mut mac.services {
        for service in value {
            let (source, why) = unknown();
            service.config = Reading::Unknown { source, why };
        }
    }
    assert_eq!(check(&mac, &Expectation::default()).verdict, OPEN);
    let mut linux = load("linux-leased-and-default-route");
    let (source, why) = unknown();
    linux.routes = Reading::Unknown { source, why };
    assert_eq!(check(&linux, &Expectation::default()).verdict, OPEN);
}

/// What is not known of the Thunderbolt ports hides a ring where two of the bridge's may be in use.
#[test]
fn what_could_hide_a_ring_leaves_no_verdict() {
    let mut mac = recorded::load(&sets().join("loop-to-itself"), &Request::default()).unwrap();
    let carry = |mac: &mut Snapshot, members: &[&str]| {
        let Reading::Known { value, .. } = &mut mac.interfaces else { panic!("no interfaces") };
        for name in ["en2", "en3", "en4"] {
            let member = value.iter_mut().find(|i| i.name == name).unwrap();
            member.carrier = Some(members.contains(&name));
        }
    };
    carry(&mut mac, &["en2", "en4"]);
    assert_eq!(check(&mac, &Expectation::default()).verdict, BAD);
    let ports = std::mem::replace(
        &mut mac.thunderbolt_ports,
        Reading::Unknown {
            source: Source::new("a test"),
            why: Unknown::Failed { detail: "no answer".into() },
        },
    );
    assert_eq!(check(&mac, &Expectation::default()).verdict, OPEN);
    // With one port in use there is no ring to be hidden.
    carry(&mut mac, &["en2"]);
    assert_eq!(check(&mac, &Expectation::default()).verdict, GOOD);

    // A bridge that is switched off is not in the kernel: it will be what its settings say.
    mac.thunderbolt_ports = ports;
    let Reading::Known { value, .. } = &mut mac.interfaces else { panic!("no interfaces") };
    let bridge = value.iter_mut().find(|i| i.name == "bridge0").unwrap();
    let members = bridge.members.take().unwrap();
    bridge.up = Some(false);
    mac.preferences = Reading::known(
        crate::snapshot::Preferences {
            bridges: vec![crate::snapshot::ConfiguredBridge {
                device: "bridge0".into(),
                members,
                is_thunderbolt: true,
            }],
            ..Default::default()
        },
        Source::new("a test"),
    );
    assert!(check(&mac, &Expectation::default()).has(FindingId::Loop, Severity::Error));
}

#[test]
fn every_set_is_judged() {
    for entry in fs::read_dir(sets()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let judged = SITUATIONS.iter().any(|(set, ..)| *set == name);
        assert!(judged || !entry.path().is_dir(), "{name} is in no situation");
    }
}

#[test]
fn every_finding_says_what_was_seen_why_it_matters_and_what_to_do() {
    for (set, peer, ..) in SITUATIONS {
        for finding in judge(set, "auto", *peer).findings {
            let about = format!("{set}: {}", finding.id);
            assert!(!finding.seen.is_empty() && !finding.why.is_empty(), "{about}");
            let remedy = &finding.remedy;
            let has_both = !remedy.clicks.is_empty() && !remedy.commands.is_empty();
            let wants_both = matches!(finding.severity, Severity::Error | Severity::Warning);
            // What is to be run at the other end stands in words: a command is for this machine.
            let elsewhere = finding.id == FindingId::SameAddress && !remedy.clicks.is_empty();
            assert!(has_both || !wants_both || elsewhere, "{about} lacks a click or a command");
            let open = finding.withholds_verdict;
            assert!(!open || finding.severity == Severity::Unknown, "{about}");
        }
    }
}

#[test]
fn ids_are_kebab_case_and_distinct() {
    let mut names: Vec<&str> = FindingId::ALL.iter().map(|id| id.as_str()).collect();
    assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FindingId::ALL.len());
}

#[test]
fn an_interface_named_by_hand_is_judged_as_one() {
    let wifi = judge("good", "en1", None);
    assert_eq!((wifi.verdict, wifi.judged.as_ref().unwrap().kind), (GOOD, Some(LinkKind::ByHand)));
    assert!(wifi.has(FindingId::NotThunderbolt, Severity::Info));
    // A router and DHCP are as they should be there.
    assert!(found(&wifi).is_empty());

    let veth = judge("linux-veth-called-thunderbolt0", "thunderbolt0", Some("10.25.0.2"));
    assert_eq!((veth.verdict, veth.judged.unwrap().kind), (GOOD, Some(LinkKind::ByHand)));

    let none = judge("good", "en9", None);
    assert!(none.has(FindingId::InterfaceMissing, Severity::Error));
    assert_eq!(none.judged, None);

    let undecided = judge("only-ifconfig", "bridge0", None);
    assert!(undecided.has(FindingId::NotThunderbolt, Severity::Unknown));
    assert_eq!(undecided.judged.unwrap().kind, None);
}

#[test]
fn the_remedy_keeps_what_is_right_and_avoids_what_collides() {
    let command = |set: &str, peer: Option<&str>, id: FindingId| {
        let report = judge(set, "auto", peer);
        let finding = report.findings.into_iter().find(|f| f.id == id).unwrap();
        finding.remedy.commands.into_iter().next().unwrap()
    };
    let set = |address: &str| {
        format!("sudo networksetup -setmanual \"Thunderbolt Bridge\" {address} 255.255.255.0 \"\"")
    };
    // The other end of its cable has the lesser UUID: it takes .1, by its own check or setup.
    assert_eq!(command("self-assigned", None, FindingId::AddressSelfAssigned), set("192.168.2.2"));
    // The peer has taken .1 already.
    assert_eq!(
        command("self-assigned", Some("192.168.2.1"), FindingId::AddressSelfAssigned),
        set("192.168.2.2")
    );
    assert_eq!(command("dhcp-lease", None, FindingId::AddressDhcp), set("192.168.2.3"));
    assert_eq!(command("router-set", None, FindingId::RouterSet), set("10.25.0.1"));
    assert_eq!(command("subnet-overlap", None, FindingId::SubnetOverlap), set("192.168.99.2"));
    assert_eq!(
        command("service-below-wifi", None, FindingId::ServiceBelowWifi),
        "sudo networksetup -ordernetworkservices \"Thunderbolt Bridge\" \"USB 10/100/1000 LAN\" \
         Wi-Fi \"Thunderbolt Bridge 2\""
    );
}

#[test]
fn an_address_that_is_known_hides_nothing_behind_a_missing_service_order() {
    let mut snapshot = recorded::load(&sets().join("good"), &Request::default()).unwrap();
    snapshot.services = Reading::Unknown {
        source: Source::new("networksetup -listnetworkserviceorder"),
        why: Unknown::TimedOut { limit_ms: 5000 },
    };
    let report = check(&snapshot, &Expectation::default());
    assert_eq!((found(&report), report.verdict), (vec!["unknown service-missing".into()], GOOD));

    let Reading::Known { value, .. } = &mut snapshot.interfaces else { panic!("no interfaces") };
    let bridge = value.iter_mut().find(|i| i.name == "bridge0").unwrap();
    bridge.addresses = Some(Vec::new());
    let report = check(&snapshot, &Expectation::default());
    assert!(report.findings.iter().any(|f| f.withholds_verdict));
    assert_eq!(report.verdict, BAD, "the missing address is seen all the same");
}

/// Findings that the situations do not show, and the test that does.
const SHOWN_ELSEWHERE: &[(FindingId, &str)] =
    &[(FindingId::NotThunderbolt, "an_interface_named_by_hand_is_judged_as_one")];

#[test]
fn every_finding_is_shown_by_a_situation() {
    let seen: Vec<FindingId> = SITUATIONS
        .iter()
        .flat_map(|(set, peer, ..)| judge(set, "auto", *peer).findings)
        .map(|finding| finding.id)
        .collect();
    let shown = |id: &FindingId| seen.contains(id) || SHOWN_ELSEWHERE.iter().any(|(e, _)| e == id);
    let missing: Vec<_> = FindingId::ALL.iter().filter(|id| !shown(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn both_manuals_explain_every_finding() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for page in ["tbnet.md", "tbnet.ko.md"] {
        let text = fs::read_to_string(docs.join(page)).unwrap();
        for id in FindingId::ALL {
            assert!(text.contains(&format!("| `{id}` |")), "{page} says nothing about {id}");
        }
    }
}

/// Two Macs of one name and model on one bridge look like one: what a machine says of its cables tells.
#[test]
fn a_report_tells_two_machines_that_look_alike() {
    let mac = recorded::load(&sets().join("loop-two-cables-one-mac"), &Request::default()).unwrap();
    let ports = mac.thunderbolt_ports.items();
    let cables: Vec<Cable> = ports
        .iter()
        .flat_map(|port| port.peers().map(move |peer| (port, peer)))
        .map(|(port, peer)| Cable {
            own_domain: peer.domain_uuid.clone(),
            far_domain: port.domain_uuid.clone(),
            bridged: Some(true),
            ..Cable::default()
        })
        .collect();
    assert_eq!(cables.len(), 2);
    let of = |machine: &str, cables: &[Cable]| {
        let mut report = crate::plan::tests::said("10.25.0.2/24", 1500, &[]);
        report.identity.machine = machine.into();
        report.cables = cables.to_vec();
        report
    };
    let loops = |reports: Vec<EndReport>| {
        let own = of("this", &crate::peer::cables(&mac, "bridge0"));
        let expectation = Expectation { own: Some(own), others: reports, ..Expectation::default() };
        let report = check(&mac, &expectation);
        report.findings.iter().find(|f| f.id == FindingId::Loop).map(|f| f.severity)
    };
    assert_eq!(loops(vec![]), Some(Severity::Warning));
    assert_eq!(loops(vec![of("somebody else", &[])]), Some(Severity::Warning));
    assert_eq!(loops(vec![of("one", &cables[..1])]), None, "the other cable leads elsewhere");
    assert_eq!(loops(vec![of("one", &cables[..1]), of("two", &cables[1..])]), None);
    assert_eq!(loops(vec![of("one", &cables)]), Some(Severity::Error));
    // It has both ports, and has seen only one of the cables so far.
    let mut blind = of("one", &cables[..1]);
    blind.domains = cables.iter().filter_map(|cable| cable.own_domain.clone()).collect();
    assert_eq!(loops(vec![blind]), Some(Severity::Warning));
}

#[test]
fn a_networks_first_and_last_address_are_nobodys() {
    for (set, own) in [("good", "10.25.0"), ("linux-good", "10.25.0")] {
        for last in [0, 255] {
            let report = judge(set, "auto", Some(&format!("{own}.{last}")));
            let found = report.findings.iter().find(|f| f.id == FindingId::PeerOutsideSubnet);
            let title = found.expect("a finding").title.words(crate::text::Lang::En).to_owned();
            assert!(title.contains("no machine's address"), "{set}: {title}");
            assert_eq!(report.verdict, BAD, "{set}");
        }
    }
}

#[test]
fn an_address_that_is_expected_and_missing_is_named() {
    let found = |set: &str, address: &str| {
        let snapshot = recorded::load(&sets().join(set), &Request::default()).unwrap();
        let address = address.parse().ok();
        let report = check(&snapshot, &Expectation { address, ..Expectation::default() });
        let missing = report.findings.into_iter().find(|f| f.id == FindingId::AddressMissing);
        missing.map(|finding| finding.remedy.commands)
    };
    for set in ["good", "linux-good"] {
        assert_eq!(found(set, "10.25.0.1/24"), None, "{set}");
        for other in ["10.25.0.7/24", "10.25.0.1/16"] {
            let commands = found(set, other).expect(set);
            let address = other.split('/').next().unwrap();
            assert!(commands.iter().any(|words| words.contains(address)), "{set}: {commands:?}");
        }
    }
}

/// `good`, changed, and what was found in it of one kind.
fn in_good(
    change: impl Fn(&mut Snapshot, &mut Expectation),
    id: FindingId,
) -> Option<(Severity, usize)> {
    let peer = "10.25.0.2".parse().unwrap();
    let request = Request { peers: vec![peer] };
    let mut snapshot = recorded::load(&sets().join("good"), &request).unwrap();
    let mut expectation = Expectation { peer: Some(peer), ..Expectation::default() };
    change(&mut snapshot, &mut expectation);
    let report = check(&snapshot, &expectation);
    let finding = report.findings.into_iter().find(|finding| finding.id == id)?;
    Some((finding.severity, finding.seen.len()))
}

#[test]
fn where_the_systems_own_ping_fails_as_well_no_permission_is_blamed() {
    let unreachable = |system_ping| {
        move |_: &mut Snapshot, expectation: &mut Expectation| {
            expectation.contact = Some(Contact::Silent {
                why: Silence::HostUnreachable,
                round_trips: None,
                large_echo: None,
                system_ping,
            });
        }
    };
    let permission = |ping| in_good(unreachable(ping), FindingId::LocalNetwork);
    assert_eq!(permission(Some(true)), Some((Severity::Error, 2)));
    assert_eq!(permission(None), Some((Severity::Error, 1)));
    assert_ne!(permission(Some(false)).map(|found| found.0), Some(Severity::Error));
    let silent = in_good(unreachable(Some(false)), FindingId::PeerSilent);
    assert_eq!(silent, Some((Severity::Error, 2)));
}

#[test]
fn an_address_that_nobody_configured_hints_at_internet_sharing() {
    let with = |address: &'static str| {
        move |snapshot: &mut Snapshot, _: &mut Expectation| {
            let (source, why) = (Source::new("a test"), Unknown::NotAsked);
            snapshot.internet_sharing = Reading::Unknown { source, why };
            let Reading::Known { value, .. } = &mut snapshot.interfaces else { panic!() };
            let bridge = value.iter_mut().find(|i| i.name == "bridge0").unwrap();
            let address = Address::new(address.parse().unwrap());
            bridge.addresses.as_mut().unwrap().push(address);
        }
    };
    let found = |address| in_good(with(address), FindingId::InternetSharing);
    assert_eq!(found("192.168.2.1/24"), Some((Severity::Warning, 2)));
    assert_eq!(found("192.168.2.7/24").unwrap().0, Severity::Unknown);
}

#[test]
fn a_size_that_is_configured_and_not_in_use_is_told() {
    let with = |mtu| {
        move |snapshot: &mut Snapshot, _: &mut Expectation| {
            let preferences = crate::snapshot::Preferences {
                mtus: [("bridge0".to_owned(), mtu)].into(),
                ..snapshot.preferences.value().cloned().unwrap_or_default()
            };
            snapshot.preferences = Reading::known(preferences, Source::new("a test"));
        }
    };
    let snapshot = recorded::load(&sets().join("good"), &Request::default()).unwrap();
    let mtu = snapshot.interface("bridge0").unwrap().mtu.unwrap();
    assert_eq!(in_good(with(mtu), FindingId::Mtu).unwrap().0, Severity::Info);
    assert_eq!(in_good(with(mtu + 1), FindingId::Mtu), Some((Severity::Warning, 2)));
}
