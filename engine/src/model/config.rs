//! What a model's `config.json` says: the part that all architectures have in common, and which
//! architecture it is.

use std::sync::Arc;

use serde_json::Value;

use super::{
    deepseek, fields::Fields, gemma3, gpt_oss, llama, mistral, phi3, qwen2, qwen3, qwen3_moe,
};
use crate::{
    nn::{Block, Kernels, RmsNorm, Rope},
    weights::{Pairing, ShardError, ShardReader},
};

/// A `config.json` that this program cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Another architecture.
    #[error(
        "model_type `{0}` is not an architecture this program runs (hint: it runs {known})",
        known = names()
    )]
    UnknownArchitecture(String),
    /// A field has a value that would change the answer.
    #[error("config.json: `{field}` = {value} is not supported{why}")]
    Unsupported {
        /// Its name.
        field: String,
        /// Its value.
        value: String,
        /// What to do, or why.
        why: &'static str,
    },
    /// A field is missing or has the wrong type.
    #[error("config.json: `{field}`: {problem}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Sizes that contradict each other.
    #[error("config.json: {0}")]
    Contradiction(String),
}

type Read = fn(&Fields<'_>) -> Result<ModelConfig, ConfigError>;

/// The architectures: `model_type`, and who reads the rest.
const ARCHITECTURES: &[(&str, Read)] = &[
    ("llama", llama::read),
    ("mistral", mistral::read),
    ("qwen2", qwen2::read),
    ("qwen3", qwen3::read),
    ("qwen3_moe", qwen3_moe::read),
    ("deepseek_v2", deepseek::read_v2),
    ("deepseek_v3", deepseek::read_v3),
    ("gemma3_text", gemma3::read),
    ("phi3", phi3::read),
    ("gpt_oss", gpt_oss::read),
];

fn names() -> String {
    let names: Vec<String> = ARCHITECTURES.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.join(", ")
}

/// What an architecture adds to the frame that all share: its layers.
pub(super) trait Architecture: Send + Sync {
    /// Reads a layer, and nothing else.
    fn block(&self, layer: u32, loader: &Loader<'_>) -> Result<Block, ShardError>;

    /// Numbers of keys and values that a token takes in a layer.
    fn cache_numbers(&self) -> usize;
}

/// A model's settings.
#[derive(Clone)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: u32,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Longest sequence.
    pub context: usize,
    /// Whether the output head is the embedding.
    pub tied: bool,
    /// Added to the mean square before its root.
    pub(super) norm_eps: f32,
    /// Whether the norms' weights are stored less one, as Gemma's are.
    pub(super) norm_less_one: bool,
    /// What the embedding is multiplied with.
    pub(super) embedding_scale: Option<f32>,
    /// The rotary embeddings of its layers, each with the width of a head.
    pub(super) ropes: Vec<(Rope, i32)>,
    pub(super) architecture: Arc<dyn Architecture>,
}

impl std::fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelConfig")
            .field("hidden", &self.hidden)
            .field("layers", &self.layers)
            .field("vocabulary", &self.vocabulary)
            .field("context", &self.context)
            .field("tied", &self.tied)
            .finish_non_exhaustive()
    }
}

impl ModelConfig {
    /// Reads a parsed `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] names the field.
    pub fn from_json(config: &Value) -> Result<Self, ConfigError> {
        // The architecture first: of another one the fields need not make sense.
        let named = config.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
        let known = ARCHITECTURES.iter().find(|(name, _)| *name == named);
        let (Some((_, read)), Some(object)) = (known, config.as_object()) else {
            return Err(ConfigError::UnknownArchitecture(named.to_owned()));
        };
        let fields = Fields::new(object);
        let config = read(&fields)?;
        fields.done()?;
        Ok(config)
    }

    /// Reads what all architectures have in common.
    pub(super) fn read(
        fields: &Fields<'_>,
        ropes: Vec<(Rope, i32)>,
        architecture: impl Architecture + 'static,
    ) -> Result<Self, ConfigError> {
        let config = Self {
            hidden: fields.need("hidden_size")?,
            layers: fields.need("num_hidden_layers")?,
            vocabulary: fields.need("vocab_size")?,
            context: fields.need("max_position_embeddings")?,
            tied: fields.or("tie_word_embeddings", false)?,
            norm_eps: fields.need("rms_norm_eps")?,
            norm_less_one: false,
            embedding_scale: None,
            ropes,
            architecture: Arc::new(architecture),
        };
        let sizes = [config.hidden, config.vocabulary];
        if sizes.iter().any(|&size| size == 0 || size > 1 << 24)
            || !(1..=10_000).contains(&config.layers)
            || !(1..=1 << 24).contains(&config.context)
            || !(0.0..1.0).contains(&config.norm_eps)
        {
            return Err(ConfigError::Contradiction("sizes that no model has".into()));
        }
        Ok(config)
    }

    /// Numbers of keys and values that a token takes in a layer.
    #[must_use]
    pub fn cache_numbers(&self) -> usize {
        self.architecture.cache_numbers()
    }
}

/// What an architecture reads its layers with.
pub(super) struct Loader<'a> {
    pub(super) reader: &'a ShardReader<'a>,
    pub(super) config: &'a ModelConfig,
    pub(super) kernels: Kernels,
}

impl Loader<'_> {
    /// Reads the norm `name` (without `.weight`).
    pub(super) fn norm(&self, name: &str, width: usize) -> Result<RmsNorm, ShardError> {
        self.paired_norm(name, width, None)
    }

    /// The same, of heads whose numbers are reordered.
    pub(super) fn paired_norm(
        &self,
        name: &str,
        width: usize,
        pairing: Option<Pairing>,
    ) -> Result<RmsNorm, ShardError> {
        let mut weight = self.reader.vector(&format!("{name}.weight"), width, pairing)?;
        if self.config.norm_less_one {
            weight = weight.add(mlx_rs::Array::from_f32(1.0).as_dtype(weight.dtype())?)?;
        }
        Ok(RmsNorm::new(&weight, self.config.norm_eps, self.kernels)?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::model) fn smollm2() -> Value {
        json!({
            "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
            "vocab_size": 49152, "rms_norm_eps": 1e-5, "rope_theta": 1e5,
            "tie_word_embeddings": true, "max_position_embeddings": 8192, "use_cache": true
        })
    }

    fn refusal(field: &str, value: Value) -> String {
        let mut config = smollm2();
        config[field] = value;
        ModelConfig::from_json(&config).unwrap_err().to_string()
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        assert!(ModelConfig::from_json(&smollm2()).is_ok());
        let unknown = refusal("model_type", json!("mamba"));
        assert!(unknown.contains("`mamba`") && unknown.contains("`deepseek_v3`"), "{unknown}");
        assert!(refusal("mlp_bias", json!(true)).contains("`mlp_bias`"));
        assert!(refusal("hidden_act", json!("gelu")).contains("`hidden_act` = gelu"));
        assert!(refusal("rope_scaling", json!({"type": "dynamic"})).contains("dynamic"));
        assert!(refusal("num_key_value_heads", json!(2)).contains("9 heads over 2"));
        assert!(refusal("hidden_size", json!("wide")).contains("`hidden_size`: invalid type"));
        assert!(refusal("vocab_size", Value::Null).contains("`vocab_size`: it is missing"));
        assert!(refusal("head_dim", json!(-4)).contains("`head_dim`"));
        assert!(refusal("head_dim", json!(7)).contains("no model has"));
        assert!(refusal("vocab_size", json!(u64::MAX)).contains("`vocab_size`: 1844674"));
        assert!(refusal("residual_multiplier", json!(0.22)).contains("`residual_multiplier`"));
    }
}
