//! `config.json`, read strictly: a field that nobody asked for and that may change the answer is an
//! error, not a guess.

use std::{cell::RefCell, collections::BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ConfigError;

/// Fields that do not change what the model computes.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    // What the file is.
    "_name_or_path", "architectures", "auto_map", "model_type", "name_or_path", "tokenizer_class",
    "transformers_version", "unsloth_fixed", "unsloth_version",
    // How it is stored: read elsewhere.
    "dtype", "quantization", "quantization_config", "torch_dtype",
    // Tokens that begin and end: the tokenizer's part.
    "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id",
    // Training, and other programs' settings.
    "_attn_implementation", "attention_dropout", "attn_implementation", "aux_loss_alpha",
    "cache_implementation", "embd_pdrop", "ep_size", "hidden_dropout", "initializer_range",
    "is_llama_config", "num_nextn_predict_layers", "output_attentions", "output_hidden_states",
    "output_router_logits", "pretraining_tp", "resid_pdrop", "return_dict", "rope_interleaved",
    "router_aux_loss_coef", "seq_aux", "use_cache", "chunk_size_feed_forward", "id2label", "label2id",
    "problem_type", "is_decoder", "is_encoder_decoder",
];

/// No size of a model is larger, and products of two such do not overflow.
const INTEGER_MAX: u64 = 1 << 31;

/// The fields of an object, and which of them were asked for.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self { object, asked: RefCell::default() }
    }

    /// A field as it stands there; `null` is as good as nothing.
    pub(super) fn raw(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A field that may be missing.
    pub(super) fn maybe<T: DeserializeOwned>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let parsed = self.raw(name).map(|value| {
            if value.as_u64().is_some_and(|number| number > INTEGER_MAX) {
                let problem = format!("{value} is more than any model has");
                return Err(ConfigError::Invalid { field: name, problem });
            }
            T::deserialize(value)
                .map_err(|error| ConfigError::Invalid { field: name, problem: error.to_string() })
        });
        parsed.transpose()
    }

    /// A field that has to be there.
    pub(super) fn need<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, ConfigError> {
        let problem = || ConfigError::Invalid { field: name, problem: "it is missing".into() };
        self.maybe(name)?.ok_or_else(problem)
    }

    /// A field that has a default.
    pub(super) fn or<T: DeserializeOwned>(
        &self,
        name: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        Ok(self.maybe(name)?.unwrap_or(default))
    }

    /// A field that may be missing, or has to be one of these values.
    pub(super) fn only(&self, name: &'static str, allowed: &[Value]) -> Result<(), ConfigError> {
        match self.raw(name) {
            Some(value) if !allowed.contains(value) => Err(unsupported(name, value, "")),
            _ => Ok(()),
        }
    }

    /// Refuses a field that was not asked for, unless it says nothing or nothing that matters.
    pub(super) fn done(self) -> Result<(), ConfigError> {
        let asked = self.asked.into_inner();
        for (name, value) in self.object {
            let says_nothing = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(values) => values.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => false,
            };
            if !says_nothing && !asked.contains(name.as_str()) && !HARMLESS.contains(&name.as_str())
            {
                let why = ": this program does not know what it means for this architecture";
                return Err(unsupported(name, value, why));
            }
        }
        Ok(())
    }
}

pub(super) fn unsupported(field: &str, value: &Value, why: &'static str) -> ConfigError {
    let value = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    ConfigError::Unsupported {
        field: field.to_owned(),
        value: value.chars().take(200).collect(),
        why,
    }
}
