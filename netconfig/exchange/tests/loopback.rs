//! Two endpoints on `lo`: one answers, one asks; and everything that can be wrong with the other one.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    cell::Cell,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use crossbeam::channel::bounded;
use exo_exchange::{
    Answer, AskError, AskOptions, Reporter, Served, ask,
    message::{Message, encode},
    post, serve,
};
use exo_netconfig::{
    InterfaceChoice, Link,
    peer::{EndReport, Identity as Named, Silence},
};
use exo_transport::{
    ClusterKey, CompletionQueue, Endpoint, EndpointConfig, Event, Identity, Trust,
};
use serde_json::json;

fn open(key: u8) -> Endpoint {
    let link = Link::open(&InterfaceChoice::Named("lo".into())).expect("lo is up");
    let trust = Trust::ClusterKey(ClusterKey::from_bytes([key; 32]));
    Endpoint::open(link, Identity::generate(), EndpointConfig::new("a test", trust)).unwrap()
}

fn reporter() -> Reporter {
    Reporter::new(Named { machine: "m".into(), name: "mini".into(), version: "1.2.3".into() })
}

fn impatient() -> AskOptions {
    AskOptions { answer: Duration::from_millis(500), ..AskOptions::default() }
}

#[test]
fn a_question_is_answered_and_the_way_measured() {
    let (server, client) = (open(1), open(1));
    let (stop, stopped) = bounded(0);
    let addr = server.local_addr();
    let serving = thread::spawn(move || {
        let (answered, mut reporter) = (Cell::new(0), reporter());
        serve(
            &server,
            Some(&stopped),
            |number| reporter.report("lo", number),
            |event| {
                if let Served::Answered(_) = event {
                    answered.set(answered.get() + 1);
                }
            },
        );
        answered.get()
    });
    let Answer { report, rtt, clock_ahead_ms } =
        ask(&client, addr, &AskOptions::default()).unwrap();
    let expected = reporter().report("lo", 0).unwrap();
    assert_eq!(report, EndReport { clock_ms: report.clock_ms, ..expected });
    // One clock: only how long the way took stands between the two.
    assert!(clock_ahead_ms.abs() < 1_000, "{clock_ahead_ms}");
    let rtt = rtt.unwrap();
    assert_eq!(rtt.count, 50);
    assert!(rtt.min_us > 0.0 && rtt.min_us <= rtt.p50_us && rtt.p50_us <= rtt.max_us);
    drop(stop);
    assert_eq!(serving.join().unwrap(), 51);
}

#[test]
fn nobody_there_and_the_wrong_key_are_told_apart() {
    let client = open(1);
    let gone = {
        let server = open(1);
        let addr = server.local_addr();
        server.close();
        addr
    };
    let silence = |addr| ask(&client, addr, &AskOptions::default()).unwrap_err().silence();
    assert_eq!(silence(gone), Silence::Refused);
    let stranger = open(2);
    let refused = silence(stranger.local_addr());
    assert!(matches!(&refused, Silence::NotTrusted { detail } if detail.contains("cluster key")));
}

/// Listens and says `bytes` to whoever connects, before it reads any.
fn raw(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    addr
}

#[test]
fn another_version_and_another_program_are_named() {
    let client = open(1);
    let silence = |addr| ask(&client, addr, &AskOptions::default()).unwrap_err().silence();
    // PROTOCOL.md §1.1: speaks versions 8 to 9.
    let preamble = [b"EXO-TBN\n".as_slice(), &[9, 0, 8, 0, 1, 0, 0, 0]].concat();
    let other = silence(raw(preamble));
    assert!(
        matches!(&other, Silence::OtherVersion { detail } if detail.contains('9')),
        "{other:?}"
    );
    let web = silence(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    assert!(
        matches!(&web, Silence::Failed { detail } if detail.contains("no exo-node")),
        "{web:?}"
    );
}

/// A peer that is let in, takes questions and answers each with `says`, or nothing.
fn odd_peer(says: Option<Vec<u8>>) -> SocketAddr {
    let peer = open(1);
    let addr = peer.local_addr();
    thread::spawn(move || {
        let (received, sent) =
            (CompletionQueue::with_capacity(64), CompletionQueue::with_capacity(64));
        let Event::Connected { queue_pair } = peer.events().recv().unwrap() else { panic!() };
        for _ in 0..8 {
            post::receive(&queue_pair, None, &received).unwrap();
        }
        while let Ok(Ok(())) = received.wait(Duration::from_secs(10)).map(|c| c.status) {
            if let Some(bytes) = &says {
                let _ = post::send(&queue_pair, bytes, Duration::from_secs(10), &sent);
            }
        }
    });
    addr
}

#[test]
fn a_peer_that_does_not_answer_the_question_is_named_with_its_program() {
    let client = open(1);
    let mute = ask(&client, odd_peer(None), &impatient());
    assert!(matches!(mute, Err(AskError::Mute { .. })), "{mute:?}");
    // Neither does one that answers something else, or does not know.
    for says in [
        Message::Answer { number: 99, report: json!(null) },
        Message::Answer { number: 0, report: json!(null) },
        Message::Ask { number: 0 },
    ] {
        let mute = ask(&client, odd_peer(Some(encode(&says))), &impatient());
        assert!(matches!(mute, Err(AskError::Mute { .. })), "{says:?}: {mute:?}");
    }
}

#[test]
fn a_peer_that_answers_nonsense_is_refused_and_one_of_another_schema_is_named() {
    let client = open(1);
    for garbage in [&b"\xff\x00garbage"[..], b"", b"{\"answer\":{\"number\":0,\"report\":7}}"] {
        let refused = ask(&client, odd_peer(Some(garbage.to_vec())), &impatient());
        assert!(matches!(refused, Err(AskError::Malformed(_))), "{refused:?}");
    }
    let later = Message::Answer { number: 0, report: json!({ "schema": 2, "everything": "new" }) };
    let silence = ask(&client, odd_peer(Some(encode(&later))), &impatient()).unwrap_err().silence();
    assert!(matches!(&silence, Silence::OtherVersion { detail } if detail.contains("schema 2")));
}

#[test]
fn who_asks_nonsense_is_cut_off_and_the_others_are_answered() {
    let (server, rude, client) = (open(1), open(1), open(1));
    let (stop, stopped) = bounded(0);
    let addr = server.local_addr();
    let serving = thread::spawn(move || {
        let mut reporter = reporter();
        let mut refused = Vec::new();
        serve(
            &server,
            Some(&stopped),
            |number| reporter.report("lo", number),
            |event| {
                if let Served::Refused(why) = event {
                    refused.push(why);
                }
            },
        );
        refused
    });
    rude.connect(addr).unwrap();
    let Event::Connected { queue_pair } = rude.events().recv().unwrap() else { panic!() };
    let sent = CompletionQueue::with_capacity(8);
    post::send(&queue_pair, b"garbage", Duration::from_secs(10), &sent).unwrap();
    let gone = rude.events().recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(matches!(gone, Event::Disconnected { .. }), "{gone:?}");
    assert_eq!(ask(&client, addr, &AskOptions::default()).unwrap().report.identity.name, "mini");
    drop(stop);
    let refused = serving.join().unwrap();
    assert!(matches!(&refused[..], [why] if why.contains("not a message")), "{refused:?}");
}
