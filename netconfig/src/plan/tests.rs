//! What setup would do in every recorded situation, argument by argument; and what it never does.

use std::path::PathBuf;

use super::*;
use crate::{
    InterfaceChoice,
    check::{Expectation, Severity, Verdict, check},
    peer::{END_REPORT_SCHEMA, EndReport, Identity},
    snapshot::{Address, Interface, Reading, Route},
    system::{Request, recorded},
    text::Lang,
};

pub(super) fn load(set: &str, peer: Option<&str>) -> Snapshot {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sets").join(set);
    let peers = peer.map(|peer| peer.parse().unwrap()).into_iter().collect();
    recorded::load(&folder, &Request { peers }).unwrap()
}

pub(super) fn plan_with(set: &str, wish: Wish) -> Result<Plan, PlanError> {
    let peer = wish.peer;
    let snapshot = load(set, peer.map(|p| p.to_string()).as_deref());
    let report = check(&snapshot, &Expectation { peer, ..Expectation::default() });
    plan(&snapshot, &report, &wish)
}

/// The commands without `sudo` and folders, one a line.
fn commands(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().flat_map(|step| step.action.commands());
    steps.map(|c| c.to_string().replace("sudo ", "").replace("/usr/sbin/", "")).collect()
}

fn planned(set: &str, peer: Option<&str>) -> Vec<String> {
    let peer = peer.map(|peer| peer.parse().unwrap());
    commands(&plan_with(set, Wish { peer, ..Wish::default() }).unwrap())
}

#[test]
fn a_good_machine_is_left_alone() {
    for (set, peer) in [
        ("good", Some("10.25.0.2")),
        ("good", None),
        ("good-korean-names", Some("192.168.2.2")),
        ("ports-not-listed", Some("10.25.0.2")),
        ("per-port", Some("10.25.0.2")),
        ("linux-good", Some("10.25.0.2")),
        ("linux-bond", None),
        ("no-cable", None),
    ] {
        assert_eq!(planned(set, peer), [""; 0], "{set}");
    }
}

#[test]
fn a_new_service_stands_in_the_order_with_all_others() {
    let plan = plan_with("service-missing", Wish::default()).unwrap();
    // The command must name every service there is, and the new one.
    let Action::Order { services } = &plan.steps[2].action else { panic!("{plan:?}") };
    let snapshot = load("service-missing", None);
    assert_eq!(services.len(), snapshot.services.items().len() + 1);
}

#[test]
fn linux_gets_its_address_its_size_and_a_profile() {
    let both = |set: &str, peer: Option<&str>| planned(set, peer);
    assert_eq!(both("linux-no-address", None), ["ip address add 192.168.2.1/24 dev thunderbolt0"]);
    assert_eq!(
        both("linux-link-down", None),
        ["ip address add 192.168.2.1/24 dev thunderbolt0", "ip link set dev thunderbolt0 up"]
    );
    let overlap = both("linux-overlap", None);
    assert!(overlap[0].starts_with("ip address del "), "{overlap:?}");
    assert_eq!(overlap.last().unwrap(), "ip address add 192.168.2.1/24 dev thunderbolt0");
    let leased = both("linux-leased-and-default-route", None);
    // The kernel takes it away with the last address: then there would be none to drop.
    assert_eq!(leased[0], "ip route del default dev thunderbolt0", "{leased:?}");

    let kept = |keeper| {
        let keepers = BTreeMap::from([("thunderbolt0".to_owned(), Some(keeper))]);
        plan_with("linux-no-address", Wish { keepers, ..Wish::default() }).unwrap()
    };
    let kept_by_networkd = kept(Keeper::Networkd);
    let Action::KeepNetworkd { text, .. } = &kept_by_networkd.steps.last().unwrap().action else {
        panic!("{kept_by_networkd:?}")
    };
    assert!(text.contains("MACAddress=") && text.contains("Address=192.168.2.1/24"), "{text}");
    assert_eq!(
        commands(&kept(Keeper::NetworkManager { has_profile: false }))[1..],
        [
            "nmcli connection add type ethernet con-name tbnet-thunderbolt0 ifname thunderbolt0 \
             ipv4.method manual ipv4.addresses 192.168.2.1/24 ipv4.never-default yes \
             ipv6.method link-local",
            "nmcli connection up tbnet-thunderbolt0"
        ]
    );
}

#[test]
fn a_bridge_in_a_ring_is_not_touched() {
    let refused = plan_with("loop-to-itself", Wish::default()).unwrap_err();
    assert!(matches!(refused, PlanError::Ring { .. }), "{refused}");
    assert!(refused.hint().words(Lang::En).contains("--per-port"), "{:?}", refused.hint());
    // Two computers that look alike may be one: there are ways to tell.
    let refused = plan_with("loop-two-cables-one-mac", Wish::default()).unwrap_err();
    assert!(matches!(refused, PlanError::MaybeRing { .. }), "{refused}");
    assert!(refused.hint().words(Lang::En).contains("--peer"), "{:?}", refused.hint());
}

#[test]
fn a_bridge_that_is_off_and_may_be_in_a_ring_is_not_switched_on() {
    for set in ["link-down", "good"] {
        let mut snapshot = load(set, None);
        let source = crate::snapshot::Source::new("system_profiler");
        let why = crate::snapshot::Unknown::Failed { detail: "it hangs".into() };
        snapshot.thunderbolt_ports = Reading::Unknown { source, why };
        let report = check(&snapshot, &Expectation::default());
        let planned = plan(&snapshot, &report, &Wish::default());
        // One that is on stays as it is, and all else about it may be mended.
        match set {
            "good" => assert!(planned.is_ok(), "{planned:?}"),
            _ => assert!(matches!(planned, Err(PlanError::NotKnown { .. })), "{planned:?}"),
        }
    }
}

#[test]
fn wifi_and_the_way_to_the_internet_are_not_touched() {
    let refuse = |set: &str, interface: &str, wifi: &[&str]| {
        let snapshot = load(set, None);
        let interface = InterfaceChoice::Named(interface.into());
        let report = check(&snapshot, &Expectation { interface, ..Expectation::default() });
        let wifi = wifi.iter().map(|w| (*w).to_owned()).collect();
        plan(&snapshot, &report, &Wish { wifi, ..Wish::default() }).unwrap_err()
    };
    assert!(matches!(refuse("good", "en1", &[]), PlanError::Wifi { .. }));
    assert!(matches!(refuse("linux-good", "enp1s0", &["enp1s0"]), PlanError::Wifi { .. }));
    assert!(matches!(refuse("linux-good", "enp1s0", &[]), PlanError::Uplink { .. }));
    assert!(matches!(refuse("linux-good", "lo", &[]), PlanError::Loopback { .. }));
    // No command of any plan names Internet Sharing, another location or a bridge's members.
    for set in ["internet-sharing", "service-missing", "subnet-overlap", "bridge-empty"] {
        for command in planned(set, None) {
            for word in ["nat", "location", "addm", "deletem", "setairport"] {
                assert!(!command.contains(word), "{set}: {command}");
            }
        }
    }
    let left = plan_with("internet-sharing", Wish::default()).unwrap().left;
    let sharing = Left { finding: FindingId::InternetSharing, reason: Reason::NotOurs };
    assert!(left.contains(&sharing), "{left:?}");
}

#[test]
fn without_a_bridge_there_is_no_plan_but_per_port() {
    for set in ["bridge-missing", "bridge-removed-by-exo", "linux-driver-not-loaded"] {
        let refused = plan_with(set, Wish::default()).unwrap_err();
        assert!(matches!(refused, PlanError::NoInterface { .. }), "{set}: {refused}");
    }
    let per_port = |set: &str| plan_with(set, Wish { per_port: true, ..Wish::default() });
    let plan = per_port("bridge-missing").unwrap();
    let pair = plan.pairs[0].pair;
    assert_eq!(pair.own.prefix_len(), 30);
    let own = pair.own.addr();
    assert_eq!(
        commands(&plan),
        [
            "networksetup -createnetworkservice \"Thunderbolt 1\" en2".to_owned(),
            format!("networksetup -setmanual \"Thunderbolt 1\" {own} 255.255.255.252 \"\""),
        ]
    );
    // Ports that belong to a bridge stay in it.
    let refused = per_port("good").unwrap_err().to_string();
    assert!(refused.contains("belongs to bridge0"), "{refused}");
}

/// Which interface gets what, with a profile of each; the names are in no order of the ports.
#[test]
fn each_cable_on_linux_gets_its_network_its_size_and_a_profile() {
    let keepers = BTreeMap::from([
        ("thunderbolt0".to_owned(), Some(Keeper::Networkd)),
        ("thunderbolt1".to_owned(), Some(Keeper::NetworkManager { has_profile: true })),
    ]);
    let wish = Wish { per_port: true, mtu: Some(9000), keepers, ..Wish::default() };
    let plan = plan_with("linux-two-cables", wish.clone()).unwrap();
    assert_eq!(plan.interfaces, ["thunderbolt1", "thunderbolt0"]);
    let snapshot = load("linux-two-cables", None);
    let own = |domain: usize| {
        let (own, far) = address::cabled(&snapshot.thunderbolt_ports.items()[domain]).unwrap();
        address::of_cable(own, far).unwrap().own
    };
    let (first, second) = (own(0), own(1));
    let words = commands(&plan);
    let profile: Vec<&String> = words.iter().filter(|words| words.contains("tee")).collect();
    assert!(profile[0].contains("MTUBytes=9000") && profile[0].contains(&second.to_string()));
    let rest: Vec<&str> =
        words.iter().filter(|words| !words.contains("tee")).map(String::as_str).collect();
    assert_eq!(
        rest,
        [
            "ip link set dev thunderbolt1 mtu 9000",
            &format!("ip address add {first} dev thunderbolt1"),
            &format!(
                "nmcli connection modify tbnet-thunderbolt1 ipv4.method manual ipv4.addresses \
                 {first} ipv4.never-default yes 802-3-ethernet.mtu 9000"
            ),
            "nmcli connection up tbnet-thunderbolt1",
            "ip link set dev thunderbolt0 mtu 9000",
            &format!("ip address add {second} dev thunderbolt0"),
            "ip link set dev thunderbolt0 up",
            "networkctl reload",
        ]
    );
    let out_of_bounds = Wish { mtu: Some(100), ..wish };
    assert!(matches!(plan_with("linux-two-cables", out_of_bounds), Err(PlanError::Mtu { .. })));
}

/// What is found is found of one interface: steps on the other do not mend it.
#[test]
fn what_per_port_mode_leaves_is_named() {
    let per_port = || Wish { per_port: true, ..Wish::default() };
    let plan = plan_with("linux-two-cables", per_port()).unwrap();
    let mending: Vec<&Action> = plan
        .steps
        .iter()
        .filter(|step| step.mends.contains(&FindingId::AddressMissing))
        .map(|step| &step.action)
        .collect();
    let [Action::AddAddress { interface, .. }] = mending[..] else { panic!("{mending:?}") };
    let report = check(&load("linux-two-cables", None), &Expectation::default());
    assert_eq!(*interface, report.judged.unwrap().interface);

    let sets = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sets");
    let mut plans = 0;
    for entry in std::fs::read_dir(sets).unwrap().map(Result::unwrap) {
        let set = entry.file_name().into_string().unwrap();
        if !entry.path().is_dir() {
            continue;
        }
        let report = check(&load(&set, None), &Expectation::default());
        let Ok(plan) = plan_with(&set, per_port()) else { continue };
        plans += 1;
        for finding in report.findings.iter().filter(|f| f.severity != Severity::Info) {
            let mended = plan.steps.iter().any(|step| step.mends.contains(&finding.id));
            let left = plan.left.iter().any(|left| left.finding == finding.id);
            assert!(mended || left, "{set}: {}", finding.id);
        }
    }
    assert!(plans > 5, "{plans}");
}

/// Two cables, changed by `change`, per port.
fn per_port_of(change: impl Fn(&mut Interface), wish: Wish) -> Plan {
    let mut snapshot = load("linux-two-cables", None);
    let Reading::Known { value, .. } = &mut snapshot.interfaces else { panic!() };
    value.iter_mut().for_each(change);
    let report = check(&snapshot, &Expectation::default());
    plan(&snapshot, &report, &Wish { per_port: true, ..wish }).unwrap()
}

#[test]
fn a_port_that_is_left_alone_is_named_with_the_reason() {
    let bridged = |interface: &mut Interface| {
        if interface.name == "thunderbolt0" {
            interface.master = Some("br0".into());
        }
    };
    let plan = per_port_of(bridged, Wish::default());
    assert_eq!(plan.interfaces, ["thunderbolt1"]);
    let [skipped] = &plan.skipped[..] else { panic!("{:?}", plan.skipped) };
    assert!(skipped.words(Lang::En).contains("belongs to br0"), "{skipped:?}");
    assert_eq!(per_port_of(|_| {}, Wish::default()).skipped, []);
}

/// What else was on the interface would be chosen to send from, and may be on another one too.
#[test]
fn a_port_s_other_addresses_go() {
    let addressed = |interface: &mut Interface| {
        if interface.name == "thunderbolt1" {
            interface.addresses = Some(vec![Address::new("192.168.2.1/24".parse().unwrap())]);
        }
    };
    let words = commands(&per_port_of(addressed, Wish::default()));
    assert_eq!(words[0], "ip address del 192.168.2.1/24 dev thunderbolt1");
    assert!(words[1].starts_with("ip address add 10.97."), "{words:?}");
}

/// It was asked over the first cable, and has the /30 of the second at that one's other end.
#[test]
fn the_peer_s_ends_of_the_cables_collide_with_nothing() {
    let alone = per_port_of(|_| {}, Wish::default());
    let nets = alone.steps.iter().filter_map(|step| match step.action {
        Action::AddAddress { net, .. } => Some(net.trunc().to_string()),
        _ => None,
    });
    let nets: Vec<String> = nets.collect();
    assert_eq!(nets.len(), 2);
    let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
    let answered = |others: &[&str]| {
        let answered = Some(said("10.97.175.150/30", 1500, others));
        Wish { per_port: true, answered, ..Wish::default() }
    };
    assert_eq!(per_port_of(|_| {}, answered(&nets)), alone);

    // A wider network on another of its links is in the way of both.
    let snapshot = load("linux-two-cables", None);
    let report = check(&snapshot, &Expectation::default());
    let refused = plan(&snapshot, &report, &answered(&["10.97.0.0/16"])).unwrap_err().to_string();
    assert!(refused.contains("10.97.0.0/16"), "{refused}");
}

#[test]
fn where_the_kernel_tells_no_port_one_of_each_leaves_no_doubt() {
    let planned = |set: &str, change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = load(set, None);
        change(&mut snapshot);
        let report = check(&snapshot, &Expectation::default());
        plan(&snapshot, &report, &Wish { per_port: true, ..Wish::default() })
    };
    let forget = |snapshot: &mut Snapshot| {
        let Reading::Known { value, .. } = &mut snapshot.interfaces else { panic!() };
        value.iter_mut().for_each(|interface| interface.cable_port = None);
    };
    assert_eq!(planned("linux-no-address", &forget).unwrap().interfaces, ["thunderbolt0"]);
    let refused = planned("linux-two-cables", &forget).unwrap_err();
    assert!(matches!(refused, PlanError::NoPort { .. }), "{refused}");
    // The only interface is that of another port.
    let elsewhere = |snapshot: &mut Snapshot| {
        let Reading::Known { value, .. } = &mut snapshot.interfaces else { panic!() };
        let cable = value.iter_mut().find(|interface| interface.name == "thunderbolt0").unwrap();
        let source = crate::snapshot::Source::new("a test");
        let (bus, receptacle) = ("domain0".to_owned(), "3".to_owned());
        cable.cable_port = Some(crate::snapshot::CablePort { bus, receptacle, source });
    };
    let refused = planned("linux-no-address", &elsewhere).unwrap_err();
    assert!(matches!(refused, PlanError::NoPort { .. }), "{refused}");
}

#[test]
fn hints_are_for_the_system_that_they_are_read_on() {
    for (set, speaks) in [("good", true), ("linux-bond", false)] {
        let refused = plan_with(set, Wish { per_port: true, ..Wish::default() }).unwrap_err();
        let hint = refused.hint();
        assert_eq!(hint.words(Lang::En).contains("System Settings"), speaks, "{set}: {hint:?}");
        assert_eq!(hint.words(Lang::Ko).contains("시스템 설정"), speaks, "{set}: {hint:?}");
        assert_eq!(hint.words(Lang::En).contains("nomaster"), !speaks, "{set}: {hint:?}");
        let interface = "br0".to_owned();
        let platform = load(set, None).platform;
        let hint = PlanError::Ring { interface, platform }.hint();
        assert_eq!(hint.words(Lang::En).contains("System Settings"), speaks, "{set}: {hint:?}");
    }
}

#[test]
fn a_size_by_hand_is_honoured_per_port_on_macos_too() {
    let plan =
        plan_with("bridge-missing", Wish { per_port: true, mtu: Some(9000), ..Wish::default() });
    assert_eq!(commands(&plan.unwrap()).last().unwrap(), "networksetup -setMTU en2 9000");
    // The peer's own is that of another cable.
    let answered = Some(said("10.25.0.2/24", 1400, &[]));
    let plan = plan_with("bridge-missing", Wish { per_port: true, answered, ..Wish::default() });
    let words = commands(&plan.unwrap());
    assert!(!words.iter().any(|words| words.contains("MTU")), "{words:?}");
}

#[test]
fn both_ends_of_a_cable_find_the_same_network() {
    let (a, b) = ("817DCFA4-B481-4100-80FC-91C7AA969F0B", "28ca4c30-a263-4c55-b302-953416d0b209");
    let (here, there) = (address::of_cable(a, b).unwrap(), address::of_cable(b, a).unwrap());
    assert_eq!((here.own.trunc(), here.own.addr()), (there.own.trunc(), there.peer));
    assert_eq!(here.peer, there.own.addr());
    assert_eq!(address::of_cable(a, a), None);
}

pub(crate) fn said(address: &str, mtu: u32, others: &[&str]) -> EndReport {
    EndReport {
        schema: END_REPORT_SCHEMA,
        identity: Identity {
            machine: "b".into(),
            name: "mini".into(),
            version: "tbnet/0.1.0".into(),
        },
        system: "macOS 26.2".into(),
        interface: "bridge0".into(),
        mtu: Some(mtu),
        addresses: vec![address.parse().unwrap()],
        other_networks: others.iter().map(|net| net.parse().unwrap()).collect(),
        clock_ms: 0,
        cables: Vec::new(),
        domains: Vec::new(),
    }
}

#[test]
fn what_the_peer_says_decides() {
    let answered = |report| Wish { answered: Some(report), ..Wish::default() };
    // Its mask is taken over.
    let plan = plan_with("linux-no-address", answered(said("10.7.0.1/30", 1500, &[]))).unwrap();
    assert_eq!(commands(&plan), ["ip address add 10.7.0.2/30 dev thunderbolt0"]);
    // Its other links are avoided.
    let on_wifi = said("169.254.1.1/16", 1500, &["192.168.2.0/24"]);
    let plan = plan_with("linux-no-address", answered(on_wifi)).unwrap();
    assert_eq!(commands(&plan), ["ip address add 192.168.99.1/24 dev thunderbolt0"]);
    // The larger end comes down to the lesser, and the lesser stays.
    let snapshot = load("linux-good", None);
    let mtu = snapshot.interface("thunderbolt0").unwrap().mtu.unwrap();
    let with = |theirs| answered(said("10.25.0.2/24", theirs, &[]));
    let plan = plan_with("linux-good", with(mtu - 100)).unwrap();
    assert_eq!(commands(&plan), [format!("ip link set dev thunderbolt0 mtu {}", mtu - 100)]);
    assert_eq!(commands(&plan_with("linux-good", with(mtu + 100)).unwrap()), [""; 0]);
    // Of two masks the longer is taken, so that one end changes and the other does not.
    let masked = |net| commands(&plan_with("linux-good", answered(said(net, mtu, &[]))).unwrap());
    assert_eq!(
        masked("10.25.0.2/25"),
        [
            "ip address del 10.25.0.1/24 dev thunderbolt0",
            "ip address add 10.25.0.1/25 dev thunderbolt0"
        ]
    );
    assert_eq!(masked("10.25.0.2/16"), [""; 0]);
}

fn words(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(|text| text.words(Lang::En)).collect()
}

#[test]
fn what_does_not_last_is_said() {
    let kept = |set: &str, keeper: Option<Keeper>, change: &dyn Fn(&mut Interface)| {
        let mut snapshot = load(set, None);
        let Reading::Known { value, .. } = &mut snapshot.interfaces else { panic!() };
        value.iter_mut().for_each(change);
        let report = check(&snapshot, &Expectation::default());
        let name = report.judged.as_ref().unwrap().interface.clone();
        let keepers = BTreeMap::from([(name, keeper)]);
        plan(&snapshot, &report, &Wish { keepers, mtu: Some(9000), ..Wish::default() }).unwrap()
    };
    let as_it_is = |_: &mut Interface| {};
    let by = |keeper| kept("linux-no-address", keeper, &as_it_is).fleeting;
    let manager = Some(Keeper::NetworkManager { has_profile: false });
    assert_eq!(by(Some(Keeper::Networkd)), []);
    assert_eq!(by(manager), []);
    assert!(words(&by(None))[0].contains("gone after a restart"));
    // Nothing is known of who keeps it: nothing is claimed.
    assert_eq!(plan_with("linux-no-address", Wish::default()).unwrap().fleeting, []);

    // What the profile of a bridge has no word for: its members' size.
    let bridge = |interface: &mut Interface| {
        if interface.name == "thunderbolt0" {
            interface.members = Some(vec!["enp1s0".into()]);
        }
    };
    let sizes = kept("linux-no-address", Some(Keeper::Networkd), &bridge).fleeting;
    assert!(words(&sizes)[0].contains("enp1s0: 9000 bytes"), "{sizes:?}");
    let left = kept("linux-no-address", manager, &bridge).fleeting;
    assert!(words(&left)[0].contains("NetworkManager keeps no bridge"), "{left:?}");

    // The settings still have the bridge that the kernel has lost.
    let wish = Wish { per_port: true, ..Wish::default() };
    let plan = plan_with("bridge-lost", wish).unwrap();
    assert!(words(&plan.fleeting)[0].contains("bridge0 is still in the settings"), "{plan:?}");
}

#[test]
fn ipv6_that_somebody_chose_is_kept() {
    let mut snapshot = load("linux-no-address", None);
    let Reading::Known { value, .. } = &mut snapshot.interfaces else { panic!() };
    let cable = value.iter_mut().find(|i| i.name == "thunderbolt0").unwrap();
    let leased = Address { dynamic: Some(true), ..Address::new("fd26::1/64".parse().unwrap()) };
    cable.addresses = Some(vec![Address::new("fd25::1/64".parse().unwrap()), leased]);
    let report = check(&snapshot, &Expectation::default());
    let keep = |keeper| {
        let keepers = BTreeMap::from([("thunderbolt0".to_owned(), Some(keeper))]);
        let wish = Wish { keepers, address: "192.168.2.1/24".parse().ok(), ..Wish::default() };
        commands(&plan(&snapshot, &report, &wish).unwrap()).join("\n")
    };
    let file = keep(Keeper::Networkd);
    assert!(file.contains("\nAddress=fd25::1/64\n") && !file.contains("fd26"), "{file}");
    let profile = keep(Keeper::NetworkManager { has_profile: false });
    assert!(profile.contains("ipv6.addresses fd25::1/64 ipv6.method manual"), "{profile}");
}

#[test]
fn the_other_machine_is_told_what_to_run() {
    let there = |set: &str, wish: Wish| plan_with(set, wish).unwrap().there;
    let to = |peer: &str| Wish { peer: peer.parse().ok(), ..Wish::default() };
    let at_first = Some("tbnet setup --peer 192.168.2.1".to_owned());
    assert_eq!(there("linux-no-address", Wish::default()), at_first);
    assert_eq!(there("linux-no-address", to("192.168.2.2")), None, "it is there");
    assert_eq!(there("linux-good", Wish::default()), None, "nothing is given");
    let answered = Some(said("192.168.2.2/24", 1500, &[]));
    assert_eq!(there("linux-no-address", Wish { answered, ..to("fe80::2") }), None, "it says so");
    // A peer that does not answer would be taken to be in a network of 24 bits.
    let narrow = Wish { address: "10.200.7.5/30".parse().ok(), ..Wish::default() };
    let command = there("linux-no-address", narrow).unwrap();
    assert_eq!(command, "tbnet setup --peer 10.200.7.5 --address 10.200.7.6/30");
    // It stays behind in the network that is given up.
    let plan = plan_with("linux-overlap", to("10.25.0.2")).unwrap();
    assert_eq!(plan.there, at_first);
    let left = plan.left.iter().find(|left| left.finding == FindingId::PeerOutsideSubnet).unwrap();
    assert!(plan.why(left).words(Lang::En).contains("tbnet setup --peer 192.168.2.1"));
    let per_port = Wish { per_port: true, ..Wish::default() };
    let plan = plan_with("linux-two-cables", per_port).unwrap();
    assert_eq!(plan.there.as_deref(), Some("tbnet setup --per-port"));
    let left = Left { finding: FindingId::MtuMismatch, reason: Reason::OtherEnd };
    assert!(plan.why(&left).words(Lang::En).contains("tbnet setup --per-port"));
    let links: Vec<&str> = plan.pairs.iter().map(|link| link.interface.as_str()).collect();
    assert_eq!(links, ["thunderbolt1", "thunderbolt0"]);
    assert_ne!(plan.pairs[0].pair.peer, plan.pairs[1].pair.peer);
}

#[test]
fn a_link_that_may_be_there_is_not_said_to_be_missing() {
    let report = check(&load("everything-garbled", None), &Expectation::default());
    assert!(report.judged.is_none() && report.verdict == Verdict::CouldNotCheck);
    let refused = plan_with("everything-garbled", Wish::default()).unwrap_err();
    assert!(matches!(refused, PlanError::NotKnown { .. }), "{refused}");
}

/// A VPN that takes every private network leaves none to be chosen, by setup or by hand.
#[test]
fn a_vpn_that_takes_every_network_is_named_as_the_way_out() {
    let mut snapshot = load("linux-no-address", None);
    let Reading::Known { value, .. } = &mut snapshot.routes else { panic!() };
    for net in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"] {
        value.push(Route {
            destination: net.parse().unwrap(),
            gateway: None,
            interface: Some("tun0".into()),
            flags: None,
            scoped: false,
            metric: None,
        });
    }
    let report = check(&snapshot, &Expectation::default());
    for address in [None, "10.200.7.1/30".parse().ok()] {
        let refused = plan(&snapshot, &report, &Wish { address, ..Wish::default() }).unwrap_err();
        let hint = refused.hint();
        assert!(hint.words(Lang::En).contains("exclude one of them"), "{refused}: {hint:?}");
    }
    let advised = &report.findings[0].remedy.clicks;
    assert!(advised.iter().any(|click| click.words(Lang::En).contains("VPN")), "{advised:?}");
}

#[test]
fn an_address_by_hand_must_collide_with_nothing() {
    let with = |address: &str, peer: Option<&str>| {
        let peer = peer.map(|p| p.parse().unwrap());
        let wish = Wish { address: Some(address.parse().unwrap()), peer, ..Wish::default() };
        plan_with("linux-no-address", wish)
    };
    assert!(with("10.200.7.1/30", None).is_ok());
    for (address, peer) in [
        ("10.200.7.0/24", None),
        ("10.200.7.1/31", None),
        ("169.254.7.1/16", None),
        ("10.200.7.1/24", Some("10.200.7.1")),
    ] {
        let refused = with(address, peer).unwrap_err();
        assert!(matches!(refused, PlanError::Collides { .. }), "{address}: {refused}");
    }
    let with_peer = |peer: &str, address| {
        let wish = Wish { peer: peer.parse().ok(), address, ..Wish::default() };
        plan_with("linux-good", wish)
    };
    for (peer, address) in
        [("10.25.0.255", None), ("10.25.0.0", None), ("10.200.7.7", "10.200.7.5/30".parse().ok())]
    {
        let refused = with_peer(peer, address).unwrap_err();
        assert!(matches!(refused, PlanError::Nobody { .. }), "{peer}: {refused}");
    }
    let mtu = Wish { mtu: Some(100), ..Wish::default() };
    assert!(matches!(plan_with("linux-good", mtu), Err(PlanError::Mtu { .. })));
}

#[test]
fn every_finding_is_mended_or_left_for_a_reason() {
    let sets = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sets");
    for entry in std::fs::read_dir(sets).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().is_dir() {
            continue;
        }
        let set = entry.file_name().into_string().unwrap();
        let snapshot = load(&set, None);
        let report = check(&snapshot, &Expectation::default());
        let Ok(plan) = plan(&snapshot, &report, &Wish::default()) else { continue };
        for finding in report.findings.iter().filter(|f| f.severity != Severity::Info) {
            let mended = plan.steps.iter().any(|step| step.mends.contains(&finding.id));
            let left = plan.left.iter().any(|left| left.finding == finding.id);
            assert!(mended || left, "{set}: {}", finding.id);
        }
        for step in &plan.steps {
            assert!(step.action.is_for(plan.platform), "{set}: {step:?}");
            // A leased address that is right is taken away and given for good.
            let is_given_back = |other: &Step| match (&other.action, &step.action) {
                (Action::DropAddress { net, .. }, Action::AddAddress { net: new, .. }) => {
                    net == new
                }
                _ => false,
            };
            let for_nothing = step.action.holds(&snapshot) == Some(true);
            assert!(
                !for_nothing || plan.steps.iter().any(is_given_back),
                "{set}: {step:?} for nothing"
            );
        }
    }
}
