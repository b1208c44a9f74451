use proptest::prelude::*;

use super::*;

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn identity() -> Identity {
    Identity::new(node(7), "studio", 5200)
}

fn other() -> Identity {
    Identity::new(node(9), "air", 5201)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn here(addresses: &[&str]) -> Said {
    Said::Here {
        node: node(7),
        name: "studio".into(),
        port: 5200,
        addresses: addresses.iter().map(|a| ip(a)).collect(),
    }
}

/// What the other node reads in a response of ours after `change`.
fn read_changed(change: impl FnOnce(&mut Packet<'_>)) -> Vec<Result<Said, Ignored>> {
    let bytes = identity().announcement(&[ip("192.168.2.1")]);
    let mut packet = Packet::parse(&bytes).unwrap();
    change(&mut packet);
    match other().read(&encode(&packet)) {
        Ok(Message::Response(said)) => said,
        outcome => panic!("not a response: {outcome:?}"),
    }
}

fn text_of(pairs: &[(&'static str, &'static str)]) -> RData<'static> {
    let mut text = TXT::new();
    for (key, value) in pairs {
        text.add_attribute(key, Some(value.as_bytes())).unwrap();
    }
    RData::TXT(text)
}

const ID: &str = "07070707070707070707070707070707";

#[test]
fn an_announcement_says_where_a_node_is() {
    let bytes = identity().announcement(&[ip("192.168.2.1"), ip("fe80::1")]);
    let said = other().read(&bytes).unwrap();
    assert_eq!(said, Message::Response(vec![Ok(here(&["192.168.2.1", "fe80::1"]))]));
    assert!(bytes.len() < 400, "it fits into any packet: {}", bytes.len());
}

#[test]
fn on_the_wire_it_is_what_the_rfcs_want() {
    let bytes = identity().announcement(&[ip("192.168.2.1")]);
    assert_eq!(bytes[..12], [0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    let packet = Packet::parse(&bytes).unwrap();
    let seen: Vec<_> = packet
        .answers
        .iter()
        .map(|r| (r.name.to_string(), r.rdata.type_code(), r.cache_flush, r.ttl))
        .collect();
    let instance = "studio (07070707)._exo-node._tcp.local";
    let host = format!("exo-{ID}.local");
    assert_eq!(
        seen,
        [
            // Shared, so without the cache-flush bit.
            ("_exo-node._tcp.local".to_owned(), TYPE::PTR, false, 4500),
            (instance.to_owned(), TYPE::SRV, true, 120),
            (instance.to_owned(), TYPE::TXT, true, 4500),
            (host, TYPE::A, true, 120),
        ]
    );
    let RData::TXT(text) = &packet.answers[2].rdata else { panic!("TXT is third") };
    let pairs: Vec<_> = text.iter_raw().map(|(key, value)| (key, value.unwrap())).collect();
    let wanted: [(&[u8], &[u8]); 3] = [(b"v", b"1"), (b"id", ID.as_bytes()), (b"name", b"studio")];
    assert_eq!(pairs, wanted);
}

#[test]
fn a_goodbye_has_no_lifetime_and_is_read_as_one() {
    let bytes = identity().goodbye(&[ip("192.168.2.1")]);
    assert!(Packet::parse(&bytes).unwrap().answers.iter().all(|record| record.ttl == 0));
    let said = other().read(&bytes).unwrap();
    assert_eq!(said, Message::Response(vec![Ok(Said::Gone { node: node(7) })]));
}

#[test]
fn a_question_is_answered_by_others_and_not_by_whoever_asked() {
    let query = identity().query();
    assert_eq!(other().read(&query), Ok(Message::Query { us: true }));
    assert_eq!(identity().read(&query), Ok(Message::Query { us: false }));
}

#[test]
fn only_questions_about_us_are_answered() {
    let us = identity();
    let asked = |name: Name<'static>, kind: QTYPE, class: QCLASS| {
        let mut packet = Packet::new_query(0);
        packet.questions.push(Question::new(name, kind, class, false));
        us.read(&encode(&packet)).unwrap() == Message::Query { us: true }
    };
    let (any, internet) = (QCLASS::ANY, QCLASS::CLASS(CLASS::IN));
    assert!(asked(us.service.clone(), TYPE::PTR.into(), internet));
    assert!(asked(us.service.clone(), QTYPE::ANY, any));
    assert!(asked(us.instance.clone(), TYPE::SRV.into(), internet));
    assert!(asked(us.instance.clone(), TYPE::TXT.into(), internet));
    assert!(asked(us.host.clone(), TYPE::A.into(), internet));
    assert!(asked(dns_name(&[b"_EXO-node", b"_TCP", b"Local"]), TYPE::PTR.into(), internet));
    assert!(!asked(us.service.clone(), TYPE::SRV.into(), internet));
    assert!(!asked(us.service.clone(), TYPE::PTR.into(), QCLASS::CLASS(CLASS::CH)));
    assert!(!asked(dns_name(&[b"_ipp", b"_tcp", b"local"]), TYPE::PTR.into(), internet));
    assert!(!asked(other().instance, TYPE::SRV.into(), internet));
}

#[test]
fn an_old_known_answer_does_not_keep_us_silent() {
    let us = identity();
    for (ttl, answer) in [(OTHER_TTL_S / 2, false), (OTHER_TTL_S / 2 - 1, true)] {
        let query = other().query();
        let mut packet = Packet::parse(&query).unwrap();
        packet.answers = vec![us.pointer(ttl)];
        assert_eq!(us.read(&encode(&packet)), Ok(Message::Query { us: answer }), "ttl {ttl}");
    }
}

#[test]
fn machines_called_alike_and_long_names_make_names_of_their_own() {
    let name = "한".repeat(21);
    let one = Identity::new(node(1), &name, 1);
    let two = Identity::new(node(2), &name, 1);
    assert_ne!(one.instance, two.instance);
    let label = one.instance.get_labels()[0].to_string();
    assert!(label.len() <= LABEL_BYTES_MAX && label.ends_with(" (01010101)"), "{label}");
    // The whole name travels in the text record.
    let said = two.read(&one.announcement(&[ip("10.0.0.1")])).unwrap();
    let Message::Response(said) = said else { panic!("a response") };
    assert!(matches!(&said[..], [Ok(Said::Here { name: read, .. })] if *read == name));
}

#[test]
fn a_name_with_dots_and_backslashes_is_one_label() {
    let dotted = Identity::new(node(1), r"a.b\c", 1);
    assert_eq!(dotted.instance.get_labels().len(), 4);
    assert_eq!(other().read(&dotted.query()), Ok(Message::Query { us: true }));
}

#[test]
fn what_is_missing_or_wrong_in_an_answer_is_named() {
    type Change = fn(&mut Packet<'_>);
    let cases: [(Change, Ignored); 11] = [
        (|p| drop(p.answers.remove(1)), Ignored::Incomplete),
        (|p| drop(p.answers.remove(2)), Ignored::Incomplete),
        (|p| drop(p.answers.remove(3)), Ignored::Incomplete),
        (|p| p.answers[2].rdata = text_of(&[("id", ID), ("name", "x")]), Ignored::OtherVersion),
        (
            |p| p.answers[2].rdata = text_of(&[("v", "2"), ("id", ID), ("name", "x")]),
            Ignored::OtherVersion,
        ),
        (|p| p.answers[2].rdata = text_of(&[("v", "1"), ("name", "x")]), Ignored::BadId),
        (
            |p| p.answers[2].rdata = text_of(&[("v", "1"), ("id", &ID[2..]), ("name", "x")]),
            Ignored::BadId,
        ),
        (|p| p.answers[2].rdata = text_of(&[("v", "1"), ("id", ID)]), Ignored::BadName),
        (
            |p| p.answers[2].rdata = text_of(&[("v", "1"), ("id", ID), ("name", "\x1b[2J")]),
            Ignored::BadName,
        ),
        (
            |p| {
                let name = "0123456789".repeat(7);
                let mut text = TXT::new();
                for (key, value) in [("v", "1"), ("id", ID), ("name", &name)] {
                    text.add_attribute(key, Some(value.as_bytes())).unwrap();
                }
                p.answers[2].rdata = RData::TXT(text);
            },
            Ignored::BadName,
        ),
        (
            |p| {
                let RData::SRV(service) = &mut p.answers[1].rdata else { panic!("SRV is second") };
                service.port = 0;
            },
            Ignored::NoPort,
        ),
    ];
    for (number, (change, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(read_changed(change), [Err(wanted)], "case {number}");
    }
}

#[test]
fn other_services_and_unrelated_records_are_passed_over() {
    let said = read_changed(|p| p.answers[0].name = dns_name(&[b"_ipp", b"_tcp", b"local"]));
    assert!(said.is_empty(), "{said:?}");
    // Additional records are as good as answers (RFC 6763 §12.1).
    let said = read_changed(|p| p.additional_records = p.answers.split_off(1));
    assert_eq!(said, [Ok(here(&["192.168.2.1"]))]);
}

#[test]
fn a_packet_has_bounds() {
    let said = read_changed(|p| {
        let pointer = p.answers[0].clone();
        p.answers.extend(std::iter::repeat_n(pointer, 100));
    });
    assert_eq!(said.len(), NODES_PER_PACKET_MAX + 1);
    assert_eq!(said.last(), Some(&Err(Ignored::TooManyNodes)));

    assert_eq!(other().read(&[0; PACKET_BYTES_MAX + 1]), Err(Ignored::TooLong));
    assert_eq!(other().read(&[]), Err(Ignored::Malformed));
    // Four counts of 65,535 in twelve bytes.
    let mut liar = [0xff; 12];
    liar[..4].copy_from_slice(&[0, 0, 0x84, 0]);
    assert_eq!(other().read(&liar), Err(Ignored::Malformed));

    let mut status = identity().query();
    status[2] = 2 << 3;
    assert_eq!(other().read(&status), Err(Ignored::NotMdns));
    let mut refused = identity().announcement(&[ip("10.0.0.1")]);
    refused[3] |= 5;
    assert_eq!(other().read(&refused), Err(Ignored::NotMdns));
}

#[test]
fn a_name_that_points_at_itself_is_malformed() {
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    packet.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12]);
    assert_eq!(other().read(&packet), Err(Ignored::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = identity().read(&bytes);
    }

    /// Bytes that begin as a plausible header reach deeper into the parser.
    #[test]
    fn hostile_records_never_panic(
        flags in prop::sample::select(vec![0u8, 0x84]),
        counts in prop::array::uniform4(0u8..8),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut packet = vec![0, 0, flags, 0];
        packet.extend(counts.into_iter().flat_map(|count| [0, count]));
        packet.extend(bytes);
        let _ = identity().read(&packet);
    }

    #[test]
    fn damaged_packets_never_panic(
        which in 0..3u8,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let addresses = [ip("192.168.2.1"), ip("fe80::1")];
        let mut bytes = match which {
            0 => identity().announcement(&addresses),
            1 => identity().goodbye(&addresses),
            _ => identity().query(),
        };
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = other().read(&bytes);
        let _ = other().read(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn what_one_says_the_other_reads(
        id in any::<[u8; 16]>(),
        name in "\\PC{1,16}",
        port in 1..=u16::MAX,
        addresses in prop::collection::vec(any::<IpAddr>(), 1..=ADDRESSES_MAX),
    ) {
        prop_assume!(is_name(&name));
        let node = NodeId::from_bytes(id);
        let bytes = Identity::new(node, &name, port).announcement(&addresses);
        prop_assert!(bytes.len() <= 1200, "{} bytes", bytes.len());
        let said = Said::Here { node, name, port, addresses };
        prop_assert_eq!(other().read(&bytes), Ok(Message::Response(vec![Ok(said)])));
    }
}
