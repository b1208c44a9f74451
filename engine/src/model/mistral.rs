//! Mistral 7B, Nemo, Small: Llama, with a sliding window in the first of them.

use super::{
    ConfigError, ModelConfig,
    fields::Fields,
    grouped::{self, Variant},
    llama,
};

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let window = grouped::window(fields)?;
    llama::read_variant(fields, Variant { window, ..Variant::default() })
}
