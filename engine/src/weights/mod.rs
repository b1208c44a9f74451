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
//! | `shard` | how do a stage's tensors get into MLX's memory? |
//! | `quantisation` | how are this folder's weights quantised? |
//! | `precision` | in which type does this machine compute? |
//! | `write` | how does a safetensors file come to be, tensor by tensor? |
//! | `library` | which models does this node have, and what are they called? |
//! | [`gguf`] | how does a GGUF file become such a folder? |

mod error;
mod folder;
pub mod gguf;
mod header;
mod library;
mod precision;
mod quantisation;
mod read;
mod shard;
mod write;

pub use error::WeightsError;
pub use folder::{ModelFolder, TensorInfo};
pub use gguf::import::{
    ImportDtype, ImportError, ImportOptions, ImportProgress, ImportReport, import_gguf,
};
pub use library::{LibraryError, ModelEntry, ModelLibrary};
pub use precision::{Precision, WeightsChoice, is_cpu};
pub use quantisation::{Quantisation, QuantisationConfig, UnsupportedQuantisation};
pub use read::TensorReader;
pub use safetensors::Dtype;
pub use shard::{Matrix, Pairing, Part, ShardError, ShardReader};
