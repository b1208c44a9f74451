//! Qwen 2 and 2.5, Coder too: Llama with biases on queries, keys and values.

use serde_json::json;

use super::{ConfigError, ModelConfig, fields::Fields, grouped::Variant, llama};

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    no_windows(fields)?;
    llama::read_variant(fields, Variant { qkv_bias: true, ..Variant::default() })
}

/// No model of the family that is in use has its sliding window switched on.
pub(super) fn no_windows(fields: &Fields<'_>) -> Result<(), ConfigError> {
    fields.only("use_sliding_window", &[json!(false)])?;
    // Off, these say nothing.
    fields.raw("sliding_window");
    fields.raw("max_window_layers");
    fields.only("use_mrope", &[json!(false)])?;
    if let Some(types) = fields.maybe::<Vec<String>>("layer_types")?
        && let Some(other) = types.into_iter().find(|kind| kind != "full_attention")
    {
        return Err(super::fields::unsupported("layer_types", &other.into(), ""));
    }
    Ok(())
}
