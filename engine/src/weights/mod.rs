//! Which tensors are mine, and how do they get into memory?
//!
//! A model is a Hugging Face folder: `config.json` and safetensors files. [`ModelFolder::open`]
//! reads and checks their headers only, so a folder that lies is refused, by name, before a byte of
//! a tensor is read; [`TensorReader`] then reads the tensors that a node needs, and nothing else.
//!
//! | file | question |
//! |---|---|
//! | `folder` | which tensors does this folder hold, and where? |
//! | `header` | is that safetensors header true? |
//! | `read` | how does a tensor get into memory? |
//! | `pieces` | how do several threads read one tensor? |
//! | `part` | which rows of which matrices are wanted? |
//! | `shard` | how do a stage's tensors get into MLX's memory? |
//! | `quantisation` | how are this folder's weights quantised? |
//! | `precision` | in which type does this machine compute? |
//! | `write` | how does a safetensors file come to be, tensor by tensor? |
//! | `library` | which models does this node have, and what are they called? |
//! | [`catalogue`] | which models do people ask for, where are they, and what do they need? |
//! | [`hub`] | how does a model come from the Hugging Face hub? |
//! | [`manifest`] | which bytes should a tensor have, and who can give them? |
//! | `staging` | how does a folder come to be whole or not at all? |
//! | [`gguf`] | how does a GGUF file become such a folder? |

pub mod catalogue;
mod error;
mod folder;
pub mod gguf;
mod header;
pub mod hub;
mod library;
pub mod manifest;
mod part;
mod pieces;
mod precision;
mod quantisation;
mod read;
mod shard;
pub(crate) mod staging;
mod write;

pub use error::WeightsError;
pub use folder::{Described, ModelFolder, TensorInfo};
pub use gguf::import::{
    ImportDtype, ImportError, ImportOptions, ImportProgress, ImportReport, import_gguf,
};
pub use library::{LibraryError, ModelEntry, ModelLibrary};
pub use part::{Pairing, Part};
pub(crate) use precision::is_expert;
pub use precision::{Precision, WeightsChoice, is_cpu};
pub use quantisation::{Mode, Quantisation, QuantisationConfig, UnsupportedQuantisation};
pub use read::TensorReader;
pub use safetensors::Dtype;
pub use shard::{Matrix, ShardError, ShardReader};
pub use staging::StagingError;
