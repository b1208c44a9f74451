//! What does stage 0 compute next? Pure: requests and tokens in, steps out.
//!
//! Every sequence is in one of three states: it has prompt left to prefill, it is ready for its next
//! token, or it waits for one that travels round the ring. [`Scheduler::next_step`] is asked
//! whenever stage 0 is free. Prompts go in chunks, and a decode step goes between two chunks, so
//! that a long prompt does not freeze those who are reading. Sequences that are ready decode in one
//! step together, but no more than their share per stage: on a ring of three stages a third of them,
//! so that each stage has something to do.

pub mod times;

use std::collections::{BTreeMap, VecDeque};

use crate::request::RequestId;

/// Longest chunk of a prompt in one step, in tokens.
pub const PREFILL_CHUNK_TOKENS: usize = 512;
/// Most sequences in one step.
pub const STEP_SEQUENCES_MAX: usize = 64;
/// Most sequences at once.
pub const SEQUENCES_MAX: usize = 256;

/// How steps are made up, as the user wants it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Most sequences in one step: at least 1.
    pub step_sequences: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { step_sequences: STEP_SEQUENCES_MAX }
    }
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

#[derive(Debug)]
struct Sequence {
    attempt: u32,
    prompt: Vec<u32>,
    prefilled: usize,
    generated: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    stages: usize,
    chunk_tokens: usize,
    steps: u64,
    sequences: BTreeMap<RequestId, Sequence>,
    prefill: VecDeque<RequestId>,
    /// With the token that was chosen last.
    decode: VecDeque<(RequestId, u32)>,
    prefilled_last: bool,
}

/// The scheduler has as many sequences as it takes, or this very one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{SEQUENCES_MAX} sequences are running, or this one is")]
pub struct Full;

impl Scheduler {
    /// A scheduler for a ring of `stages` stages, whose prompts go in chunks of `chunk_tokens`
    /// tokens (both at least 1).
    #[must_use]
    pub fn new(policy: Policy, stages: usize, chunk_tokens: usize) -> Self {
        Self {
            policy,
            stages: stages.max(1),
            chunk_tokens: chunk_tokens.max(1),
            steps: 0,
            sequences: BTreeMap::new(),
            prefill: VecDeque::new(),
            decode: VecDeque::new(),
            prefilled_last: false,
        }
    }

    /// Takes a sequence on: a prompt of at least one token.
    ///
    /// # Errors
    /// [`Full`].
    pub fn handle_submit(
        &mut self,
        sequence: RequestId,
        attempt: u32,
        prompt: &[u32],
    ) -> Result<(), Full> {
        if self.sequences.len() >= SEQUENCES_MAX || self.sequences.contains_key(&sequence) {
            return Err(Full);
        }
        let prompt = prompt.to_vec();
        self.sequences.insert(sequence, Sequence { attempt, prompt, prefilled: 0, generated: 0 });
        self.prefill.push_back(sequence);
        Ok(())
    }

    /// A token came round the ring. A token of a sequence that is gone, or of another attempt, is
    /// dropped.
    pub fn handle_token(&mut self, sequence: RequestId, attempt: u32, token: u32) {
        if let Some(state) = self.sequences.get_mut(&sequence)
            && state.attempt == attempt
        {
            state.generated += 1;
            self.decode.push_back((sequence, token));
        }
    }

    /// The sequence is over, or nobody wants it any more. Says whether it was known: then its caches
    /// have to be freed.
    pub fn handle_end(&mut self, sequence: RequestId) -> bool {
        self.prefill.retain(|&waiting| waiting != sequence);
        self.decode.retain(|&(waiting, _)| waiting != sequence);
        self.sequences.remove(&sequence).is_some()
    }

    /// How many sequences there are.
    #[must_use]
    pub fn running(&self) -> usize {
        self.sequences.len()
    }

    /// The next step, or none if every sequence waits for a token.
    pub fn next_step(&mut self) -> Option<Step> {
        let prefill_now =
            !self.prefill.is_empty() && (self.decode.is_empty() || !self.prefilled_last);
        let rows = if prefill_now { vec![self.prefill_chunk()?] } else { self.decode_batch() };
        self.prefilled_last = prefill_now;
        if rows.is_empty() {
            return None;
        }
        self.steps += 1;
        Some(Step { number: self.steps, rows })
    }

    fn prefill_chunk(&mut self) -> Option<StepRows> {
        let id = self.prefill.pop_front()?;
        let sequence = self.sequences.get_mut(&id)?;
        let start = sequence.prefilled;
        let end = sequence.prompt.len().min(start + self.chunk_tokens);
        sequence.prefilled = end;
        let done = end == sequence.prompt.len();
        let rows = StepRows {
            sequence: id,
            attempt: sequence.attempt,
            start: start as u32,
            tokens: sequence.prompt[start..end].to_vec(),
            wants_token: done,
        };
        if !done {
            // The next chunk of this prompt before the next prompt: it came first.
            self.prefill.push_front(id);
        }
        Some(rows)
    }

    fn decode_batch(&mut self) -> Vec<StepRows> {
        let share = self
            .sequences
            .len()
            .div_ceil(self.stages)
            .clamp(1, self.policy.step_sequences.clamp(1, STEP_SEQUENCES_MAX));
        let mut rows = Vec::new();
        while rows.len() < share
            && let Some((id, token)) = self.decode.pop_front()
        {
            let Some(sequence) = self.sequences.get(&id) else { continue };
            rows.push(StepRows {
                sequence: id,
                attempt: sequence.attempt,
                start: (sequence.prompt.len() as u32) + sequence.generated - 1,
                tokens: vec![token],
                wants_token: true,
            });
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn prompt(tokens: usize) -> Vec<u32> {
        (0..tokens as u32).collect()
    }

    #[test]
    fn a_prompt_goes_in_chunks_and_only_the_last_wants_a_token() {
        let mut scheduler = Scheduler::new(Policy::default(), 1, PREFILL_CHUNK_TOKENS);
        scheduler.handle_submit(RequestId(1), 0, &prompt(PREFILL_CHUNK_TOKENS + 3)).unwrap();
        let first = scheduler.next_step().unwrap().rows.remove(0);
        let second = scheduler.next_step().unwrap().rows.remove(0);
        assert_eq!((first.start, first.tokens.len(), first.wants_token), (0, 512, false));
        assert_eq!((second.start, second.tokens.len(), second.wants_token), (512, 3, true));
        assert_eq!(scheduler.next_step(), None, "it waits for its token");
        scheduler.handle_token(RequestId(1), 0, 42);
        let third = scheduler.next_step().unwrap();
        assert_eq!((third.number, third.rows[0].start), (3, 515));
        assert_eq!(third.rows[0].tokens, [42]);
    }

    #[test]
    fn decoding_goes_on_between_the_chunks_of_a_long_prompt() {
        let mut scheduler = Scheduler::new(Policy::default(), 1, PREFILL_CHUNK_TOKENS);
        scheduler.handle_submit(RequestId(1), 0, &prompt(2)).unwrap();
        scheduler.next_step().unwrap();
        scheduler.handle_submit(RequestId(2), 0, &prompt(4 * PREFILL_CHUNK_TOKENS)).unwrap();
        let mut order = Vec::new();
        for token in 0..6 {
            scheduler.handle_token(RequestId(1), 0, token);
            order.push(scheduler.next_step().unwrap().rows[0].sequence.0);
        }
        assert_eq!(order, [1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn ready_sequences_share_a_step_but_leave_some_for_the_other_stages() {
        let mut scheduler = Scheduler::new(Policy::default(), 2, PREFILL_CHUNK_TOKENS);
        for id in 1..=4 {
            scheduler.handle_submit(RequestId(id), 0, &prompt(2)).unwrap();
            scheduler.next_step().unwrap();
        }
        for id in 1..=4 {
            scheduler.handle_token(RequestId(id), 0, 9);
        }
        let ids = |step: Step| step.rows.iter().map(|rows| rows.sequence.0).collect::<Vec<_>>();
        assert_eq!(ids(scheduler.next_step().unwrap()), [1, 2]);
        assert_eq!(ids(scheduler.next_step().unwrap()), [3, 4]);
    }

    #[test]
    fn what_ended_or_was_started_again_is_not_scheduled() {
        let mut scheduler = Scheduler::new(Policy::default(), 1, PREFILL_CHUNK_TOKENS);
        scheduler.handle_submit(RequestId(1), 1, &prompt(2)).unwrap();
        scheduler.next_step().unwrap();
        scheduler.handle_token(RequestId(1), 0, 5);
        assert_eq!(scheduler.next_step(), None, "a token of an older attempt");
        assert!(scheduler.handle_end(RequestId(1)));
        assert!(!scheduler.handle_end(RequestId(1)));
        scheduler.handle_token(RequestId(1), 1, 5);
        assert_eq!((scheduler.next_step(), scheduler.running()), (None, 0));
    }

    #[test]
    fn there_is_an_end_to_how_many() {
        let mut scheduler = Scheduler::new(Policy::default(), 1, PREFILL_CHUNK_TOKENS);
        for id in 0..SEQUENCES_MAX as u64 {
            scheduler.handle_submit(RequestId(id), 0, &prompt(1)).unwrap();
        }
        assert_eq!(scheduler.handle_submit(RequestId(9999), 0, &prompt(1)), Err(Full));
    }
}
