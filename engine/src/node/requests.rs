//! What do this node's clients ask for, and how does it end?

use super::{Command, models::Model, run::Node, view};
use crate::{
    cluster::Phase,
    fabric::{
        NodeId,
        messages::{ClusterMessage, OpenSequence, Submit},
    },
    request::{GenerateError, GenerateRequest, RequestId},
};

impl Node {
    pub(super) fn handle_command(&mut self, command: Command) {
        match command {
            Command::Generate { id, request, events } => {
                let placed = self.cluster.placed().filter(|_| self.cluster.phase() == Phase::Ready);
                let Some(placed) = placed else {
                    let why = view::view(self).reason;
                    let _ = events.try_send(crate::request::GenerateEvent::Failed(
                        GenerateError::NotReady { why },
                    ));
                    return;
                };
                let (first, epoch) = (placed.placement.first(), placed.epoch);
                let submit = submit(id, epoch, self.node, request);
                self.entry.insert(id, events);
                if first == self.node {
                    self.handle_submit(self.node, submit);
                } else {
                    self.tell(first, &ClusterMessage::Submit(submit));
                }
            }
            Command::Cancel(id) => self.cancel(id),
            Command::Place(choice) => match Model::open(&choice, self.models.policy()) {
                Ok(model) => {
                    self.want(model);
                    self.publish();
                }
                Err(error) => tracing::error!(%error, model = choice.name, "not placed"),
            },
            Command::Shutdown => {}
        }
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        if self.entry.remove(id).is_none() {
            return;
        }
        self.tell_cancelled(id);
    }

    /// Stage 0 need not go on with a request of this node's clients.
    pub(super) fn tell_cancelled(&mut self, id: RequestId) {
        match self.first {
            Some(first) if first == self.node => self.end_sequence(id, false),
            Some(first) => self.tell(first, &ClusterMessage::Cancel { sequence: id.0 }),
            None => {}
        }
    }

    /// Ends the requests of all of this node's clients.
    pub(super) fn fail_requests(&mut self, error: &GenerateError) {
        for id in self.entry.fail_all(error) {
            self.tell_cancelled(id);
        }
    }
}

fn submit(id: RequestId, placement_epoch: u64, entry: NodeId, request: GenerateRequest) -> Submit {
    let GenerateRequest { prompt, sampling, max_tokens, stop_tokens, priority } = request;
    let open = OpenSequence {
        placement_epoch,
        sequence: id.0,
        attempt: 0,
        sampling,
        prompt_tokens: Vec::new(),
        max_tokens,
        stop_tokens,
        entry: *entry.as_bytes(),
    };
    Submit { open, prompt, priority }
}
