//! Run a [`LayerRange`] of a model on one MLX thread.
//!
//! [`Stage`] computes and keeps the caches; it knows nothing of networks. A [`Preparation`] is one
//! that is not loaded yet. [`worker`] is the thread that owns them, joined to its neighbours on the
//! ring; [`measure`] says how fast this machine is.

pub mod measure;
mod preparation;
pub mod worker;

pub use preparation::{Cut, Preparation, WeightsId};

use std::collections::HashMap;

use mlx_rs::{Array, Dtype, error::Exception};

use crate::{
    layers::LayerRange,
    mlx,
    model::{ConfigError, ModelConfig, Transformer},
    nn::{KvCache, Sequence},
    weights::{ModelFolder, Precision, ShardError, ShardReader, TensorReader},
};

/// Rows of one sequence in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Whose.
    pub sequence: u64,
    /// Which start of it: a higher one empties the cache, a lower one is refused.
    pub attempt: u32,
    /// Position of the first row: where the cache ends.
    pub start: u32,
    /// How many: at least one.
    pub count: u32,
    /// Whether the last row wants logits.
    pub wants_token: bool,
}

/// What goes into a step.
pub enum StageInput<'a> {
    /// Token ids, one per row: on the first stage.
    Tokens(&'a [u32]),
    /// Hidden states `[rows, hidden]`, evaluated: on the others.
    Hidden(Array),
}

/// What comes out of a step, evaluated and row-major.
pub enum StageOutput {
    /// Hidden states `[rows, hidden]`, for the next stage.
    Hidden(Array),
    /// Logits `[n, vocabulary]`, one row for each sequence that wants a token, in order; none if no
    /// sequence does.
    Logits(Option<Array>),
}

/// Why a step was not computed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// MLX failed.
    #[error("MLX: {0}")]
    Mlx(#[from] Exception),
    /// A peer's rows do not continue what the cache holds.
    #[error("sequence {sequence} is at token {holds} here, the rows begin at {start}")]
    OutOfStep {
        /// Which.
        sequence: u64,
        /// Tokens in the cache.
        holds: u32,
        /// First position of the rows.
        start: u32,
    },
    /// A sequence longer than the model's context.
    #[error("sequence {sequence} would have {wanted} tokens, the model takes {context}")]
    TooLong {
        /// Which.
        sequence: u64,
        /// Tokens it would have.
        wanted: u64,
        /// Tokens the model takes.
        context: usize,
    },
    /// A sequence stands twice in a step, or one has no rows.
    #[error("sequence {0} stands twice in a step, or without rows")]
    Malformed(u64),
    /// A token id that the vocabulary does not have.
    #[error("token {token} is not in the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// Hidden states of another width.
    #[error("rows of {got} numbers for a model of {want}")]
    Width {
        /// What came.
        got: usize,
        /// What the model has.
        want: usize,
    },
}

/// Why a stage was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model's settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its tensors.
    #[error(transparent)]
    Shard(#[from] ShardError),
}

struct SequenceCache {
    attempt: u32,
    layers: Vec<KvCache>,
}

/// Layers of a model, and the caches of the sequences that run through them.
pub struct Stage {
    model: Transformer,
    weights: WeightsId,
    sequences: HashMap<u64, SequenceCache>,
    bytes_read: u64,
}

impl Stage {
    /// Reads the tensors of `range` from `folder`, and of no other layer, and holds them with
    /// `precision`. `progress` hears bytes read so far.
    ///
    /// # Errors
    /// [`LoadError`] names the field or the tensor.
    pub fn load(
        folder: &ModelFolder,
        range: LayerRange,
        precision: Precision,
        progress: &dyn Fn(u64),
    ) -> Result<Self, LoadError> {
        let config = ModelConfig::from_json(folder.config())?;
        let reader = TensorReader::new();
        let tensors = ShardReader::new(folder, &reader, precision, progress)?;
        let model = Transformer::load(&config, range, &tensors)?;
        let weights = WeightsId { fingerprint: folder.fingerprint(), precision };
        Ok(Self::of(model, weights, reader.bytes_read()))
    }

    fn of(model: Transformer, weights: WeightsId, bytes_read: u64) -> Self {
        Self { model, weights, sequences: HashMap::new(), bytes_read }
    }

    /// Bytes of tensors read from disk for it: not those of what it took over.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The layers held.
    #[must_use]
    pub fn range(&self) -> LayerRange {
        self.model.range()
    }

    /// Numbers in a row of hidden states.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.model.config().hidden
    }

    /// Whether its output is logits.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.range().is_last(self.model.config().layers)
    }

    /// Sequences that have a cache here.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// Bytes of all caches.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.sequences.values().flat_map(|cache| &cache.layers).map(KvCache::bytes).sum()
    }

    /// Frees a sequence's cache.
    pub fn close(&mut self, sequence: u64) {
        self.sequences.remove(&sequence);
    }

    /// Frees the caches of all.
    pub fn close_all(&mut self) {
        self.sequences.clear();
    }

    /// A sequence begins with the first `tokens` tokens of another's cache, which it takes over or
    /// copies. Says whether they were there; if not, it begins with nothing.
    ///
    /// # Errors
    /// What MLX says.
    pub fn reuse(
        &mut self,
        sequence: u64,
        attempt: u32,
        from: (u64, u32),
        take: bool,
    ) -> Result<bool, StageError> {
        let (source, tokens) = (from.0, from.1 as i32);
        self.sequences.remove(&sequence);
        let mut layers = Vec::new();
        if take {
            let Some(cache) = self.sequences.remove(&source) else { return Ok(false) };
            layers = cache.layers;
            if !layers.iter_mut().all(|layer| layer.truncate(tokens)) {
                return Ok(false);
            }
        } else {
            let Some(cache) = self.sequences.get(&source) else { return Ok(false) };
            for layer in &cache.layers {
                let Some(copy) = layer.beginning(tokens)? else { return Ok(false) };
                layers.push(copy);
            }
            // At once: a copy yet to be made would hold on to the other's memory.
            mlx_rs::transforms::eval(layers.iter().flat_map(KvCache::arrays))?;
        }
        self.sequences.insert(sequence, SequenceCache { attempt, layers });
        Ok(true)
    }

    /// Computes one step in one evaluation.
    ///
    /// # Errors
    /// [`StageError`]. The caches of its sequences are gone then: they cannot be continued.
    pub fn step(
        &mut self,
        input: StageInput<'_>,
        rows: &[Rows],
    ) -> Result<StageOutput, StageError> {
        self.check(&input, rows)?;
        // The caches leave the map for the step: an error on the way leaves none half written.
        let mut caches: Vec<(&Rows, SequenceCache)> = Vec::with_capacity(rows.len());
        for own in rows {
            let fresh = || SequenceCache { attempt: own.attempt, layers: self.model.caches() };
            let cache = self.sequences.remove(&own.sequence);
            let cache = cache.filter(|cache| cache.attempt == own.attempt && own.start > 0);
            caches.push((own, cache.unwrap_or_else(fresh)));
        }
        let hidden = match input {
            StageInput::Tokens(tokens) => self.model.embed(tokens)?,
            // Of another machine, which may compute in another type.
            StageInput::Hidden(hidden) => hidden.as_dtype(self.weights.precision.compute)?,
        };
        let sequences = rows
            .iter()
            .map(|own| Sequence { rows: own.count as i32, position: own.start as i32 })
            .collect();
        let mut views: Vec<&mut [KvCache]> =
            caches.iter_mut().map(|(_, cache)| cache.layers.as_mut_slice()).collect();
        let wanted = wanted_rows(rows);
        let output = if !self.is_last() {
            let hidden = self.model.forward(hidden, sequences, &mut views, None)?;
            StageOutput::Hidden(mlx::evaluated(hidden)?)
        } else if wanted.is_empty() {
            // Nothing comes out, but the caches must be filled.
            self.model.forward(hidden, sequences, &mut views, None)?.eval()?;
            StageOutput::Logits(None)
        } else {
            let all = wanted.len() == rows.iter().map(|own| own.count as usize).sum::<usize>();
            let wanted = (!all).then_some(wanted.as_slice());
            let hidden = self.model.forward(hidden, sequences, &mut views, wanted)?;
            let logits = self.model.logits(&hidden)?.as_dtype(Dtype::Float32)?;
            StageOutput::Logits(Some(mlx::evaluated(logits)?))
        };
        for (own, cache) in caches {
            self.sequences.insert(own.sequence, cache);
        }
        Ok(output)
    }

    fn check(&self, input: &StageInput<'_>, rows: &[Rows]) -> Result<(), StageError> {
        let config = self.model.config();
        for (position, own) in rows.iter().enumerate() {
            let sequence = own.sequence;
            let again = rows[..position].iter().any(|other| other.sequence == sequence);
            if again || own.count == 0 {
                return Err(StageError::Malformed(sequence));
            }
            let holds = match self.sequences.get(&sequence) {
                Some(cache) if cache.attempt == own.attempt => {
                    cache.layers.first().map_or(0, |layer| layer.len() as u32)
                }
                _ => 0,
            };
            if own.start != holds && own.start != 0 {
                return Err(StageError::OutOfStep { sequence, holds, start: own.start });
            }
            let wanted = u64::from(own.start) + u64::from(own.count);
            if wanted > config.context as u64 {
                return Err(StageError::TooLong { sequence, wanted, context: config.context });
            }
        }
        let count: usize = rows.iter().map(|own| own.count as usize).sum();
        match input {
            StageInput::Tokens(tokens) => {
                let vocabulary = config.vocabulary;
                if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
                    return Err(StageError::UnknownToken { token, vocabulary });
                }
                if tokens.len() != count {
                    return Err(StageError::Malformed(rows.first().map_or(0, |own| own.sequence)));
                }
            }
            StageInput::Hidden(hidden) => {
                if hidden.shape() != [count as i32, config.hidden as i32] {
                    let got = hidden.shape().last().map_or(0, |&width| width as usize);
                    return Err(StageError::Width { got, want: config.hidden });
                }
            }
        }
        Ok(())
    }
}

/// Number of the last row of each sequence that wants a token.
fn wanted_rows(rows: &[Rows]) -> Vec<i32> {
    let mut end = 0;
    let mut wanted = Vec::new();
    for own in rows {
        end += own.count as i32;
        if own.wants_token {
            wanted.push(end - 1);
        }
    }
    wanted
}
