//! DeepSeek V2, V2-Lite, V3 and R1: latent attention, and after the first layers a mixture of
//! experts of which some see every row.

use serde_json::json;

use super::{
    ConfigError, ModelConfig,
    config::{Architecture, Loader},
    fields::{Fields, unsupported},
    llama, rope,
};
use crate::{
    nn::{
        Activation, Attention, Block, FeedForward, Groups, LatentArgs, LatentAttention, Linear,
        Mlp, Moe, Router, RouterArgs, Scoring,
    },
    weights::{Part, ShardError},
};

struct DeepSeek {
    attention: LatentArgs,
    /// None: all layers are dense.
    router: Option<RouterArgs>,
    /// Whether the choice of experts is corrected by a vector.
    corrected: bool,
    dense_width: usize,
    expert_width: usize,
    shared_width: usize,
    /// Layers before this one are dense.
    first_sparse: u32,
}

/// V2: scores by softmax; a group is as good as its best expert.
pub(super) fn read_v2(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.only("scoring_func", &[json!("softmax")])?;
    fields.only("norm_topk_prob", &[json!(false)])?;
    let best = match fields.or("topk_method", "greedy".to_owned())?.as_str() {
        "greedy" => None,
        "group_limited_greedy" => Some(1),
        other => return Err(unsupported("topk_method", &other.into(), " (hint: `greedy` is)")),
    };
    read(fields, Scoring::Softmax, best)
}

/// V3 and R1: scores by sigmoid, corrected for the choice; a group is as good as its best two.
pub(super) fn read_v3(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.only("scoring_func", &[json!("sigmoid")])?;
    fields.only("topk_method", &[json!("noaux_tc")])?;
    read(fields, Scoring::Sigmoid, Some(2))
}

fn read(
    fields: &Fields<'_>,
    scoring: Scoring,
    best_of_group: Option<i32>,
) -> Result<ModelConfig, ConfigError> {
    fields.only("hidden_act", &[json!("silu")])?;
    fields.only("moe_layer_freq", &[json!(1)])?;
    // Latent attention has as many key heads as query heads; files may say so.
    fields.raw("num_key_value_heads");
    fields.raw("head_dim");
    fields.raw("qk_head_dim");
    let (nope_dim, rope_dim): (usize, usize) =
        (fields.need("qk_nope_head_dim")?, fields.need("qk_rope_head_dim")?);
    let (_, scaling) = rope::scaling(fields)?;
    let scale = ((nope_dim + rope_dim) as f64).sqrt().recip() * scaling.score_factor();
    let attention = LatentArgs {
        hidden: fields.need("hidden_size")?,
        heads: fields.need("num_attention_heads")?,
        query_rank: fields.maybe("q_lora_rank")?,
        rank: fields.need("kv_lora_rank")?,
        nope_dim,
        rope_dim,
        value_dim: fields.need("v_head_dim")?,
        scale: scale as f32,
        biased: fields.or("attention_bias", false)?,
    };
    let sizes = [
        attention.heads,
        attention.rank,
        nope_dim,
        rope_dim,
        attention.value_dim,
        attention.hidden,
    ];
    if sizes.iter().any(|size| !(1..=1 << 20).contains(size)) || !rope_dim.is_multiple_of(2) {
        return Err(ConfigError::Contradiction("heads of sizes that no model has".into()));
    }
    let ropes = vec![(rope::read(fields, rope_dim as i32)?, rope_dim as i32)];
    let expert_width: usize = fields.or("moe_intermediate_size", 0)?;
    let shared: usize = fields.or("n_shared_experts", 0)?;
    let architecture = DeepSeek {
        attention,
        router: router(fields, scoring, best_of_group)?,
        corrected: scoring == Scoring::Sigmoid,
        dense_width: llama::intermediate(fields)?,
        expert_width,
        shared_width: shared.saturating_mul(expert_width),
        first_sparse: fields.or("first_k_dense_replace", 0)?,
    };
    ModelConfig::read(fields, ropes, architecture)
}

fn router(
    fields: &Fields<'_>,
    scoring: Scoring,
    best_of_group: Option<i32>,
) -> Result<Option<RouterArgs>, ConfigError> {
    let chosen: usize = fields.or("num_experts_per_tok", 1)?;
    let (count, of): (usize, usize) = (fields.or("n_group", 1)?, fields.or("topk_group", 1)?);
    let scale = fields.or("routed_scaling_factor", 1.0)?;
    let normalise = fields.or("norm_topk_prob", scoring == Scoring::Sigmoid)?;
    let Some(experts) = fields.maybe::<usize>("n_routed_experts")? else { return Ok(None) };
    let groups = best_of_group.filter(|_| count > 1);
    let of_group = experts.checked_div(count).unwrap_or(0);
    let fits = (1..=1 << 16).contains(&experts)
        && (1..=experts).contains(&chosen)
        && (groups.is_none()
            || (of_group * count == experts
                && (1..=count).contains(&of)
                && groups.is_some_and(|best| best as usize <= of_group)
                && chosen <= of * of_group));
    if !fits {
        let problem = format!("{chosen} of {experts} experts, of {of} of {count} groups");
        return Err(ConfigError::Contradiction(problem));
    }
    Ok(Some(RouterArgs {
        experts,
        chosen: chosen as i32,
        scoring,
        groups: groups
            .map(|best| Groups { count: count as i32, chosen: of as i32, best })
            .filter(|groups| groups.chosen < groups.count),
        normalise: normalise && chosen > 1,
        scale,
    }))
}

impl Architecture for DeepSeek {
    fn block(&self, layer: u32, loader: &Loader<'_>) -> Result<Block, ShardError> {
        let (reader, args) = (loader.reader, self.attention);
        let (prefix, hidden) = (format!("model.layers.{layer}"), args.hidden);
        let attention = format!("{prefix}.self_attn");
        let output = Part::whole(format!("{attention}.o_proj"), hidden);
        let width = args.heads * args.value_dim;
        let output = Linear::load(reader, &[output], width, args.biased)?;
        let attention = LatentAttention::load(reader, &attention, args, loader.kernels)?;
        Ok(Block {
            attention_norm: loader.norm(&format!("{prefix}.input_layernorm"), hidden)?,
            attention: Attention::Latent(attention),
            output,
            attention_out_norm: None,
            mlp_norm: loader.norm(&format!("{prefix}.post_attention_layernorm"), hidden)?,
            mlp: self.mlp(layer, loader, &format!("{prefix}.mlp"))?,
            mlp_out_norm: None,
        })
    }

    fn cache_numbers(&self) -> usize {
        self.attention.rank + self.attention.rope_dim
    }
}

impl DeepSeek {
    fn mlp(
        &self,
        layer: u32,
        loader: &Loader<'_>,
        prefix: &str,
    ) -> Result<FeedForward, ShardError> {
        let (reader, hidden) = (loader.reader, loader.config.hidden);
        let dense =
            |prefix: &str, width| Mlp::load(reader, prefix, hidden, width, Activation::Silu);
        let Some(args) = self.router.filter(|_| layer >= self.first_sparse) else {
            return dense(prefix, self.dense_width).map(FeedForward::Dense);
        };
        let gate = Part::whole(format!("{prefix}.gate"), args.experts);
        let gate = Linear::load(reader, &[gate], hidden, false)?;
        let correction = format!("{prefix}.gate.e_score_correction_bias");
        let correction =
            self.corrected.then(|| reader.vector(&correction, args.experts, None)).transpose()?;
        let shared = (self.shared_width > 0)
            .then(|| dense(&format!("{prefix}.shared_experts"), self.shared_width))
            .transpose()?;
        let router = Router::new(args, gate, correction);
        let moe = Moe::load(reader, prefix, [hidden, self.expert_width], router, shared)?;
        Ok(FeedForward::Experts(Box::new(moe)))
    }
}
