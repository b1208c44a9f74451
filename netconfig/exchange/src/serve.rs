//! An endpoint that does nothing but answer.

use std::time::Duration;

use crossbeam::{
    channel::{Receiver, never},
    select,
};
use exo_netconfig::peer::EndReport;
use exo_transport::{Completion, CompletionQueue, Endpoint, Event, NodeId, PeerInfo, QueuePair};

use crate::{
    message::{IMMEDIATE, reply},
    post,
};

/// Regions posted per connection: as many questions may be on their way.
const REGIONS: usize = 8;
/// Completions of all connections that may wait.
const COMPLETIONS: usize = 4_096;
/// An answer that nobody acknowledged for so long is given up.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// What happened, for whoever watches.
#[derive(Debug)]
pub enum Served<'a> {
    /// A peer is there.
    Connected(&'a PeerInfo),
    /// It was told what this end is like.
    Answered(&'a PeerInfo),
    /// It is gone.
    Gone(&'a PeerInfo),
    /// Somebody was not let in, or sent what is no message.
    Refused(String),
}

/// Answers whoever is let in, until `stop` says so or is closed. `own` is what there is to say, asked
/// at most once a question, with its number.
pub fn serve(
    endpoint: &Endpoint,
    stop: Option<&Receiver<()>>,
    mut own: impl FnMut(u32) -> Option<EndReport>,
    mut watch: impl FnMut(Served<'_>),
) {
    let received = CompletionQueue::with_capacity(COMPLETIONS);
    let sent = CompletionQueue::with_capacity(COMPLETIONS);
    let mut pairs: Vec<QueuePair> = Vec::new();
    let (no_stop, events) = (never(), endpoint.events());
    let stop = stop.unwrap_or(&no_stop);
    loop {
        select! {
            recv(stop) -> _ => return,
            recv(events) -> event => match event {
                Err(_) => return,
                Ok(Event::Connected { queue_pair }) => {
                    watch(Served::Connected(queue_pair.peer()));
                    for _ in 0..REGIONS {
                        // A connection that is over already says so by its own event.
                        let _ = post::receive(&queue_pair, None, &received);
                    }
                    pairs.retain(|pair| pair.peer().node != queue_pair.peer().node);
                    pairs.push(queue_pair);
                }
                Ok(Event::Disconnected { peer, .. }) => {
                    watch(Served::Gone(&peer));
                    pairs.retain(|pair| pair.peer().node != peer.node || pair.is_open());
                }
                Ok(Event::Refused { addr, error }) => {
                    watch(Served::Refused(format!("{addr}: {error}")));
                }
                Ok(_) => {}
            },
            recv(received.doorbell()) -> _ => {
                let Some(completion) = received.poll() else { continue };
                let peer = completion.peer;
                if let Some(pair) = find(&pairs, peer) {
                    answer(pair, completion, &mut own, [&received, &sent], &mut watch);
                }
            }
            recv(sent.doorbell()) -> _ => drop(sent.poll()),
        }
    }
}

fn find(pairs: &[QueuePair], node: NodeId) -> Option<&QueuePair> {
    pairs.iter().find(|pair| pair.peer().node == node)
}

fn answer(
    pair: &QueuePair,
    completion: Completion,
    own: &mut impl FnMut(u32) -> Option<EndReport>,
    [received, sent]: [&CompletionQueue; 2],
    watch: &mut impl FnMut(Served<'_>),
) {
    let (Ok(()), Some(region)) = (&completion.status, completion.region) else { return };
    // A node's own messages are not for us.
    let answered = if completion.immediate == Some(IMMEDIATE) {
        reply(&region.as_slice()[..completion.bytes], own)
    } else {
        Ok(None)
    };
    let posted = match answered {
        Ok(Some(bytes)) => {
            watch(Served::Answered(pair.peer()));
            post::send(pair, &bytes, ANSWER_DEADLINE, sent).map(|_| ())
        }
        Ok(None) => Ok(()),
        Err(error) => {
            watch(Served::Refused(format!("{}: {error}", pair.peer().addr)));
            pair.close();
            return;
        }
    };
    if posted.and_then(|()| post::receive(pair, Some(region), received)).is_err() {
        // It is over, or its peer does not take what it asked for.
        pair.close();
    }
}
