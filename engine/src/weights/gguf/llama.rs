//! Which Hugging Face configuration and tensors is that?
//!
//! The `llama` architecture: Llama 1 to 3, SmolLM, TinyLlama, Mistral and others of that shape.
//! llama.cpp stores the rows of q and k in another order (its rotary embedding pairs neighbours,
//! Hugging Face's pairs halves), so they are put back. Every key of the architecture and every
//! tensor is either understood or refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    GgufTensor,
    file::{GgufError, GgufFile},
    import::{ImportDtype, ImportError},
};

/// More layers than any model has.
const LAYERS_MAX: usize = 4096;
/// llama3's rope scaling has three more numbers that a GGUF file does not hold; all models have these.
const ROPE_LOW_FREQUENCY: f64 = 1.0;
const ROPE_HIGH_FREQUENCY: f64 = 4.0;
const ROPE_ORIGINAL_CONTEXT: f64 = 8192.0;

/// Keys of the architecture that are understood (without the `llama.` before them).
const KEYS: [&str; 15] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "vocab_size",
];

/// A layer's tensors: llama.cpp's name, Hugging Face's, and what its shape is made of.
const LAYER_TENSORS: [(&str, &str, Shape); 9] = [
    ("attn_norm", "input_layernorm", Shape::Hidden),
    ("attn_q", "self_attn.q_proj", Shape::Query),
    ("attn_k", "self_attn.k_proj", Shape::Key),
    ("attn_v", "self_attn.v_proj", Shape::Value),
    ("attn_output", "self_attn.o_proj", Shape::Output),
    ("ffn_norm", "post_attention_layernorm", Shape::Hidden),
    ("ffn_gate", "mlp.gate_proj", Shape::Up),
    ("ffn_up", "mlp.up_proj", Shape::Up),
    ("ffn_down", "mlp.down_proj", Shape::Down),
];

#[derive(Clone, Copy)]
enum Shape {
    Hidden,
    Query,
    Key,
    Value,
    Output,
    Up,
    Down,
}

/// What has to be written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Value,
    pub(super) layers: usize,
    pub(super) tensors: Vec<PlannedTensor>,
}

/// One tensor of the folder.
#[derive(Debug, PartialEq)]
pub(super) struct PlannedTensor {
    pub(super) name: String,
    pub(super) source: GgufTensor,
    /// Rows come in heads of that many, in llama.cpp's order.
    pub(super) permuted_head: Option<usize>,
}

struct Sizes {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab: usize,
}

/// Everything that has to be written for this file.
pub(super) fn plan(file: &GgufFile, dtype: ImportDtype) -> Result<Plan, ImportError> {
    let architecture = file.metadata.text("general.architecture")?;
    if architecture != "llama" {
        return Err(ImportError::Architecture { name: architecture.to_owned() });
    }
    check_keys(file)?;
    let mut sources: BTreeMap<&str, &GgufTensor> =
        file.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let sizes = sizes(file, &sources)?;
    let rope_theta = file.metadata.optional_float("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let rope_scaling = match sources.remove("rope_freqs.weight") {
        None => Value::Null,
        Some(factors) => rope_scaling(file, factors, sizes.head_dim, rope_theta)?,
    };
    let tied = !sources.contains_key("output.weight");
    let tensors = planned(&sizes, tied, &mut sources)?;
    if let Some(unknown) = sources.keys().next() {
        return Err(
            GgufError::tensor(unknown, "no part of a llama model as it is known here").into()
        );
    }
    let config = config(file, &sizes, rope_theta, rope_scaling, tied, dtype)?;
    Ok(Plan { config, layers: sizes.layers, tensors })
}

fn check_keys(file: &GgufFile) -> Result<(), ImportError> {
    let metadata = &file.metadata;
    for key in metadata.0.keys() {
        if key.strip_prefix("llama.").is_some_and(|rest| !KEYS.contains(&rest)) {
            return Err(GgufError::key(key, "not supported: it may change what is computed").into());
        }
    }
    if metadata.optional_size("llama.expert_count")?.unwrap_or(0) > 0 {
        return Err(ImportError::Architecture { name: "llama with experts (Mixtral)".to_owned() });
    }
    if let Some(kind) = metadata.optional_text("llama.rope.scaling.type")?
        && kind != "none"
    {
        let problem = format!("{kind} scaling is not supported");
        return Err(GgufError::key("llama.rope.scaling.type", problem).into());
    }
    if metadata.optional_size("split.count")?.unwrap_or(1) > 1 {
        return Err(ImportError::Split);
    }
    Ok(())
}

fn sizes(file: &GgufFile, sources: &BTreeMap<&str, &GgufTensor>) -> Result<Sizes, ImportError> {
    let size = |key: &str| {
        let value = file.metadata.size(key)?;
        if value == 0 { Err(GgufError::key(key, "0")) } else { Ok(value) }
    };
    let optional = |key: &str| file.metadata.optional_size(key);
    let hidden = size("llama.embedding_length")?;
    let heads = size("llama.attention.head_count")?;
    let kv_heads = optional("llama.attention.head_count_kv")?.unwrap_or(heads);
    let head_dim = optional("llama.attention.key_length")?.unwrap_or(hidden / heads);
    for (key, agrees) in [
        ("llama.attention.head_count_kv", kv_heads > 0 && heads.is_multiple_of(kv_heads)),
        ("llama.attention.key_length", head_dim > 0 && head_dim.is_multiple_of(2)),
        (
            "llama.attention.value_length",
            optional("llama.attention.value_length")?.is_none_or(|n| n == head_dim),
        ),
        (
            "llama.rope.dimension_count",
            optional("llama.rope.dimension_count")?.is_none_or(|n| n == head_dim),
        ),
    ] {
        if !agrees {
            let problem = format!("does not go with {heads} heads of {head_dim}");
            return Err(GgufError::key(key, problem).into());
        }
    }
    let layers = size("llama.block_count")?;
    if layers > LAYERS_MAX {
        return Err(GgufError::key("llama.block_count", format!("{layers} layers")).into());
    }
    let vocab = sources.get("token_embd.weight").map_or(0, |embedding| embedding.rows());
    let intermediate = size("llama.feed_forward_length")?;
    Ok(Sizes { hidden, intermediate, layers, heads, kv_heads, head_dim, vocab })
}

/// Takes every tensor of the model out of `sources`, checking its shape.
fn planned(
    sizes: &Sizes,
    tied: bool,
    sources: &mut BTreeMap<&str, &GgufTensor>,
) -> Result<Vec<PlannedTensor>, GgufError> {
    let mut take = |source: String, name: String, shape: Shape, rows: Option<usize>| {
        let (expected, permuted_head) = match rows {
            Some(rows) => (vec![rows, sizes.hidden], None),
            None => sizes.shape(shape),
        };
        let tensor = sources
            .remove(source.as_str())
            .ok_or_else(|| GgufError::tensor(&source, "missing: the model needs it"))?;
        if tensor.shape != expected {
            let problem = format!("shape {:?}; the model needs {expected:?}", tensor.shape);
            return Err(GgufError::tensor(&source, problem));
        }
        Ok(PlannedTensor { name, source: tensor.clone(), permuted_head })
    };
    let vocab = Some(sizes.vocab);
    let embedding = "model.embed_tokens.weight".to_owned();
    let mut tensors = vec![take("token_embd.weight".to_owned(), embedding, Shape::Up, vocab)?];
    for layer in 0..sizes.layers {
        for (source, name, shape) in LAYER_TENSORS {
            let source = format!("blk.{layer}.{source}.weight");
            let name = format!("model.layers.{layer}.{name}.weight");
            tensors.push(take(source, name, shape, None)?);
        }
    }
    let norm = "model.norm.weight".to_owned();
    tensors.push(take("output_norm.weight".to_owned(), norm, Shape::Hidden, None)?);
    if !tied {
        let head = "lm_head.weight".to_owned();
        tensors.push(take("output.weight".to_owned(), head, Shape::Up, vocab)?);
    }
    Ok(tensors)
}

impl Sizes {
    fn shape(&self, shape: Shape) -> (Vec<usize>, Option<usize>) {
        let (queries, keys) =
            (self.heads.saturating_mul(self.head_dim), self.kv_heads.saturating_mul(self.head_dim));
        match shape {
            Shape::Hidden => (vec![self.hidden], None),
            Shape::Query => (vec![queries, self.hidden], Some(self.head_dim)),
            Shape::Key => (vec![keys, self.hidden], Some(self.head_dim)),
            Shape::Value => (vec![keys, self.hidden], None),
            Shape::Output => (vec![self.hidden, queries], None),
            Shape::Up => (vec![self.intermediate, self.hidden], None),
            Shape::Down => (vec![self.hidden, self.intermediate], None),
        }
    }
}

fn config(
    file: &GgufFile,
    sizes: &Sizes,
    rope_theta: f64,
    rope_scaling: Value,
    tied: bool,
    dtype: ImportDtype,
) -> Result<Value, GgufError> {
    let metadata = &file.metadata;
    const EPSILON: &str = "llama.attention.layer_norm_rms_epsilon";
    let epsilon =
        metadata.optional_float(EPSILON)?.ok_or_else(|| GgufError::key(EPSILON, "missing"))?;
    let id = |name: &str| metadata.optional_size(&format!("tokenizer.ggml.{name}_token_id"));
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": metadata.size("llama.context_length")?,
        "rms_norm_eps": shortest(epsilon),
        "rope_theta": shortest(rope_theta),
        "rope_scaling": rope_scaling,
        "vocab_size": sizes.vocab,
        "tie_word_embeddings": tied,
        "attention_bias": false,
        "mlp_bias": false,
        "bos_token_id": id("bos")?,
        "eos_token_id": id("eos")?,
        "pad_token_id": id("padding")?,
        "torch_dtype": dtype.torch_name(),
    }))
}

/// The shortest decimal that is the same f32: 1e-5 is stored as 9.999999747378752e-6.
fn shortest(value: f64) -> f64 {
    format!("{:e}", value as f32).parse().unwrap_or(value)
}

/// `rope_freqs.weight` holds the factor of every frequency under llama3's scaling. The settings
/// that give these factors are found, or the file is refused.
fn rope_scaling(
    file: &GgufFile,
    tensor: &GgufTensor,
    head_dim: usize,
    theta: f64,
) -> Result<Value, ImportError> {
    if tensor.shape != [head_dim / 2] {
        let problem = format!("shape {:?} for heads of {head_dim}", tensor.shape);
        return Err(GgufError::tensor(&tensor.name, problem).into());
    }
    let mut factors = vec![0.0; head_dim / 2];
    file.read_rows(tensor, 0..1, &mut Vec::new(), &mut factors)?;
    let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
    let agrees = factors.iter().enumerate().all(|(n, &stored)| {
        let expected = llama3_factor(factor, n, head_dim, theta);
        (f64::from(stored) / expected - 1.0).abs() < 1e-3
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
