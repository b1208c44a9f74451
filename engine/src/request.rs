//! What is asked of the cluster, in its own words: token ids in, token ids out.
//!
//! [`api`](crate::api) makes a [`GenerateRequest`] from what a client said and hands it to the
//! [`NodeHandle`](crate::node::NodeHandle); the answer is a [`Generation`], a stream of
//! [`GenerateEvent`]s that ends with `Finished` or `Failed`. Dropping the `Generation` cancels the
//! request on every stage.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// A request's number, unique in the cluster: it names its sequence on every stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// How urgent a request is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub enum Priority {
    /// It may wait.
    Low,
    /// Like most.
    #[default]
    Normal,
    /// Somebody waits for it more than others do.
    High,
}

impl Priority {
    /// Higher goes first.
    #[must_use]
    pub fn rank(self) -> i64 {
        self as i64 - Self::Normal as i64
    }

    /// Its share of what is divided, where a normal one has 1.
    #[must_use]
    pub fn weight(self) -> f64 {
        4f64.powi(self.rank() as i32)
    }
}

/// How the next token is chosen from the logits.
///
/// In this order: bias, penalties, temperature, min-p, top-k, top-p, draw.
#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Sampling {
    /// 0 takes the likeliest token; above, logits are divided by it first. At least 0.
    pub temperature: f32,
    /// Only so many of the likeliest tokens are drawn from; 0 for all.
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this probability are drawn from. In (0, 1].
    pub top_p: f32,
    /// Only tokens at least so likely, as a share of the likeliest one's probability, are drawn
    /// from. In [0, 1].
    pub min_p: f32,
    /// Positive logits of tokens that the prompt or the answer has are divided by it, negative ones
    /// multiplied. Above 0; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken off the logits of tokens that the answer has.
    pub presence_penalty: f32,
    /// Taken off the logits of tokens that the answer has, once for each time.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Draws are a function of this seed and the token's position alone.
    pub seed: u64,
    /// `Some(n)`: report the chosen token's log-probability and those of the `n` likeliest (≤ 20).
    pub logprobs: Option<u8>,
}

/// Tokens whose logits one request may bias.
pub const LOGIT_BIAS_MAX: usize = 1024;

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            logprobs: None,
        }
    }
}

impl Sampling {
    /// Whether every number is one that a token can be chosen by.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let finite = |number: f32| number.is_finite();
        finite(self.temperature)
            && self.temperature >= 0.0
            && self.top_p > 0.0
            && self.top_p <= 1.0
            && (0.0..=1.0).contains(&self.min_p)
            && finite(self.repetition_penalty)
            && self.repetition_penalty > 0.0
            && finite(self.presence_penalty)
            && finite(self.frequency_penalty)
            && self.logit_bias.len() <= LOGIT_BIAS_MAX
            && self.logit_bias.iter().all(|&(_, bias)| finite(bias))
    }
}

/// One sequence to be continued.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// The prompt's token ids: at least one, and with `max_tokens` no more than the context.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// At most this many tokens are generated: at least 1.
    pub max_tokens: u32,
    /// Any of these ends the sequence (they are reported as tokens, too). Empty: none does.
    pub stop_tokens: Vec<u32>,
    /// How urgent it is.
    pub priority: Priority,
}

/// A token's log-probability beside those of the likeliest others.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// Natural logarithm of the chosen token's probability (before bias, penalties and temperature).
    pub chosen: f32,
    /// The likeliest tokens, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Why a sequence ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token came (it is the last token reported).
    Stop,
    /// `max_tokens` are there.
    Length,
}

/// What a running request reports.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerateEvent {
    /// The next token.
    Token {
        /// Its id.
        id: u32,
        /// Present if the request asked for it.
        logprobs: Option<TokenLogprobs>,
    },
    /// The last event of a request that went well.
    Finished(FinishReason),
    /// The last event of one that did not.
    Failed(GenerateError),
}

/// Why a request ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// A node that held layers is gone.
    #[error("{node} left while it held layers of this request: {cause}")]
    NodeLost {
        /// The node's name.
        node: String,
        /// What the transport said.
        cause: String,
    },
    /// A stage could not compute.
    #[error("{node} could not compute its layers: {cause}")]
    Stage {
        /// The node's name.
        node: String,
        /// What went wrong.
        cause: String,
    },
    /// The model was placed anew, or went away, between the request and its start.
    #[error("no model is ready: {why}")]
    NotReady {
        /// What the node is waiting for.
        why: String,
    },
    /// The node that holds layer 0 has as many requests as it takes, from all nodes together.
    #[error("the cluster runs as many requests as it takes")]
    Busy {
        /// When it is worth trying again.
        retry_after_s: u32,
    },
    /// This node is stopping.
    #[error("this node is shutting down")]
    ShuttingDown,
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// No model is placed yet.
    #[error("no model is ready: {why}")]
    NotReady {
        /// What the node is waiting for.
        why: String,
    },
    /// Too many requests at once.
    #[error("{running} requests are running, the most this node takes")]
    Full {
        /// How many.
        running: usize,
    },
    /// The node's loop has ended.
    #[error("this node is shutting down")]
    ShuttingDown,
}

/// A running request. Dropping it cancels the request and frees its caches on every stage.
#[derive(Debug)]
pub struct Generation {
    /// The request's number.
    pub id: RequestId,
    /// Its events. Never full: it has room for every token the request may have.
    pub events: mpsc::Receiver<GenerateEvent>,
    /// Cancels on drop.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(crate) guard: CancelGuard,
}

/// Tells the node when the client is gone.
#[derive(Debug)]
pub struct CancelGuard {
    pub(crate) id: RequestId,
    pub(crate) commands: crossbeam::channel::Sender<crate::node::Command>,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        // A full queue or an ended node frees the request anyway: the node sees the closed channel.
        let _ = self.commands.try_send(crate::node::Command::Cancel(self.id));
    }
}
