//! The models on this node's disk that it has looked at.
//!
//! A model is known by its fingerprint; a part of one by the fingerprint of the whole, as the node
//! checked when the part came.

use std::{path::Path, sync::Arc};

use super::{
    ModelChoice, StartError,
    parts::{Part, Parts},
};
use crate::{
    cluster::{KnownModel, PlacedModel, needed_bytes},
    layers::LayerRange,
    model::{ConfigError, ModelConfig, ModelShape},
    scheduler::Reuse,
    weights::{ModelFolder, ModelLibrary, Precision, WeightsChoice},
};

/// A model on this disk, or layers of it.
#[derive(Clone)]
pub(super) struct Model {
    /// What the cluster must know to place it, if all of it is here.
    pub(super) known: Option<KnownModel>,
    fingerprint: [u8; 32],
    /// The layers that are here.
    range: LayerRange,
    pub(super) choice: ModelChoice,
    pub(super) folder: Arc<ModelFolder>,
    pub(super) config: ModelConfig,
    /// Sizes of what is here, as it would be held, and with dense weights.
    shape: ModelShape,
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
        let layers = ModelConfig::from_json(folder.config())?.layers;
        let range = LayerRange::checked(0, layers)
            .map_err(|_| ConfigError::Contradiction("a model without layers".to_owned()))?;
        let (name, fingerprint) = (choice.name.clone(), folder.fingerprint());
        let mut model = Self::of(folder, fingerprint, range, choice.clone(), policy)?;
        model.known = Some(KnownModel { name, fingerprint, shape: model.shape.clone() });
        Ok(model)
    }

    /// Layers that came from other nodes, of the model with this fingerprint.
    fn open_part(
        name: &str,
        fingerprint: [u8; 32],
        part: Part,
        policy: WeightsPolicy,
    ) -> Result<Self, StartError> {
        let folder = ModelFolder::open(&part.dir)?;
        let choice = ModelChoice { name: name.to_owned(), dir: part.dir };
        Self::of(folder, fingerprint, part.range, choice, policy)
    }

    fn of(
        folder: ModelFolder,
        fingerprint: [u8; 32],
        range: LayerRange,
        choice: ModelChoice,
        policy: WeightsPolicy,
    ) -> Result<Self, StartError> {
        let config = ModelConfig::from_json(folder.config())?;
        let precision = Precision::of(folder.config(), WeightsChoice::Dense, true);
        let dense = ModelShape::of(&folder, &config, precision)?;
        let (folder, shape) = (Arc::new(folder), dense.clone());
        let mut model =
            Self { known: None, fingerprint, range, choice, folder, config, shape, dense };
        let precision = model.precision(range, policy);
        model.shape = ModelShape::of(&model.folder, &model.config, precision)?;
        Ok(model)
    }

    /// Whether these layers are here.
    pub(super) fn holds(&self, range: LayerRange) -> bool {
        self.range.start() <= range.start() && range.end() <= self.range.end()
    }

    /// Sizes of the layers that are here.
    pub(super) fn shape(&self) -> &ModelShape {
        &self.shape
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
    parts: Parts,
    policy: WeightsPolicy,
    open: Vec<Model>,
}

impl Models {
    pub(super) fn new(data: &Path, policy: WeightsPolicy) -> Self {
        let (library, parts) = (ModelLibrary::new(data), Parts::new(data));
        Self { library, parts, policy, open: Vec::new() }
    }

    /// How this node holds weights.
    pub(super) fn policy(&self) -> WeightsPolicy {
        self.policy
    }

    /// Remembers a model instead of another of the same files.
    pub(super) fn insert(&mut self, model: Model) {
        self.open.retain(|other| other.fingerprint != model.fingerprint);
        self.open.push(model);
    }

    /// These layers of the placed model on this disk: in the folder of its name, if that holds the
    /// same files, or as a part that came from other nodes.
    pub(super) fn find(
        &mut self,
        placed: &PlacedModel,
        range: LayerRange,
    ) -> Result<&Model, String> {
        let fits = |model: &Model| {
            model.fingerprint == placed.fingerprint
                && model.config.layers == placed.placement.layers()
                && model.holds(range)
                && model.folder.dir().is_dir()
        };
        if let Some(index) = self.open.iter().position(fits) {
            return Ok(&self.open[index]);
        }
        let why = match self.named(&placed.name) {
            Ok(model) if fits(&model) => return Ok(self.opened(model)),
            Ok(model) => {
                let dir = model.choice.dir.display();
                format!("{dir} holds other files than the node that placed the model")
            }
            Err(why) => why,
        };
        let fingerprint = placed.fingerprint;
        if let Some(part) = self.parts.find(fingerprint, range) {
            match Model::open_part(&placed.name, fingerprint, part, self.policy) {
                Ok(model) if fits(&model) => return Ok(self.opened(model)),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "layers that came before cannot be used"),
            }
        }
        Err(why)
    }

    /// By name alone: a peer has no say over which folder is opened.
    fn named(&self, name: &str) -> Result<Model, String> {
        let dir = self.library.dir_for(name).map_err(|error| error.to_string())?;
        let choice = ModelChoice { name: name.to_owned(), dir };
        Model::open(&choice, self.policy).map_err(|error| error.to_string())
    }

    fn opened(&mut self, model: Model) -> &Model {
        self.insert(model);
        &self.open[self.open.len() - 1]
    }

    /// The folder of a model of which all is here, for a peer that lacks layers of it.
    pub(super) fn whole(&mut self, fingerprint: [u8; 32]) -> Option<Arc<ModelFolder>> {
        let same = |model: &&Model| model.known.is_some() && model.fingerprint == fingerprint;
        if let Some(model) = self.open.iter().find(same) {
            return Some(model.folder.clone());
        }
        let entries = self.library.list().unwrap_or_default();
        entries.into_iter().find_map(|entry| {
            let folder = ModelFolder::open(&entry.dir).ok()?;
            (folder.fingerprint() == fingerprint).then(|| Arc::new(folder))
        })
    }
}
