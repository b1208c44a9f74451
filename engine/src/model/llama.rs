//! Llama 2, 3 and 3.x; SmolLM2, and what else calls itself `llama`.

use serde_json::json;

use super::{
    ConfigError, ModelConfig,
    config::{Architecture, Loader},
    fields::Fields,
    grouped::{Heads, Variant},
    rope,
};
use crate::{
    nn::{Activation, Block, FeedForward, Mlp},
    weights::ShardError,
};

/// A layer: attention and a gated feed-forward block, each after a norm. Mistral and Qwen 2 and 3
/// are the same but for the attention's variant.
pub(super) struct Llama {
    pub(super) heads: Heads,
    pub(super) variant: Variant,
    pub(super) intermediate: usize,
}

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let biased = fields.or("attention_bias", false)?;
    let variant = Variant { qkv_bias: biased, output_bias: biased, ..Variant::default() };
    read_variant(fields, variant)
}

/// An architecture that differs from Llama in its attention's variant alone.
pub(super) fn read_variant(
    fields: &Fields<'_>,
    variant: Variant,
) -> Result<ModelConfig, ConfigError> {
    fields.only("hidden_act", &[json!("silu")])?;
    fields.only("mlp_bias", &[json!(false)])?;
    let heads = Heads::read(fields)?;
    let ropes = vec![(rope::read(fields, heads.rotary as i32)?, heads.head_dim as i32)];
    let intermediate = intermediate(fields)?;
    ModelConfig::read(fields, ropes, Llama { heads, variant, intermediate })
}

/// Width inside the feed-forward block.
pub(super) fn intermediate(fields: &Fields<'_>) -> Result<usize, ConfigError> {
    match fields.need("intermediate_size")? {
        width @ 1..=0x100_0000 => Ok(width),
        width => Err(ConfigError::Contradiction(format!("intermediate_size {width}"))),
    }
}

impl Architecture for Llama {
    fn block(&self, layer: u32, loader: &Loader<'_>) -> Result<Block, ShardError> {
        let mlp = |prefix: &str| {
            let (hidden, width) = (loader.config.hidden, self.intermediate);
            Mlp::load(loader.reader, prefix, hidden, width, Activation::Silu)
                .map(FeedForward::Dense)
        };
        block(layer, loader, self.heads, self.variant, mlp)
    }

    fn cache_numbers(&self) -> usize {
        self.heads.cache_numbers()
    }
}

/// A layer with that feed-forward block, read from `model.layers.N.mlp`.
pub(super) fn block(
    layer: u32,
    loader: &Loader<'_>,
    heads: Heads,
    variant: Variant,
    mlp: impl FnOnce(&str) -> Result<FeedForward, ShardError>,
) -> Result<Block, ShardError> {
    let prefix = format!("model.layers.{layer}");
    let hidden = loader.config.hidden;
    let (attention, output) = heads.load(loader, &format!("{prefix}.self_attn"), variant)?;
    Ok(Block {
        attention_norm: loader.norm(&format!("{prefix}.input_layernorm"), hidden)?,
        attention,
        output,
        attention_out_norm: None,
        mlp_norm: loader.norm(&format!("{prefix}.post_attention_layernorm"), hidden)?,
        mlp: mlp(&format!("{prefix}.mlp"))?,
        mlp_out_norm: None,
    })
}
