//! The architectures, one short file each: which tensors a layer is read from, and what of the
//! shared blocks ([`nn`](crate::nn)) it is made of. `docs/adding-a-model.md` says how to add one.
//!
//! | file | question |
//! |---|---|
//! | `config` | which architecture is it, and what have all in common? |
//! | `fields` | is there a field in that `config.json` that nobody honours? |
//! | `rope` | which rotary embedding does it ask for? |
//! | `grouped` | how is grouped-query attention read? |
//! | `assembly` | how does a stage's model come together, of what is held and what is read? |
//! | `transformer` | what runs, from token ids to logits? |
//! | `shape` | how much memory does it take? |

mod assembly;
mod config;
mod deepseek;
mod fields;
mod gemma3;
mod gpt_oss;
mod grouped;
mod llama;
mod mistral;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod rope;
mod shape;
mod transformer;

pub use assembly::Assembly;
pub use config::{ConfigError, ModelConfig};
pub use shape::{ModelShape, PartShape};
pub use transformer::Transformer;
