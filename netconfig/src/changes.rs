//! What changed between two snapshots of one machine. Pure; `tbnet watch` prints it.

use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    snapshot::{Interface, Reading, Snapshot, ThunderboltPort},
    text::{Say, Text, live as say, words},
};

/// What sort of change it is. The names are stable: scripts match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It was there when watching began.
    Now,
    /// A new interface.
    Appeared,
    /// An interface is not there any more.
    Gone,
    /// Another index under the same name: the interface was made anew.
    Renumbered,
    /// Switched on or off, or the other end came or went.
    State,
    /// Other addresses.
    Addresses,
    /// Another largest packet.
    Mtu,
    /// It belongs to another bridge, or to none.
    Master,
    /// A bridge has other members.
    Members,
    /// Other computers at the ends of the Thunderbolt cables.
    Peers,
    /// Other docks, drives and hubs at them.
    Devices,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The interface; `None` for what is about the cables.
    pub interface: Option<String>,
    /// What sort of change.
    pub kind: ChangeKind,
    /// In words.
    pub text: Text,
}

/// The interface as it is, for the beginning.
pub fn now(interface: &Interface) -> Change {
    let text = say::watch_now(state(interface), with_addresses(interface));
    Change { interface: Some(interface.name.clone()), kind: ChangeKind::Now, text }
}

/// What changed from `before` to `after`, interface by interface, then the cables.
///
/// A source that did not answer one of the two times tells of no change.
pub fn between(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut found = Vec::new();
    if let (Reading::Known { value: was, .. }, Reading::Known { value: now, .. }) =
        (&before.interfaces, &after.interfaces)
    {
        for now in now {
            match was.iter().find(|was| was.name == now.name) {
                Some(was) => found.extend(of_one(was, now)),
                None => found.push(appeared(now)),
            }
        }
        let gone = was.iter().filter(|was| !now.iter().any(|now| now.name == was.name));
        found.extend(gone.map(|was| Change {
            interface: Some(was.name.clone()),
            kind: ChangeKind::Gone,
            text: say::watch_gone(),
        }));
    }
    if let (Reading::Known { value: was, .. }, Reading::Known { value: now, .. }) =
        (&before.thunderbolt_ports, &after.thunderbolt_ports)
    {
        let names = |is_computer: bool, unnamed: fn() -> Text| {
            let all = now.iter().flat_map(|port| &port.devices);
            let names: Vec<Text> = all
                .filter(|device| device.is_computer == is_computer)
                .map(|device| device.name.as_ref().map_or_else(unnamed, Text::verbatim))
                .collect();
            (!names.is_empty()).then(|| Text::joined(names, ", "))
        };
        let mut add = |kind, text| found.push(Change { interface: None, kind, text });
        if at_the_ports(was, true) != at_the_ports(now, true) {
            let names = names(true, words::a_computer);
            add(ChangeKind::Peers, names.map_or_else(say::watch_no_peers, say::watch_peers));
        }
        if at_the_ports(was, false) != at_the_ports(now, false) {
            let names = names(false, words::unnamed_device);
            add(ChangeKind::Devices, names.map_or_else(say::watch_no_devices, say::watch_devices));
        }
    }
    found
}

fn appeared(now: &Interface) -> Change {
    let text = say::watch_appeared(state(now), with_addresses(now));
    Change { interface: Some(now.name.clone()), kind: ChangeKind::Appeared, text }
}

fn of_one(was: &Interface, now: &Interface) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |changed: bool, kind: ChangeKind, text: &dyn Fn() -> Text| {
        if changed {
            changes.push(Change { interface: Some(now.name.clone()), kind, text: text() });
        }
    };
    add(was.index != now.index, ChangeKind::Renumbered, &|| {
        say::watch_renumbered(known(was.index), known(now.index))
    });
    add((was.up, was.carrier) != (now.up, now.carrier), ChangeKind::State, &|| {
        say::watch_state(state(was), state(now))
    });
    add(nets(was) != nets(now), ChangeKind::Addresses, &|| match &nets(now)[..] {
        [] => say::watch_no_address(),
        nets => say::watch_addresses(list(nets)),
    });
    add(was.mtu != now.mtu, ChangeKind::Mtu, &|| say::watch_mtu(known(was.mtu), known(now.mtu)));
    add(was.master != now.master, ChangeKind::Master, &|| match &now.master {
        Some(master) => say::watch_master(master),
        None => say::watch_no_master(),
    });
    let members = |interface: &Interface| interface.members.clone().unwrap_or_default();
    add(members(was) != members(now), ChangeKind::Members, &|| match &members(now)[..] {
        [] => say::watch_no_members(),
        members => say::watch_members(members.join(", ")),
    });
    changes
}

/// Which computers, or what else, is at which port, and how fast.
fn at_the_ports(ports: &[ThunderboltPort], is_computer: bool) -> Vec<impl Ord + '_> {
    let of_port = ports.iter().filter_map(|port| {
        let ThunderboltPort { bus, receptacle, speed, devices, .. } = port;
        let wanted = devices.iter().filter(|device| device.is_computer == is_computer);
        let there: Vec<_> = wanted.map(|device| (&device.domain_uuid, &device.name)).collect();
        (!there.is_empty()).then_some(((bus, receptacle, speed), there))
    });
    let mut there: Vec<_> = of_port.collect();
    there.sort();
    there
}

/// IPv4 first; the source's own order says nothing.
fn nets(interface: &Interface) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = interface.addresses.iter().flatten().map(|a| a.net).collect();
    nets.sort();
    nets
}

fn list(nets: &[IpNet]) -> String {
    nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn with_addresses(interface: &Interface) -> String {
    match &nets(interface)[..] {
        [] => String::new(),
        nets => format!(", {}", list(nets)),
    }
}

fn known(number: Option<impl fmt::Display>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.say(crate::text::Lang::En))
}

/// The state of an interface in a few words.
pub fn state(interface: &Interface) -> Text {
    match (interface.up, interface.carrier) {
        (Some(false), _) => words::state_down(),
        (Some(true), Some(true)) => words::state_active(),
        (Some(true), Some(false)) => words::state_no_link(),
        (Some(true), None) => words::state_up(),
        (None, _) => words::state_unknown(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::{
        snapshot::{Address, Platform, Source, ThunderboltDevice, Unknown},
        text::Lang,
    };

    fn interface(name: &str) -> Interface {
        Interface {
            name: name.into(),
            index: NonZeroU32::new(3),
            up: Some(true),
            carrier: Some(true),
            mtu: Some(1500),
            addresses: Some(vec![Address::new("192.168.2.1/24".parse().unwrap())]),
            ..Interface::default()
        }
    }

    fn snapshot(interfaces: Vec<Interface>) -> Snapshot {
        let mut snapshot = Snapshot::empty(Platform::Linux);
        snapshot.interfaces = Reading::known(interfaces, Source::new("a test"));
        snapshot
    }

    /// The changes of `eth0` when `change` happens to it: kind and English words.
    fn changes(change: impl FnOnce(&mut Interface)) -> Vec<(ChangeKind, String)> {
        let before = snapshot(vec![interface("eth0")]);
        let mut now = interface("eth0");
        change(&mut now);
        let found = between(&before, &snapshot(vec![now]));
        assert!(found.iter().all(|change| change.interface.as_deref() == Some("eth0")));
        found.iter().map(|c| (c.kind, c.text.words(Lang::En).to_owned())).collect()
    }

    #[test]
    fn nothing_changed_is_nothing_said() {
        assert_eq!(changes(|_| ()), []);
        // Another order of the same addresses is no change.
        let two = |nets: [&str; 2]| {
            let mut eth0 = interface("eth0");
            eth0.addresses = Some(nets.map(|net| Address::new(net.parse().unwrap())).to_vec());
            snapshot(vec![eth0])
        };
        let (one, other) = (["10.0.0.1/8", "fe80::1/64"], ["fe80::1/64", "10.0.0.1/8"]);
        assert_eq!(between(&two(one), &two(other)), []);
    }

    #[test]
    fn each_difference_is_told_with_what_was_and_what_is() {
        let told = changes(|now| {
            now.index = NonZeroU32::new(9);
            now.carrier = Some(false);
            now.addresses = Some(Vec::new());
            now.mtu = Some(9000);
            now.master = Some("br0".into());
        });
        let words: Vec<&str> = told.iter().map(|(_, words)| words.as_str()).collect();
        assert_eq!(
            words,
            [
                "was index 3, is index 9: sockets kept on it are dead",
                "was active, is no link",
                "has no address",
                "MTU was 1500, is 9000",
                "belongs to br0",
            ]
        );
        let members = changes(|now| now.members = Some(vec!["en2".into(), "en3".into()]));
        assert_eq!(members, [(ChangeKind::Members, "its members are en2, en3".into())]);
    }

    #[test]
    fn interfaces_come_and_go() {
        let (none, one) = (snapshot(vec![]), snapshot(vec![interface("en7")]));
        let kinds = |found: &[Change]| found.iter().map(|c| c.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&between(&none, &one)), [ChangeKind::Appeared]);
        assert_eq!(kinds(&between(&one, &none)), [ChangeKind::Gone]);
    }

    #[test]
    fn computers_at_the_cables_are_told_and_a_source_that_is_silent_tells_nothing() {
        let peer = ThunderboltDevice {
            name: Some("Mac Studio".into()),
            model: None,
            vendor: None,
            domain_uuid: None,
            is_computer: true,
            offers_ip: None,
            offers_rdma: None,
            lanes: None,
        };
        let port = ThunderboltPort {
            bus: "0".into(),
            receptacle: None,
            domain_uuid: None,
            speed: None,
            generation: None,
            connected: Some(true),
            devices: vec![peer],
        };
        let with = |ports: Reading<Vec<ThunderboltPort>>| {
            let mut snapshot = snapshot(vec![]);
            snapshot.thunderbolt_ports = ports;
            snapshot
        };
        let source = || Source::new("a test");
        let empty = with(Reading::known(vec![], source()));
        let plugged = with(Reading::known(vec![port], source()));
        let silent = with(Reading::Unknown { source: source(), why: Unknown::NotAsked });
        let [change] = &between(&empty, &plugged)[..] else { panic!("one change") };
        assert_eq!(change.text.words(Lang::En), "at the end of the cables: Mac Studio");
        assert_eq!(change.interface, None);
        assert_eq!(between(&plugged, &empty)[0].kind, ChangeKind::Peers);
        assert_eq!(between(&plugged, &silent), []);
        assert_eq!(between(&silent, &plugged), []);
        let Reading::Known { value, .. } = &plugged.thunderbolt_ports else { panic!() };
        let mut ports = value.clone();
        let mut drive = ports[0].devices[0].clone();
        (drive.name, drive.is_computer) = (Some("Fast Disk".into()), false);
        ports[0].devices.push(drive);
        let with_drive = with(Reading::known(ports, source()));
        let [change] = &between(&plugged, &with_drive)[..] else { panic!("one change") };
        assert_eq!(
            (change.kind, change.text.words(Lang::En)),
            (ChangeKind::Devices, "docks and drives at the cables: Fast Disk")
        );
        let [change] = &between(&with_drive, &plugged)[..] else { panic!("one change") };
        assert_eq!(change.text.words(Lang::En), "no dock or drive at any cable");
    }
}
