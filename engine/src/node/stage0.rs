//! What the node that holds layer 0 keeps: the schedule, and for whom it runs.

use std::{collections::HashMap, time::Instant};

use crate::{
    fabric::{NodeId, messages::OpenSequence},
    request::RequestId,
    scheduler::Scheduler,
};

/// Tokens that may end a sequence.
const STOP_TOKENS_MAX: usize = 1024;

/// What the node that holds layer 0 keeps.
pub(super) struct Stage0 {
    pub(super) epoch: u64,
    pub(super) scheduler: Scheduler,
    /// Whether the worker has a step to compute.
    pub(super) busy: bool,
    /// The nodes whose clients wait.
    pub(super) entries: HashMap<RequestId, NodeId>,
    /// Tokens of the vocabulary.
    pub(super) vocabulary: usize,
    /// Longest sequence.
    pub(super) context: usize,
    /// The scheduler's time zero.
    pub(super) begun: Instant,
}

impl Stage0 {
    /// Whether the ring can run this: an entry node is believed no more than a client is.
    pub(super) fn check(&self, open: &OpenSequence, prompt: &[u32]) -> Result<(), String> {
        let wanted = prompt.len() as u64 + u64::from(open.max_tokens);
        if prompt.is_empty() || open.max_tokens == 0 || !open.sampling.is_possible() {
            Err("a request without a prompt, tokens to generate, or a way to choose them".into())
        } else if wanted > self.context as u64 {
            Err(format!("{wanted} tokens for a context of {}", self.context))
        } else if let Some(token) = prompt.iter().find(|&&id| id as usize >= self.vocabulary) {
            Err(format!("token {token} is not in the vocabulary of {}", self.vocabulary))
        } else if open.stop_tokens.len() > STOP_TOKENS_MAX {
            Err(format!("{} stop tokens, more than {STOP_TOKENS_MAX}", open.stop_tokens.len()))
        } else {
            Ok(())
        }
    }
}
