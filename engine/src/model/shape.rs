//! What placement needs to know of a model before any weight is read: bytes as they will lie in
//! memory.

use super::ModelConfig;
use crate::weights::{ModelFolder, Precision, QuantisationConfig, ShardError};

/// Sizes of a model, in bytes of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// Layers.
    pub layers: u32,
    /// Bytes of one layer's weights: of the largest, where they differ.
    pub layer_bytes: u64,
    /// Bytes of the embedding: the first stage holds it.
    pub embedding_bytes: u64,
    /// Bytes of the final norm and the output head: the last stage holds them (a tied head is held
    /// again unless both stages are one).
    pub head_bytes: u64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Bytes of keys and values per token and layer.
    pub kv_token_layer_bytes: u64,
    /// Longest sequence.
    pub context: u64,
}

impl ModelShape {
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
        let number = precision.number_bytes();
        let mut layers = vec![0_u64; config.layers as usize];
        let (mut embedding, mut head) = (0, 0);
        for tensor in folder.tensors() {
            let elements = tensor.elements() as u64;
            let (module, kind) = tensor.name.rsplit_once('.').unwrap_or((&tensor.name, ""));
            let quantised = folder.has(&format!("{module}.scales"));
            let bytes = match (kind, quantisation.of(module).filter(|_| quantised)) {
                ("weight", Some(own)) if precision.dense => {
                    elements * 32 / own.bits as u64 * number
                }
                ("weight", Some(_)) => elements * 4,
                ("scales" | "biases", Some(_)) if precision.dense => 0,
                _ => elements * number,
            };
            let layer =
                module.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
            match layer.map(str::parse::<usize>) {
                // Layers behind the last are other programs' (DeepSeek V3 predicts with one).
                Some(Ok(layer)) => {
                    if let Some(layer) = layers.get_mut(layer) {
                        *layer += bytes;
                    }
                }
                _ if module == "model.embed_tokens" => embedding += bytes,
                _ => head += bytes,
            }
        }
        if config.tied {
            head += embedding;
        }
        Ok(Self {
            layers: config.layers,
            layer_bytes: layers.into_iter().max().unwrap_or(0),
            embedding_bytes: embedding,
            head_bytes: head,
            tied: config.tied,
            kv_token_layer_bytes: number * config.cache_numbers() as u64,
            context: config.context as u64,
        })
    }
}
