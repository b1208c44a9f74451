//! A running request as text: tokens in, pieces of text out, stop strings minded.
//!
//! The one generation loop behind both endpoints, streaming or not. Dropping an [`Answer`] drops
//! its [`Generation`], and that frees the request on every stage.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Sleep;

use super::error::ApiError;
use crate::{
    prompt::{Decoder, PromptModel, StopStrings, Stopped},
    request::{FinishReason, GenerateEvent, Generation, TokenLogprobs},
};

/// What an [`Answer`] is made of, beside its generation.
pub(super) struct AnswerOptions {
    /// Tokens that end the sequence without being text.
    pub(super) stop_tokens: Vec<u32>,
    /// Strings that end it, and are not part of it either.
    pub(super) stop_strings: Vec<String>,
    /// How many tokens the prompt has.
    pub(super) prompt_tokens: usize,
    /// The client waits no longer for all of it.
    pub(super) deadline: Option<Duration>,
}

/// What has become certain since the last piece.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) text: String,
    /// Every token that was generated, stop token included.
    pub(super) tokens: Vec<u32>,
    /// Those of the tokens that are text, if they were asked for.
    pub(super) logprobs: Vec<TextLogprobs>,
}

/// A token's log-probabilities, and where in the answer its text begins.
#[derive(Debug)]
pub(super) struct TextLogprobs {
    pub(super) id: u32,
    pub(super) logprobs: TokenLogprobs,
    /// In characters.
    pub(super) offset: usize,
}

/// How an answer goes on.
#[derive(Debug)]
pub(super) enum Step {
    /// More text.
    Piece(Piece),
    /// The rest of it.
    Done(Piece, Finish),
}

/// Why an answer ended, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// At a stop token or stop string.
    Stop,
    /// At `max_tokens`.
    Length,
}

impl Finish {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Tokens counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    prompt: usize,
    completion: usize,
}

impl Usage {
    pub(super) fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

/// See the module.
pub(super) struct Answer {
    /// `None` once the answer has ended.
    generation: Option<Generation>,
    decoder: Decoder,
    stops: StopStrings,
    stop_tokens: Vec<u32>,
    usage: Usage,
    /// Characters the decoder has given so far.
    decoded_chars: usize,
    /// What is known but held back until its text is certain.
    pending: Piece,
    /// When the client waits no longer, and how long that was.
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl Answer {
    pub(super) fn new(
        generation: Generation,
        model: &Arc<PromptModel>,
        options: AnswerOptions,
    ) -> Self {
        Self {
            generation: Some(generation),
            decoder: model.decoder(),
            stops: StopStrings::new(options.stop_strings),
            stop_tokens: options.stop_tokens,
            usage: Usage { prompt: options.prompt_tokens, completion: 0 },
            decoded_chars: 0,
            pending: Piece::default(),
            deadline: options.deadline.map(|limit| (Box::pin(tokio::time::sleep(limit)), limit)),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// The next step; `None` after `Done` or an error.
    pub(super) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Step, ApiError>>> {
        loop {
            let Some(generation) = &mut self.generation else { return Poll::Ready(None) };
            if let Some((passed, limit)) = &mut self.deadline
                && passed.as_mut().poll(cx).is_ready()
            {
                let limit = *limit;
                // Every stage hears of it.
                self.generation = None;
                return Poll::Ready(Some(Err(ApiError::DeadlinePassed { limit })));
            }
            let step = match ready!(generation.events.poll_recv(cx)) {
                Some(GenerateEvent::Token { id, logprobs }) => match self.token(id, logprobs) {
                    None => continue,
                    Some(step) => Ok(step),
                },
                Some(GenerateEvent::Finished(reason)) => Ok(self.finish(reason)),
                Some(GenerateEvent::Failed(error)) => Err(error.into()),
                None => Err(ApiError::Abandoned),
            };
            if !matches!(step, Ok(Step::Piece(_))) {
                self.generation = None;
            }
            return Poll::Ready(Some(step));
        }
    }

    /// The first step, if there is one within `patience`: what is refused is so before a stream begins.
    pub(super) async fn begin(&mut self, patience: Duration) -> Result<Option<Step>, ApiError> {
        let first = std::future::poll_fn(|cx| self.poll_step(cx));
        match tokio::time::timeout(patience, first).await {
            Ok(Some(step)) => step.map(Some),
            Ok(None) => Err(ApiError::Abandoned),
            Err(_not_yet) => Ok(None),
        }
    }

    /// All of it in one piece.
    pub(super) async fn collect(mut self) -> Result<(Piece, Finish, Usage), ApiError> {
        let mut whole = Piece::default();
        loop {
            match std::future::poll_fn(|cx| self.poll_step(cx)).await {
                Some(Ok(Step::Piece(piece))) => whole.append(piece),
                Some(Ok(Step::Done(piece, finish))) => {
                    whole.append(piece);
                    return Ok((whole, finish, self.usage));
                }
                Some(Err(error)) => return Err(error),
                None => return Err(ApiError::Abandoned),
            }
        }
    }

    fn token(&mut self, id: u32, logprobs: Option<TokenLogprobs>) -> Option<Step> {
        self.usage.completion += 1;
        self.pending.tokens.push(id);
        if self.stop_tokens.contains(&id) {
            return None;
        }
        if let Some(logprobs) = logprobs {
            let offset = self.decoded_chars;
            self.pending.logprobs.push(TextLogprobs { id, logprobs, offset });
        }
        let text = self.decoder.push(id)?;
        if self.text(&text) {
            return Some(Step::Done(std::mem::take(&mut self.pending), Finish::Stop));
        }
        // A token whose text is held back waits for the next piece.
        (!self.pending.text.is_empty()).then(|| Step::Piece(std::mem::take(&mut self.pending)))
    }

    /// Takes decoded text; true if it completes a stop string.
    fn text(&mut self, text: &str) -> bool {
        self.decoded_chars += text.chars().count();
        match self.stops.push(text) {
            Stopped::No { emit } => {
                self.pending.text.push_str(&emit);
                false
            }
            Stopped::Yes { emit, .. } => {
                self.pending.text.push_str(&emit);
                true
            }
        }
    }

    fn finish(&mut self, reason: FinishReason) -> Step {
        let stopped = self.decoder.finish().is_some_and(|text| self.text(&text));
        if !stopped {
            self.pending.text.push_str(&self.stops.finish());
        }
        let finish = match reason {
            FinishReason::Length if !stopped => Finish::Length,
            _ => Finish::Stop,
        };
        Step::Done(std::mem::take(&mut self.pending), finish)
    }
}

impl Piece {
    fn append(&mut self, other: Self) {
        self.text.push_str(&other.text);
        self.tokens.extend(other.tokens);
        self.logprobs.extend(other.logprobs);
    }
}
