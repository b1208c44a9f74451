//! Phi-3, Phi-3.5 and Phi-4: Llama with `qkv_proj` and `gate_up_proj` stored as one, and in some
//! sizes heads of which only a part is turned.

use serde_json::json;

use super::{
    ConfigError, ModelConfig,
    config::{Architecture, Loader},
    fields::Fields,
    grouped::{self, Heads, Variant},
    llama, rope,
};
use crate::{
    nn::{Activation, Block, FeedForward, Linear, Mlp},
    weights::{Part, ShardError},
};

struct Phi3 {
    heads: Heads,
    variant: Variant,
    intermediate: usize,
}

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.only("hidden_act", &[json!("silu")])?;
    fields.only("attention_bias", &[json!(false)])?;
    fields.only("lm_head_bias", &[json!(false)])?;
    fields.only("mlp_bias", &[json!(false)])?;
    let mut heads = Heads::read(fields)?;
    let part: f64 = fields.or("partial_rotary_factor", 1.0)?;
    heads.rotary = (heads.head_dim as f64 * part) as usize;
    if heads.rotary < 2 || heads.rotary > heads.head_dim || !heads.rotary.is_multiple_of(2) {
        return Err(ConfigError::Contradiction(format!("partial_rotary_factor {part}")));
    }
    let ropes = vec![(rope::read(fields, heads.rotary as i32)?, heads.head_dim as i32)];
    let variant = Variant { window: grouped::window(fields)?, ..Variant::default() };
    let intermediate = llama::intermediate(fields)?;
    ModelConfig::read(fields, ropes, Phi3 { heads, variant, intermediate })
}

impl Architecture for Phi3 {
    fn block(&self, layer: u32, loader: &Loader<'_>) -> Result<Block, ShardError> {
        let (prefix, hidden) = (format!("model.layers.{layer}"), loader.config.hidden);
        let (query, kv) = (self.heads.query_width(), self.heads.kv_heads * self.heads.head_dim);
        let attention = format!("{prefix}.self_attn");
        let rows = |first: usize, rows: usize| {
            Part::rows(format!("{attention}.qkv_proj"), first, rows, query + 2 * kv)
        };
        let qkv = [
            rows(0, query).paired(self.heads.pairing()),
            rows(query, kv).paired(self.heads.pairing()),
            rows(query + kv, kv),
        ];
        let (attention, output) = self.heads.load_parts(loader, &attention, &qkv, self.variant)?;
        let gate_up = Part::whole(format!("{prefix}.mlp.gate_up_proj"), 2 * self.intermediate);
        let down = Part::whole(format!("{prefix}.mlp.down_proj"), hidden);
        let mlp = Mlp::new(
            Linear::load(loader.reader, &[gate_up], hidden, false)?,
            Linear::load(loader.reader, &[down], self.intermediate, false)?,
            Activation::Silu,
        );
        Ok(Block {
            attention_norm: loader.norm(&format!("{prefix}.input_layernorm"), hidden)?,
            attention,
            output,
            attention_out_norm: None,
            mlp_norm: loader.norm(&format!("{prefix}.post_attention_layernorm"), hidden)?,
            mlp: FeedForward::Dense(mlp),
            mlp_out_norm: None,
        })
    }

    fn cache_numbers(&self) -> usize {
        self.heads.cache_numbers()
    }
}
