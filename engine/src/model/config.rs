//! What a model's `config.json` says, read strictly: a field that would change the answer and that
//! we do not know how to honour is an error, not a guess.

use serde::Deserialize;
use serde_json::Value;

use crate::nn::{AttentionArgs, Llama3Scaling};

/// A `config.json` that this program cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Another architecture.
    #[error(
        "model_type `{0}` is not an architecture this program runs (hint: it runs `llama`: Llama 2, \
         3, 3.x, SmolLM2)"
    )]
    UnknownArchitecture(String),
    /// A field has a value that would change the answer.
    #[error("config.json: `{field}` = {value} is not supported{why}")]
    Unsupported {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: String,
        /// What to do, or why.
        why: &'static str,
    },
    /// A field is missing or has the wrong type.
    #[error("config.json: {0}")]
    Invalid(#[from] serde_json::Error),
    /// Sizes that contradict each other.
    #[error("config.json: {0}")]
    Contradiction(String),
}

/// The Llama family's settings.
#[derive(Debug, Clone)]
pub struct LlamaConfig {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward block.
    pub intermediate: usize,
    /// Layers.
    pub layers: u32,
    /// Heads.
    pub attention: AttentionArgs,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Added to the mean square before its root.
    pub norm_eps: f32,
    /// Base of the rotary embedding.
    pub rope_theta: f32,
    /// Its scaling.
    pub rope_scaling: Option<Llama3Scaling>,
    /// Whether the output head is the embedding.
    pub tied: bool,
    /// Longest sequence.
    pub context: usize,
}

#[derive(Deserialize)]
struct Raw {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: u32,
    num_attention_heads: i32,
    num_key_value_heads: Option<i32>,
    head_dim: Option<i32>,
    vocab_size: usize,
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    rope_scaling: Option<Value>,
    /// Newer files nest `rope_theta` and the scaling here.
    rope_parameters: Option<Value>,
    #[serde(default)]
    tie_word_embeddings: bool,
    max_position_embeddings: usize,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    quantization: Option<Value>,
    quantization_config: Option<Value>,
}

#[derive(Deserialize)]
struct RawScaling {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

impl LlamaConfig {
    /// Reads a parsed `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] names the field.
    pub fn from_json(config: &Value) -> Result<Self, ConfigError> {
        // The architecture first: of another one the fields need not make sense.
        match config.get("model_type").and_then(Value::as_str) {
            Some("llama") => {}
            other => {
                let named = other.unwrap_or("(none)").to_owned();
                return Err(ConfigError::UnknownArchitecture(named));
            }
        }
        let raw = Raw::deserialize(config)?;
        debug_assert_eq!(raw.model_type, "llama");
        for (field, value, why) in [
            ("quantization", raw.quantization, " yet (hint: use dense weights)"),
            ("quantization_config", raw.quantization_config, " yet (hint: use dense weights)"),
        ] {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                return Err(ConfigError::Unsupported { field, value: value.to_string(), why });
            }
        }
        for (field, set) in [("attention_bias", raw.attention_bias), ("mlp_bias", raw.mlp_bias)] {
            if set {
                return Err(ConfigError::Unsupported { field, value: "true".into(), why: "" });
            }
        }
        if let Some(act) = raw.hidden_act.filter(|act| act != "silu") {
            return Err(ConfigError::Unsupported { field: "hidden_act", value: act, why: "" });
        }
        let heads = raw.num_attention_heads;
        let kv_heads = raw.num_key_value_heads.unwrap_or(heads);
        let contradiction = |what: String| Err(ConfigError::Contradiction(what));
        if heads < 1 || kv_heads < 1 || heads % kv_heads != 0 {
            return contradiction(format!("{heads} heads over {kv_heads} key-value heads"));
        }
        if raw.head_dim.is_none() && raw.hidden_size % heads as usize != 0 {
            return contradiction(format!("{} numbers over {heads} heads", raw.hidden_size));
        }
        let head_dim = raw.head_dim.unwrap_or((raw.hidden_size / heads as usize) as i32);
        let sizes = [raw.hidden_size, raw.intermediate_size, raw.vocab_size];
        if sizes.iter().any(|&size| size == 0 || size > 1 << 24)
            || !(2..=1024).contains(&head_dim)
            || head_dim % 2 != 0
            || !(1..=10_000).contains(&raw.num_hidden_layers)
        {
            return contradiction("sizes that no model has".into());
        }
        let nested =
            raw.rope_parameters.map(|value| RawScaling::deserialize(&value)).transpose()?;
        let flat = raw
            .rope_scaling
            .filter(|value| !value.is_null())
            .map(|value| RawScaling::deserialize(&value))
            .transpose()?;
        let theta = raw.rope_theta.or(nested.as_ref().and_then(|rope| rope.rope_theta));
        Ok(Self {
            hidden: raw.hidden_size,
            intermediate: raw.intermediate_size,
            layers: raw.num_hidden_layers,
            attention: AttentionArgs { heads, kv_heads, head_dim },
            vocabulary: raw.vocab_size,
            norm_eps: raw.rms_norm_eps,
            rope_theta: theta.unwrap_or(10_000.0),
            rope_scaling: flat.or(nested).map(scaling).transpose()?.flatten(),
            tied: raw.tie_word_embeddings,
            context: raw.max_position_embeddings,
        })
    }
}

fn scaling(raw: RawScaling) -> Result<Option<Llama3Scaling>, ConfigError> {
    match raw.rope_type.as_deref() {
        None | Some("default") => Ok(None),
        Some("llama3") => {
            let needed = |value: Option<f64>, field: &'static str| {
                value.ok_or_else(|| ConfigError::Contradiction(format!("llama3 without {field}")))
            };
            Ok(Some(Llama3Scaling {
                factor: needed(raw.factor, "factor")?,
                low_frequency_factor: needed(raw.low_freq_factor, "low_freq_factor")?,
                high_frequency_factor: needed(raw.high_freq_factor, "high_freq_factor")?,
                original_context: needed(
                    raw.original_max_position_embeddings,
                    "original_max_position_embeddings",
                )?,
            }))
        }
        Some(other) => Err(ConfigError::Unsupported {
            field: "rope_scaling.rope_type",
            value: other.to_owned(),
            why: " (hint: `llama3` and `default` are)",
        }),
    }
}

/// What placement needs to know of a model: bytes as they will lie in memory (f32 on the CPU).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// Layers.
    pub layers: u32,
    /// Bytes of one layer's weights.
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

impl From<&LlamaConfig> for ModelShape {
    fn from(config: &LlamaConfig) -> Self {
        const F32: u64 = 4;
        let AttentionArgs { heads, kv_heads, head_dim } = config.attention;
        let (hidden, intermediate) = (config.hidden as u64, config.intermediate as u64);
        let query = heads as u64 * head_dim as u64;
        let kv = kv_heads as u64 * head_dim as u64;
        let numbers = hidden * (2 * query + 2 * kv) + 3 * hidden * intermediate + 2 * hidden;
        let embedding = config.vocabulary as u64 * hidden;
        Self {
            layers: config.layers,
            layer_bytes: F32 * numbers,
            embedding_bytes: F32 * embedding,
            head_bytes: F32 * (embedding + hidden),
            tied: config.tied,
            kv_token_layer_bytes: F32 * 2 * kv,
            context: config.context as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn smollm2() -> Value {
        json!({
            "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
            "vocab_size": 49152, "rms_norm_eps": 1e-5, "rope_theta": 1e5,
            "tie_word_embeddings": true, "max_position_embeddings": 8192
        })
    }

    fn refusal(field: &str, value: Value) -> String {
        let mut config = smollm2();
        config[field] = value;
        LlamaConfig::from_json(&config).unwrap_err().to_string()
    }

    #[test]
    fn smollm2_has_the_size_it_has() {
        let shape = ModelShape::from(&LlamaConfig::from_json(&smollm2()).unwrap());
        let all = 30 * shape.layer_bytes + shape.head_bytes;
        assert_eq!(all, 4 * 134_515_008, "134,515,008 parameters, as published");
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        assert!(refusal("model_type", json!("mamba")).contains("`mamba`"));
        assert!(refusal("attention_bias", json!(true)).contains("`attention_bias`"));
        assert!(refusal("hidden_act", json!("gelu")).contains("`hidden_act` = gelu"));
        assert!(refusal("quantization", json!({"bits": 4})).contains("`quantization`"));
        assert!(refusal("rope_scaling", json!({"type": "yarn"})).contains("yarn"));
        assert!(refusal("num_key_value_heads", json!(2)).contains("9 heads over 2"));
        assert!(refusal("hidden_size", json!("wide")).contains("invalid type"));
        assert!(refusal("head_dim", json!(-4)).contains("no model has"));
    }

    #[test]
    fn newer_files_nest_the_rope() {
        let mut config = smollm2();
        config.as_object_mut().unwrap().remove("rope_theta");
        config["rope_parameters"] = json!({"rope_theta": 5e5, "rope_type": "default"});
        assert_eq!(LlamaConfig::from_json(&config).unwrap().rope_theta, 5e5);
    }
}
