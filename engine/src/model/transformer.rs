//! The frame that all architectures share: embedding, layers, norm and head. Read from top to
//! bottom, a token's way.

use std::rc::Rc;

use mlx_rs::{Array, error::Exception};

use super::{Assembly, ModelConfig, assembly::Held};
use crate::{
    layers::LayerRange,
    nn::{Kernels, KvCache, Linear, RmsNorm, Sequence, Step},
    weights::{ShardError, ShardReader},
};

/// The layers of one stage, with the embedding and the head where it has them.
pub struct Transformer {
    config: ModelConfig,
    range: LayerRange,
    kernels: Kernels,
    held: Held,
    /// On the last stage.
    head: Option<(Rc<RmsNorm>, Rc<Linear>)>,
}

impl Transformer {
    /// Reads the tensors of `range`, and of no other layer.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or cannot be read.
    pub fn load(
        config: &ModelConfig,
        range: LayerRange,
        reader: &ShardReader<'_>,
    ) -> Result<Self, ShardError> {
        let mut assembly = Assembly::new(config, range);
        while !assembly.is_complete() {
            assembly.read_next(reader)?;
        }
        assembly.finish()
    }

    /// Of all that `range` needs.
    pub(super) fn new(
        config: ModelConfig,
        range: LayerRange,
        held: Held,
    ) -> Result<Self, Exception> {
        let output = match (&held.output, &held.embedding) {
            (Some(output), _) => Some(Rc::clone(output)),
            (None, Some(embedding)) if config.tied => Some(Rc::new(embedding.as_head()?)),
            (None, _) => None,
        };
        let head = held.norm.clone().zip(output);
        Ok(Self { config, range, kernels: Kernels::of_device(), held, head })
    }

    /// What it has in memory.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// The layers held.
    #[must_use]
    pub fn range(&self) -> LayerRange {
        self.range
    }

    /// The model's settings.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Empty caches of one sequence, one for each layer held.
    #[must_use]
    pub fn caches(&self) -> Vec<KvCache> {
        let blocks = &self.held.blocks;
        let layers = blocks.len();
        blocks.values().zip(0..).map(|(block, at)| block.cache().of_layer(at, layers)).collect()
    }

    /// Token ids → `[rows, hidden]`. First stage only.
    ///
    /// # Errors
    /// What MLX says.
    ///
    /// # Panics
    /// On another stage: a mistake in this crate.
    pub fn embed(&self, tokens: &[u32]) -> Result<Array, Exception> {
        let embedding = self.held.embedding.as_ref().expect("the first stage has the embedding");
        let rows = embedding.forward(tokens)?;
        match self.config.embedding_scale {
            Some(scale) => rows.multiply(Array::from_f32(scale).as_dtype(rows.dtype())?),
            None => Ok(rows),
        }
    }

    /// `[rows, hidden]` through this stage's layers. The rows belong to `sequences`, in order;
    /// `caches[s][l]` is the cache of the `s`-th in the `l`-th layer of the stage.
    ///
    /// With `wanted`, row numbers of the input, only these come out: the last layer computes the
    /// others no further than their keys and values.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(
        &self,
        mut x: Array,
        sequences: Vec<Sequence>,
        caches: &mut [&mut [KvCache]],
        wanted: Option<&[i32]>,
    ) -> Result<Array, Exception> {
        let step = Step::new(sequences, &self.config.ropes, self.kernels);
        let wanted = wanted.map(|wanted| Array::from_slice(wanted, &[wanted.len() as i32]));
        for (layer, block) in self.held.blocks.values().enumerate() {
            let mut own: Vec<&mut KvCache> =
                caches.iter_mut().map(|layers| &mut layers[layer]).collect();
            let wanted = wanted.as_ref().filter(|_| layer + 1 == self.held.blocks.len());
            x = block.forward(&x, &step, &mut own, wanted)?;
        }
        Ok(x)
    }

    /// `[rows, hidden]` → logits `[rows, vocabulary]`. Last stage only.
    ///
    /// # Errors
    /// What MLX says.
    ///
    /// # Panics
    /// On another stage: a mistake in this crate.
    pub fn logits(&self, x: &Array) -> Result<Array, Exception> {
        let (norm, output) = self.head.as_ref().expect("the last stage has the head");
        output.forward(&norm.forward(x)?)
    }
}
