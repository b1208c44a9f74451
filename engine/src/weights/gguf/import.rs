//! The folder, whole or not at all.
//!
//! Everything is written into a staging folder, opened once as a reader would, and only then put
//! where it is wanted.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use safetensors::Dtype;
use serde_json::Value;

use super::quant::GgmlType;
use super::{
    family::FAMILIES,
    file::{GgufError, GgufFile},
    plan, tokenizer, weights,
};
use crate::weights::{
    ModelFolder, WeightsError,
    staging::{Leftovers, Staging, StagingError},
};

/// Why a GGUF file was not imported. Nothing was left behind under the wanted name.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not one that can be read.
    #[error("{0}")]
    Gguf(#[from] GgufError),
    /// Another kind of model.
    #[error(
        "architecture {name} cannot be imported from GGUF; {} can\nhint: take the model's Hugging Face folder",
        importable()
    )]
    Architecture {
        /// What the file says.
        name: String,
    },
    /// Another kind of tokenizer.
    #[error(
        "tokenizer {name} cannot be imported from GGUF; byte-level ones (gpt2) with known rules and SentencePiece ones (llama) can\nhint: take the model's Hugging Face folder"
    )]
    Tokenizer {
        /// What the file says.
        name: String,
    },
    /// The vocabulary makes no tokenizer.
    #[error("the vocabulary makes no tokenizer: {source}")]
    Vocabulary {
        /// What the tokenizer library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One of several files.
    #[error(
        "the model is split over several files\nhint: join them with `llama-gguf-split --merge`"
    )]
    Split,
    /// A tensor holds what is no number.
    #[error("tensor {tensor} holds infinite numbers or NaN: the file is damaged")]
    NotFinite {
        /// The tensor.
        tensor: String,
    },
    /// A tensor's numbers are too large for f16.
    #[error("tensor {tensor} holds numbers beyond f16's range\nhint: import as f32 or bf16")]
    BeyondF16 {
        /// The tensor.
        tensor: String,
    },
    /// The folder cannot be made.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The weights cannot be written.
    #[error("cannot write {}: {source}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said: most often that the disk is full.
        source: io::Error,
    },
    /// What was written cannot be read back.
    #[error("what was written does not read back: {0}")]
    ReadBack(#[from] WeightsError),
}

/// The type that weights are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportDtype {
    /// Exact: every number that a block stands for is an f32.
    #[default]
    F32,
    /// Half the size, rounded; refused if a number is too large for it.
    F16,
    /// Half the size, rounded more coarsely.
    Bf16,
    /// As the file has them: blocks of few bits become MLX's codes of as many (Q6_K's of 8).
    Stored,
}

/// The architectures that can be, by their names in GGUF.
fn importable() -> String {
    let mut names = FAMILIES.map(|family| family.name).to_vec();
    names.dedup();
    names.join(", ")
}

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The type that weights are written as.
    pub dtype: ImportDtype,
    /// Whether a model that is there already is replaced.
    pub replace: bool,
}

/// How far an import has come.
#[derive(Debug, Clone, Copy)]
pub struct ImportProgress<'a> {
    /// The tensor that is being written.
    pub tensor: &'a str,
    /// Bytes written so far.
    pub bytes_done: u64,
    /// Bytes that will have been written.
    pub bytes_total: u64,
}

/// What an import made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportReport {
    /// The folder.
    pub dir: PathBuf,
    /// `model_type` of its configuration: `llama`.
    pub architecture: String,
    /// How many layers.
    pub layers: usize,
    /// How many tensors.
    pub tensors: usize,
    /// Bytes of weights.
    pub bytes: u64,
    /// Their type.
    pub dtype: ImportDtype,
}

/// Makes the Hugging Face folder `out_dir` from a GGUF file: configuration, safetensors, tokenizer,
/// chat template. Memory stays at a few megabytes, whatever the model's size.
///
/// # Errors
/// [`ImportError`]; `out_dir` is then as it was.
pub fn import_gguf(
    file: &Path,
    out_dir: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(ImportProgress<'_>),
) -> Result<ImportReport, ImportError> {
    let gguf = GgufFile::open(file)?;
    let plan = plan::plan(&gguf, options.dtype)?;
    let files = tokenizer::files(&gguf)?;
    let tokenizer_json = pretty(&files.tokenizer);
    tokenizers::Tokenizer::from_bytes(&tokenizer_json)
        .map_err(|source| ImportError::Vocabulary { source })?;

    let staging = Staging::begin(out_dir, "importing", options.replace, Leftovers::Clear)?;
    for (name, content) in [
        ("config.json", pretty(&plan.config)),
        ("tokenizer.json", tokenizer_json),
        ("tokenizer_config.json", pretty(&files.tokenizer_config)),
        ("generation_config.json", pretty(&files.generation_config)),
    ] {
        staging.write(name, &content)?;
    }
    let file = staging.dir.join("model.safetensors");
    let bytes = weights::write(&gguf, &plan.tensors, options.dtype, &file, progress)?;
    ModelFolder::open(&staging.dir)?;
    staging.commit()?;
    Ok(ImportReport {
        dir: out_dir.to_owned(),
        architecture: plan.model_type.to_owned(),
        layers: plan.layers,
        tensors: plan.tensors.len(),
        bytes,
        dtype: options.dtype,
    })
}

fn pretty(value: &Value) -> Vec<u8> {
    // A JSON value has no way to fail to be written as JSON.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

impl ImportDtype {
    /// How dense weights of that type are written.
    pub(super) fn dense(self, kind: GgmlType) -> Dtype {
        match (self, kind) {
            (Self::F16, _) | (Self::Stored, GgmlType::F16) => Dtype::F16,
            (Self::Bf16, _) | (Self::Stored, GgmlType::BF16) => Dtype::BF16,
            (Self::F32 | Self::Stored, _) => Dtype::F32,
        }
    }

    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            // What is computed in where codes are; halves overflow in some models.
            Self::Bf16 | Self::Stored => "bfloat16",
        }
    }
}

impl fmt::Display for ImportDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Stored => "stored",
        })
    }
}

impl FromStr for ImportDtype {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            "stored" => Ok(Self::Stored),
            other => Err(format!("{other:?} is none of f32, f16, bf16, stored")),
        }
    }
}
