//! What does the header say, and can it be true?

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    metadata::{MetaValue, Metadata, read_value},
    quant::GgmlType,
};

const MAGIC: [u8; 4] = *b"GGUF";
/// Real files have some 40 keys and, at most (DeepSeek, experts stacked), some 1,100 tensors.
const KEYS_MAX: u64 = 65_536;
const TENSORS_MAX: u64 = 1_000_000;
const DIMS_MAX: u32 = 4;
/// A chat template is the longest text there is: tens of kilobytes.
const TEXT_BYTES_MAX: u64 = 16 << 20;
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 20;

/// Why a GGUF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The system failed us.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another kind of file.
    #[error("not a GGUF file: it does not begin with \"GGUF\"")]
    NotGguf,
    /// A version, or a byte order, that is not read.
    #[error("GGUF version {version:#x} is not supported\nhint: {hint}")]
    Version {
        /// What the file says.
        version: u32,
        /// What to do.
        hint: &'static str,
    },
    /// The file ends before what its header promises.
    #[error(
        "cut off: {what} ends at byte {end}, the file at byte {file_bytes}\nhint: fetch it again"
    )]
    Truncated {
        /// What is not all there.
        what: String,
        /// Where it would end.
        end: u64,
        /// Where the file ends.
        file_bytes: u64,
    },
    /// A count or a length beyond what such files have.
    #[error("{what} says {value}, more than the {max} it may")]
    TooLarge {
        /// What.
        what: String,
        /// What it says.
        value: u64,
        /// The bound.
        max: u64,
    },
    /// A metadata key is missing or says something impossible.
    #[error("key {key}: {problem}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor cannot be as the header says.
    #[error("tensor {tensor}: {problem}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl GgufError {
    pub(super) fn key(key: &str, problem: impl Into<String>) -> Self {
        Self::Key { key: key.to_owned(), problem: problem.into() }
    }

    pub(super) fn tensor(tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { tensor: tensor.to_owned(), problem: problem.into() }
    }
}

/// One tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufTensor {
    /// As llama.cpp calls it.
    pub name: String,
    /// Row-major, outermost dimension first (the file has it the other way round).
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub kind: GgmlType,
    /// Where its bytes are, from the file's beginning.
    pub range: Range<u64>,
}

/// A GGUF file whose header has been read and found possible.
#[derive(Debug)]
pub struct GgufFile {
    file: File,
    pub(super) metadata: Metadata,
    tensors: Vec<GgufTensor>,
}

impl GgufFile {
    /// Reads the header; no tensor's bytes.
    ///
    /// # Errors
    /// [`GgufError`] names the key or the tensor that is impossible.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file").into());
        }
        let file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let (metadata, tensors) = read_header(&mut BufReader::new(&file), file_bytes)?;
        Ok(Self { file, metadata, tensors })
    }

    /// What a metadata key says.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&MetaValue> {
        self.metadata.0.get(key)
    }

    /// All tensors, in the file's order.
    #[must_use]
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// Reads the stored bytes of rows `rows` of a tensor (a row is its innermost dimension).
    ///
    /// # Errors
    /// [`GgufError::Io`].
    ///
    /// # Panics
    /// If the tensor has no such rows.
    pub fn read_blocks(
        &self,
        tensor: &GgufTensor,
        rows: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), GgufError> {
        let row_bytes = tensor.kind.bytes(tensor.row_elements());
        let start = tensor.range.start + (rows.start * row_bytes) as u64;
        out.resize(rows.len() * row_bytes, 0);
        assert!(start + out.len() as u64 <= tensor.range.end, "rows beyond the tensor");
        self.file.read_exact_at(out, start)?;
        Ok(())
    }

    /// Reads rows as f32 into `out`, using `scratch` for the stored bytes.
    ///
    /// # Errors
    /// [`GgufError::Io`].
    ///
    /// # Panics
    /// If the tensor has no such rows, or `out` another length than they have.
    pub fn read_rows(
        &self,
        tensor: &GgufTensor,
        rows: Range<usize>,
        scratch: &mut Vec<u8>,
        out: &mut [f32],
    ) -> Result<(), GgufError> {
        self.read_blocks(tensor, rows, scratch)?;
        tensor.kind.dequantise(scratch, out);
        Ok(())
    }
}

impl GgufTensor {
    /// Numbers in a row.
    #[must_use]
    pub fn row_elements(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }
}

/// Reads from the file's beginning and knows where it is: everything that has a length is checked
/// against what is left before it is reserved or read.
pub(super) struct Bytes<'a> {
    input: &'a mut dyn Read,
    at: u64,
    file_bytes: u64,
}

impl Bytes<'_> {
    fn require(&self, bytes: u64, what: &str) -> Result<(), GgufError> {
        let end = self.at.saturating_add(bytes);
        if end > self.file_bytes {
            let (what, file_bytes) = (what.to_owned(), self.file_bytes);
            return Err(GgufError::Truncated { what, end, file_bytes });
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        self.require(N as u64, "the header")?;
        let mut array = [0; N];
        self.input.read_exact(&mut array)?;
        self.at += N as u64;
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The length of an array whose elements take at least `least` bytes each.
    pub(super) fn count(&mut self, least: u64, what: &str) -> Result<u64, GgufError> {
        let count = self.u64()?;
        self.require(count.saturating_mul(least), what)?;
        Ok(count)
    }

    pub(super) fn text(&mut self, what: &str) -> Result<String, GgufError> {
        let bytes = self.count(1, what)?;
        if bytes > TEXT_BYTES_MAX {
            return Err(too_large(what, bytes, TEXT_BYTES_MAX));
        }
        let mut text = vec![0; bytes as usize];
        self.input.read_exact(&mut text)?;
        self.at += bytes;
        String::from_utf8(text).map_err(|_| GgufError::key(what, "a text is not UTF-8"))
    }
}

fn too_large(what: &str, value: u64, max: u64) -> GgufError {
    GgufError::TooLarge { what: what.to_owned(), value, max }
}

/// Reads and checks everything before the tensors' bytes.
pub(super) fn read_header(
    input: &mut dyn Read,
    file_bytes: u64,
) -> Result<(Metadata, Vec<GgufTensor>), GgufError> {
    let mut bytes = Bytes { input, at: 0, file_bytes };
    if file_bytes < 4 || bytes.array()? != MAGIC {
        return Err(GgufError::NotGguf);
    }
    check_version(bytes.u32()?)?;
    let (tensor_count, key_count) = (bytes.u64()?, bytes.u64()?);
    for (what, count, max) in [
        ("the number of tensors", tensor_count, TENSORS_MAX),
        ("the number of keys", key_count, KEYS_MAX),
    ] {
        if count > max {
            return Err(too_large(what, count, max));
        }
    }
    let mut metadata = BTreeMap::new();
    for _ in 0..key_count {
        let key = bytes.text("a key")?;
        let value = read_value(&mut bytes, &key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufError::key(&key, "there twice"));
        }
    }
    let metadata = Metadata(metadata);
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(read_tensor(&mut bytes)?);
    }
    place(&mut tensors, &metadata, bytes.at, file_bytes)?;
    Ok((metadata, tensors))
}

fn check_version(version: u32) -> Result<(), GgufError> {
    let hint = match version {
        2 | 3 => return Ok(()),
        _ if matches!(version.swap_bytes(), 1..=3) => {
            "it is a big-endian file; fetch the usual one"
        }
        1 => "it is of 2023; convert the model again with a llama.cpp of today",
        _ => "versions 2 and 3 are; fetch or convert the model again",
    };
    Err(GgufError::Version { version, hint })
}

/// One tensor's entry; its range is still counted from where tensors begin.
fn read_tensor(bytes: &mut Bytes<'_>) -> Result<GgufTensor, GgufError> {
    let name = bytes.text("a tensor's name")?;
    let dims = bytes.u32()?;
    if dims == 0 || dims > DIMS_MAX {
        return Err(GgufError::tensor(&name, format!("{dims} dimensions; 1 to {DIMS_MAX} are")));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let dim = usize::try_from(bytes.u64()?).unwrap_or(usize::MAX);
        shape.insert(0, dim);
    }
    let code = bytes.u32()?;
    let start = bytes.u64()?;
    let kind = GgmlType::from_code(code).ok_or_else(|| {
        let supported: Vec<&str> = GgmlType::ALL.iter().map(|kind| kind.name()).collect();
        let stored = GgmlType::name_of_code(code);
        let problem = format!(
            "stored as {stored}, which is not supported\nhint: take a file with {}",
            supported.join(", ")
        );
        GgufError::tensor(&name, problem)
    })?;
    let block = kind.block_elements();
    if shape.contains(&0) || shape[shape.len() - 1] % block != 0 {
        let problem = format!("shape {shape:?}: rows of {} have blocks of {block}", kind.name());
        return Err(GgufError::tensor(&name, problem));
    }
    let end = shape
        .iter()
        .try_fold(1_usize, |n, &dim| n.checked_mul(dim))
        // Eight bytes are more than any element takes: nothing below overflows, f32 copies included.
        .filter(|&elements| elements.checked_mul(8).is_some())
        .and_then(|elements| start.checked_add(kind.bytes(elements) as u64))
        .ok_or_else(|| GgufError::tensor(&name, format!("shape {shape:?} is too large")))?;
    Ok(GgufTensor { name, shape, kind, range: start..end })
}

/// Finds where the tensors' bytes are, and that they are there, aligned, and of one tensor each.
fn place(
    tensors: &mut [GgufTensor],
    metadata: &Metadata,
    header_end: u64,
    file_bytes: u64,
) -> Result<(), GgufError> {
    const KEY: &str = "general.alignment";
    let alignment = metadata.optional_size(KEY)?.map_or(ALIGNMENT_DEFAULT, |n| n as u64);
    if !alignment.is_power_of_two() || !(8..=ALIGNMENT_MAX).contains(&alignment) {
        return Err(GgufError::key(KEY, format!("{alignment} is no alignment")));
    }
    let data_start = header_end.next_multiple_of(alignment);
    for tensor in tensors.iter_mut() {
        if tensor.range.start % alignment != 0 {
            return Err(GgufError::tensor(&tensor.name, "not aligned"));
        }
        let end = tensor.range.end.saturating_add(data_start);
        if end > file_bytes {
            let what = format!("tensor {}", tensor.name);
            return Err(GgufError::Truncated { what, end, file_bytes });
        }
        tensor.range = tensor.range.start + data_start..end;
    }
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(GgufError::tensor(twice[0], "there twice"));
    }
    let mut places: Vec<&GgufTensor> = tensors.iter().collect();
    places.sort_by_key(|tensor| tensor.range.start);
    if let Some(pair) = places.windows(2).find(|pair| pair[1].range.start < pair[0].range.end) {
        let problem = format!("its bytes overlap those of {}", pair[0].name);
        return Err(GgufError::tensor(&pair[1].name, problem));
    }
    Ok(())
}
