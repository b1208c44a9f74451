//! The architectures, one short file each.
//!
//! [`ModelShape`] is what placement and stages need to know of a model before any weight is read;
//! [`Llama`] computes.

mod config;
mod llama;

pub use config::{ConfigError, LlamaConfig, ModelShape};
pub use llama::Llama;
