//! The models on this node's disk that it has looked at.

use std::{path::Path, sync::Arc};

use super::{ModelChoice, StartError};
use crate::{
    cluster::{KnownModel, PlacedModel},
    model::{LlamaConfig, ModelShape},
    weights::{ModelFolder, ModelLibrary},
};

/// A model on this disk.
pub(super) struct Model {
    pub(super) known: KnownModel,
    pub(super) choice: ModelChoice,
    pub(super) folder: Arc<ModelFolder>,
    pub(super) config: LlamaConfig,
}

impl Model {
    pub(super) fn open(choice: &ModelChoice) -> Result<Self, StartError> {
        let folder = ModelFolder::open(&choice.dir)?;
        let config = LlamaConfig::from_json(folder.config())?;
        let known = KnownModel {
            name: choice.name.clone(),
            fingerprint: folder.fingerprint(),
            shape: ModelShape::from(&config),
        };
        Ok(Self { known, choice: choice.clone(), folder: Arc::new(folder), config })
    }
}

/// See the module.
pub(super) struct Models {
    library: ModelLibrary,
    open: Vec<Model>,
}

impl Models {
    pub(super) fn new(data: &Path) -> Self {
        Self { library: ModelLibrary::new(data), open: Vec::new() }
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
                && model.known.shape.layers == placed.placement.layers()
        };
        if let Some(index) = self.open.iter().position(same) {
            return Ok(&self.open[index]);
        }
        // By name alone: a peer has no say over which folder is opened.
        let dir = self.library.dir_for(&placed.name).map_err(|error| error.to_string())?;
        let choice = ModelChoice { name: placed.name.clone(), dir };
        let model = Model::open(&choice).map_err(|error| error.to_string())?;
        if !same(&model) {
            let dir = choice.dir.display();
            return Err(format!("{dir} holds other files than the node that placed the model"));
        }
        self.open.push(model);
        Ok(&self.open[self.open.len() - 1])
    }
}
