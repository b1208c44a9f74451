//! How does a stage's model come together: of what is held already, and of what is read?

use std::{collections::BTreeMap, rc::Rc};

use super::{ModelConfig, Transformer, config::Loader};
use crate::{
    layers::LayerRange,
    nn::{Block, Embedding, Kernels, Linear, RmsNorm},
    weights::{Part, ShardError, ShardReader},
};

/// What of a model is in memory. Each piece may be shared with another stage's model.
#[derive(Clone, Default)]
pub(super) struct Held {
    /// Where ids are embedded, and where the head is tied to it.
    pub(super) embedding: Option<Rc<Embedding>>,
    /// By their numbers.
    pub(super) blocks: BTreeMap<u32, Rc<Block>>,
    pub(super) norm: Option<Rc<RmsNorm>>,
    /// A head of its own.
    pub(super) output: Option<Rc<Linear>>,
}

/// A piece that is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Embedding,
    Block(u32),
    Norm,
    Output,
}

/// The model of one stage, not all of which need be in memory yet.
pub struct Assembly {
    config: ModelConfig,
    range: LayerRange,
    held: Held,
    /// What is missing, last things first.
    missing: Vec<Piece>,
}

impl Assembly {
    /// Of nothing.
    #[must_use]
    pub fn new(config: &ModelConfig, range: LayerRange) -> Self {
        let (first, last) = (range.is_first(), range.is_last(config.layers));
        let mut missing = Vec::with_capacity(range.count() as usize + 3);
        if last {
            missing.extend((!config.tied).then_some(Piece::Output));
            missing.push(Piece::Norm);
        }
        missing.extend((range.start()..range.end()).rev().map(Piece::Block));
        missing.extend((first || (last && config.tied)).then_some(Piece::Embedding));
        Self { config: config.clone(), range, held: Held::default(), missing }
    }

    /// Takes over what it needs and `model` has: they share it. They must be of the same weights,
    /// held with the same precision.
    pub fn share(&mut self, model: &Transformer) {
        self.take(model.held().clone());
    }

    /// Takes over what it needs of another that is not to be, and lets go of the rest.
    pub fn inherit(&mut self, other: Self) {
        self.take(other.held);
    }

    fn take(&mut self, mut from: Held) {
        let held = &mut self.held;
        self.missing.retain(|piece| match piece {
            Piece::Embedding => moved(&mut from.embedding, &mut held.embedding),
            Piece::Norm => moved(&mut from.norm, &mut held.norm),
            Piece::Output => moved(&mut from.output, &mut held.output),
            Piece::Block(layer) => match from.blocks.remove(layer) {
                Some(block) => {
                    held.blocks.insert(*layer, block);
                    false
                }
                None => true,
            },
        });
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Reads the next piece that is missing: a layer, the embedding, the head. Nothing, if none is.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or cannot be read.
    pub fn read_next(&mut self, reader: &ShardReader<'_>) -> Result<(), ShardError> {
        let Some(&piece) = self.missing.last() else { return Ok(()) };
        let config = &self.config;
        let loader = Loader { reader, config, kernels: Kernels::of_device() };
        let (hidden, vocabulary) = (config.hidden, config.vocabulary);
        match piece {
            Piece::Embedding => {
                let part = Part::whole("model.embed_tokens", vocabulary);
                let table = reader.table(&part, hidden)?;
                self.held.embedding = Some(Rc::new(Embedding::new(table, reader.compute())));
            }
            Piece::Block(layer) => {
                let block = config.architecture.block(layer, &loader)?;
                self.held.blocks.insert(layer, Rc::new(block));
            }
            Piece::Norm => self.held.norm = Some(Rc::new(loader.norm("model.norm", hidden)?)),
            Piece::Output => {
                let part = Part::whole("lm_head", vocabulary);
                let output = Linear::load(reader, &[part], hidden, false)?;
                self.held.output = Some(Rc::new(output));
            }
        }
        self.missing.pop();
        Ok(())
    }

    /// The model, when nothing is missing.
    ///
    /// # Errors
    /// What MLX says.
    ///
    /// # Panics
    /// If something is missing: a mistake in this crate.
    pub fn finish(self) -> Result<Transformer, ShardError> {
        assert!(self.is_complete(), "a model is finished when nothing is missing");
        let Self { config, range, held, .. } = self;
        Ok(Transformer::new(config, range, held)?)
    }
}

/// Moves what there is; whether it is missing still.
fn moved<T>(from: &mut Option<T>, to: &mut Option<T>) -> bool {
    *to = from.take();
    to.is_none()
}
