//! How does this node come to hold the layers that a placement gives it?

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{models::Model, run::Node};
use crate::{
    cluster::{PlacedModel, cache_tokens, core::RingFacts},
    layers::LayerRange,
    prompt::PromptModel,
    scheduler::Ring,
    stage::{
        Cut, WeightsId,
        worker::{self, Job, Route},
    },
};

/// How long a placement waits for the connection to a neighbour on the ring.
const NEIGHBOUR_WAIT: Duration = Duration::from_secs(10);

impl Node {
    /// Has a model placed.
    pub(super) fn want(&mut self, model: Model) {
        let Some(known) = model.known.clone() else { return };
        self.models.insert(model);
        self.core.handle_want(known);
    }

    pub(super) fn load(&mut self, placed: &PlacedModel) {
        self.pending = None;
        self.loading_bytes = 0;
        self.shards.forget();
        let placement = &placed.placement;
        let Some(position) = placement.position(self.node) else {
            return self.job(Job::Unload);
        };
        // The neighbours may be connecting just now.
        let neighbours = [placement.before(self.node), placement.after(self.node)];
        if neighbours.into_iter().flatten().any(|node| self.fabric.peer(node).is_none()) {
            self.pending = Some((placed.clone(), Instant::now()));
            return;
        }
        let range = placement.assignments()[position].range;
        let policy = self.models.policy();
        let found = self.models.find(placed, range).cloned().map(|model| {
            let Model { folder, config, .. } = &model;
            let sizes = (config.vocabulary, config.context);
            let ring = self.ring(placed, &model);
            (folder.clone(), model.precision(range, policy), sizes, ring)
        });
        tracing::info!(epoch = placed.epoch, model = placed.name, %range, "loading layers");
        let [before, after] =
            neighbours.map(|node| node.and_then(|node| self.fabric.peer(node)).cloned());
        match found {
            Ok((folder, precision, (vocabulary, context), ring)) => {
                let route = Route { before, after };
                if placement.first() == self.node {
                    let facts = RingFacts { ring, vocabulary, context };
                    self.core.handle_ring(placed.epoch, facts);
                }
                let weights = WeightsId { fingerprint: placed.fingerprint, precision };
                let cut = Cut { folder, weights, range };
                self.job(Job::Load { epoch: placed.epoch, cut, route });
            }
            Err(why) => self.ask_for(placed, range, &why),
        }
    }

    /// Has layers that this node lacks for a placement loaded, beside those that it holds.
    pub(super) fn prepare(&mut self, placed: &PlacedModel) {
        let placement = &placed.placement;
        let Some(position) = placement.position(self.node) else { return };
        let range = placement.assignments()[position].range;
        tracing::info!(epoch = placed.epoch, model = placed.name, %range, "preparing layers");
        match self.models.find(placed, range) {
            Ok(model) => {
                let model = model.clone();
                let precision = model.precision(range, self.models.policy());
                let weights = WeightsId { fingerprint: placed.fingerprint, precision };
                let cut = Cut { folder: model.folder, weights, range };
                self.job(Job::Prepare { epoch: placed.epoch, cut });
            }
            Err(why) => self.ask_for(placed, range, &why),
        }
    }

    /// The ring as stage 0 schedules for it: with the memory of the node that has least, as far as
    /// this one knows what the layers of each take.
    fn ring(&self, placed: &PlacedModel, model: &Model) -> Ring {
        let assignments = placed.placement.assignments();
        let known = assignments.iter().filter(|part| model.holds(part.range));
        let room = known.map(|part| {
            let memory = match self.core.cluster().member(part.node) {
                Some(record) => record.memory,
                None => self.core.cluster().record().memory,
            };
            cache_tokens(part.range, model.shape(), memory)
        });
        Ring {
            stages: assignments.len(),
            chunk_tokens: worker::chunk_tokens(model.config.hidden),
            cache_tokens: room.min().unwrap_or(0),
            reuse: model.reuse(),
        }
    }

    /// This node cannot load its layers.
    pub(super) fn not_loaded(&mut self, epoch: u64, cause: String) {
        tracing::error!(cause, "cannot load");
        if self.core.cluster().next().is_some_and(|next| next.epoch == epoch) {
            self.core.handle_prepared(epoch, Err(cause));
        } else {
            self.core.handle_loaded(epoch, Err(cause));
        }
    }

    /// Loads what waited for a neighbour to connect, or gives up waiting.
    pub(super) fn load_pending(&mut self) {
        let Some((placed, since)) = self.pending.clone() else { return };
        let ring = &placed.placement;
        let missing = [ring.before(self.node), ring.after(self.node)]
            .into_iter()
            .flatten()
            .find(|&node| self.fabric.peer(node).is_none());
        match missing {
            None => self.load(&placed),
            Some(node) if since.elapsed() > NEIGHBOUR_WAIT => {
                self.pending = None;
                let name = self.core.cluster().name(node);
                let cause = format!("no connection to {name}, its neighbour on the ring");
                self.not_loaded(placed.epoch, cause);
            }
            Some(_) => {}
        }
    }

    pub(super) fn ready(&mut self, placed: &PlacedModel) {
        tracing::info!(model = placed.name, epoch = placed.epoch, "ready");
        // A node without the model's files is a stage of the ring, but no entry.
        let placement = &placed.placement;
        let own = placement.position(self.node).map(|at| placement.assignments()[at].range);
        let Some(range) = own.or_else(|| LayerRange::checked(0, placement.layers()).ok()) else {
            return;
        };
        let Ok(model) = self.models.find(placed, range) else { return };
        match PromptModel::open(&model.choice.dir, &placed.name) {
            Ok(model) => self.shared.publish_model(Some(Arc::new(model))),
            Err(error) => tracing::error!(%error, "no tokenizer: this node takes no requests"),
        }
    }
}
