//! The frame that all architectures share: embedding, layers, norm and head. Read from top to
//! bottom, a token's way.

use mlx_rs::{Array, error::Exception};

use super::{ModelConfig, config::Loader};
use crate::{
    layers::LayerRange,
    nn::{Block, Embedding, Kernels, KvCache, Linear, RmsNorm, Sequence, Step},
    weights::{Part, ShardError, ShardReader},
};

/// The layers of one stage, with the embedding and the head where it has them.
pub struct Transformer {
    config: ModelConfig,
    range: LayerRange,
    kernels: Kernels,
    /// On the first stage.
    embedding: Option<Embedding>,
    blocks: Vec<Block>,
    /// On the last stage.
    head: Option<(RmsNorm, Linear)>,
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
        let kernels = Kernels::of_device();
        let loader = Loader { reader, config, kernels };
        let (hidden, vocabulary) = (config.hidden, config.vocabulary);
        let embed = || {
            let table = reader.matrix(&Part::whole("model.embed_tokens", vocabulary), hidden)?;
            Ok::<_, ShardError>(Embedding::new(table, reader.compute()))
        };
        let embedding = range.is_first().then(embed).transpose()?;
        let mut blocks = Vec::with_capacity(range.count() as usize);
        for layer in range.start()..range.end() {
            blocks.push(config.architecture.block(layer, &loader)?);
        }
        let head = if range.is_last(config.layers) {
            let output = match (&embedding, config.tied) {
                (Some(embedding), true) => embedding.as_head()?,
                (None, true) => embed()?.as_head()?,
                (_, false) => {
                    Linear::load(reader, &[Part::whole("lm_head", vocabulary)], hidden, false)?
                }
            };
            Some((loader.norm("model.norm", hidden)?, output))
        } else {
            None
        };
        Ok(Self { config: config.clone(), range, kernels, embedding, blocks, head })
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
        self.blocks.iter().map(Block::cache).collect()
    }

    /// Token ids → `[rows, hidden]`. First stage only.
    ///
    /// # Errors
    /// What MLX says.
    ///
    /// # Panics
    /// On another stage: a mistake in this crate.
    pub fn embed(&self, tokens: &[u32]) -> Result<Array, Exception> {
        let embedding = self.embedding.as_ref().expect("the first stage has the embedding");
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
        for (layer, block) in self.blocks.iter().enumerate() {
            let mut own: Vec<&mut KvCache> =
                caches.iter_mut().map(|layers| &mut layers[layer]).collect();
            let wanted = wanted.as_ref().filter(|_| layer + 1 == self.blocks.len());
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
