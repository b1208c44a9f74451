//! What placement needs to know of a model before any weight is read: bytes as they will lie in
//! memory, and what a token has to read and multiply.
//!
//! | file | where the sizes come from |
//! |---|---|
//! | `mod` | the tensors of a folder |
//! | `known` | the catalogue, for a model that is not here |

mod known;

use std::collections::HashSet;

use serde_json::Value;

use super::ModelConfig;
use crate::weights::{Dtype, ModelFolder, Precision, QuantisationConfig, ShardError, is_expert};

/// What a layer, or the output head, costs.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct PartShape {
    /// Bytes of its weights.
    pub bytes: u64,
    /// Those of them that one token reads: all, unless it chooses among experts.
    pub read_bytes: u64,
    /// Multiplications, each with its addition, for one token.
    pub multiplies: u64,
}

/// Sizes of a model, in bytes of memory.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ModelShape {
    /// Each layer, in order.
    pub layers: Vec<PartShape>,
    /// Bytes of the embedding: the first stage holds it.
    pub embedding_bytes: u64,
    /// The final norm and the output head: the last stage holds them (a tied head is held again
    /// unless both stages are one).
    pub head: PartShape,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Bytes of keys and values per token and layer.
    pub kv_token_layer_bytes: u64,
    /// Longest sequence.
    pub context: u64,
    /// Bytes of one token's hidden state, as one stage sends it to the next.
    pub token_bytes: u64,
}

impl PartShape {
    /// Weights of which each token reads and multiplies all.
    #[must_use]
    pub fn dense(bytes: u64, multiplies: u64) -> Self {
        Self { bytes, read_bytes: bytes, multiplies }
    }

    fn add(&mut self, bytes: u64, elements: u64, share: Share) {
        self.bytes += bytes;
        self.read_bytes += share.of(bytes);
        self.multiplies += share.of(elements);
    }
}

/// The share of some weights that a token reads.
#[derive(Clone, Copy)]
struct Share {
    chosen: u64,
    of: u64,
}

impl Share {
    const ALL: Self = Self { chosen: 1, of: 1 };

    fn of(self, whole: u64) -> u64 {
        (u128::from(whole) * u128::from(self.chosen) / u128::from(self.of)) as u64
    }

    /// Of the weights of experts, in a model of this configuration.
    fn of_experts(config: &Value) -> Self {
        let number = |name: &str| config.get(name).and_then(Value::as_u64).filter(|&n| n > 0);
        let experts =
            ["num_experts", "n_routed_experts", "num_local_experts"].into_iter().find_map(number);
        match (number("num_experts_per_tok"), experts) {
            (Some(chosen), Some(of)) if chosen <= of => Self { chosen, of },
            _ => Self::ALL,
        }
    }
}

/// No part of a model has so many bytes, or multiplications for a token.
const PART_MAX: u64 = 1 << 48;
/// No model has so many layers.
const LAYERS_MAX: usize = 4096;

impl ModelShape {
    /// Whether a model can be like this: what came from a peer is asked this first, so that sums of
    /// its numbers stay numbers.
    pub(crate) fn is_possible(&self) -> bool {
        let parts = self.layers.iter().chain([&self.head]);
        let small = |part: &PartShape| {
            part.bytes < PART_MAX && part.read_bytes <= part.bytes && part.multiplies < PART_MAX
        };
        (1..=LAYERS_MAX).contains(&self.layers.len())
            && parts.into_iter().all(small)
            && self.embedding_bytes < PART_MAX
            && self.kv_token_layer_bytes < 1 << 32
            && self.context < 1 << 32
            && self.token_bytes < 1 << 32
    }

    /// How many layers.
    #[must_use]
    pub fn layer_count(&self) -> u32 {
        self.layers.len() as u32
    }

    /// Of the model in `folder`, held with `precision`.
    ///
    /// # Errors
    /// A quantisation that is not read.
    pub fn of(
        folder: &ModelFolder,
        config: &ModelConfig,
        precision: Precision,
    ) -> Result<Self, ShardError> {
        let quantisation = QuantisationConfig::from_json(folder.config())?;
        let experts = Share::of_experts(folder.config());
        let number = precision.number_bytes();
        let mut layers = vec![PartShape::default(); config.layers as usize];
        let (mut embedding, mut head) = (PartShape::default(), PartShape::default());
        let described = folder.described()?;
        let scaled: HashSet<&str> =
            described.iter().filter_map(|tensor| tensor.name.strip_suffix(".scales")).collect();
        for tensor in &described {
            let stored = tensor.elements() as u64;
            let (module, kind) = tensor.name.rsplit_once('.').unwrap_or((&tensor.name, ""));
            let quantised = scaled.contains(module);
            let (bytes, elements) = match (kind, quantisation.of(module).filter(|_| quantised)) {
                // gpt-oss's codes, two a byte, and their scales.
                _ if tensor.dtype == Dtype::U8 && kind.ends_with("_blocks") => {
                    (if precision.dense { 2 * stored * number } else { stored }, 2 * stored)
                }
                _ if tensor.dtype == Dtype::U8 => (if precision.dense { 0 } else { stored }, 0),
                ("weight", Some(own)) => {
                    let elements = stored * 32 / own.bits as u64;
                    (if precision.dense { elements * number } else { stored * 4 }, elements)
                }
                ("scales" | "biases", Some(_)) if precision.dense => (0, 0),
                ("scales" | "biases", Some(_)) => (stored * number, 0),
                ("weight", None)
                    if tensor.shape.len() == 2 && precision.holds_bf16(module, tensor.dtype) =>
                {
                    (stored * 2, stored)
                }
                _ => (stored * number, stored),
            };
            let layer =
                module.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
            let part = match layer.map(str::parse::<usize>) {
                // Layers behind the last are other programs' (DeepSeek V3 predicts with one).
                Some(Ok(layer)) => match layers.get_mut(layer) {
                    Some(layer) => layer,
                    None => continue,
                },
                _ if module == "model.embed_tokens" => &mut embedding,
                _ => &mut head,
            };
            part.add(bytes, elements, if is_expert(module) { experts } else { Share::ALL });
        }
        if config.tied {
            head.add(embedding.bytes, embedding.multiplies, Share::ALL);
        }
        Ok(Self {
            layers,
            embedding_bytes: embedding.bytes,
            head,
            tied: config.tied,
            kv_token_layer_bytes: number * config.cache_numbers() as u64,
            context: config.context as u64,
            token_bytes: number * config.hidden as u64,
        })
    }
}
