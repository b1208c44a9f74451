//! What does config.json say beside the sizes?
//!
//! A GGUF file leaves out what llama.cpp has in its source; here it is what the models of the
//! family were published with. What a file says beyond that is refused.

use serde_json::{Map, Value, json};

use super::{
    GgufTensor,
    family::Family,
    file::{GgufError, GgufFile},
    import::ImportError,
    plan::Sources,
    sizes::Sizes,
};

/// llama3's rope scaling has three more numbers that a GGUF file does not hold; all models have these.
const ROPE_LOW_FREQUENCY: f64 = 1.0;
const ROPE_HIGH_FREQUENCY: f64 = 4.0;
const ROPE_ORIGINAL_CONTEXT: f64 = 8192.0;
/// The one Gemma 3 whose scores are not scaled by a head's width, by its layers: 27B.
const GEMMA_27B_LAYERS: usize = 62;

/// A family's own fields of config.json; tensors that are settings are taken out of `sources`.
pub(super) fn of(
    file: &GgufFile,
    family: &Family,
    sizes: &Sizes,
    sources: &mut Sources<'_>,
) -> Result<Map<String, Value>, ImportError> {
    let keys = Keys { file, family };
    let theta = keys.float("rope.freq_base")?;
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    match family.name {
        "gemma3" => {
            let theta = theta.unwrap_or(1e6);
            set("rope_theta", json!(theta));
            set("rope_local_base_freq", json!(keys.float("rope.freq_base_swa")?.unwrap_or(1e4)));
            set("rope_scaling", keys.linear_scaling()?);
            set("hidden_activation", json!("gelu_pytorch_tanh"));
            set("sliding_window", json!(keys.size("attention.sliding_window")?));
            set(
                "sliding_window_pattern",
                json!(keys.size("attention.sliding_window_pattern")?.unwrap_or(6)),
            );
            let narrow = sizes.layers != GEMMA_27B_LAYERS;
            let scalar = if narrow { sizes.head_dim } else { sizes.hidden / sizes.heads };
            set("query_pre_attn_scalar", json!(scalar));
        }
        "phi3" => {
            set("rope_theta", json!(theta.unwrap_or(10_000.0)));
            set("hidden_act", json!("silu"));
            set("sliding_window", json!(keys.size("attention.sliding_window")?));
            set("partial_rotary_factor", json!(sizes.rotary as f64 / sizes.head_dim as f64));
            let original = keys.size("rope.scaling.original_context_length")?;
            set("original_max_position_embeddings", json!(original));
            set("rope_scaling", keys.longrope(sizes, sources)?);
        }
        "gpt-oss" => {
            set("rope_theta", json!(theta.unwrap_or(150_000.0)));
            set("rope_scaling", keys.gpt_oss_yarn()?);
            set("hidden_act", json!("silu"));
            set("swiglu_limit", json!(7.0));
            set("attention_bias", json!(true));
            set("sliding_window", json!(keys.size("attention.sliding_window")?.unwrap_or(128)));
            set("intermediate_size", json!(sizes.expert_width));
            set("num_local_experts", json!(sizes.experts));
            set("num_experts_per_tok", json!(keys.needed_size("expert_used_count")?));
            let types = ["sliding_attention", "full_attention"];
            let types: Vec<&str> = (0..sizes.layers).map(|layer| types[layer % 2]).collect();
            set("layer_types", json!(types));
        }
        "deepseek2" => {
            set("rope_theta", json!(theta.unwrap_or(10_000.0)));
            set("rope_scaling", keys.yarn()?);
            fields.extend(deepseek(&keys, sizes)?);
        }
        _ => {
            let theta = theta.unwrap_or(10_000.0);
            set("rope_theta", json!(theta));
            set("hidden_act", json!("silu"));
            set("attention_bias", json!(false));
            if family.name == "llama" {
                set("mlp_bias", json!(false));
                if let Some(factors) = sources.remove("rope_freqs.weight") {
                    set("rope_scaling", llama3_scaling(file, factors, sizes.head_dim, theta)?);
                }
            } else {
                set("use_sliding_window", json!(false));
            }
            if family.has_experts() {
                set("num_experts", json!(sizes.experts));
                set("num_experts_per_tok", json!(keys.needed_size("expert_used_count")?));
                set("moe_intermediate_size", json!(sizes.expert_width));
                set("norm_topk_prob", json!(true));
                set("decoder_sparse_step", json!(1));
            }
        }
    }
    keys.no_other_scaling()?;
    Ok(fields)
}

/// A family's keys.
struct Keys<'a> {
    file: &'a GgufFile,
    family: &'a Family,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.family.name)
    }

    fn size(&self, key: &str) -> Result<Option<usize>, GgufError> {
        self.file.metadata.optional_size(&self.name(key))
    }

    fn needed_size(&self, key: &str) -> Result<usize, GgufError> {
        self.file.metadata.size(&self.name(key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        Ok(self.file.metadata.optional_float(&self.name(key))?.map(shortest))
    }

    fn scaling_type(&self) -> Result<Option<&str>, GgufError> {
        let kind = self.file.metadata.optional_text(&self.name("rope.scaling.type"))?;
        Ok(kind.filter(|&kind| kind != "none"))
    }

    /// Gemma 3's, from 4B on: of global layers alone.
    fn linear_scaling(&self) -> Result<Value, GgufError> {
        match (self.scaling_type()?, self.float("rope.scaling.factor")?) {
            (None, None) => Ok(Value::Null),
            (Some("linear"), Some(factor)) => Ok(json!({"rope_type": "linear", "factor": factor})),
            (kind, factor) => {
                let problem = format!("{kind:?} with factor {factor:?} is not supported");
                Err(GgufError::key(&self.name("rope.scaling.type"), problem))
            }
        }
    }

    /// gpt-oss's: it begins between pairs, and nothing else differs.
    fn gpt_oss_yarn(&self) -> Result<Value, GgufError> {
        let mut yarn = self.yarn()?;
        if let Some(fields) = yarn.as_object_mut() {
            fields.retain(|name, _| !name.starts_with("mscale"));
            fields.insert("truncate".to_owned(), json!(false));
        }
        Ok(yarn)
    }

    /// DeepSeek's. The ramp between fast and slow pairs is where all its models have it.
    fn yarn(&self) -> Result<Value, GgufError> {
        if self.scaling_type()?.is_none() {
            return Ok(Value::Null);
        }
        let kind = self.name("rope.scaling.type");
        let factor = self.float("rope.scaling.factor")?;
        let original = self.size("rope.scaling.original_context_length")?;
        let (Some("yarn"), Some(factor), Some(original)) = (self.scaling_type()?, factor, original)
        else {
            return Err(GgufError::key(&kind, "yarn with a factor and a context is supported"));
        };
        // A tenth of what config.json has twice.
        let multiplier = self.float("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
        let mscale = shortest(multiplier * 10.0);
        Ok(json!({
            "type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
            "beta_fast": 32,
            "beta_slow": 1,
            "mscale": mscale,
            "mscale_all_dim": mscale,
        }))
    }

    /// Groups of experts and how many of them are chosen from. Older files leave them out: then
    /// they are those of the published model with so many experts.
    fn groups(&self, experts: usize) -> Result<(usize, usize), GgufError> {
        const KEY: &str = "expert_group_count";
        match (self.size(KEY)?, self.size("expert_group_used_count")?, experts) {
            (Some(count), Some(chosen), _) => Ok((count, chosen)),
            (None, None, 256) => Ok((8, 4)), // V3, R1
            (None, None, 160) => Ok((8, 3)), // V2
            (None, None, 64) => Ok((1, 1)),  // V2 Lite
            _ => {
                let problem = format!("missing, and no published model has {experts} experts");
                Err(GgufError::key(&self.name(KEY), problem))
            }
        }
    }

    /// Phi-3's factors for long contexts.
    fn longrope(&self, sizes: &Sizes, sources: &mut Sources<'_>) -> Result<Value, ImportError> {
        let mut factors = |name: &str| {
            let Some(tensor) = sources.remove(name) else { return Ok(None) };
            frequencies(self.file, tensor, sizes.rotary / 2).map(Some)
        };
        let long = factors("rope_factors_long.weight")?;
        let short = factors("rope_factors_short.weight")?;
        match (long, short) {
            (None, None) => Ok(Value::Null),
            (Some(long), Some(short)) => Ok(json!({
                "rope_type": "longrope",
                "long_factor": long,
                "short_factor": short,
                "attention_factor": self.float("rope.scaling.attn_factor")?,
            })),
            _ => {
                let problem = "missing: its twin is there";
                Err(GgufError::tensor("rope_factors_long or _short", problem).into())
            }
        }
    }

    /// Refuses a scaling that nobody asked for.
    fn no_other_scaling(&self) -> Result<(), GgufError> {
        match self.scaling_type()? {
            Some(kind) if !matches!(self.family.name, "gemma3" | "deepseek2" | "gpt-oss") => {
                let problem = format!("{kind} scaling is not supported");
                Err(GgufError::key(&self.name("rope.scaling.type"), problem))
            }
            _ => Ok(()),
        }
    }
}

/// DeepSeek's own.
fn deepseek(keys: &Keys<'_>, sizes: &Sizes) -> Result<Map<String, Value>, ImportError> {
    let sigmoid = keys.family.model_type == "deepseek_v3";
    let latent = sizes.latent;
    let (groups, chosen_groups) = keys.groups(sizes.experts)?;
    let norm = keys.name("expert_weights_norm");
    let normalised = keys.file.metadata.optional_bool(&norm)?.unwrap_or(sigmoid);
    let method = match (sigmoid, groups) {
        (true, _) => "noaux_tc",
        (false, 1) => "greedy",
        (false, _) => "group_limited_greedy",
    };
    let fields = json!({
        "hidden_act": "silu",
        "attention_bias": false,
        "head_dim": null,
        "q_lora_rank": (latent.query_rank > 0).then_some(latent.query_rank),
        "kv_lora_rank": latent.rank,
        "qk_nope_head_dim": latent.nope,
        "qk_rope_head_dim": sizes.rotary,
        "v_head_dim": latent.value,
        "n_routed_experts": sizes.experts,
        "n_shared_experts": sizes.shared_experts,
        "num_experts_per_tok": keys.needed_size("expert_used_count")?,
        "moe_intermediate_size": sizes.expert_width,
        "first_k_dense_replace": sizes.first_sparse,
        "moe_layer_freq": 1,
        "n_group": groups,
        "topk_group": chosen_groups,
        "topk_method": method,
        "scoring_func": if sigmoid { "sigmoid" } else { "softmax" },
        "norm_topk_prob": normalised,
        "routed_scaling_factor": keys.float("expert_weights_scale")?.unwrap_or(1.0),
    });
    match fields {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// Whether experts are scored each for itself (llama.cpp's `LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID`).
pub(super) fn is_sigmoid(file: &GgufFile, architecture: &str) -> bool {
    let key = format!("{architecture}.expert_gating_func");
    matches!(file.metadata.optional_size(&key), Ok(Some(2)))
}

/// The shortest decimal that is the same f32: 1e-5 is stored as 9.999999747378752e-6.
pub(super) fn shortest(value: f64) -> f64 {
    format!("{:e}", value as f32).parse().unwrap_or(value)
}

/// A tensor with a factor for every frequency.
fn frequencies(
    file: &GgufFile,
    tensor: &GgufTensor,
    count: usize,
) -> Result<Vec<f64>, ImportError> {
    if tensor.shape != [count] {
        let problem = format!("shape {:?} for {count} frequencies", tensor.shape);
        return Err(GgufError::tensor(&tensor.name, problem).into());
    }
    let mut factors = vec![0.0; count];
    file.read_rows(tensor, 0..1, &mut Vec::new(), &mut factors)?;
    if factors.iter().any(|factor| !factor.is_finite() || *factor <= 0.0) {
        return Err(GgufError::tensor(&tensor.name, "a factor that is no number above 0").into());
    }
    Ok(factors.into_iter().map(|factor| shortest(factor.into())).collect())
}

/// `rope_freqs.weight` holds the factor of every frequency under llama3's scaling. The settings
/// that give these factors are found, or the file is refused.
fn llama3_scaling(
    file: &GgufFile,
    tensor: &GgufTensor,
    head_dim: usize,
    theta: f64,
) -> Result<Value, ImportError> {
    let factors = frequencies(file, tensor, head_dim / 2)?;
    let factor = factors.iter().copied().fold(1.0, f64::max);
    let agrees = factors.iter().enumerate().all(|(n, &stored)| {
        let expected = llama3_factor(factor, n, head_dim, theta);
        (stored / expected - 1.0).abs() < 1e-3
    });
    if !agrees {
        let problem = "frequency factors that are not llama3's scaling are not supported";
        return Err(GgufError::tensor(&tensor.name, problem).into());
    }
    Ok(json!({
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": ROPE_LOW_FREQUENCY,
        "high_freq_factor": ROPE_HIGH_FREQUENCY,
        "original_max_position_embeddings": ROPE_ORIGINAL_CONTEXT as u64,
    }))
}

/// By what llama3's scaling divides frequency `n`: 1 for short waves, `factor` for long ones,
/// blended between. (Meta's `apply_scaling`, in llama-models.)
fn llama3_factor(factor: f64, n: usize, head_dim: usize, theta: f64) -> f64 {
    let wavelength = std::f64::consts::TAU * theta.powf(2.0 * n as f64 / head_dim as f64);
    let waves = ROPE_ORIGINAL_CONTEXT / wavelength;
    let blend = (waves - ROPE_LOW_FREQUENCY) / (ROPE_HIGH_FREQUENCY - ROPE_LOW_FREQUENCY);
    let blend = blend.clamp(0.0, 1.0);
    1.0 / ((1.0 - blend) / factor + blend)
}
