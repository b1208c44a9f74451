//! An [`Answer`] as an HTTP response: one JSON object, or a stream of server-sent events.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde_json::{Map, Value, json};
use tokio_stream::Stream;

use super::{
    answer::{Answer, Finish, Piece, Step},
    ask::random,
    error::ApiError,
};

/// How an endpoint words an answer: each method gives `choices[0]`, but for its index.
pub(super) trait Dialect: Send + Unpin + 'static {
    /// `object` of a whole answer and of a chunk of a stream.
    const OBJECTS: [&'static str; 2];
    /// How the answer's id begins.
    const ID: &'static str;

    /// The chunk that opens a stream before the first token, if there is one.
    fn opening(&self) -> Option<Value>;
    /// A chunk of a stream; the last one has a finish.
    fn chunk(&self, piece: &Piece) -> Value;
    /// The whole answer.
    fn whole(&self, piece: &Piece) -> Value;
    /// Members beside `choices`, in the whole answer or the first chunk.
    fn beside(&self) -> Map<String, Value> {
        Map::new()
    }
}

/// What a response says of itself, and how it is sent.
pub(super) struct Frame {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

/// A stream begins after so long at the latest: whoever is turned away by the node that holds layer 0
/// hears of it before, and by a status that says so.
const REFUSED_WITHIN: Duration = Duration::from_millis(150);

/// Answers with all of `answer`, or piece by piece.
pub(super) async fn respond<D: Dialect>(
    answer: Answer,
    dialect: D,
    frame: Frame,
) -> Result<Response, ApiError> {
    let head = Head { id: format!("{}{:016x}", D::ID, random()), created: now(), frame };
    if head.frame.stream {
        let mut answer = answer;
        let first = answer.begin(REFUSED_WITHIN).await?;
        let mut events = Events::new(answer, dialect, head);
        if let Some(first) = first {
            events.step(Ok(first));
        }
        // Comments keep a connection open through a long prefill, and find out that it is not.
        return Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response());
    }
    let (piece, finish, usage) = answer.collect().await?;
    let mut body = head.object(D::OBJECTS[0], [finished(dialect.whole(&piece), Some(finish))]);
    body.insert("usage".to_owned(), usage.json());
    body.extend(dialect.beside());
    Ok(Json(body).into_response())
}

struct Head {
    id: String,
    created: u64,
    frame: Frame,
}

impl Head {
    fn object(&self, object: &str, choices: impl IntoIterator<Item = Value>) -> Map<String, Value> {
        Map::from_iter([
            ("id".to_owned(), self.id.as_str().into()),
            ("object".to_owned(), object.into()),
            ("created".to_owned(), self.created.into()),
            ("model".to_owned(), self.frame.model.as_str().into()),
            ("choices".to_owned(), choices.into_iter().collect()),
        ])
    }
}

fn finished(mut choice: Value, finish: Option<Finish>) -> Value {
    choice["index"] = 0.into();
    choice["finish_reason"] = json!(finish.map(Finish::as_str));
    choice
}

/// The events of a stream. It owns the answer: when the client is gone the server drops the stream,
/// and with it the request.
struct Events<D> {
    answer: Answer,
    dialect: D,
    head: Head,
    ready: VecDeque<Event>,
    /// The first chunk has members of its own.
    begun: bool,
}

impl<D: Dialect> Events<D> {
    fn new(answer: Answer, dialect: D, head: Head) -> Self {
        let mut events = Self { answer, dialect, head, ready: VecDeque::new(), begun: false };
        if let Some(opening) = events.dialect.opening() {
            events.chunk(opening, None);
        }
        events
    }

    fn chunk(&mut self, choice: Value, finish: Option<Finish>) {
        let mut body = self.head.object(D::OBJECTS[1], [finished(choice, finish)]);
        if self.head.frame.include_usage {
            body.insert("usage".to_owned(), Value::Null);
        }
        if !std::mem::replace(&mut self.begun, true) {
            body.extend(self.dialect.beside());
        }
        self.push(&Value::Object(body));
    }

    fn push(&mut self, data: &Value) {
        // serde_json writes no line break outside of strings, and none inside unescaped.
        self.ready.push_back(Event::default().data(data.to_string()));
    }

    fn step(&mut self, step: Result<Step, ApiError>) {
        match step {
            Ok(Step::Piece(piece)) => self.chunk(self.dialect.chunk(&piece), None),
            Ok(Step::Done(piece, finish)) => {
                self.chunk(self.dialect.chunk(&piece), Some(finish));
                if self.head.frame.include_usage {
                    let mut body = self.head.object(D::OBJECTS[1], []);
                    body.insert("usage".to_owned(), self.answer.usage().json());
                    self.push(&Value::Object(body));
                }
                self.ready.push_back(Event::default().data("[DONE]"));
            }
            // The status has been sent: the error is the last event, and no [DONE] follows.
            Err(error) => {
                tracing::warn!(%error, "an answer broke off");
                self.push(&error.body());
            }
        }
    }
}

impl<D: Dialect> Stream for Events<D> {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            match std::task::ready!(self.answer.poll_step(cx)) {
                Some(step) => self.step(step),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs())
}
