//! Gemma 3, text: layers with a sliding window, and every sixth without; norms before and after.

use serde_json::{Value, json};

use super::{
    ConfigError, ModelConfig,
    config::{Architecture, Loader},
    fields::Fields,
    grouped::{self, Heads, Variant},
    llama,
    rope::{self, Scaling},
};
use crate::{
    nn::{Activation, Block, FeedForward, Mlp, Rope},
    weights::ShardError,
};

struct Gemma3 {
    heads: Heads,
    scale: f32,
    intermediate: usize,
    window: i32,
    /// Of each layer.
    global: Vec<bool>,
}

/// Which rotary embedding: of global layers, of those with a window.
const GLOBAL: usize = 0;
const LOCAL: usize = 1;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.only("hidden_activation", &[json!("gelu_pytorch_tanh")])?;
    fields.only("hidden_act", &[json!("gelu_pytorch_tanh")])?;
    fields.only("attention_bias", &[json!(false)])?;
    fields.only("use_bidirectional_attention", &[json!(false)])?;
    fields.only("attn_logit_softcapping", &[])?;
    fields.only("final_logit_softcapping", &[])?;
    let heads = Heads::read(fields)?;
    let width = heads.head_dim as i32;
    let scalar: f32 = fields.or("query_pre_attn_scalar", 256.0)?;
    let window: i32 = fields.or("sliding_window", 512)?;
    if scalar.is_nan() || scalar <= 0.0 || window < 1 {
        let problem = format!("query_pre_attn_scalar {scalar}, sliding_window {window}");
        return Err(ConfigError::Contradiction(problem));
    }
    let ropes = ropes(fields, width)?.into_iter().map(|rope| (rope, width)).collect();
    let architecture = Gemma3 {
        heads,
        scale: scalar.sqrt().recip(),
        intermediate: llama::intermediate(fields)?,
        window,
        global: global_layers(fields)?,
    };
    let mut config = ModelConfig::read(fields, ropes, architecture)?;
    config.tied = fields.or("tie_word_embeddings", true)?;
    config.norm_less_one = true;
    // As the model was trained: rounded to bf16.
    let scale = (config.hidden as f32).sqrt();
    config.embedding_scale = Some(half::bf16::from_f32(scale).to_f32());
    Ok(config)
}

fn global_layers(fields: &Fields<'_>) -> Result<Vec<bool>, ConfigError> {
    let layers: usize = fields.need("num_hidden_layers")?;
    let older = fields.maybe("sliding_window_pattern")?;
    let every: usize = older.or(fields.maybe("_sliding_window_pattern")?).unwrap_or(6).max(1);
    let by_pattern = || (1..=layers.min(10_000)).map(|layer| layer.is_multiple_of(every)).collect();
    Ok(grouped::global_layers(fields, layers)?.unwrap_or_else(by_pattern))
}

/// Of global layers and of those with a window; newer files nest them by kind of layer.
fn ropes(fields: &Fields<'_>, width: i32) -> Result<[Rope; 2], ConfigError> {
    let local: f64 = fields.or("rope_local_base_freq", 10_000.0)?;
    let nested = |kind: &str| fields.raw("rope_parameters").and_then(|nested| nested.get(kind));
    if let (Some(global), Some(sliding)) = (nested("full_attention"), nested("sliding_attention")) {
        let rope = |value: &Value, theta: f64| {
            let scaling = Scaling::from_value(value)?;
            rope::build(width, scaling.rope_theta.unwrap_or(theta), &scaling, 0.0, None)
        };
        return Ok([rope(global, 1e6)?, rope(sliding, local)?]);
    }
    let theta: f64 = fields.or("rope_theta", 1e6)?;
    let (_, scaling) = rope::scaling(fields)?;
    Ok([rope::build(width, theta, &scaling, 0.0, None)?, Rope::new(width, local)])
}

impl Architecture for Gemma3 {
    fn block(&self, layer: u32, loader: &Loader<'_>) -> Result<Block, ShardError> {
        let (prefix, hidden) = (format!("model.layers.{layer}"), loader.config.hidden);
        let global = self.global.get(layer as usize).copied().unwrap_or(true);
        let variant = Variant {
            norms: true,
            scale: Some(self.scale),
            window: (!global).then_some(self.window),
            rope: if global { GLOBAL } else { LOCAL },
            ..Variant::default()
        };
        let (attention, output) =
            self.heads.load(loader, &format!("{prefix}.self_attn"), variant)?;
        let norm = |name: &str| loader.norm(&format!("{prefix}.{name}"), hidden);
        let mlp = format!("{prefix}.mlp");
        let mlp = Mlp::load(loader.reader, &mlp, hidden, self.intermediate, Activation::GeluTanh)?;
        Ok(Block {
            attention_norm: norm("input_layernorm")?,
            attention,
            output,
            attention_out_norm: Some(norm("post_attention_layernorm")?),
            mlp_norm: norm("pre_feedforward_layernorm")?,
            mlp: FeedForward::Dense(mlp),
            mlp_out_norm: Some(norm("post_feedforward_layernorm")?),
        })
    }

    fn cache_numbers(&self) -> usize {
        self.heads.cache_numbers()
    }
}
