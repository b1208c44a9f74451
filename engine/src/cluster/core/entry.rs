//! The requests of this node's own clients: what they asked for, what they have been told, and where
//! they run. All that is needed to have one run again elsewhere is here.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    fabric::messages::{OpenSequence, Submit, TokenMessage},
    request::{FinishReason, GenerateError, GenerateEvent, RequestId, TokenLogprobs},
};

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// On no ring; it may be given to one from then on.
    Waits(Duration),
    /// Stage 0 has it.
    Runs,
}

struct Asked {
    /// As its client wants it.
    submit: Submit,
    /// What its client was told: it never changes.
    told: Vec<u32>,
    stand: Stand,
    /// Since when it has been without a ring, if so.
    without: Option<Duration>,
    /// The next start of it.
    attempt: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Entry {
    requests: BTreeMap<RequestId, Asked>,
}

/// What follows from a token.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    /// What the client is told.
    pub(super) events: Vec<GenerateEvent>,
    /// The request has ended here, and stage 0 may still be at it.
    pub(super) cancel: bool,
}

impl Entry {
    pub(super) fn insert(&mut self, id: RequestId, submit: Submit, now: Duration) {
        let (stand, without) = (Stand::Waits(now), Some(now));
        let asked = Asked { submit, told: Vec::new(), stand, without, attempt: 0 };
        self.requests.insert(id, asked);
    }

    pub(super) fn remove(&mut self, id: RequestId) -> bool {
        self.requests.remove(&id).is_some()
    }

    pub(super) fn running(&self) -> usize {
        self.requests.len()
    }

    /// The ring is gone: everything waits for the next one.
    pub(super) fn park(&mut self, now: Duration) {
        for asked in self.requests.values_mut() {
            asked.stand = Stand::Waits(now);
            asked.without.get_or_insert(now);
        }
    }

    /// What a ring is to run now, of what waits: a new start of each.
    pub(super) fn submissions(&mut self, epoch: u64, now: Duration) -> Vec<Submit> {
        let mut submissions = Vec::new();
        for asked in self.requests.values_mut() {
            if !matches!(asked.stand, Stand::Waits(from) if from <= now) {
                continue;
            }
            asked.stand = Stand::Runs;
            let attempt = asked.attempt;
            asked.attempt += 1;
            let open = OpenSequence {
                placement_epoch: epoch,
                attempt,
                generated: asked.told.clone(),
                ..asked.submit.open.clone()
            };
            submissions.push(Submit { open, ..asked.submit.clone() });
        }
        submissions
    }

    /// Ends the requests that `ends` says, by how long they have been without a ring.
    pub(super) fn fail(
        &mut self,
        now: Duration,
        mut ends: impl FnMut(Option<Duration>) -> bool,
    ) -> Vec<RequestId> {
        let without = |asked: &Asked| asked.without.map(|since| now.saturating_sub(since));
        let failed: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, asked)| ends(without(asked)))
            .map(|(&id, _)| id)
            .collect();
        for id in &failed {
            self.requests.remove(id);
        }
        failed
    }

    /// What a client is told. Tokens of an earlier start, and those it knows, are not told.
    pub(super) fn handle_token(
        &mut self,
        message: TokenMessage,
        retry_at: Duration,
    ) -> Option<(RequestId, Told)> {
        let (sequence, attempt) = match message {
            TokenMessage::Token { sequence, attempt, .. }
            | TokenMessage::Failed { sequence, attempt, .. }
            | TokenMessage::Busy { sequence, attempt, .. }
            | TokenMessage::Moved { sequence, attempt } => (sequence, attempt),
            TokenMessage::Round { .. } => return None,
        };
        let id = RequestId(sequence);
        let asked = self.requests.get_mut(&id)?;
        if attempt + 1 != asked.attempt || asked.stand != Stand::Runs {
            return None;
        }
        let failed = |error| Told { events: vec![GenerateEvent::Failed(error)], cancel: false };
        let told = match message {
            TokenMessage::Token { index, token, logprobs, finish, .. } => {
                let next = asked.told.len() as u32;
                if index < next {
                    return None;
                }
                if index > next {
                    let (node, cause) = ("the last stage".into(), "a token was lost".into());
                    self.requests.remove(&id);
                    let told = failed(GenerateError::Stage { node, cause });
                    return Some((id, Told { cancel: true, ..told }));
                }
                asked.told.push(token);
                asked.without = None;
                let logprobs = logprobs.map(|(chosen, top)| TokenLogprobs { chosen, top });
                let mut events = vec![GenerateEvent::Token { id: token, logprobs }];
                match finish {
                    0 => return Some((id, Told { events, cancel: false })),
                    1 => events.push(GenerateEvent::Finished(FinishReason::Stop)),
                    _ => events.push(GenerateEvent::Finished(FinishReason::Length)),
                }
                Told { events, cancel: false }
            }
            TokenMessage::Moved { .. } => {
                asked.stand = Stand::Waits(retry_at);
                asked.without.get_or_insert(retry_at);
                return None;
            }
            TokenMessage::Failed { node, cause, .. } => {
                failed(GenerateError::Stage { node, cause })
            }
            TokenMessage::Busy { retry_after_s, .. } => {
                failed(GenerateError::Busy { retry_after_s })
            }
            TokenMessage::Round { .. } => return None,
        };
        self.requests.remove(&id);
        Some((id, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Priority, Sampling};

    const AT: Duration = Duration::from_secs(1);

    fn submit() -> Submit {
        let open = OpenSequence {
            placement_epoch: 0,
            sequence: 5,
            attempt: 0,
            sampling: Sampling::default(),
            prompt_tokens: vec![],
            generated: vec![],
            max_tokens: 9,
            stop_tokens: vec![],
            entry: [1; 16],
        };
        Submit { open, prompt: vec![1, 2], priority: Priority::Normal }
    }

    fn token(attempt: u32, index: u32, finish: u8) -> TokenMessage {
        let token = 100 + index;
        TokenMessage::Token { sequence: 5, attempt, index, token, logprobs: None, finish }
    }

    fn heard(entry: &mut Entry, messages: &[TokenMessage]) -> Vec<GenerateEvent> {
        let told = messages.iter().filter_map(|message| entry.handle_token(message.clone(), AT));
        told.flat_map(|(_, told)| told.events).collect()
    }

    fn said(id: u32) -> GenerateEvent {
        GenerateEvent::Token { id, logprobs: None }
    }

    #[test]
    fn a_client_hears_each_token_once_and_the_end() {
        let mut entry = Entry::default();
        entry.insert(RequestId(5), submit(), AT);
        assert_eq!(entry.submissions(3, AT)[0].open.attempt, 0);
        assert_eq!(entry.submissions(3, AT), [], "it runs");
        let events = heard(&mut entry, &[token(0, 0, 0), token(0, 0, 0), token(0, 1, 1)]);
        let end = GenerateEvent::Finished(FinishReason::Stop);
        assert_eq!(events, [said(100), said(101), end]);
        assert_eq!(entry.running(), 0);
    }

    #[test]
    fn the_next_start_goes_on_behind_what_was_told() {
        let mut entry = Entry::default();
        entry.insert(RequestId(5), submit(), AT);
        entry.submissions(3, AT);
        heard(&mut entry, &[token(0, 0, 0), token(0, 1, 0)]);
        entry.park(AT);
        assert_eq!(heard(&mut entry, &[token(0, 2, 0)]), [], "it waits for another ring");
        let again = entry.submissions(4, AT).remove(0);
        assert_eq!((again.open.attempt, again.open.placement_epoch), (1, 4));
        assert_eq!((again.prompt, again.open.generated), (vec![1, 2], vec![100, 101]));
        let late = [token(0, 2, 0), token(1, 2, 0), token(0, 3, 2), token(1, 3, 2)];
        let end = GenerateEvent::Finished(FinishReason::Length);
        assert_eq!(heard(&mut entry, &late), [said(102), said(103), end]);
    }

    #[test]
    fn a_start_that_came_to_the_wrong_node_is_made_again_later() {
        let mut entry = Entry::default();
        entry.insert(RequestId(5), submit(), AT);
        entry.submissions(3, AT);
        let moved = TokenMessage::Moved { sequence: 5, attempt: 0 };
        assert_eq!(entry.handle_token(moved, AT * 2), None);
        assert_eq!(entry.submissions(3, AT), []);
        assert_eq!(entry.submissions(3, AT * 2)[0].open.attempt, 1);
    }

    #[test]
    fn a_lost_token_ends_the_request_and_busy_says_when_to_come_again() {
        let mut entry = Entry::default();
        entry.insert(RequestId(5), submit(), AT);
        entry.submissions(3, AT);
        let (_, told) = entry.handle_token(token(0, 1, 0), AT).unwrap();
        assert!(told.cancel && entry.running() == 0, "{told:?}");
        entry.insert(RequestId(5), submit(), AT);
        entry.submissions(3, AT);
        let busy = TokenMessage::Busy { sequence: 5, attempt: 0, retry_after_s: 7 };
        let failed = GenerateEvent::Failed(GenerateError::Busy { retry_after_s: 7 });
        assert_eq!(heard(&mut entry, &[busy]), [failed]);
    }
}
