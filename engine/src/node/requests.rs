//! What do this node's clients ask for, and what are they told?

use super::{Command, models::Model, run::Node};
use crate::request::{GenerateEvent, RequestId};

impl Node {
    pub(super) fn handle_command(&mut self, command: Command) {
        match command {
            Command::Generate { id, request, events } => {
                self.clients.insert(id, events);
                self.core.handle_generate(id, request);
            }
            Command::Cancel(id) => {
                self.clients.remove(&id);
                self.core.handle_cancel(id);
            }
            Command::Place(choice) => match Model::open(&choice, self.models.policy()) {
                Ok(model) => {
                    self.want(model);
                    self.do_all();
                    self.publish();
                }
                Err(error) => tracing::error!(%error, model = choice.name, "not placed"),
            },
            Command::Leave => {
                tracing::info!("leaving: layers go to the other nodes first");
                self.core.handle_leave();
            }
            Command::Shutdown => {}
        }
    }

    /// Tells a client; if it is gone, its request is.
    pub(super) fn tell_client(&mut self, id: RequestId, event: GenerateEvent) {
        let last = !matches!(event, GenerateEvent::Token { .. });
        let told = self.clients.get(&id).is_some_and(|events| events.try_send(event).is_ok());
        if last || !told {
            self.clients.remove(&id);
        }
        if !last && !told {
            self.core.handle_cancel(id);
        }
    }
}
