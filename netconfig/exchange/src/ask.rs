//! Asks a peer what its end is like, and measures the way to it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use exo_netconfig::{
    facts::Facts,
    rtt::{Rtt, Way},
};
use exo_transport::{
    CompletionQueue, ConnectError, Endpoint, Event, PostError, QueuePair, WorkError,
};

use crate::{
    message::{IMMEDIATE, Malformed, Message, decode, encode},
    post,
};

/// Questions and answers that may be on their way.
const PLACES: usize = 64;
/// Regions posted: an answer, and what a node says by itself.
const REGIONS: usize = 4;

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub struct AskOptions {
    /// Bound on all of it.
    pub limit: Duration,
    /// How many questions: each is a round trip that is measured, after a first that is not.
    pub rounds: u32,
}

impl Default for AskOptions {
    fn default() -> Self {
        Self { limit: Duration::from_secs(5), rounds: 20 }
    }
}

/// What the peer said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its end.
    pub facts: Facts,
    /// From posting a question to the acknowledgement of the peer's transport.
    pub rtt: Option<Rtt>,
}

/// Why a peer said nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It did not come about in time.
    #[error("no answer from {addr} within {waited_ms} ms")]
    Timeout {
        /// The peer.
        addr: SocketAddr,
        /// How long was waited.
        waited_ms: u64,
    },
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Lost(#[from] WorkError),
    /// The question could not be posted.
    #[error("the question could not be sent: {0}")]
    Post(#[from] PostError),
    /// It is connected, but does not answer this question.
    #[error("{addr} runs {software}, which does not say what its end is like")]
    Mute {
        /// The peer.
        addr: SocketAddr,
        /// Its program.
        software: String,
    },
    /// It answered with something else.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It does not know its own end.
    #[error("{addr} does not know the state of its own link just now")]
    NotKnown {
        /// The peer.
        addr: SocketAddr,
    },
}

/// Asks the peer at `addr`.
///
/// # Errors
/// [`AskError`].
pub fn ask(
    endpoint: &Endpoint,
    addr: SocketAddr,
    options: &AskOptions,
) -> Result<Answer, AskError> {
    let deadline = Instant::now() + options.limit;
    let timeout = || AskError::Timeout { addr, waited_ms: options.limit.as_millis() as u64 };
    let left = || deadline.saturating_duration_since(Instant::now());
    endpoint.connect(addr)?;
    let pair = loop {
        match endpoint.events().recv_timeout(left()).map_err(|_| timeout())? {
            Event::Connected { queue_pair } if queue_pair.peer().addr.ip() == addr.ip() => {
                break queue_pair;
            }
            Event::ConnectFailed { error, .. } => return Err(error.into()),
            _ => {}
        }
    };
    let received = CompletionQueue::with_capacity(PLACES);
    let sent = CompletionQueue::with_capacity(PLACES);
    for _ in 0..REGIONS {
        post::receive(&pair, None, &received)?;
    }
    let (mut times, mut facts) = (Vec::new(), None);
    for number in 0..=options.rounds {
        let question = encode(&Message::Ask { number });
        post::send(&pair, &question, left(), &sent)?;
        let posted = sent.wait(left()).map_err(|_| timeout())?;
        posted.status?;
        match answer(&pair, number, &received, deadline) {
            Ok(said) => facts = Some(said),
            // A first answer is enough to go by.
            Err(Missing::Late) if facts.is_some() => break,
            Err(Missing::Late) => {
                let software = pair.peer().software.clone();
                return Err(AskError::Mute { addr, software });
            }
            Err(Missing::Failed(error)) => return Err(error),
            Err(Missing::Unknown) => return Err(AskError::NotKnown { addr }),
        }
        // The first finds the peer asleep and its caches cold.
        if number > 0 {
            times.push(posted.elapsed);
        }
    }
    pair.close();
    let facts = facts.ok_or_else(timeout)?;
    Ok(Answer { facts, rtt: Rtt::of(Way::Transport, &times, 0) })
}

enum Missing {
    Late,
    Unknown,
    Failed(AskError),
}

fn answer(
    pair: &QueuePair,
    number: u32,
    received: &CompletionQueue,
    deadline: Instant,
) -> Result<Facts, Missing> {
    let failed = |error: AskError| Missing::Failed(error);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let completion = received.wait(left).map_err(|_| Missing::Late)?;
        completion.status.map_err(|error| failed(error.into()))?;
        let Some(region) = completion.region else { continue };
        // What a node says by itself is passed over.
        let message = (completion.immediate == Some(IMMEDIATE))
            .then(|| decode(&region.as_slice()[..completion.bytes]));
        post::receive(pair, Some(region), received).map_err(|error| failed(error.into()))?;
        match message.transpose().map_err(|error| failed(error.into()))? {
            Some(Message::Answer { number: of, end }) if of == number => {
                let end = end.ok_or(Missing::Unknown)?;
                return Facts::try_from(end).map_err(|error| failed(error.into()));
            }
            _ => {}
        }
    }
}
