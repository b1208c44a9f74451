//! The models on this node's disk that it has looked at.

use std::{path::Path, sync::Arc};

use super::{ModelChoice, StartError};
use crate::{
    cluster::{KnownModel, PlacedModel, needed_bytes},
    layers::LayerRange,
    model::{ModelConfig, ModelShape},
    scheduler::Reuse,
    weights::{ModelFolder, ModelLibrary, Precision, WeightsChoice},
};

/// A model on this disk.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) known: KnownModel,
    pub(super) choice: ModelChoice,
    pub(super) folder: Arc<ModelFolder>,
    pub(super) config: ModelConfig,
    /// Its sizes with dense weights.
    dense: ModelShape,
}

/// How this node holds weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightsPolicy {
    pub(super) choice: WeightsChoice,
    pub(super) memory_bytes: u64,
}

impl Model {
    pub(super) fn open(choice: &ModelChoice, policy: WeightsPolicy) -> Result<Self, StartError> {
        let folder = ModelFolder::open(&choice.dir)?;
        let config = ModelConfig::from_json(folder.config())?;
        let precision = Precision::of(folder.config(), WeightsChoice::Dense, true);
        let dense = ModelShape::of(&folder, &config, precision)?;
        let (name, fingerprint) = (choice.name.clone(), folder.fingerprint());
        let known = KnownModel { name, fingerprint, shape: dense.clone() };
        let folder = Arc::new(folder);
        let mut model = Self { known, choice: choice.clone(), folder, config, dense };
        if let Ok(all) = LayerRange::checked(0, model.config.layers) {
            let precision = model.precision(all, policy);
            model.known.shape = ModelShape::of(&model.folder, &model.config, precision)?;
        }
        Ok(model)
    }

    /// What of a sequence's cache another may use: of layers with a sliding window, whose caches let
    /// go what is far behind, all or nothing.
    pub(super) fn reuse(&self) -> Reuse {
        let config = self.folder.config();
        let of = |name: &str| config.get(name).or_else(|| config.get("text_config")?.get(name));
        let window = of("sliding_window").is_some_and(serde_json::Value::is_number);
        let used = of("use_sliding_window") != Some(&serde_json::Value::Bool(false));
        if window && used { Reuse::Whole } else { Reuse::Prefix }
    }

    /// How this node would hold these layers.
    pub(super) fn precision(&self, range: LayerRange, policy: WeightsPolicy) -> Precision {
        let dense_fits = needed_bytes(range, &self.dense) <= policy.memory_bytes;
        Precision::of(self.folder.config(), policy.choice, dense_fits)
    }
}

/// See the module.
pub(super) struct Models {
    library: ModelLibrary,
    policy: WeightsPolicy,
    open: Vec<Model>,
}

impl Models {
    pub(super) fn new(data: &Path, policy: WeightsPolicy) -> Self {
        Self { library: ModelLibrary::new(data), policy, open: Vec::new() }
    }

    /// How this node holds weights.
    pub(super) fn policy(&self) -> WeightsPolicy {
        self.policy
    }

    /// Remembers a model instead of another of the same files.
    pub(super) fn insert(&mut self, model: Model) {
        self.open.retain(|other| other.known.fingerprint != model.known.fingerprint);
        self.open.push(model);
    }

    /// The placed model on this disk: by its name, and the same files.
    pub(super) fn find(&mut self, placed: &PlacedModel) -> Result<&Model, String> {
        let same = |model: &Model| {
            model.known.fingerprint == placed.fingerprint
                && model.known.shape.layer_count() == placed.placement.layers()
        };
        if let Some(index) = self.open.iter().position(same) {
            return Ok(&self.open[index]);
        }
        // By name alone: a peer has no say over which folder is opened.
        let dir = self.library.dir_for(&placed.name).map_err(|error| error.to_string())?;
        let choice = ModelChoice { name: placed.name.clone(), dir };
        let model = Model::open(&choice, self.policy).map_err(|error| error.to_string())?;
        if !same(&model) {
            let dir = choice.dir.display();
            return Err(format!("{dir} holds other files than the node that placed the model"));
        }
        self.open.push(model);
        Ok(&self.open[self.open.len() - 1])
    }
}
