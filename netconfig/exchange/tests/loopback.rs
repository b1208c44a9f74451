//! Two endpoints on `lo`: one answers, one asks.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    cell::Cell,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use crossbeam::channel::bounded;
use exo_exchange::{AskError, AskOptions, Served, ask, serve};
use exo_netconfig::{InterfaceChoice, Link, facts::Facts, system};
use exo_transport::{ClusterKey, Endpoint, EndpointConfig, Event, Identity, Trust};

fn open(key: u8) -> Endpoint {
    let link = Link::open(&InterfaceChoice::Named("lo".into())).expect("lo is up");
    let trust = Trust::ClusterKey(ClusterKey::from_bytes([key; 32]));
    Endpoint::open(link, Identity::generate(), EndpointConfig::new("a test", trust)).unwrap()
}

fn facts() -> Option<Facts> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    Facts::of(&system::quick(), "lo", "mini", "a-test/1", now as u64)
}

#[test]
fn a_question_is_answered_and_the_way_measured() {
    let (server, client) = (open(1), open(1));
    let (stop, stopped) = bounded(0);
    let addr = server.local_addr();
    let serving = thread::spawn(move || {
        let answered = Cell::new(0);
        serve(&server, Some(&stopped), facts, |event| {
            if let Served::Answered(_) = event {
                answered.set(answered.get() + 1);
            }
        });
        answered.get()
    });
    let answer = ask(&client, addr, &AskOptions::default()).unwrap();
    let mut expected = facts().unwrap();
    expected.clock_ms = answer.facts.clock_ms;
    assert_eq!(answer.facts, expected);
    let rtt = answer.rtt.unwrap();
    assert_eq!(rtt.count, 20);
    assert!(rtt.min_us > 0.0 && rtt.min_us <= rtt.p50_us && rtt.p50_us <= rtt.max_us);
    drop(stop);
    assert_eq!(serving.join().unwrap(), 21);
}

#[test]
fn who_does_not_answer_is_told_from_who_is_not_there() {
    let client = open(1);
    // Nobody listens.
    let gone = {
        let server = open(1);
        let addr = server.local_addr();
        server.close();
        addr
    };
    assert!(matches!(ask(&client, gone, &AskOptions::default()), Err(AskError::Connect(_))));
    // Another cluster's key.
    let stranger = open(2);
    let refused = ask(&client, stranger.local_addr(), &AskOptions::default());
    assert!(matches!(refused, Err(AskError::Connect(_))), "{refused:?}");
    // Connected, with room for a question, and silent.
    let mute = open(1);
    let addr = mute.local_addr();
    let listening = thread::spawn(move || {
        let queue = exo_transport::CompletionQueue::with_capacity(8);
        let Event::Connected { queue_pair } = mute.events().recv().unwrap() else { panic!() };
        let region = exo_transport::Region::pages(4096);
        queue_pair.post_recv(exo_transport::Lane::Cluster, region, &queue).unwrap();
        // Until it is closed.
        while !matches!(mute.events().recv(), Ok(Event::Disconnected { .. }) | Err(_)) {}
    });
    let limit = std::time::Duration::from_millis(500);
    let silent = ask(&client, addr, &AskOptions { limit, ..AskOptions::default() });
    assert!(matches!(silent, Err(AskError::Mute { .. })), "{silent:?}");
    client.close();
    listening.join().unwrap();
}
