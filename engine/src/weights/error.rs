//! Why a folder's tensors cannot be had.

use std::{io, path::PathBuf};

use safetensors::Dtype;

/// What is wrong with a model's folder, or with how it was asked.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system failed us.
    #[error("cannot read {}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds no weights.
    #[error(
        "{} holds no model: {missing} is not there\nhint: a model's folder has a config.json and \
         model.safetensors (or model.safetensors.index.json and its shards); `exo-node models \
         import FILE.gguf` makes one from a GGUF file", .dir.display()
    )]
    NoModel {
        /// The folder.
        dir: PathBuf,
        /// What was looked for.
        missing: &'static str,
    },
    /// A JSON file is none, or lacks what it must have.
    #[error("{}: {problem}", .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A JSON file or header is larger than such a thing may be.
    #[error("{}: {what} has {bytes} bytes, more than the {max} it may have", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// What of it.
        what: &'static str,
        /// How much it says it is.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// A file's header cannot be true.
    #[error("{}: {problem}", .file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What a header says of one tensor cannot be true.
    #[error("{}: tensor {tensor}: {problem}", .file.display())]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file has not the length that its header implies.
    #[error(
        "{} has {actual} bytes, but its header describes {expected}\nhint: it was cut off or \
         changed, as by an interrupted download; fetch or import the model again", .file.display()
    )]
    Length {
        /// The file.
        file: PathBuf,
        /// What the header implies.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// The index names a file that is not there.
    #[error("{} names the shard {shard}, which is not there\nhint: fetch the model again", .index.display())]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The shard's file name.
        shard: String,
    },
    /// The index names a file that is not in the folder itself.
    #[error("{} names the shard {shard:?}, which is not a plain file name", .index.display())]
    ShardOutside {
        /// The index.
        index: PathBuf,
        /// What it names.
        shard: String,
    },
    /// The index says that a tensor is in a shard, and it is not.
    #[error("the index says that tensor {tensor} is in {}, but it is not", .shard.display())]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: PathBuf,
    },
    /// Two shards hold a tensor of the same name.
    #[error("tensor {tensor} is in {} and in {}", .first.display(), .second.display())]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A tensor that the model needs is not in the folder.
    #[error(
        "{} has no tensor {tensor}\nhint: config.json and the weights belong to different models, \
         or the model's layout is not supported", .dir.display()
    )]
    MissingTensor {
        /// The folder.
        dir: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// The folder has only some layers of its model, and the tensor is of another.
    #[error(
        "{} holds only some layers of its model, and tensor {tensor} is of another\nhint: `exo-node \
         models pull --replace` fetches other layers (--layers), or all", .dir.display()
    )]
    NotInPart {
        /// The folder.
        dir: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor's numbers are of a type that is not read as floats.
    #[error("tensor {tensor} holds {dtype}, not f32, f16 or bf16 numbers")]
    NotFloat {
        /// The tensor.
        tensor: String,
        /// What it holds.
        dtype: Dtype,
    },
    /// The caller asked for bytes that the tensor does not have.
    #[error("tensor {tensor} has {bytes} bytes; {start}..{end} was asked for")]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// How many it has.
        bytes: usize,
        /// Where the caller's range begins.
        start: usize,
        /// Where it ends.
        end: usize,
    },
}
