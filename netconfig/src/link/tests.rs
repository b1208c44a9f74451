use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::snapshot::{Address, Driver, HardwarePort, InterfaceType, Source, Unknown};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn interface(name: &str, index: u32, addresses: &[&str]) -> Interface {
    Interface {
        name: name.into(),
        index: NonZeroU32::new(index),
        up: Some(true),
        carrier: Some(true),
        mtu: Some(1500),
        addresses: Some(addresses.iter().map(|a| Address::new(net(a))).collect()),
        ..Interface::default()
    }
}

fn with_driver(mut interface: Interface, driver: &str) -> Interface {
    interface.driver = Some(Driver { name: driver.into(), source: Source::new("/sys/…/driver") });
    interface
}

fn lo() -> Interface {
    Interface {
        interface_type: InterfaceType::Loopback,
        ..interface("lo", 1, &["127.0.0.1/8", "::1/128"])
    }
}

fn snapshot(platform: Platform, interfaces: Vec<Interface>) -> Snapshot {
    let mut snapshot = Snapshot::empty(platform);
    snapshot.interfaces = Reading::known(interfaces, Source::new("test"));
    snapshot
}

fn linux(interfaces: Vec<Interface>) -> Snapshot {
    snapshot(Platform::Linux, interfaces)
}

fn named(name: &str) -> InterfaceChoice {
    InterfaceChoice::Named(name.into())
}

#[test]
fn a_name_is_no_evidence() {
    let veth = Interface {
        interface_type: InterfaceType::Software("veth".into()),
        ..interface("thunderbolt0", 7, &["10.0.0.1/24"])
    };
    let snap = linux(vec![lo(), veth]);
    let link = Link::from_snapshot(&snap, &named("thunderbolt0")).unwrap();
    assert_eq!((link.kind(), link.evidence()), (LinkKind::ByHand, &Evidence::ChosenByHand));
    let error = Link::from_snapshot(&snap, &InterfaceChoice::Auto).unwrap_err();
    assert_eq!(
        format!("{error}\nhint: {}", error.hint()),
        "no usable Thunderbolt link: looked for an interface whose driver is thunderbolt-net, or \
         a bridge or bond of such interfaces\nhint: connect the machines with a Thunderbolt cable \
         and run `tbnet check`, or name an interface by hand: --interface lo, --interface \
         thunderbolt0"
    );
}

#[test]
fn a_veth_is_by_hand_even_if_sysfs_shows_another_namespaces_driver() {
    let veth = Interface {
        interface_type: InterfaceType::Software("veth".into()),
        ..with_driver(interface("thunderbolt0", 7, &["10.0.0.1/24"]), "thunderbolt-net")
    };
    let link = Link::from_snapshot(&linux(vec![veth]), &named("thunderbolt0")).unwrap();
    assert_eq!(link.kind(), LinkKind::ByHand);
}

#[test]
fn the_driver_is_evidence_for_auto_and_for_a_name() {
    let snap = linux(vec![
        lo(),
        with_driver(interface("eth0", 2, &["192.168.1.4/24"]), "e1000e"),
        with_driver(interface("cable", 3, &["192.168.2.1/24"]), "thunderbolt-net"),
    ]);
    for choice in [InterfaceChoice::Auto, named("cable")] {
        let link = Link::from_snapshot(&snap, &choice).unwrap();
        assert_eq!((link.name(), link.kind()), ("cable", LinkKind::Thunderbolt));
        assert_eq!((link.index().get(), link.mtu()), (3, 1500));
    }
    let link = Link::from_snapshot(&snap, &named("eth0")).unwrap();
    assert_eq!(link.kind(), LinkKind::ByHand);
}

#[test]
fn a_bond_of_cables_is_the_link_and_a_mixed_bridge_is_not() {
    let member = |name: &str, index, master: &str| Interface {
        master: Some(master.into()),
        ..with_driver(interface(name, index, &[]), "thunderbolt-net")
    };
    let bond = Interface {
        interface_type: InterfaceType::Bond,
        members: Some(vec!["thunderbolt0".into(), "thunderbolt1".into()]),
        ..interface("bond0", 5, &["10.10.13.2/24"])
    };
    let mut interfaces =
        vec![bond, member("thunderbolt0", 3, "bond0"), member("thunderbolt1", 4, "bond0")];
    let link = Link::from_snapshot(&linux(interfaces.clone()), &InterfaceChoice::Auto).unwrap();
    assert_eq!(link.name(), "bond0");
    assert!(matches!(link.evidence(), Evidence::ThunderboltBridgeMembers { members, .. }
        if members == &["thunderbolt0", "thunderbolt1"]));

    let error =
        Link::from_snapshot(&linux(interfaces.clone()), &named("thunderbolt1")).unwrap_err();
    assert_eq!(error.hint(), "addresses are on the bridge: use --interface bond0");

    interfaces[2].driver = None;
    let link = Link::from_snapshot(&linux(interfaces), &named("bond0")).unwrap();
    assert_eq!(link.kind(), LinkKind::ByHand);
}

#[test]
fn two_cables_are_not_chosen_between() {
    let snap = linux(vec![
        with_driver(interface("thunderbolt0", 3, &["10.0.0.1/30"]), "thunderbolt-net"),
        with_driver(interface("thunderbolt1", 4, &["10.0.0.5/30"]), "thunderbolt-net"),
    ]);
    let error = Link::from_snapshot(&snap, &InterfaceChoice::Auto).unwrap_err();
    assert_eq!(
        error.to_string(),
        "more than one Thunderbolt link is up: thunderbolt0, thunderbolt1"
    );
    assert_eq!(error.hint(), "say which one, for example --interface thunderbolt0");
}

#[test]
fn each_thing_wrong_has_its_own_name_and_hint() {
    let good = || with_driver(interface("thunderbolt0", 3, &["10.0.0.1/30"]), "thunderbolt-net");
    let error = |interface: Interface| {
        let auto = Link::from_snapshot(&linux(vec![interface]), &InterfaceChoice::Auto);
        auto.unwrap_err()
    };
    let down = error(Interface { up: Some(false), carrier: None, ..good() });
    assert!(matches!(down, LinkError::Down { .. }));
    assert!(down.hint().contains("ip link set thunderbolt0 up"));
    let unplugged = error(Interface { carrier: Some(false), ..good() });
    assert!(matches!(unplugged, LinkError::NoCarrier { kind: LinkKind::Thunderbolt, .. }));
    let bare = error(Interface { addresses: Some(vec![]), ..good() });
    assert!(matches!(bare, LinkError::NoAddress { .. }));
    let mut waiting = good();
    waiting.addresses.as_mut().unwrap()[0].tentative = true;
    assert!(matches!(error(waiting), LinkError::NoAddress { .. }));
    let silent = error(Interface { addresses: None, ..good() });
    assert_eq!(silent.to_string(), "thunderbolt0: which addresses it has is not known");

    let unknown = Link::from_snapshot(&linux(vec![lo(), good()]), &named("en9")).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no interface called en9");
    assert_eq!(unknown.hint(), "these exist: lo, thunderbolt0");

    let mut blind = linux(vec![]);
    let why = Unknown::Permission { detail: "EPERM".into() };
    blind.interfaces = Reading::Unknown { source: Source::new("netlink RTM_GETLINK"), why };
    let refused = Link::from_snapshot(&blind, &named("lo")).unwrap_err();
    assert_eq!(refused.to_string(), "lo: not permitted to ask netlink RTM_GETLINK: EPERM");
}

#[test]
fn a_thunderbolt_link_never_becomes_by_hand_silently() {
    let cable = with_driver(interface("thunderbolt0", 3, &["10.0.0.1/30"]), "thunderbolt-net");
    let snap = linux(vec![cable.clone()]);
    let link = Link::from_snapshot(&snap, &named("thunderbolt0")).unwrap();

    let replugged = Interface { index: NonZeroU32::new(9), ..cable.clone() };
    assert_eq!(link.refreshed(&linux(vec![replugged])).unwrap().index().get(), 9);

    let impostor = Interface { driver: None, ..cable };
    assert!(matches!(
        link.refreshed(&linux(vec![impostor])).unwrap_err(),
        LinkError::KindChanged { was: LinkKind::Thunderbolt, now: LinkKind::ByHand, .. }
    ));
}

#[test]
fn addresses_come_in_the_order_of_preference_and_scopes_are_set() {
    let mixed = interface("br", 16, &["fe80::1/64", "169.254.3.4/16", "fd00::1/64", "10.0.0.1/24"]);
    let link = Link::from_snapshot(&linux(vec![mixed]), &named("br")).unwrap();
    let expected = ["10.0.0.1/24", "169.254.3.4/16", "fd00::1/64", "fe80::1/64"].map(net);
    assert_eq!(link.addresses(), expected);
    assert_eq!(link.address(), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(link.socket_addr(80).to_string(), "10.0.0.1:80");
    let peer: Ipv6Addr = "fe80::2".parse().unwrap();
    let SocketAddr::V6(addr) = link.peer_addr(peer.into(), 80) else { panic!("not IPv6") };
    assert_eq!(addr.scope_id(), 16);
    let SocketAddr::V6(addr) = link.peer_addr("fd00::2".parse().unwrap(), 80) else {
        panic!("not IPv6")
    };
    assert_eq!(addr.scope_id(), 0);
    assert!(link.contains("10.0.0.99".parse().unwrap()) && link.contains(peer.into()));
    assert!(!link.contains("10.0.1.1".parse().unwrap()));
}

#[test]
fn a_mac_bridge_is_thunderbolt_by_its_members() {
    let port = |port: &str, device: &str| HardwarePort {
        port: port.into(),
        device: Some(device.into()),
        mac: None,
    };
    let bridge = Interface {
        interface_type: InterfaceType::Bridge,
        members: Some(vec!["en1".into(), "en2".into()]),
        ..interface("bridge0", 12, &["192.168.2.1/24"])
    };
    let member = |name: &str, index| Interface {
        master: Some("bridge0".into()),
        ..interface(name, index, &[])
    };
    let vm = Interface {
        interface_type: InterfaceType::Bridge,
        members: Some(vec!["vmenet0".into()]),
        ..interface("bridge100", 20, &["192.168.64.1/24"])
    };
    let mut snap = snapshot(
        Platform::MacOs,
        vec![member("en1", 5), member("en2", 6), bridge, vm, interface("en0", 4, &["10.1.1.2/8"])],
    );
    let undecided = Link::from_snapshot(&snap, &InterfaceChoice::Auto).unwrap_err();
    assert!(matches!(undecided, LinkError::SourceFailed { .. }), "{undecided}");

    snap.hardware_ports = Reading::known(
        vec![
            port("Wi-Fi", "en0"),
            port("Thunderbolt 1", "en1"),
            port("Thunderbolt 2", "en2"),
            port("Thunderbolt Bridge", "bridge0"),
        ],
        Source::new("networksetup -listallhardwareports"),
    );
    let link = Link::from_snapshot(&snap, &InterfaceChoice::Auto).unwrap();
    assert_eq!((link.name(), link.kind()), ("bridge0", LinkKind::Thunderbolt));
    let vm = Link::from_snapshot(&snap, &named("bridge100")).unwrap();
    assert_eq!(vm.kind(), LinkKind::ByHand);
}

#[test]
fn choices_and_kinds_read_and_print() {
    assert_eq!("auto".parse::<InterfaceChoice>().unwrap(), InterfaceChoice::Auto);
    assert_eq!("en0".parse::<InterfaceChoice>().unwrap(), named("en0"));
    assert_eq!(serde_json::to_string(&LinkKind::ByHand).unwrap(), "\"by-hand\"");
    assert_eq!(LinkKind::Thunderbolt.to_string(), "thunderbolt");
}

#[test]
fn a_port_that_was_named_is_followed_to_its_new_device() {
    let mac = |device: &str| {
        let mut snap = snapshot(
            Platform::MacOs,
            vec![interface("en2", 7, &["10.0.0.1/30"]), interface("en5", 9, &["10.0.0.5/30"])],
        );
        let ports = [("Thunderbolt 1", device), ("Ethernet", "en0")];
        let port = |(port, device): (&str, &str)| HardwarePort {
            port: port.into(),
            device: Some(device.into()),
            mac: None,
        };
        snap.hardware_ports = Reading::known(ports.map(port).to_vec(), Source::new("test"));
        snap
    };
    let link = Link::from_snapshot(&mac("en2"), &named("en2")).unwrap();
    assert_eq!(link.refreshed(&mac("en2")).unwrap().name(), "en2");
    let moved = link.refreshed(&mac("en5")).unwrap();
    assert_eq!((moved.name(), moved.kind()), ("en5", LinkKind::Thunderbolt));
    // And back, by the receptacle that it still stands on.
    assert_eq!(moved.refreshed(&mac("en2")).unwrap().name(), "en2");
}
