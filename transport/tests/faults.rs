//! Strangers, wrong keys, broken links and crossed connections, over real sockets on `lo`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use exo_netconfig::snapshot::{Driver, InterfaceType, Reading, Source};
use exo_netconfig::{InterfaceChoice, Link, LinkKind};
use exo_transport::{
    ClusterKey, CompletionQueue, ConnectError, Encrypt, Endpoint, EndpointConfig, Event,
    HandshakeError, Identity, Lane, LossCause, OpenError, Region, Trust, WorkError,
};

/// What the endpoint says to a stranger that sends these bytes, and what it answers.
fn stranger(endpoint: &Endpoint, bytes: &[u8]) -> (ConnectError, Vec<u8>) {
    let mut socket = TcpStream::connect(endpoint.local_addr()).unwrap();
    socket.write_all(bytes).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = socket.read_to_end(&mut answer);
    match next_event(endpoint) {
        Event::Refused { addr, error } => {
            assert_eq!(addr, socket.local_addr().unwrap());
            (error, answer)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn strangers_are_refused_by_name_and_cost_nothing() {
    let endpoint = open(config("a", Encrypt::Auto));
    let (error, answer) = stranger(&endpoint, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(error.to_string().contains("no exo-node"), "{error}");
    assert!(answer.is_empty(), "a stranger learns nothing");

    let (error, answer) = stranger(&endpoint, b"EXO-TBN\n\x05\0\x03\0\x01\0\0\0");
    let words = error.to_string();
    assert!(words.contains("versions 3 to 5") && words.contains("version 1"), "{words}");
    assert!(answer.starts_with(b"EXO-TBN\n\x01\0\x01\0"), "the peer learns our version too");

    let (error, _) = stranger(&endpoint, b"EXO-TBN\n\x01\0\x01\0\x01\0\0\0\xff\xff");
    assert!(error.to_string().contains("65535 bytes"), "{error}");

    let (error, _) = stranger(&endpoint, b"EXO-TBN\n\x01\0\x01\0\x01\0\0\0\x30\0 short");
    assert!(matches!(error, ConnectError::Handshake { error: HandshakeError::Ended, .. }));

    let mut noise = b"EXO-TBN\n\x01\0\x01\0\x01\0\0\0\x30\0".to_vec();
    noise.extend([0x42; 48]);
    let (error, answer) = stranger(&endpoint, &noise);
    assert!(matches!(
        error,
        ConnectError::Handshake { error: HandshakeError::OtherClusterKey, .. }
    ));
    assert_eq!(answer[16..], [0, 0, 1], "a refusal that says why");

    assert_eq!(endpoint.stats().refused, 5);
    assert!(endpoint.stats().connections.is_empty());
}

#[test]
fn a_stranger_that_says_nothing_is_shown_out() {
    let endpoint = open(quick(Encrypt::Auto));
    let mut sockets: Vec<_> =
        (0..40).map(|_| TcpStream::connect(endpoint.local_addr()).unwrap()).collect();
    let mut limit = 0;
    let mut timeout = 0;
    for _ in 0..40 {
        match next_event(&endpoint) {
            Event::Refused { error: ConnectError::Limit { .. }, .. } => limit += 1,
            Event::Refused {
                error: ConnectError::Handshake { error: HandshakeError::Timeout { .. }, .. },
                ..
            } => timeout += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((limit, timeout), (24, 16));
    for socket in &mut sockets {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let end = socket.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    // And an honest peer gets in.
    let peer = open(config("b", Encrypt::Auto));
    peer.connect(endpoint.local_addr()).unwrap();
    connected(&peer);
}

#[test]
fn another_cluster_key_is_named_at_both_sides() {
    let a = open(config("a", Encrypt::Auto));
    let other = Trust::ClusterKey(ClusterKey::from_bytes([8; 32]));
    let b = open(EndpointConfig::new("b", other));
    a.connect(b.local_addr()).unwrap();
    let Event::ConnectFailed { addr, error } = next_event(&a) else { panic!("it must fail") };
    assert_eq!(addr, b.local_addr());
    assert!(error.to_string().contains("the peer has another cluster key"), "{error}");
    let Event::Refused { error, .. } = next_event(&b) else { panic!("it must fail") };
    assert!(error.to_string().contains("the peer has another cluster key"), "{error}");
}

#[test]
fn a_peer_of_another_version_is_named_to_the_one_that_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = open(config("a", Encrypt::Auto));
    a.connect(listener.local_addr().unwrap()).unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    socket.write_all(b"EXO-TBN\n\x09\0\x08\0\x01\0\0\0").unwrap();
    let Event::ConnectFailed { error, .. } = next_event(&a) else { panic!("it must fail") };
    let words = error.to_string();
    assert!(words.contains("versions 8 to 9") && words.contains("version 1"), "{words}");
}

#[test]
fn nobody_there_and_oneself_are_named() {
    let a = open(config("a", Encrypt::Auto));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    a.connect(free).unwrap();
    let Event::ConnectFailed { error, .. } = next_event(&a) else { panic!("it must fail") };
    assert!(error.to_string().contains("hint: does exo-node run there"), "{error}");
    a.connect(a.local_addr()).unwrap();
    let mut words = String::new();
    for _ in 0..2 {
        match next_event(&a) {
            Event::ConnectFailed { error, .. } => words = error.to_string(),
            Event::Refused { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(words.contains("this node itself"), "{words}");
}

#[test]
fn a_port_in_use_and_a_missing_key_are_named() {
    let a = open(config("a", Encrypt::Auto));
    let taken = EndpointConfig { listen: a.local_addr().port(), ..config("b", Encrypt::Auto) };
    let error = Endpoint::open(lo(), Identity::generate(), taken).unwrap_err();
    assert!(matches!(error, OpenError::PortInUse { .. }), "{error}");
    assert!(error.to_string().contains("hint:"), "{error}");
    let trust = Trust::FirstUse { store: "/nonexistent".into() };
    let error = Endpoint::open(lo(), Identity::generate(), EndpointConfig::new("c", trust));
    let error = error.unwrap_err();
    assert!(matches!(error, OpenError::ClusterKeyNeeded { .. }), "{error}");
    assert!(error.to_string().contains("openssl rand -hex 32"), "{error}");
}

/// `lo`, as if its driver were a Thunderbolt cable's.
fn cable_link() -> Link {
    let mut snapshot = exo_netconfig::system::quick();
    let Reading::Known { value, .. } = &mut snapshot.interfaces else { panic!("no interfaces") };
    let lo = value.iter_mut().find(|interface| interface.name == "lo").expect("lo");
    lo.interface_type = InterfaceType::Unspecified;
    lo.driver = Some(Driver { name: "thunderbolt-net".into(), source: Source::new("this test") });
    let choice = InterfaceChoice::Named("lo".into());
    let link = Link::from_snapshot(&snapshot, &choice).expect("a link");
    assert_eq!(link.kind(), LinkKind::Thunderbolt);
    link
}

#[test]
fn on_a_cable_the_first_peer_is_remembered_and_a_stranger_refused_at_either_end() {
    let folder = tempfile::tempdir().unwrap();
    let open = |identity: &Identity, name: &str| {
        let store = folder.path().join(name);
        let config = EndpointConfig::new(name, Trust::FirstUse { store });
        Endpoint::open(cable_link(), identity.clone(), config).unwrap()
    };
    let (ia, ib, ic) = (Identity::generate(), Identity::generate(), Identity::generate());
    let (a, b) = (open(&ia, "a"), open(&ib, "b"));
    a.connect(b.local_addr()).unwrap();
    let ab = connected(&a);
    assert!(!ab.peer().encrypted, "not sealed on a cable unless it is asked for");
    connected(&b);
    drop((a, b, ab));

    // The same two again, the other way round.
    let (a, b) = (open(&ia, "a"), open(&ib, "b"));
    b.connect(a.local_addr()).unwrap();
    connected(&a);
    connected(&b);
    drop(b);
    assert!(matches!(next_event(&a), Event::Disconnected { .. }));

    // A third that comes in is refused, and told so; one that is dialled is refused too.
    let c = open(&ic, "c");
    c.connect(a.local_addr()).unwrap();
    let Event::Refused { error, .. } = next_event(&a) else { panic!("it must be refused") };
    assert!(error.to_string().contains("not the one remembered"), "{error}");
    let Event::ConnectFailed { error, .. } = next_event(&c) else { panic!("it must fail") };
    assert!(error.to_string().contains("the peer remembers another"), "{error}");
    let d = open(&Identity::generate(), "d");
    a.connect(d.local_addr()).unwrap();
    let Event::ConnectFailed { error, .. } = next_event(&a) else { panic!("it must fail") };
    assert!(error.to_string().contains("not the one remembered"), "{error}");
    let Event::Refused { error, .. } = next_event(&d) else { panic!("it must be refused") };
    assert!(error.to_string().contains("the peer remembers another"), "{error}");
}

#[test]
fn one_side_that_wants_seals_is_enough() {
    let two = two_with(config("a", Encrypt::Off), config("b", Encrypt::On));
    assert!(two.ab.peer().encrypted && two.ba.peer().encrypted);
}

#[test]
fn crossed_and_repeated_connections_leave_one() {
    for round in 0..30 {
        let (a, b) = (open(config("a", Encrypt::Auto)), open(config("b", Encrypt::Auto)));
        a.connect(b.local_addr()).unwrap();
        b.connect(a.local_addr()).unwrap();
        if round % 3 == 0 {
            a.connect(b.local_addr()).unwrap();
        }
        // Whoever won, one connection is left at both sides and it works.
        let one = |endpoint: &Endpoint| endpoint.stats().connections.len() == 1;
        eventually("one connection each", || {
            let settled = |e: &Endpoint| {
                let stats = e.stats();
                one(e) && stats.connections[0].rtt.count > 0
            };
            settled(&a) && settled(&b)
        });
        std::thread::sleep(Duration::from_millis(20));
        let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
        for (endpoint, pairs) in [(&a, &mut at_a), (&b, &mut at_b)] {
            for event in endpoint.events().try_iter() {
                match event {
                    Event::Connected { queue_pair } => pairs.push(queue_pair),
                    Event::ConnectFailed { error, .. } | Event::Refused { error, .. } => {
                        let words = error.to_string();
                        assert!(words.contains("connected already"), "round {round}: {words}");
                    }
                    other => panic!("round {round}: {other:?}"),
                }
            }
        }
        let (ab, ba) = (at_a.pop().unwrap(), at_b.pop().unwrap());
        assert!(ab.is_open() && ba.is_open(), "round {round}: the last announced one stands");
        let queue = CompletionQueue::with_capacity(4);
        ba.post_recv(Lane::Urgent, Region::pages(10), &queue).unwrap();
        ab.post_send(message(Lane::Urgent, pattern(10, 0), 1), &queue).unwrap();
        for _ in 0..2 {
            wait(&queue).status.unwrap();
        }
    }
}

/// A cable that can be cut or stopped: it copies bytes both ways until told otherwise.
struct Cable {
    addr: SocketAddr,
    stopped: Arc<AtomicBool>,
    sockets: Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let sockets = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (stop, all) = (stopped.clone(), sockets.clone());
        std::thread::spawn(move || {
            let (near, _) = listener.accept().unwrap();
            let far = TcpStream::connect(target).unwrap();
            for (mut from, mut to) in [
                (near.try_clone().unwrap(), far.try_clone().unwrap()),
                (far.try_clone().unwrap(), near.try_clone().unwrap()),
            ] {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    let mut bytes = [0; 65_536];
                    while let Ok(len @ 1..) = from.read(&mut bytes) {
                        while stop.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        if to.write_all(&bytes[..len]).is_err() {
                            break;
                        }
                    }
                });
            }
            all.lock().unwrap().extend([near, far]);
        });
        Self { addr, stopped, sockets }
    }

    fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_silent_peer_is_suspected_recovers_and_is_lost_in_time() {
    // The other side is patient, so it does not come looking by a way of its own.
    let (a, b) = (open(quick(Encrypt::On)), open(config("quick", Encrypt::On)));
    let cable = Cable::to(b.local_addr());
    a.connect(cable.addr).unwrap();
    let (ab, _ba) = (connected(&a), connected(&b));
    cable.stopped.store(true, Ordering::SeqCst);
    match next_event(&a) {
        Event::Suspected { link, silent_ms, .. } => {
            assert_eq!(link, "lo");
            assert!((200..800).contains(&silent_ms), "{silent_ms}");
        }
        other => panic!("{other:?}"),
    }
    cable.stopped.store(false, Ordering::SeqCst);
    assert!(matches!(next_event(&a), Event::Recovered { .. }));

    let queue = CompletionQueue::with_capacity(4);
    ab.post_recv(Lane::Urgent, Region::pages(10), &queue).unwrap();
    let began = Instant::now();
    cable.stopped.store(true, Ordering::SeqCst);
    assert!(matches!(next_event(&a), Event::Suspected { .. }));
    match next_event(&a) {
        Event::Disconnected { cause, .. } => {
            assert!(matches!(cause.cause, LossCause::Silent { .. }), "{cause}");
            assert!(cause.to_string().contains("silent for 0.8 s"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(matches!(wait(&queue).status, Err(WorkError::PeerLost(_))));
}

#[test]
fn a_cut_cable_loses_nothing() {
    let (a, b) = (open(config("a", Encrypt::Off)), open(config("b", Encrypt::Off)));
    let cable = Cable::to(b.local_addr());
    a.connect(cable.addr).unwrap();
    let (ab, ba) = (connected(&a), connected(&b));
    let queue = CompletionQueue::with_capacity(200);
    let far = CompletionQueue::with_capacity(200);
    let messages: Vec<_> = (0..50).map(|at| pattern(1 << 20, at as u8)).collect();
    for _ in 0..50 {
        ba.post_recv(Lane::Bulk, Region::pages(1 << 20), &far).unwrap();
    }
    for (at, region) in messages.into_iter().enumerate() {
        ab.post_send(message(Lane::Bulk, region, at as u32), &queue).unwrap();
    }
    wait(&queue).status.unwrap();
    cable.cut();
    for at in 0..50 {
        let arrived = wait(&far);
        arrived.status.unwrap();
        assert_eq!(arrived.immediate, Some(at), "in order");
        let same = arrived.region.unwrap().as_slice() == pattern(1 << 20, at as u8).as_slice();
        assert!(same, "message {at}");
    }
    for _ in 1..50 {
        wait(&queue).status.unwrap();
    }
    assert!(queue.poll().is_none() && far.poll().is_none());
    for endpoint in [&a, &b] {
        let events: Vec<_> = endpoint.events().try_iter().collect();
        let suspected = events.iter().any(|event| matches!(event, Event::Suspected { .. }));
        let resumed = events.iter().any(|event| matches!(event, Event::Resumed { .. }));
        assert!(suspected && resumed, "{events:?}");
    }
    assert!(a.stats().connections[0].replayed_frames > 0);
}

#[test]
fn a_peer_that_does_not_know_the_session_ends_it() {
    // What a restarted program is to its peer: the same identity, nothing remembered.
    let identity = Identity::generate();
    let start = |port| {
        let config = EndpointConfig { listen: port, ..config("b", Encrypt::On) };
        Endpoint::open(lo(), identity.clone(), config).unwrap()
    };
    let (a, b) = (open(config("a", Encrypt::On)), start(0));
    let cable = Cable::to(b.local_addr());
    a.connect(cable.addr).unwrap();
    let ab = connected(&a);
    connected(&b);
    let queue = CompletionQueue::with_capacity(2);
    ab.post_recv(Lane::Urgent, Region::pages(10), &queue).unwrap();
    // The cable goes first, so that the goodbye of the old program is not heard.
    cable.stopped.store(true, Ordering::SeqCst);
    let port = b.local_addr().port();
    b.close();
    let again = start(port);
    let second = Cable::to(again.local_addr());
    a.connect(second.addr).unwrap();
    cable.cut();
    let lost = loop {
        match next_event(&a) {
            Event::Disconnected { cause, .. } => break cause,
            Event::Suspected { .. } | Event::ConnectFailed { .. } => {
                let _ = a.connect(again.local_addr());
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(lost.to_string().contains("does not know this session"), "{lost}");
    assert!(matches!(wait(&queue).status, Err(WorkError::PeerLost(_))));
}

#[test]
fn connections_opened_and_left_leave_nothing() {
    let endpoint = open(quick(Encrypt::Auto));
    for round in 0..300 {
        let mut socket = TcpStream::connect(endpoint.local_addr()).unwrap();
        if round % 3 == 0 {
            socket.write_all(b"EXO-TBN\n\x01\0").unwrap();
        }
        drop(socket);
        // The queue of events is bounded and nobody has to read it.
        if round % 10 == 0 {
            endpoint.events().try_iter().for_each(drop);
        }
    }
    eventually("all are refused", || endpoint.stats().refused == 300);
    let peer = open(config("b", Encrypt::Auto));
    peer.connect(endpoint.local_addr()).unwrap();
    connected(&peer);
}

#[test]
fn an_owner_that_never_reads_events_does_not_stop_the_driver() {
    let endpoint = open(quick(Encrypt::Auto));
    for _ in 0..1200 {
        drop(TcpStream::connect(endpoint.local_addr()).unwrap());
    }
    eventually("all are refused", || endpoint.stats().refused >= 1200);
    assert!(endpoint.stats().events_dropped > 0);
    endpoint.events().try_iter().for_each(drop);
    let peer = open(config("b", Encrypt::Auto));
    peer.connect(endpoint.local_addr()).unwrap();
    connected(&peer);
    endpoint.close();
    endpoint.close();
    assert!(matches!(endpoint.connect(peer.local_addr()), Err(ConnectError::Closed)));
}
