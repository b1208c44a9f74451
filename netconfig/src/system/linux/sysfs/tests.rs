use std::{os::unix::fs::symlink, path::PathBuf};

use super::*;

/// As a snapshot has it.
fn attached(root: &Path, interface: &Interface) -> Interface {
    let mut interface = interface.clone();
    attach_device(root, &mut interface);
    interface
}

fn driver(root: &Path, interface: &Interface) -> Option<Driver> {
    attached(root, interface).driver
}

fn cable_port(root: &Path, interface: &Interface) -> Option<CablePort> {
    attached(root, interface).cable_port
}

fn made_up() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/captures/linux_sysfs_SYNTHETIC_peer/sys")
}

#[test]
fn a_thunderbolt_device_is_found_by_its_driver() {
    let root = made_up();
    let reading = interfaces(&root);
    let interface = &reading.items()[0];
    assert_eq!((interface.name.as_str(), interface.up), ("thunderbolt0", Some(true)));
    assert_eq!((interface.carrier, interface.mtu), (Some(true), Some(1500)));
    assert_eq!(driver(&root, interface).unwrap().name, "thunderbolt-net");
    // Another namespace's device of the same name.
    let other = Interface { index: NonZeroU32::new(4), ..interface.clone() };
    assert_eq!(driver(&root, &other), None);
    let other = Interface { mac: Some("02:00:00:00:00:01".into()), ..interface.clone() };
    assert_eq!(driver(&root, &other), None);
}

#[test]
fn the_driver_is_a_link_on_a_running_kernel() {
    let root = tempfile::tempdir().unwrap();
    let device = root.path().join("class/net/cable/device");
    fs::create_dir_all(&device).unwrap();
    symlink("../../../bus/thunderbolt/drivers/thunderbolt-net", device.join("driver")).unwrap();
    let interface = Interface { name: "cable".into(), ..Interface::default() };
    assert_eq!(driver(root.path(), &interface).unwrap().name, "thunderbolt-net");
    let bare = Interface { name: "veth0".into(), ..Interface::default() };
    assert_eq!(driver(root.path(), &bare), None);
}

#[test]
fn the_port_of_an_interface_is_where_its_device_link_leads() {
    let root = tempfile::tempdir().unwrap();
    let port = |target: &str| {
        let folder = root.path().join("class/net/cable");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        symlink(target, folder.join("device")).unwrap();
        let index = NonZeroU32::new(3);
        fs::write(folder.join("ifindex"), "3\n").unwrap();
        let interface = Interface { name: "cable".into(), index, ..Interface::default() };
        let other = Interface { index: NonZeroU32::new(4), ..interface.clone() };
        assert_eq!(cable_port(root.path(), &other), None, "another namespace's device");
        cable_port(root.path(), &interface).map(|port| (port.bus, port.receptacle))
    };
    let at = |bus: &str, receptacle: &str| Some((bus.to_owned(), receptacle.to_owned()));
    assert_eq!(port("../../../0-1.0"), at("domain0", "1"));
    assert_eq!(port("../../../domain1/1-0/1-3/1-3.2"), at("domain1", "3"));
    // Behind a dock: the cable begins at the first hop.
    assert_eq!(port("../../../0-301.0"), at("domain0", "1"));
    // An Ethernet card, an adapter on a USB hub, a router without services.
    for other in ["../../../0000:01:00.0", "../../../1-1.4:1.0", "../../../0-1", "../../.."] {
        assert_eq!(port(other), None, "{other}");
    }
}

#[test]
fn peers_are_told_from_docks() {
    let reading = thunderbolt_ports(&made_up(), Tree::Recorded);
    let ports = reading.items();
    assert_eq!(ports.len(), 2);
    let peer = ports[0].peers().next().unwrap();
    assert_eq!(peer.name.as_deref(), Some("peer-host"));
    assert_eq!(peer.domain_uuid.as_deref(), Some("8087bbbb-0000-0000-0000-000000000002"));
    assert_eq!(ports[0].speed.as_deref(), Some("20.0 Gb/s x 2"));
    assert_eq!(ports[0].domain_uuid.as_deref(), Some("8087aaaa-0000-0000-0000-000000000001"));
    assert!(ports[1].peers().next().is_none());
    assert_eq!(ports[1].devices[0].name.as_deref(), Some("Dock X"));
}

#[test]
fn what_is_not_there_is_absent_in_a_live_tree_and_unknown_in_a_recorded_one() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(thunderbolt_ports(root.path(), Tree::Live).value().map(Vec::len), Some(0));
    assert!(thunderbolt_ports(root.path(), Tree::Recorded).is_unknown());
    assert!(interfaces(root.path()).is_unknown());
}

#[test]
fn routes_on_the_bus_are_told_from_services_and_retimers() {
    assert_eq!(route_of("0-1"), Some(("0", 1)));
    assert_eq!(route_of("1-301"), Some(("1", 0x301)));
    for none in ["0-0", "0-1.0", "0-0:1.1", "domain0", "usb4_port1", "0-"] {
        assert_eq!(route_of(none), None, "{none}");
    }
}

#[test]
fn what_is_recorded_reads_back_the_same() {
    let copy = tempfile::tempdir().unwrap();
    for (file, text) in worth_recording(&made_up()) {
        let path = copy.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let items = |root: &Path| interfaces(root).value().cloned();
    assert_eq!(items(copy.path()), items(&made_up()));
    let ports = |root: &Path| thunderbolt_ports(root, Tree::Recorded).value().cloned();
    assert_eq!(ports(copy.path()), ports(&made_up()));
}

#[test]
fn the_port_of_an_interface_is_recorded_without_the_link() {
    let (live, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let service = live.path().join("devices/domain0/0-0/0-1/0-1.0");
    let class = live.path().join("class/net");
    for folder in [service.join("net/thunderbolt0"), class.join("lo"), class.clone()] {
        fs::create_dir_all(folder).unwrap();
    }
    symlink("../../../0-1.0", service.join("net/thunderbolt0/device")).unwrap();
    let device = "../../devices/domain0/0-0/0-1/0-1.0/net/thunderbolt0";
    symlink(device, class.join("thunderbolt0")).unwrap();
    for (file, text) in worth_recording(live.path()) {
        let path = copy.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let interface = Interface { name: "thunderbolt0".into(), ..Interface::default() };
    let [live, copy] = [live, copy].map(|root| {
        let port = cable_port(root.path(), &interface).unwrap();
        (port.bus, port.receptacle)
    });
    assert_eq!(live, ("domain0".to_owned(), "1".to_owned()));
    assert_eq!(copy, live);
}

#[test]
fn wifi_is_told_by_its_folders_and_stays_so_when_recorded() {
    let root = tempfile::tempdir().unwrap();
    let net = root.path().join("class/net");
    for folder in ["wlan0/phy80211", "wlan0/wireless", "ath0/wireless", "enp1s0/device"] {
        fs::create_dir_all(net.join(folder)).unwrap();
    }
    assert_eq!(wifi(root.path()), ["ath0", "wlan0"]);

    let recorded = tempfile::tempdir().unwrap();
    for (file, text) in worth_recording(root.path()) {
        let path = recorded.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    assert_eq!(wifi(recorded.path()), ["ath0", "wlan0"]);
}
