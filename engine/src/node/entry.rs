//! The requests of this node's own clients.

use std::collections::HashMap;

use tokio::sync::mpsc::Sender;

use crate::{
    fabric::messages::TokenMessage,
    request::{FinishReason, GenerateError, GenerateEvent, RequestId, TokenLogprobs},
};

struct Waiting {
    events: Sender<GenerateEvent>,
    /// Index of the next token: a repeated one is not told twice.
    next: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Entry {
    requests: HashMap<RequestId, Waiting>,
}

impl Entry {
    pub(super) fn insert(&mut self, id: RequestId, events: Sender<GenerateEvent>) {
        self.requests.insert(id, Waiting { events, next: 0 });
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<()> {
        self.requests.remove(&id).map(|_| ())
    }

    pub(super) fn running(&self) -> usize {
        self.requests.len()
    }

    /// Requests whose client is gone.
    pub(super) fn abandoned(&self) -> Vec<RequestId> {
        let gone = self.requests.iter().filter(|(_, waiting)| waiting.events.is_closed());
        gone.map(|(&id, _)| id).collect()
    }

    /// Ends all requests with an error. Gives them back: stage 0 may still be at them.
    pub(super) fn fail_all(&mut self, error: &GenerateError) -> Vec<RequestId> {
        let ended = self.requests.drain().map(|(id, waiting)| {
            let _ = waiting.events.try_send(GenerateEvent::Failed(error.clone()));
            id
        });
        ended.collect()
    }

    /// Tells a client. Gives the request back if the client is gone and it has to be cancelled.
    pub(super) fn handle_token(&mut self, message: TokenMessage) -> Option<RequestId> {
        match message {
            TokenMessage::Token { sequence, index, token, logprobs, finish, .. } => {
                let id = RequestId(sequence);
                let waiting = self.requests.get_mut(&id)?;
                if index < waiting.next {
                    return None;
                }
                if index > waiting.next {
                    let (node, cause) = ("the last stage".into(), "a token was lost".into());
                    let error = GenerateError::Stage { node, cause };
                    let _ = waiting.events.try_send(GenerateEvent::Failed(error));
                    return Some(id);
                }
                waiting.next += 1;
                let logprobs = logprobs.map(|(chosen, top)| TokenLogprobs { chosen, top });
                let told = waiting.events.try_send(GenerateEvent::Token { id: token, logprobs });
                let finish = match finish {
                    0 => return told.is_err().then_some(id),
                    1 => FinishReason::Stop,
                    _ => FinishReason::Length,
                };
                let _ = waiting.events.try_send(GenerateEvent::Finished(finish));
                self.requests.remove(&id);
            }
            TokenMessage::Failed { sequence, node, cause } => {
                self.fail(RequestId(sequence), GenerateError::Stage { node, cause });
            }
            TokenMessage::Busy { sequence, retry_after_s } => {
                self.fail(RequestId(sequence), GenerateError::Busy { retry_after_s });
            }
            TokenMessage::Round { .. } => {}
        }
        None
    }

    fn fail(&mut self, id: RequestId, error: GenerateError) {
        if let Some(waiting) = self.requests.remove(&id) {
            let _ = waiting.events.try_send(GenerateEvent::Failed(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn token(index: u32, finish: u8) -> TokenMessage {
        TokenMessage::Token {
            sequence: 5,
            attempt: 0,
            index,
            token: 100 + index,
            logprobs: None,
            finish,
        }
    }

    #[test]
    fn a_client_hears_each_token_once_and_the_end() {
        let (sender, mut events) = mpsc::channel(8);
        let mut entry = Entry::default();
        entry.insert(RequestId(5), sender);
        for message in [token(0, 0), token(0, 0), token(1, 1)] {
            assert_eq!(entry.handle_token(message), None);
        }
        let mut heard = Vec::new();
        while let Ok(event) = events.try_recv() {
            heard.push(event);
        }
        let said = |id| GenerateEvent::Token { id, logprobs: None };
        assert_eq!(heard, [said(100), said(101), GenerateEvent::Finished(FinishReason::Stop)]);
        assert_eq!(entry.running(), 0);

        let (sender, mut events) = mpsc::channel(8);
        entry.insert(RequestId(5), sender);
        assert_eq!(entry.handle_token(TokenMessage::Busy { sequence: 5, retry_after_s: 7 }), None);
        assert_eq!(
            events.try_recv().unwrap(),
            GenerateEvent::Failed(GenerateError::Busy { retry_after_s: 7 })
        );
        assert_eq!(entry.running(), 0);
    }

    #[test]
    fn a_client_that_is_gone_is_noticed() {
        let (sender, events) = mpsc::channel(8);
        let mut entry = Entry::default();
        entry.insert(RequestId(5), sender);
        drop(events);
        assert_eq!(entry.abandoned(), [RequestId(5)]);
        assert_eq!(entry.handle_token(token(0, 0)), Some(RequestId(5)));
    }
}
