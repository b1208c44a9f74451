//! The folder, whole or not at all.
//!
//! Everything is written into a hidden folder beside the one that is wanted, flushed to the disk,
//! opened once as a reader would, and renamed. What interrupts that leaves at most the hidden
//! folder, which the next import of the same name clears away.

use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use half::{
    bf16, f16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};
use safetensors::Dtype;
use serde_json::Value;

use super::{
    file::{GgufError, GgufFile},
    llama::{self, PlannedTensor},
    tokenizer,
};
use crate::weights::{ModelFolder, WeightsError, write::SafetensorsWriter};

/// Numbers converted at a time, unless a row (or a head of permuted rows) has more: 1 MiB of f32.
const CHUNK_ELEMENTS: usize = 256 << 10;

/// Why a GGUF file was not imported. Nothing was left behind under the wanted name.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not one that can be read.
    #[error("{0}")]
    Gguf(#[from] GgufError),
    /// Another kind of model.
    #[error(
        "architecture {name} cannot be imported from GGUF yet; llama can\nhint: take the model's Hugging Face folder"
    )]
    Architecture {
        /// What the file says.
        name: String,
    },
    /// Another kind of tokenizer.
    #[error(
        "tokenizer {name} cannot be imported from GGUF yet; gpt2 with rules smollm or llama-bpe can\nhint: take the model's Hugging Face folder"
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
    /// There is a model of that name already.
    #[error("{} is there already\nhint: say --replace, or give another name with --name", .dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// What would be replaced is not a model.
    #[error("{} is not a model's folder, and is not replaced", .dir.display())]
    NotAModel {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process is importing to the same folder.
    #[error("another import to {} is running", .dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder cannot be written.
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
    /// `llama`.
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
    let plan = llama::plan(&gguf, options.dtype)?;
    let files = tokenizer::files(&gguf)?;
    let tokenizer_json = pretty(&files.tokenizer);
    tokenizers::Tokenizer::from_bytes(&tokenizer_json)
        .map_err(|source| ImportError::Vocabulary { source })?;

    let staging = Staging::begin(out_dir, options.replace)?;
    for (name, content) in [
        ("config.json", pretty(&plan.config)),
        ("tokenizer.json", tokenizer_json),
        ("tokenizer_config.json", pretty(&files.tokenizer_config)),
        ("generation_config.json", pretty(&files.generation_config)),
    ] {
        staging.write(name, &content)?;
    }
    let weights = staging.dir.join("model.safetensors");
    let bytes = write_weights(&gguf, &plan.tensors, options.dtype, &weights, progress)?;
    ModelFolder::open(&staging.dir)?;
    staging.commit()?;
    Ok(ImportReport {
        dir: out_dir.to_owned(),
        architecture: "llama".to_owned(),
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

/// Writes all tensors, a chunk of rows at a time.
fn write_weights(
    gguf: &GgufFile,
    tensors: &[PlannedTensor],
    dtype: ImportDtype,
    path: &Path,
    progress: &mut dyn FnMut(ImportProgress<'_>),
) -> Result<u64, ImportError> {
    let failed = |source| ImportError::Write { file: path.to_owned(), source };
    let declared = tensors.iter().map(|t| (t.name.clone(), dtype.stored(), t.source.shape.clone()));
    let mut writer = SafetensorsWriter::create(path, declared).map_err(failed)?;
    let bytes_total = writer.expected();
    let mut bytes_done = 0;
    let mut chunk = Chunk::default();
    for tensor in tensors {
        let row = tensor.source.row_elements();
        let rows = tensor.permuted_head.unwrap_or((CHUNK_ELEMENTS / row).max(1));
        let mut at = 0;
        while at < tensor.source.rows() {
            let end = (at + rows).min(tensor.source.rows());
            chunk.numbers.resize((end - at) * row, 0.0);
            gguf.read_rows(&tensor.source, at..end, &mut chunk.scratch, &mut chunk.numbers)?;
            if tensor.permuted_head.is_some() {
                chunk.unpermute(row);
            }
            let bytes = chunk.encode(dtype, &tensor.source.name)?;
            writer.write(bytes).map_err(failed)?;
            bytes_done += bytes.len() as u64;
            progress(ImportProgress { tensor: &tensor.name, bytes_done, bytes_total });
            at = end;
        }
    }
    writer.finish().map_err(failed)?;
    Ok(bytes_total)
}

/// Buffers for one chunk of rows, used again for the next.
#[derive(Default)]
struct Chunk {
    scratch: Vec<u8>,
    numbers: Vec<f32>,
    reordered: Vec<f32>,
    halves: Vec<u16>,
}

impl Chunk {
    /// Puts the rows of one head back into Hugging Face's order: stored as pairs (0, half),
    /// (1, half + 1), …, they become the first halves of all pairs, then the second.
    fn unpermute(&mut self, row: usize) {
        self.reordered.clear();
        for half in 0..2 {
            for pair in self.numbers.chunks_exact(2 * row) {
                self.reordered.extend_from_slice(&pair[half * row..][..row]);
            }
        }
        std::mem::swap(&mut self.numbers, &mut self.reordered);
    }

    /// The numbers as they are stored.
    fn encode(&mut self, dtype: ImportDtype, tensor: &str) -> Result<&[u8], ImportError> {
        let tensor = || tensor.to_owned();
        if !self.numbers.iter().fold(true, |all, x| all & x.is_finite()) {
            return Err(ImportError::NotFinite { tensor: tensor() });
        }
        self.halves.resize(self.numbers.len(), 0);
        match dtype {
            ImportDtype::F32 => return Ok(bytemuck::cast_slice(&self.numbers)),
            ImportDtype::F16 => {
                let halves: &mut [f16] = self.halves.reinterpret_cast_mut();
                halves.convert_from_f32_slice(&self.numbers);
                if !halves.iter().all(|half| half.is_finite()) {
                    return Err(ImportError::BeyondF16 { tensor: tensor() });
                }
            }
            ImportDtype::Bf16 => {
                let halves: &mut [bf16] = self.halves.reinterpret_cast_mut();
                halves.convert_from_f32_slice(&self.numbers);
            }
        }
        Ok(bytemuck::cast_slice(&self.halves))
    }
}

impl ImportDtype {
    fn stored(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

impl fmt::Display for ImportDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
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
            other => Err(format!("{other:?} is none of f32, f16, bf16")),
        }
    }
}

/// The hidden folder, locked as long as this lives, and removed unless it was committed.
struct Staging {
    dir: PathBuf,
    target: PathBuf,
    parent: PathBuf,
    replace: bool,
    lock: File,
    committed: bool,
}

impl Staging {
    fn begin(target: &Path, replace: bool) -> Result<Self, ImportError> {
        check_target(target, replace)?;
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |source| ImportError::Write { file, source }
        };
        let Some(name) = target.file_name() else {
            return Err(failed(target)(io::Error::other("not a name for a folder")));
        };
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        fs::create_dir_all(&parent).map_err(failed(&parent))?;
        let dir = parent.join(format!(".{}.importing", name.to_string_lossy()));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(&dir)(error));
            }
            _ => {}
        }
        let lock = File::open(&dir).map_err(failed(&dir))?;
        if lock.try_lock().is_err() {
            return Err(ImportError::Busy { dir: target.to_owned() });
        }
        let target = target.to_owned();
        let staging = Self { dir, target, parent, replace, lock, committed: false };
        // What is in it now is what an interrupted import left.
        let entries = fs::read_dir(&staging.dir).map_err(failed(&staging.dir))?;
        for entry in entries.filter_map(Result::ok) {
            fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
        }
        Ok(staging)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), ImportError> {
        let path = self.dir.join(name);
        let write = || {
            let mut file = File::create_new(&path)?;
            io::Write::write_all(&mut file, content)?;
            file.sync_all()
        };
        write().map_err(|source| ImportError::Write { file: path.clone(), source })
    }

    fn commit(mut self) -> Result<(), ImportError> {
        check_target(&self.target, self.replace)?;
        let failed = |source| ImportError::Write { file: self.target.clone(), source };
        self.lock.sync_all().map_err(failed)?;
        let name = self.target.file_name().unwrap_or_default().to_string_lossy();
        let old = self.parent.join(format!(".{name}.replaced"));
        if self.target.exists() {
            if old.exists() {
                fs::remove_dir_all(&old).map_err(failed)?;
            }
            fs::rename(&self.target, &old).map_err(failed)?;
        }
        if let Err(error) = fs::rename(&self.dir, &self.target) {
            let _ = fs::rename(&old, &self.target);
            return Err(failed(error));
        }
        self.committed = true;
        // The model is there; what follows only tidies up and makes the rename outlast a crash.
        let _ = fs::remove_dir_all(&old);
        let _ = File::open(&self.parent).and_then(|parent| parent.sync_all());
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Whether something may be put there: nothing is, or a model that may be replaced.
fn check_target(target: &Path, replace: bool) -> Result<(), ImportError> {
    let dir = || target.to_owned();
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ImportError::Write { file: dir(), source }),
        Ok(_) if !replace => Err(ImportError::Exists { dir: dir() }),
        Ok(metadata) if !metadata.is_dir() || !target.join("config.json").is_file() => {
            Err(ImportError::NotAModel { dir: dir() })
        }
        Ok(_) => Ok(()),
    }
}
