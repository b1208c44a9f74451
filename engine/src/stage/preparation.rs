//! How does a stage come to hold its layers?
//!
//! Piece by piece, so that another stage may compute between any two; and of what that stage or an
//! earlier [`Preparation`] holds of the same weights nothing is read again.

use std::sync::Arc;

use super::{LoadError, Stage};
use crate::{
    layers::LayerRange,
    mlx::Slabs,
    model::{Assembly, ModelConfig},
    weights::{ModelFolder, Precision, ShardReader, TensorReader},
};

/// Weights in memory: those with the same are interchangeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightsId {
    /// The model's fingerprint: also of a folder that has a part of it.
    pub fingerprint: [u8; 32],
    /// How they are held.
    pub precision: Precision,
}

/// Layers of a model, how they are held, and where their tensors are.
#[derive(Clone)]
pub struct Cut {
    /// Where the tensors are: the model's folder, or one of a part that has the layers.
    pub folder: Arc<ModelFolder>,
    /// See there.
    pub weights: WeightsId,
    /// Which layers.
    pub range: LayerRange,
}

/// A stage that is not loaded yet.
pub struct Preparation {
    cut: Cut,
    assembly: Assembly,
    reader: TensorReader,
    slabs: Slabs,
}

impl Preparation {
    /// Of nothing: nothing is read yet.
    ///
    /// # Errors
    /// [`LoadError`] names the field of config.json.
    pub fn new(cut: Cut) -> Result<Self, LoadError> {
        let config = ModelConfig::from_json(cut.folder.config())?;
        let (assembly, reader) = (Assembly::new(&config, cut.range), TensorReader::new());
        Ok(Self { cut, assembly, reader, slabs: Slabs::default() })
    }

    /// Whether it is of the same layers, held alike.
    #[must_use]
    pub fn is_of(&self, cut: &Cut) -> bool {
        (self.cut.weights, self.cut.range) == (cut.weights, cut.range)
    }

    /// Shares with `stage` what it needs and that one has. What `stage` alone has goes with it.
    pub fn share(&mut self, stage: &Stage) {
        if stage.weights == self.cut.weights {
            self.assembly.share(&stage.model);
        }
    }

    /// Takes over what it needs of a preparation that is given up.
    pub fn inherit(&mut self, other: Self) {
        if other.cut.weights == self.cut.weights {
            self.assembly.inherit(other.assembly);
        }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.assembly.is_complete()
    }

    /// Bytes of tensors read from disk so far: not those of what was taken over.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// Reads one piece that is missing: a layer, the embedding, or the head. `progress` hears bytes
    /// read so far.
    ///
    /// # Errors
    /// [`LoadError`] names the tensor.
    pub fn read_next(&mut self, progress: &dyn Fn(u64)) -> Result<(), LoadError> {
        let Self { cut, assembly, reader, slabs } = self;
        let precision = cut.weights.precision;
        let reader = ShardReader::new(&cut.folder, reader, precision, progress)?.into_slabs(slabs);
        Ok(assembly.read_next(&reader)?)
    }

    /// Reads what is missing; the stage begins without sequences.
    ///
    /// # Errors
    /// [`LoadError`] names the tensor.
    pub fn finish(mut self, progress: &dyn Fn(u64)) -> Result<Stage, LoadError> {
        while !self.is_complete() {
            self.read_next(progress)?;
        }
        let bytes_read = self.bytes_read();
        Ok(Stage::of(self.assembly.finish()?, self.cut.weights, bytes_read))
    }
}
