//! How large is the model?

use std::path::Path;

use anyhow::{Result, anyhow};
use exo_engine::{
    cluster::needed_bytes,
    layers::LayerRange,
    model::{ModelConfig, ModelShape},
    weights::{
        LibraryError, ModelFolder, ModelLibrary, Precision, WeightsChoice,
        catalogue::{Catalogue, Meaning},
    },
};

use super::machines::Machines;

/// A model that is planned.
pub(super) struct PlannedModel {
    pub(super) name: String,
    pub(super) shape: ModelShape,
    /// Where its sizes are from, for a person.
    pub(super) known_from: &'static str,
}

impl PlannedModel {
    /// The model of that name on this machine, else in the catalogue.
    pub(super) fn find(
        data: &Path,
        name: &str,
        weights: WeightsChoice,
        machines: &Machines,
    ) -> Result<Self> {
        match ModelLibrary::new(data).find(name) {
            Ok(entry) => {
                let shape = of_folder(&entry.dir, weights, machines)?;
                Ok(Self { name: entry.name, shape, known_from: "as its files say" })
            }
            Err(LibraryError::Unknown { .. }) => match Catalogue::built_in().resolve(name) {
                Ok(Meaning::Known { name, model, variant }) => Ok(Self {
                    name,
                    shape: ModelShape::of_known(model, variant),
                    known_from: "as its card says; it is not on this machine",
                }),
                Ok(Meaning::Repository { name, .. }) => Err(anyhow!(
                    "{name} is not on this machine, and its size is not known\nhint: fetch it with \
                     `exo-node models pull`; `exo-node models ls --known` lists models that need \
                     not be here to be planned"
                )),
                Err(unknown) => Err(unknown.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

fn of_folder(dir: &Path, weights: WeightsChoice, machines: &Machines) -> Result<ModelShape> {
    let folder = ModelFolder::open(dir)?;
    let config = ModelConfig::from_json(folder.config())?;
    let shape = |precision| ModelShape::of(&folder, &config, precision);
    if machines.offers.iter().any(|offer| offer.speed.is_some()) && machines.described {
        return Ok(shape(Precision::on_gpu(folder.config(), weights))?);
    }
    // As the node with most memory would see it.
    let all = LayerRange::checked(0, config.layers)?;
    let dense = Precision::of(folder.config(), WeightsChoice::Dense, true);
    let dense = needed_bytes(all, &shape(dense)?);
    let dense_fits = machines.offers.iter().any(|offer| dense <= offer.memory);
    Ok(shape(Precision::of(folder.config(), weights, dense_fits))?)
}
