//! gpt-oss: layers with a sliding window and without in turn, a sink in every head's softmax, and a
//! mixture of experts with biases, in MXFP4 as it was published or as MLX holds it.

use serde_json::json;

use super::{
    ConfigError, ModelConfig,
    config::{Architecture, Loader},
    fields::Fields,
    grouped::{self, Heads, Variant},
    llama, rope,
};
use crate::{
    nn::{Activation, Block, ExpertParts, FeedForward, Linear, Moe, Router, RouterArgs, Scoring},
    weights::{Part, ShardError, ShardReader},
};

struct GptOss {
    heads: Heads,
    biased: bool,
    router: RouterArgs,
    expert_width: usize,
    /// What gates and up are cut to.
    limit: f32,
    window: i32,
    /// Of each layer: whether it sees all tokens.
    global: Vec<bool>,
}

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.only("hidden_act", &[json!("silu")])?;
    fields.raw("initial_context_length"); // the scaling of the rotary embedding has it too
    let older: Option<usize> = fields.maybe("experts_per_token")?;
    let chosen = fields.maybe("num_experts_per_tok")?.or(older).unwrap_or(4);
    let experts: usize = fields.need("num_local_experts")?;
    let window: i32 = fields.or("sliding_window", 128)?;
    let limit: f32 = fields.or("swiglu_limit", 7.0)?;
    if !(1..=1 << 16).contains(&experts) || !(1..=experts).contains(&chosen) {
        return Err(ConfigError::Contradiction(format!("{chosen} of {experts} experts")));
    }
    if window < 1 || !limit.is_finite() || limit <= 0.0 {
        let problem = format!("sliding_window {window}, swiglu_limit {limit}");
        return Err(ConfigError::Contradiction(problem));
    }
    let heads = Heads::read(fields)?;
    let layers: usize = fields.need("num_hidden_layers")?;
    let in_turn = || (0..layers.min(10_000)).map(|layer| layer % 2 == 1).collect();
    let architecture = GptOss {
        heads,
        biased: fields.or("attention_bias", true)?,
        router: RouterArgs {
            experts,
            chosen: chosen as i32,
            // Over those that are chosen, which is over all and then divided by the sum.
            scoring: Scoring::Softmax,
            groups: None,
            normalise: true,
            scale: 1.0,
        },
        expert_width: llama::intermediate(fields)?,
        limit,
        window,
        global: grouped::global_layers(fields, layers)?.unwrap_or_else(in_turn),
    };
    let ropes = vec![(rope::read(fields, heads.rotary as i32)?, heads.head_dim as i32)];
    ModelConfig::read(fields, ropes, architecture)
}

impl Architecture for GptOss {
    fn block(&self, layer: u32, loader: &Loader<'_>) -> Result<Block, ShardError> {
        let (reader, hidden) = (loader.reader, loader.config.hidden);
        let global = self.global.get(layer as usize).copied().unwrap_or(true);
        let variant = Variant {
            qkv_bias: self.biased,
            output_bias: self.biased,
            sinks: true,
            window: (!global).then_some(self.window),
            ..Variant::default()
        };
        llama::block(layer, loader, self.heads, variant, |prefix| {
            let gate = Part::whole(format!("{prefix}.router"), self.router.experts);
            let router =
                Router::new(self.router, Linear::load(reader, &[gate], hidden, true)?, None);
            let parts = self.experts(reader, &format!("{prefix}.experts"), hidden);
            let moe = Moe::of_parts(reader, &parts, [hidden, self.expert_width], router, None)?;
            Ok(FeedForward::Experts(Box::new(moe)))
        })
    }

    fn cache_numbers(&self) -> usize {
        self.heads.cache_numbers()
    }
}

impl GptOss {
    /// As MLX holds them, gates and up are apart; as they were published, in turn.
    fn experts(&self, reader: &ShardReader<'_>, prefix: &str, hidden: usize) -> ExpertParts {
        let (experts, width) = (self.router.experts, self.expert_width);
        let apart = reader.has(&format!("{prefix}.gate_proj.weight"));
        let part = |name: &str, expert: usize, rows: usize| {
            let part = Part::stacked(format!("{prefix}.{name}"), expert, experts, rows);
            if apart { part } else { part.in_blocks() }
        };
        let gate_up = |expert: usize| {
            if apart {
                vec![part("gate_proj", expert, width), part("up_proj", expert, width)]
            } else {
                vec![part("gate_up_proj", expert, 2 * width)]
            }
        };
        ExpertParts {
            gate_up: (0..experts).flat_map(gate_up).collect(),
            down: (0..experts).map(|expert| part("down_proj", expert, hidden)).collect(),
            biased: true,
            activation: Activation::Clamped { limit: self.limit, in_turn: !apart },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::ModelConfig;

    fn gpt_oss_20b() -> Value {
        json!({
            "model_type": "gpt_oss", "attention_bias": true, "experts_per_token": 4,
            "head_dim": 64, "hidden_act": "silu", "hidden_size": 2880,
            "initial_context_length": 4096, "intermediate_size": 2880,
            "layer_types": vec![["sliding_attention", "full_attention"]; 12].concat(),
            "max_position_embeddings": 131_072, "num_attention_heads": 64,
            "num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 8,
            "num_local_experts": 32, "output_router_logits": false, "rms_norm_eps": 1e-5,
            "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]},
            "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0,
                "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": false},
            "rope_theta": 150_000, "router_aux_loss_coef": 0.9, "sliding_window": 128,
            "swiglu_limit": 7.0, "tie_word_embeddings": false, "vocab_size": 201_088,
        })
    }

    #[test]
    fn the_published_configuration_is_honoured_whole() {
        let config = ModelConfig::from_json(&gpt_oss_20b()).unwrap();
        assert_eq!((config.layers, config.cache_numbers()), (24, 2 * 8 * 64));
        for (field, value, named) in [
            ("num_experts_per_tok", json!(33), "33 of 32 experts"),
            ("swiglu_limit", json!(-1.0), "swiglu_limit -1"),
            ("layer_types", json!(["full_attention"]), "1 layer_types for 24"),
            ("attention_sinks", json!(4), "`attention_sinks`"),
        ] {
            let mut config = gpt_oss_20b();
            config[field] = value;
            let error = ModelConfig::from_json(&config).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
