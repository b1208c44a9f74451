use std::num::NonZeroU32;

use exo_netconfig::{
    InterfaceChoice, Snapshot,
    snapshot::{Address, Interface, Platform, Reading, Source},
};
use proptest::prelude::*;

use super::*;

const INDEX: u32 = 4;

fn link(addresses: &[&str]) -> Link {
    let mut snapshot = Snapshot::empty(Platform::Linux);
    let interface = Interface {
        name: "cable".into(),
        index: NonZeroU32::new(INDEX),
        up: Some(true),
        carrier: Some(true),
        mtu: Some(1500),
        addresses: Some(addresses.iter().map(|a| Address::new(a.parse().unwrap())).collect()),
        ..Interface::default()
    };
    snapshot.interfaces = Reading::known(vec![interface], Source::new("test"));
    Link::from_snapshot(&snapshot, &InterfaceChoice::Named("cable".into())).unwrap()
}

fn cable() -> Link {
    link(&["192.168.2.1/24", "fe80::1/64"])
}

fn me() -> Announcement {
    Announcement {
        node: NodeId::from_bytes([1; 16]),
        name: "studio".into(),
        port: 5200,
        addresses: vec!["192.168.2.1".parse().unwrap()],
    }
}

fn protocol() -> Protocol {
    Protocol::new(me(), cable(), Duration::ZERO)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn peer() -> SocketAddr {
    "192.168.2.2:5353".parse().unwrap()
}

fn numbered(number: u16) -> NodeId {
    let mut id = [9; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(id)
}

fn air(addresses: &[&str]) -> Vec<u8> {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    Identity::new(numbered(0), "air", 5201).announcement(&addresses)
}

fn found(addr: &str) -> Heard {
    let found = Found { node: numbered(0), name: "air".into(), addr: addr.parse().unwrap() };
    Heard { found: vec![found], ignored: vec![] }
}

fn ignored(reason: Ignored) -> Heard {
    Heard { found: vec![], ignored: vec![reason] }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Sent {
    Query,
    Announcement,
}

/// What is sent until `end`, and when, in milliseconds.
fn sent_until(protocol: &mut Protocol, end: Duration) -> Vec<(u128, Sent)> {
    let mut sent = Vec::new();
    loop {
        let now = protocol.poll_timeout();
        if now > end {
            return sent;
        }
        while let Some(packet) = protocol.poll_send(now) {
            let kind = if packet[2] & 0x80 == 0 { Sent::Query } else { Sent::Announcement };
            sent.push((now.as_millis(), kind));
        }
    }
}

fn of(kind: Sent, sent: &[(u128, Sent)]) -> Vec<u128> {
    sent.iter().filter(|(_, k)| *k == kind).map(|(at, _)| *at).collect()
}

#[test]
fn it_asks_ever_more_rarely_and_announces_twice() {
    // The id's bytes add up to 16: 20 ms and 16 more.
    let sent = sent_until(&mut protocol(), ms(200_000));
    assert_eq!(of(Sent::Announcement, &sent), [36, 1036]);
    let seconds = [0, 1, 3, 7, 15, 31, 63, 123, 183];
    assert_eq!(of(Sent::Query, &sent), seconds.map(|s| s * 1000 + 36));
}

#[test]
fn it_answers_a_question_soon_but_not_every_question() {
    let mut protocol = protocol();
    sent_until(&mut protocol, ms(10_000));
    let query = Identity::new(numbered(0), "air", 5201).query();
    for at in 10_000..10_030 {
        assert_eq!(protocol.handle_packet(peer(), &query, ms(at)), Heard::default());
    }
    let sent = sent_until(&mut protocol, ms(10_100));
    assert_eq!(of(Sent::Announcement, &sent), [10_036]);
    for at in 10_100..10_900 {
        protocol.handle_packet(peer(), &query, ms(at));
    }
    let sent = sent_until(&mut protocol, ms(14_000));
    assert_eq!(of(Sent::Announcement, &sent), [11_036]);
}

#[test]
fn its_own_packets_come_back_and_mean_nothing() {
    let mut protocol = protocol();
    sent_until(&mut protocol, ms(10_000));
    let own = "192.168.2.1:5353".parse().unwrap();
    let query = protocol.identity.query();
    assert_eq!(protocol.handle_packet(own, &query, ms(10_000)), Heard::default());
    let announcement = protocol.identity.announcement(&protocol.addresses());
    let heard = protocol.handle_packet(own, &announcement, ms(10_000));
    assert_eq!(heard, ignored(Ignored::Ourselves));
    let sent = sent_until(&mut protocol, ms(20_000));
    assert!(of(Sent::Announcement, &sent).is_empty());
}

#[test]
fn a_node_is_reported_once_in_a_second_unless_it_changes() {
    let mut protocol = protocol();
    let hear = |protocol: &mut Protocol, addresses: &[&str], at| {
        protocol.handle_packet(peer(), &air(addresses), ms(at))
    };
    assert_eq!(hear(&mut protocol, &["192.168.2.2"], 100), found("192.168.2.2:5201"));
    assert_eq!(hear(&mut protocol, &["192.168.2.2"], 1099), Heard::default());
    assert_eq!(hear(&mut protocol, &["192.168.2.3"], 1099), found("192.168.2.3:5201"));
    assert_eq!(hear(&mut protocol, &["192.168.2.3"], 2099), found("192.168.2.3:5201"));
}

#[test]
fn whoever_said_goodbye_is_new_when_it_comes_back() {
    let mut protocol = protocol();
    let there = air(&["192.168.2.2"]);
    protocol.handle_packet(peer(), &there, ms(100));
    let goodbye = Identity::new(numbered(0), "air", 5201).goodbye(&[]);
    assert_eq!(protocol.handle_packet(peer(), &goodbye, ms(200)), Heard::default());
    assert_eq!(protocol.handle_packet(peer(), &there, ms(300)), found("192.168.2.2:5201"));
}

#[test]
fn a_mended_link_starts_it_over() {
    let mut protocol = protocol();
    let there = air(&["192.168.2.2"]);
    sent_until(&mut protocol, ms(100_000));
    protocol.handle_packet(peer(), &there, ms(99_999));
    protocol.handle_link(cable(), ms(100_000));
    assert_eq!(protocol.handle_packet(peer(), &there, ms(100_001)), found("192.168.2.2:5201"));
    let sent = sent_until(&mut protocol, ms(110_000));
    assert_eq!(of(Sent::Announcement, &sent), [100_036, 101_036]);
    assert_eq!(of(Sent::Query, &sent), [100_036, 101_036, 103_036, 107_036]);
}

#[test]
fn only_the_links_own_networks_count() {
    let at = ms(100);
    let read = |from: &str, addresses: &[&str]| {
        protocol().handle_packet(from.parse().unwrap(), &air(addresses), at)
    };
    let here = ["192.168.2.2"];
    assert_eq!(read("10.0.0.2:5353", &here), ignored(Ignored::SenderElsewhere));
    assert_eq!(read("192.168.2.2:5354", &here), ignored(Ignored::WrongPort));
    for elsewhere in
        ["10.0.0.2", "127.0.0.1", "0.0.0.0", "224.0.0.251", "192.168.2.255", "192.168.2.0", "::1"]
    {
        let heard = read("192.168.2.2:5353", &[elsewhere]);
        assert_eq!(heard, ignored(Ignored::AddressElsewhere), "{elsewhere}");
    }
    let heard = read("192.168.2.2:5353", &["10.0.0.2", "192.168.2.2"]);
    assert_eq!(heard, found("192.168.2.2:5201"));
}

#[test]
fn ipv4_comes_first_and_link_local_ipv6_has_its_scope() {
    let read = |addresses: &[&str]| protocol().handle_packet(peer(), &air(addresses), ms(100));
    assert_eq!(read(&["fe80::2", "192.168.2.2"]), found("192.168.2.2:5201"));
    let heard = read(&["fe80::2"]);
    assert_eq!(heard, found(&format!("[fe80::2%{INDEX}]:5201")));
}

#[test]
fn another_node_of_this_machine_differs_by_its_port() {
    let mut protocol = Protocol::new(me(), link(&["127.0.0.1/8"]), Duration::ZERO);
    let own = "127.0.0.1:5353".parse().unwrap();
    let heard = protocol.handle_packet(own, &air(&["127.0.0.1"]), ms(100));
    assert_eq!(heard, found("127.0.0.1:5201"));
    let imposter = Identity::new(numbered(1), "x", 5200);
    let bytes = imposter.announcement(&["127.0.0.1".parse().unwrap()]);
    assert_eq!(protocol.handle_packet(own, &bytes, ms(100)), ignored(Ignored::AtOurAddress));
}

#[test]
fn it_announces_the_links_own_addresses_alone() {
    let announced =
        |me: Announcement, link: Link| Protocol::new(me, link, Duration::ZERO).addresses();
    let addresses = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    assert_eq!(announced(me(), cable()), addresses(&["192.168.2.1"]));
    let listening = addresses(&["10.9.9.9", "fe80::1"]);
    let both = Announcement { addresses: listening, ..me() };
    assert_eq!(announced(both, cable()), addresses(&["fe80::1"]));
    // After hot-plug with another address.
    assert_eq!(announced(me(), link(&["192.168.2.7/24"])), addresses(&["192.168.2.7"]));
    let everywhere = Announcement { addresses: vec![], ..me() };
    assert_eq!(announced(everywhere, cable()), addresses(&["192.168.2.1", "fe80::1"]));
}

#[test]
fn it_remembers_so_many_nodes_and_no_more() {
    let mut protocol = protocol();
    let address = ["192.168.2.2".parse().unwrap()];
    for number in 0..1000 {
        let bytes = Identity::new(numbered(number), "flood", 5201).announcement(&address);
        let heard = protocol.handle_packet(peer(), &bytes, ms(1000 + u64::from(number)));
        assert_eq!(heard.found.len(), 1);
        assert!(protocol.nodes.len() <= NODES_MAX);
    }
    assert!(protocol.nodes.contains_key(&numbered(999)), "the newest is there");
    assert!(!protocol.nodes.contains_key(&numbered(0)), "the one silent for longest is not");
}

/// Something that happens to a protocol.
#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    Packet(Vec<u8>),
    Node { id: u8, address: [u8; 4], port: u16 },
    Query,
    Link,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..5000u64).prop_map(Event::Wait),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Event::Packet),
        (any::<u8>(), prop::sample::select(vec![[192, 168, 2, 2], [10, 0, 0, 2]]), any::<u16>())
            .prop_map(|(id, address, port)| Event::Node { id, address, port }),
        Just(Event::Query),
        Just(Event::Link),
    ]
}

proptest! {
    /// Whatever happens: what is reported lies on the link, what is sent is bounded in size and
    /// rate, and once nothing is due the next deadline lies ahead.
    #[test]
    fn it_stays_within_its_bounds(events in prop::collection::vec(event(), 1..100)) {
        let mut protocol = protocol();
        let mut now = Duration::ZERO;
        let mut announced = None::<Duration>;
        for event in events {
            let bytes = match event {
                Event::Wait(wait_ms) => {
                    now += ms(wait_ms);
                    None
                }
                Event::Link => {
                    protocol.handle_link(cable(), now);
                    None
                }
                Event::Packet(bytes) => Some(bytes),
                Event::Query => Some(Identity::new(numbered(3), "air", 5201).query()),
                Event::Node { id, address, port } => {
                    let node = NodeId::from_bytes([id; 16]);
                    Some(Identity::new(node, "n", port).announcement(&[IpAddr::from(address)]))
                }
            };
            if let Some(bytes) = bytes {
                for found in protocol.handle_packet(peer(), &bytes, now).found {
                    prop_assert!(cable().contains(found.addr.ip()));
                    prop_assert_ne!(found.addr.port(), 0);
                    prop_assert_ne!(found.node, me().node);
                }
            }
            while let Some(packet) = protocol.poll_send(now) {
                prop_assert!(packet.len() < 400);
                if packet[2] & 0x80 != 0 {
                    prop_assert!(announced.is_none_or(|at| now >= at + ms(1000)));
                    announced = Some(now);
                }
            }
            prop_assert!(protocol.poll_timeout() > now);
            prop_assert!(protocol.nodes.len() <= NODES_MAX);
        }
    }
}
