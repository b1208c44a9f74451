//! Asks a peer what its end is like, and measures the way to it.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use exo_netconfig::{
    peer::{EndReport, Silence},
    rtt::Rtt,
};
use exo_transport::{
    CompletionQueue, ConnectError, Endpoint, Event, HandshakeError, PostError, QueuePair,
    WorkError, wire::preamble::PreambleError,
};

use crate::{
    message::{self, IMMEDIATE, Malformed, Message, decode, encode},
    post,
};

/// Questions and answers that may be on their way.
const PLACES: usize = 64;
/// Regions posted: an answer, and what a node says by itself.
const REGIONS: usize = 4;

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub struct AskOptions {
    /// Bound on connecting.
    pub connect: Duration,
    /// Bound on all answers together. A Mac may take seconds for the first.
    pub answer: Duration,
    /// How many questions: each is a round trip that is measured, after a first that is not.
    pub rounds: u32,
}

impl Default for AskOptions {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), answer: Duration::from_secs(10), rounds: 50 }
    }
}

/// What the peer said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its end.
    pub report: EndReport,
    /// From posting a question to the acknowledgement of the peer's transport.
    pub rtt: Option<Rtt>,
    /// How far its clock is ahead of this machine's, in milliseconds; negative if it is behind.
    pub clock_ahead_ms: i64,
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
}

impl AskError {
    /// What a check makes of it.
    pub fn silence(&self) -> Silence {
        let failed = || Silence::Failed { detail: self.to_string() };
        match self {
            Self::Timeout { waited_ms, .. } => Silence::TimedOut { limit_ms: *waited_ms },
            Self::Mute { software, .. } => Silence::Mute { software: software.clone() },
            Self::Malformed(Malformed::Schema { .. }) => {
                Silence::OtherVersion { detail: self.to_string() }
            }
            Self::Connect(ConnectError::Io { kind, .. }) => match kind {
                io::ErrorKind::ConnectionRefused => Silence::Refused,
                // `ENETUNREACH` is another thing: there is no route.
                io::ErrorKind::HostUnreachable => Silence::HostUnreachable,
                _ => failed(),
            },
            Self::Connect(ConnectError::Handshake { error, .. }) => {
                let detail = error.to_string();
                match error {
                    HandshakeError::Preamble(PreambleError::Version { .. }) => {
                        Silence::OtherVersion { detail }
                    }
                    HandshakeError::Timeout { waited_ms } => {
                        Silence::TimedOut { limit_ms: *waited_ms }
                    }
                    HandshakeError::OtherClusterKey
                    | HandshakeError::Preamble(PreambleError::Pattern { .. })
                    | HandshakeError::Proof
                    | HandshakeError::NodeMismatch { .. }
                    | HandshakeError::Untrusted { .. }
                    | HandshakeError::NotTrustedByPeer => Silence::NotTrusted { detail },
                    _ => Silence::Failed { detail },
                }
            }
            _ => failed(),
        }
    }
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
    let pair = connect(endpoint, addr, options.connect)?;
    let answer = converse(&pair, addr, options);
    pair.close();
    answer
}

fn timeout(addr: SocketAddr, limit: Duration) -> AskError {
    AskError::Timeout { addr, waited_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
}

fn connect(endpoint: &Endpoint, addr: SocketAddr, limit: Duration) -> Result<QueuePair, AskError> {
    let deadline = Instant::now() + limit;
    endpoint.connect(addr)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = endpoint.events().recv_timeout(left).map_err(|_| timeout(addr, limit))?;
        match event {
            Event::Connected { queue_pair } if queue_pair.peer().addr.ip() == addr.ip() => {
                return Ok(queue_pair);
            }
            Event::ConnectFailed { addr: failed, error } if failed == addr => {
                return Err(error.into());
            }
            _ => {}
        }
    }
}

fn converse(pair: &QueuePair, addr: SocketAddr, options: &AskOptions) -> Result<Answer, AskError> {
    let deadline = Instant::now() + options.answer;
    let left = || deadline.saturating_duration_since(Instant::now());
    let received = CompletionQueue::with_capacity(PLACES);
    let sent = CompletionQueue::with_capacity(PLACES);
    for _ in 0..REGIONS {
        post::receive(pair, None, &received)?;
    }
    let (mut times, mut last) = (Vec::new(), None);
    for number in 0..=options.rounds {
        post::send(pair, &encode(&Message::Ask { number }), left(), &sent)?;
        let posted = sent.wait(left()).map_err(|_| timeout(addr, options.answer))?;
        posted.status?;
        match answer(pair, number, &received, deadline) {
            Ok(Some(report)) => {
                // It read its clock after half of the round trip, as far as anyone can tell.
                let then = now_ms() - i64::try_from(posted.elapsed.as_millis()).unwrap_or(0) / 2;
                let theirs = i64::try_from(report.clock_ms).unwrap_or(i64::MAX);
                last = Some((report, theirs.saturating_sub(then)));
            }
            // It does not know its own end just now: perhaps the next time.
            Ok(None) => {}
            // A first answer is enough to go by.
            Err(Missing::Late) => break,
            Err(Missing::Failed(error)) => return Err(error),
        }
        // The first finds the peer asleep and its caches cold.
        if number > 0 {
            times.push(posted.elapsed);
        }
    }
    let Some((report, clock_ahead_ms)) = last else {
        return Err(AskError::Mute { addr, software: pair.peer().software.clone() });
    };
    Ok(Answer { report, rtt: Rtt::of(&times, 0), clock_ahead_ms })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

enum Missing {
    Late,
    Failed(AskError),
}

fn answer(
    pair: &QueuePair,
    number: u32,
    received: &CompletionQueue,
    deadline: Instant,
) -> Result<Option<EndReport>, Missing> {
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
            Some(Message::Answer { number: of, report }) if of == number => {
                return message::report(report).map_err(|error| failed(error.into()));
            }
            _ => {}
        }
    }
}
