//! How does a GGUF file become a Hugging Face folder?
//!
//! GGUF is llama.cpp's format: one file with metadata (architecture, tokenizer, chat template) and
//! tensors in blocks of few-bit numbers. Everything in it is read with bounds: a file that lies is
//! refused by name and costs no more memory than it has bytes.
//!
//! | file | question |
//! |---|---|
//! | `file` | what does the header say, and can it be true? |
//! | `metadata` | what does that key say? |
//! | `quant`, `quant_k` | which numbers is that block? |
//! | `codes` | which of MLX's codes is it? |
//! | `family` | what is each architecture called and made of, here and there? |
//! | `plan` | which Hugging Face configuration and tensors is that? |
//! | `sizes` | how large are its parts? |
//! | `settings` | what does config.json say beside the sizes? |
//! | `weights` | how are the tensors written? |
//! | `tokenizer` | which tokenizer.json is that vocabulary? |
//! | [`import`] | the folder, whole or not at all |
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

mod codes;
#[cfg(test)]
mod families;
mod family;
mod file;
pub mod import;
mod metadata;
mod plan;
mod quant;
mod quant_k;
mod settings;
mod sizes;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tokenizer;
mod weights;

pub use file::{GgufError, GgufFile, GgufTensor};
pub use metadata::MetaValue;
pub use quant::GgmlType;
