//! How does a request get to a ring, and to the next one when that is lost?
//!
//! A request without a ring waits for the next: what it is, and what its client has been told, are
//! kept here, so the new ring computes that once more and goes on behind it. It is given up when no
//! ring comes that could run it.

use std::time::Duration;

use super::{Core, Out};
use crate::{
    cluster::{Loss, Phase},
    fabric::messages::{ClusterMessage, OpenSequence, Submit, TokenMessage},
    request::{GenerateError, GenerateEvent, GenerateRequest, RequestId},
};

/// After a node of the ring is lost, and the model does not fit without it, requests wait so long
/// for it to come back.
const RETURN_WAIT: Duration = Duration::from_secs(10);
/// How long a request waits for layers to be loaded.
const LOADING_WAIT: Duration = Duration::from_secs(900);
/// When a request that came to the wrong node is submitted again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl Core {
    /// A client of this node asks.
    pub fn handle_generate(&mut self, id: RequestId, request: GenerateRequest) {
        let error = match self.cluster.phase() {
            _ if self.leaving.is_some() => Some(GenerateError::ShuttingDown),
            Phase::Ready => None,
            _ if self.is_between_rings() => None,
            Phase::Waiting(why) | Phase::Loading(why) | Phase::Failed(why) => {
                Some(GenerateError::NotReady { why })
            }
        };
        if let Some(error) = error {
            return self.put(Out::Client(id, GenerateEvent::Failed(error)));
        }
        let GenerateRequest { prompt, sampling, max_tokens, stop_tokens, priority } = request;
        let open = OpenSequence {
            placement_epoch: 0,
            sequence: id.0,
            attempt: 0,
            sampling,
            prompt_tokens: Vec::new(),
            generated: Vec::new(),
            max_tokens,
            stop_tokens,
            entry: *self.node.as_bytes(),
        };
        self.entry.insert(id, Submit { open, prompt, priority }, self.now);
        self.submit();
    }

    /// The client is gone.
    pub fn handle_cancel(&mut self, id: RequestId) {
        if self.entry.remove(id) {
            self.tell_cancelled(id);
        }
    }

    /// This node ends, and with it the requests of its clients.
    pub fn handle_shutdown(&mut self) {
        self.fail(&GenerateError::ShuttingDown, |_| true);
    }

    pub(super) fn tell_client(&mut self, message: TokenMessage) {
        let Some((id, told)) = self.entry.handle_token(message, self.now + RETRY_AFTER) else {
            return;
        };
        for event in told.events {
            self.put(Out::Client(id, event));
        }
        if told.cancel {
            self.tell_cancelled(id);
        }
    }

    /// Gives what waits to the ring, if there is one.
    pub(super) fn submit(&mut self) {
        if self.cluster.phase() != Phase::Ready {
            return;
        }
        let Some(placed) = self.cluster.placed() else { return };
        let (first, epoch) = (placed.placement.first(), placed.epoch);
        if !self.reaches_ring() {
            return; // its sessions with that node may be coming
        }
        for submit in self.entry.submissions(epoch, self.now) {
            if first == self.node {
                self.handle_submit(self.node, submit);
            } else {
                self.put(Out::Tell(first, ClusterMessage::Submit(submit)));
            }
        }
    }

    /// Submits what waits, and gives up what has waited for too long.
    pub(super) fn look_after_requests(&mut self) {
        self.submit();
        let error = match (self.cluster.loss(), self.cluster.phase()) {
            (Some(_), Phase::Waiting(_)) if self.is_between_rings() => return,
            (Some(Loss { node, .. }), Phase::Waiting(cause)) => {
                GenerateError::NodeLost { node: node.clone(), cause }
            }
            (_, Phase::Failed(why)) => GenerateError::NotReady { why },
            (_, Phase::Waiting(why)) => GenerateError::NotReady { why },
            (_, Phase::Loading(why)) => {
                let error = GenerateError::NotReady { why };
                return self.fail(&error, |without| without.is_some_and(|it| it > LOADING_WAIT));
            }
            (_, Phase::Ready) => {
                let why = "this node has no connection to both ends of the ring".to_owned();
                let error = GenerateError::NotReady { why };
                let wait = if self.reaches_ring() { LOADING_WAIT } else { RETURN_WAIT };
                return self.fail(&error, |without| without.is_some_and(|it| it > wait));
            }
        };
        self.fail(&error, |_| true);
        self.not_ready();
    }

    /// Whether this node can give requests to the ring, and hear of their tokens.
    fn reaches_ring(&self) -> bool {
        let reaches = |node| self.cluster.member(node).is_some();
        let placed = self.cluster.placed();
        placed.is_some_and(|it| reaches(it.placement.first()) && reaches(it.placement.last()))
    }

    /// Whether a ring that ran is being replaced, and requests may wait for the next.
    fn is_between_rings(&self) -> bool {
        match (self.cluster.loss(), self.cluster.phase()) {
            (Some(loss), Phase::Waiting(_)) => self.now.saturating_sub(loss.at) < RETURN_WAIT,
            (_, Phase::Loading(_)) => self.cluster.has_served(),
            _ => false,
        }
    }

    fn fail(&mut self, error: &GenerateError, ends: impl FnMut(Option<Duration>) -> bool) {
        for id in self.entry.fail(self.now, ends) {
            self.put(Out::Client(id, GenerateEvent::Failed(error.clone())));
            self.tell_cancelled(id);
        }
    }

    /// Stage 0 need not go on with a request of this node's clients.
    fn tell_cancelled(&mut self, id: RequestId) {
        let first = self.cluster.placed().map(|placed| placed.placement.first());
        match first {
            Some(first) if first == self.node => self.handle_cancelled(self.node, id),
            Some(first) => self.put(Out::Tell(first, ClusterMessage::Cancel { sequence: id.0 })),
            None => {}
        }
    }
}
