//! Qwen 3, dense: Llama with norms on queries and keys.

use serde_json::json;

use super::{ConfigError, ModelConfig, fields::Fields, grouped::Variant, llama, qwen2};

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    llama::read_variant(fields, variant(fields)?)
}

/// The attention of the family.
pub(super) fn variant(fields: &Fields<'_>) -> Result<Variant, ConfigError> {
    qwen2::no_windows(fields)?;
    fields.only("attention_bias", &[json!(false)])?;
    Ok(Variant { norms: true, ..Variant::default() })
}
