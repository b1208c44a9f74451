//! What does this node's stage report?

use super::run::Node;
use crate::{fabric::messages::ClusterMessage, stage::worker::WorkerEvent};

impl Node {
    pub(super) fn handle_worker(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::StepDone { epoch } => self.core.handle_step_done(epoch),
            WorkerEvent::Token { entry, message } => self.core.handle_chosen(entry, message),
            WorkerEvent::Loading { epoch, bytes_read } => {
                if self.core.cluster().placed().is_some_and(|placed| placed.epoch == epoch) {
                    self.loading_bytes = bytes_read;
                }
            }
            WorkerEvent::Prepared { epoch, result } => {
                match &result {
                    Ok(bytes) => {
                        tracing::info!(epoch, bytes_read = bytes, "layers are prepared");
                    }
                    Err(error) => tracing::error!(epoch, error, "layers cannot be prepared"),
                }
                self.core.handle_prepared(epoch, result.map(|_| ()));
            }
            WorkerEvent::Loaded { epoch, result } => {
                match &result {
                    Ok(bytes) => {
                        tracing::info!(epoch, bytes_read = bytes, "layers are loaded");
                    }
                    Err(error) => tracing::error!(epoch, error, "layers cannot be loaded"),
                }
                self.core.handle_loaded(epoch, result);
                self.do_all();
                self.publish();
            }
            WorkerEvent::Round { epoch, step } => self.core.handle_round(epoch, step),
            WorkerEvent::StepTimes { epoch, counts } => {
                self.core.handle_steps(self.node, epoch, counts.clone());
                let placed = self.core.cluster().placed();
                let first = placed.map(|placed| placed.placement.first());
                if let Some(first) = first.filter(|&first| first != self.node) {
                    self.tell(first, &ClusterMessage::Steps { placement_epoch: epoch, counts });
                }
            }
            WorkerEvent::Misbehaved { node, what } => self.cut_off(node, &what),
        }
    }
}
