//! What is said to the scheduler, and what it says.

use super::{Reuse, SEQUENCES_MAX, STEP_SEQUENCES_MAX, Source};
use crate::request::{Priority, RequestId};

/// How steps are made up, as the user wants it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Most sequences in one step: at least 1.
    pub step_sequences: usize,
    /// While a prompt is being read, the tokens of others may take so many times as long as usual:
    /// above 1. More reads prompts faster.
    pub token_delay: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { step_sequences: STEP_SEQUENCES_MAX, token_delay: 3.0 }
    }
}

/// The ring that is scheduled for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ring {
    /// Stages: at least 1.
    pub stages: usize,
    /// Longest part of a prompt in one step: at least 1.
    pub chunk_tokens: usize,
    /// Tokens whose keys and values fit into every stage's memory.
    pub cache_tokens: u64,
    /// What of a cache another sequence may use.
    pub reuse: Reuse,
}

/// A request for the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Whose number it has.
    pub sequence: RequestId,
    /// Which start of that request.
    pub attempt: u32,
    /// At least one token.
    pub prompt: Vec<u32>,
    /// Tokens to generate at most.
    pub max_tokens: u32,
    /// How urgent it is.
    pub priority: Priority,
}

/// Rows of one sequence in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRows {
    /// Whose.
    pub sequence: RequestId,
    /// Which start of that request.
    pub attempt: u32,
    /// Position of the first row in the sequence.
    pub start: u32,
    /// Their token ids: at least one.
    pub tokens: Vec<u32>,
    /// Whether the last row wants a token.
    pub wants_token: bool,
}

/// One step of stage 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Counts steps from 1.
    pub number: u64,
    /// At least one.
    pub rows: Vec<StepRows>,
}

/// What every stage has to do with its caches before the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The sequence begins with keys and values that another has.
    Reuse {
        /// Which begins.
        sequence: RequestId,
        /// Which start of it.
        attempt: u32,
        /// Where they are.
        source: Source,
    },
    /// The cache is given up; the sequence may go on.
    Forget(RequestId),
    /// The sequence is over.
    Close {
        /// Which.
        sequence: RequestId,
        /// Whether its cache stays.
        keep: bool,
    },
}

/// Why a sequence was not taken on.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as it takes.
    #[error(
        "{SEQUENCES_MAX} requests are running or waiting; worth trying again in {retry_after_s} s"
    )]
    Full {
        /// When one is likely to have ended: at least 1.
        retry_after_s: u32,
    },
    /// It runs already.
    #[error("this request is running")]
    Known,
    /// It will never fit.
    #[error(
        "a prompt of {prompt} tokens does not fit: the ring's memory has room for {room} tokens \
         beside the weights\nhint: shorten it, or give the nodes more memory (--memory)"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that fit.
        room: u64,
    },
}
