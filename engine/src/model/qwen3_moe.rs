//! Qwen 3 with a mixture of experts (30B-A3B, 235B-A22B, Coder).

use serde_json::json;

use super::{
    ConfigError, ModelConfig,
    config::{Architecture, Loader},
    fields::Fields,
    grouped::{Heads, Variant},
    llama, qwen3, rope,
};
use crate::{
    nn::{Activation, Block, FeedForward, Linear, Mlp, Moe, Router, RouterArgs, Scoring},
    weights::{Part, ShardError},
};

struct Qwen3Moe {
    heads: Heads,
    variant: Variant,
    router: RouterArgs,
    /// Width inside an expert, and inside a layer without experts.
    expert_width: usize,
    dense_width: usize,
    dense_layers: Vec<u32>,
    /// Every so many layers one has experts.
    sparse_step: u32,
}

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.only("hidden_act", &[json!("silu")])?;
    let (experts, chosen): (usize, usize) =
        (fields.need("num_experts")?, fields.need("num_experts_per_tok")?);
    if experts == 0 || experts > 1 << 16 || chosen == 0 || chosen > experts {
        let problem = format!("{chosen} of {experts} experts");
        return Err(ConfigError::Contradiction(problem));
    }
    let heads = Heads::read(fields)?;
    let architecture = Qwen3Moe {
        heads,
        variant: qwen3::variant(fields)?,
        router: RouterArgs {
            experts,
            chosen: chosen as i32,
            scoring: Scoring::Softmax,
            groups: None,
            normalise: fields.or("norm_topk_prob", false)?,
            scale: 1.0,
        },
        expert_width: fields.need("moe_intermediate_size")?,
        dense_width: llama::intermediate(fields)?,
        dense_layers: fields.or("mlp_only_layers", Vec::new())?,
        sparse_step: fields.or("decoder_sparse_step", 1u32)?.max(1),
    };
    let ropes = vec![(rope::read(fields, heads.rotary as i32)?, heads.head_dim as i32)];
    ModelConfig::read(fields, ropes, architecture)
}

impl Architecture for Qwen3Moe {
    fn block(&self, layer: u32, loader: &Loader<'_>) -> Result<Block, ShardError> {
        let (reader, hidden) = (loader.reader, loader.config.hidden);
        let sparse = (layer + 1).is_multiple_of(self.sparse_step);
        let mlp = |prefix: &str| {
            if !sparse || self.dense_layers.contains(&layer) {
                let width = self.dense_width;
                let mlp = Mlp::load(reader, prefix, hidden, width, Activation::Silu)?;
                return Ok(FeedForward::Dense(mlp));
            }
            let gate = Part::whole(format!("{prefix}.gate"), self.router.experts);
            let router =
                Router::new(self.router, Linear::load(reader, &[gate], hidden, false)?, None);
            let moe = Moe::load(reader, prefix, [hidden, self.expert_width], router, None)?;
            Ok(FeedForward::Experts(Box::new(moe)))
        };
        llama::block(layer, loader, self.heads, self.variant, mlp)
    }

    fn cache_numbers(&self) -> usize {
        self.heads.cache_numbers()
    }
}
