//! What the node that holds layer 0 keeps: the schedule, and for whom it runs.

use std::collections::BTreeMap;

use crate::{
    fabric::{NodeId, messages::OpenSequence},
    request::RequestId,
    scheduler::{Ring, Scheduler},
};

/// Tokens that may end a sequence.
const STOP_TOKENS_MAX: usize = 1024;

/// What the node that holds layer 0 has to know of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingFacts {
    /// As it is scheduled for.
    pub ring: Ring,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Longest sequence.
    pub context: usize,
}

/// For whom a sequence runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct For {
    /// The node whose client waits.
    pub(super) entry: NodeId,
    pub(super) attempt: u32,
}

/// See the module.
pub(super) struct Stage0 {
    pub(super) epoch: u64,
    pub(super) scheduler: Scheduler,
    /// Whether the worker has a step to compute.
    pub(super) busy: bool,
    pub(super) sequences: BTreeMap<RequestId, For>,
    pub(super) facts: RingFacts,
}

impl Stage0 {
    /// Whether the ring can run this: an entry node is believed no more than a client is.
    pub(super) fn check(&self, open: &OpenSequence, prompt: &[u32]) -> Result<(), String> {
        let RingFacts { vocabulary, context, .. } = self.facts;
        let wanted = prompt.len() as u64 + u64::from(open.max_tokens);
        let mut tokens = prompt.iter().chain(&open.generated);
        if prompt.is_empty() || open.max_tokens == 0 || !open.sampling.is_possible() {
            Err("a request without a prompt, tokens to generate, or a way to choose them".into())
        } else if wanted > context as u64 {
            Err(format!("{wanted} tokens for a context of {context}"))
        } else if open.generated.len() as u64 >= u64::from(open.max_tokens) {
            Err("a request that has all its tokens".into())
        } else if let Some(token) = tokens.find(|&&id| id as usize >= vocabulary) {
            Err(format!("token {token} is not in the vocabulary of {vocabulary}"))
        } else if open.stop_tokens.len() > STOP_TOKENS_MAX {
            Err(format!("{} stop tokens, more than {STOP_TOKENS_MAX}", open.stop_tokens.len()))
        } else {
            Ok(())
        }
    }

    /// Whether this start of a sequence runs.
    pub(super) fn runs(&self, sequence: RequestId, attempt: u32) -> bool {
        self.sequences.get(&sequence).is_some_and(|own| own.attempt == attempt)
    }
}
