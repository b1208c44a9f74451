//! A stage's tensors, read from disk straight into MLX's memory.
//!
//! Matrices that are used together are read below each other into one array, so that one product
//! computes them all. One copy: from the page cache into the array (and, of codes that are to be
//! dense, one pass of MLX's own over each). Matrices in bf16 are not widened where MLX multiplies
//! with them as they are.

use mlx_rs::{Array, Dtype as MlxDtype, error::Exception, ops};
use safetensors::Dtype;

use super::part::{Pairing, Part, pair_rows};
use super::pieces::{Piece, in_parallel, pieces};
use super::{
    Mode, ModelFolder, Precision, Quantisation, QuantisationConfig, TensorInfo, TensorReader,
    UnsupportedQuantisation, WeightsError, is_cpu,
};
use crate::mlx;

/// Why a stage's tensors are not in memory.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The folder.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// How it is quantised.
    #[error(transparent)]
    Quantisation(#[from] UnsupportedQuantisation),
    /// A tensor has not the shape that config.json implies.
    #[error(
        "tensor {tensor} has shape {found:?}, config.json implies {expected:?}\nhint: config.json and \
         the weights belong to different models"
    )]
    Shape {
        /// The tensor.
        tensor: String,
        /// What config.json implies.
        expected: Vec<usize>,
        /// What it has.
        found: Vec<usize>,
    },
    /// Codes of a quantised matrix are u32, or bytes.
    #[error("tensor {tensor} holds {dtype}, but a quantised matrix has to have {wanted} there")]
    NotCodes {
        /// The tensor.
        tensor: String,
        /// What it holds.
        dtype: Dtype,
        /// What it should.
        wanted: &'static str,
    },
    /// There is a tensor `.scales`, but config.json does not say how the matrix is quantised.
    #[error("{module} is quantised, but config.json has no `quantization`")]
    NoQuantisation {
        /// The module.
        module: String,
    },
    /// A scale or bias that is no number.
    #[error(
        "tensor {tensor} holds NaN or infinity\nhint: the file is damaged; fetch the model again"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
    },
    /// MLX failed.
    #[error("MLX: {0}")]
    Mlx(#[from] Exception),
}

/// A matrix in memory, `[rows, columns]` or, of experts, `[experts, rows, columns]`.
#[derive(Clone)]
pub enum Matrix {
    /// Its numbers, in the type that is computed in.
    Dense(Array),
    /// Its numbers in bf16, though f32 is computed in.
    Narrow(Array),
    /// Its codes, `[…, rows, words]`; scales and biases `[…, rows, groups]`.
    Quantised {
        /// u32 words of codes.
        weight: Array,
        /// Of each group.
        scales: Array,
        /// Of each group.
        biases: Array,
        /// How.
        quantisation: Quantisation,
    },
    /// Its codes, as above, of floats of 4 bits, and scales in u8.
    Mxfp4 {
        /// u32 words of codes.
        weight: Array,
        /// Of each group.
        scales: Array,
    },
}

/// Reads tensors as arrays of the type that is computed in.
pub struct ShardReader<'a> {
    folder: &'a ModelFolder,
    reader: &'a TensorReader,
    precision: Precision,
    quantisation: QuantisationConfig,
    /// For arrays that stay as they are read; `None` if they are not all such.
    slabs: Option<mlx::Slabs>,
    progress: &'a dyn Fn(u64),
}

impl<'a> ShardReader<'a> {
    /// Reads from `folder`; `progress` hears how many bytes `reader` has read so far.
    ///
    /// # Errors
    /// A quantisation that is not read.
    pub fn new(
        folder: &'a ModelFolder,
        reader: &'a TensorReader,
        precision: Precision,
        progress: &'a dyn Fn(u64),
    ) -> Result<Self, ShardError> {
        let quantisation = QuantisationConfig::from_json(folder.config())?;
        // Large pages are for the processor, and a model must be worth a slab; what becomes dense
        // would hold up the memory of its codes.
        let large = is_cpu() && folder.bytes() >= mlx::Slabs::BYTES as u64;
        let stays = large && (quantisation.is_empty() || !precision.dense);
        let slabs = stays.then(mlx::Slabs::default);
        Ok(Self { folder, reader, precision, quantisation, slabs, progress })
    }

    /// Goes on in the memory that another reader of the same stage began.
    pub(crate) fn into_slabs(mut self, slabs: &mlx::Slabs) -> Self {
        self.slabs = self.slabs.map(|_| slabs.clone());
        self
    }

    /// Whether the folder has that tensor.
    #[must_use]
    pub fn has(&self, tensor: &str) -> bool {
        self.folder.has(tensor)
    }

    /// The type that is computed in.
    #[must_use]
    pub fn compute(&self) -> MlxDtype {
        self.precision.compute
    }

    /// Matrices `[rows, columns]` below each other: one, unless they are held in more than one way;
    /// then one for each run of matrices that are alike.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or cannot be read.
    pub fn matrices(&self, parts: &[Part], columns: usize) -> Result<Vec<Matrix>, ShardError> {
        let mut formats = Vec::with_capacity(parts.len());
        for part in parts {
            formats.push((self.format(part)?, self.stays_narrow(part)?));
        }
        let mut matrices = Vec::new();
        let mut start = 0;
        for end in 1..=parts.len() {
            if end == parts.len() || formats[end] != formats[start] {
                let alike = &parts[start..end];
                matrices.push(match formats[start] {
                    (_, true) => self.narrow(alike, columns)?,
                    (format, false) => self.run(alike, columns, format, &[])?,
                });
                start = end;
            }
        }
        let dense: Vec<&Array> = matrices
            .iter()
            .filter_map(|matrix| match matrix {
                Matrix::Dense(array) => Some(array),
                Matrix::Narrow(_) | Matrix::Quantised { .. } | Matrix::Mxfp4 { .. } => None,
            })
            .collect();
        if dense.len() > 1 && dense.len() == matrices.len() {
            let joined = ops::concatenate(&dense, 0)?;
            joined.eval()?;
            return Ok(vec![Matrix::Dense(joined)]);
        }
        Ok(matrices)
    }

    /// One matrix whose rows are looked up.
    ///
    /// # Errors
    /// As [`matrices`](Self::matrices).
    pub fn table(&self, part: &Part, columns: usize) -> Result<Matrix, ShardError> {
        if self.stays_narrow(part)? {
            return self.narrow(std::slice::from_ref(part), columns);
        }
        self.matrix(part, columns)
    }

    /// Whether a part is stored in bf16 and is held so, though f32 is computed in.
    fn stays_narrow(&self, part: &Part) -> Result<bool, ShardError> {
        // What is in codes may have no tensor of that name.
        if self.format(part)?.is_some() {
            return Ok(false);
        }
        let dtype = self.folder.tensor(&part.tensor("weight"))?.dtype;
        Ok(self.precision.holds_bf16(&part.module, dtype))
    }

    /// Matrices in bf16 below each other, as they are stored.
    fn narrow(&self, parts: &[Part], columns: usize) -> Result<Matrix, ShardError> {
        let mut found = Vec::with_capacity(parts.len());
        for part in parts {
            let expected = [&part.shape[..], &[columns]].concat();
            let tensor = self.checked(&part.tensor("weight"), &expected)?;
            found.push((tensor, part.first, part.rows, part.pairing));
        }
        let rows: usize = parts.iter().map(|part| part.rows).sum();
        let (row_bytes, shape) = (2 * columns, [rows as i32, columns as i32]);
        let read = |tensor: &TensorInfo, first: usize, out: &mut [u8]| {
            self.reader.read_into(tensor, row_bytes * first, out)
        };
        let array = self.filled(&found, row_bytes, &shape, MlxDtype::Bfloat16, read)?;
        Ok(Matrix::Narrow(array))
    }

    /// One matrix in the type that is computed in, or in codes.
    ///
    /// # Errors
    /// As [`matrices`](Self::matrices).
    pub fn matrix(&self, part: &Part, columns: usize) -> Result<Matrix, ShardError> {
        self.run(std::slice::from_ref(part), columns, self.format(part)?, &[])
    }

    /// `count` matrices of experts, `[count, rows, columns]`; `parts` come expert by expert.
    ///
    /// # Errors
    /// As [`matrices`](Self::matrices); experts that are quantised in more than one way.
    pub fn experts(
        &self,
        parts: &[Part],
        count: usize,
        columns: usize,
    ) -> Result<Matrix, ShardError> {
        let format = self.format(&parts[0])?;
        self.run(parts, columns, format, &[count as i32])
    }

    /// A vector of the type that is computed in.
    ///
    /// # Errors
    /// As [`matrices`](Self::matrices).
    pub fn vector(
        &self,
        name: &str,
        len: usize,
        pairing: Option<Pairing>,
    ) -> Result<Array, ShardError> {
        let tensor = self.checked(name, &[len])?;
        self.floats(&[(tensor, 0, len, pairing)], 1, &[len as i32])
    }

    /// The biases of `parts`, behind each other.
    ///
    /// # Errors
    /// As [`matrices`](Self::matrices).
    pub fn biases(&self, parts: &[Part]) -> Result<Array, ShardError> {
        let mut found = Vec::with_capacity(parts.len());
        for part in parts {
            let tensor = self.checked(&part.tensor("bias"), &part.shape)?;
            found.push((tensor, part.first, part.rows, part.pairing));
        }
        let rows: usize = parts.iter().map(|part| part.rows).sum();
        self.floats(&found, 1, &[rows as i32])
    }

    /// How a part lies in the folder: `None` if it is dense.
    fn format(&self, part: &Part) -> Result<Option<Quantisation>, ShardError> {
        if !self.folder.has(&part.tensor("scales")) && !part.in_blocks {
            return Ok(None);
        }
        let module = part.module.clone();
        self.quantisation.of(&module).map(Some).ok_or(ShardError::NoQuantisation { module })
    }

    fn run(
        &self,
        parts: &[Part],
        columns: usize,
        format: Option<Quantisation>,
        lead: &[i32],
    ) -> Result<Matrix, ShardError> {
        let find = |suffix: &str, row: usize| {
            let found = parts.iter().map(|part| {
                let mut shape = part.shape.clone();
                shape.push(row);
                let tensor = self.checked(&part.tensor(suffix), &shape)?;
                Ok::<_, ShardError>((tensor, part.first, part.rows, part.pairing))
            });
            found.collect::<Result<Vec<_>, _>>()
        };
        let rows: usize = parts.iter().map(|part| part.rows).sum();
        let per_lead = rows as i32 / lead.iter().product::<i32>();
        let shape = |row: usize| [lead, &[per_lead, row as i32]].concat();
        let Some(quantisation) = format else {
            let numbers = self.floats(&find("weight", columns)?, columns, &shape(columns))?;
            return Ok(Matrix::Dense(numbers));
        };
        if quantisation.mode == Mode::Mxfp4 {
            return self.floats_of_4_bits(parts, columns, &shape);
        }
        let (words, groups) = (quantisation.words(columns), columns / quantisation.group_size);
        let weight = self.words(&find("weight", words)?, words, &shape(words))?;
        let scales = self.finite(&find("scales", groups)?, groups, &shape(groups))?;
        let biases = self.finite(&find("biases", groups)?, groups, &shape(groups))?;
        if self.precision.dense {
            let (group_size, bits) = (quantisation.group_size as i32, quantisation.bits as i32);
            let dense = ops::dequantize(&weight, &scales, &biases, group_size, bits)?;
            dense.eval()?;
            return Ok(Matrix::Dense(dense));
        }
        Ok(Matrix::Quantised { weight, scales, biases, quantisation })
    }

    /// A matrix in MXFP4: `shape` says the array's for rows of so many numbers.
    fn floats_of_4_bits(
        &self,
        parts: &[Part],
        columns: usize,
        shape: &dyn Fn(usize) -> Vec<i32>,
    ) -> Result<Matrix, ShardError> {
        const IN_BLOCK: usize = 16; // bytes
        let groups = columns / 32;
        let find = |suffix: &str, row: &dyn Fn(&Part) -> Vec<usize>| {
            let found = parts.iter().map(|part| {
                let expected = [&part.shape[..], &row(part)].concat();
                let tensor = self.checked(&part.tensor(suffix), &expected)?;
                Ok::<_, ShardError>((tensor, part.first, part.rows, part.pairing))
            });
            found.collect::<Result<Vec<_>, _>>()
        };
        let of_codes = |part: &Part| {
            if part.in_blocks { vec![groups, IN_BLOCK] } else { vec![IN_BLOCK / 4 * groups] }
        };
        let codes = find("weight", &of_codes)?;
        let (kind, wanted) =
            if parts[0].in_blocks { (Dtype::U8, "blocks, in u8") } else { (Dtype::U32, CODES) };
        let (row, words) = (IN_BLOCK * groups, IN_BLOCK / 4 * groups);
        let weight = self.raw(&codes, row, &shape(words), MlxDtype::Uint32, (kind, wanted))?;
        let found = find("scales", &|_| vec![groups])?;
        let wanted = (Dtype::U8, "exponents, in u8");
        let scales = self.raw(&found, groups, &shape(groups), MlxDtype::Uint8, wanted)?;
        let is_nan = scales.eq(Array::from_slice(&[u8::MAX], &[1]))?.any(None)?;
        if is_nan.item_exact::<bool>() {
            return Err(not_finite(&found));
        }
        if self.precision.dense {
            let dense = mlx::mxfp4::dequantise(&weight, &scales, self.precision.compute)?;
            dense.eval()?;
            return Ok(Matrix::Dense(dense));
        }
        Ok(Matrix::Mxfp4 { weight, scales })
    }

    fn checked(&self, name: &str, expected: &[usize]) -> Result<&TensorInfo, ShardError> {
        let tensor = self.folder.tensor(name)?;
        if tensor.shape != expected {
            return Err(ShardError::Shape {
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                found: tensor.shape.clone(),
            });
        }
        Ok(tensor)
    }

    /// Scales or biases: one that is not finite would make a row of it.
    fn finite(&self, found: &[Found<'_>], row: usize, shape: &[i32]) -> Result<Array, ShardError> {
        let array = self.floats(found, row, shape)?;
        let finite = array.is_finite()?.all(None)?;
        if finite.item_exact::<bool>() {
            return Ok(array);
        }
        Err(not_finite(found))
    }

    /// Rows of `row` floats each, in the type that is computed in.
    fn floats(&self, found: &[Found<'_>], row: usize, shape: &[i32]) -> Result<Array, ShardError> {
        let compute = self.precision.compute;
        let same = |dtype| {
            matches!(
                (compute, dtype),
                (MlxDtype::Float16, Dtype::F16) | (MlxDtype::Bfloat16, Dtype::BF16)
            )
        };
        if found.iter().all(|(tensor, ..)| same(tensor.dtype)) {
            return self.filled(found, 2 * row, shape, compute, |tensor, first, out| {
                self.reader.read_into(tensor, 2 * row * first, out)
            });
        }
        let numbers =
            self.filled(found, 4 * row, shape, MlxDtype::Float32, |tensor, first, out| {
                self.reader.read_f32_from(tensor, row * first, bytemuck::cast_slice_mut(out))
            })?;
        if compute == MlxDtype::Float32 {
            return Ok(numbers);
        }
        let numbers = numbers.as_dtype(compute)?;
        numbers.eval()?;
        Ok(numbers)
    }

    /// Rows of `row` words of codes each.
    fn words(&self, found: &[Found<'_>], row: usize, shape: &[i32]) -> Result<Array, ShardError> {
        self.raw(found, 4 * row, shape, MlxDtype::Uint32, (Dtype::U32, CODES))
    }

    /// Rows of `row_bytes` bytes each, which have to be of that type.
    fn raw(
        &self,
        found: &[Found<'_>],
        row_bytes: usize,
        shape: &[i32],
        dtype: MlxDtype,
        (stored, wanted): (Dtype, &'static str),
    ) -> Result<Array, ShardError> {
        if let Some((tensor, ..)) = found.iter().find(|(tensor, ..)| tensor.dtype != stored) {
            let (tensor, dtype) = (tensor.name.clone(), tensor.dtype);
            return Err(ShardError::NotCodes { tensor, dtype, wanted });
        }
        self.filled(found, row_bytes, shape, dtype, |tensor, first, out| {
            self.reader.read_into(tensor, row_bytes * first, out)
        })
    }

    fn filled(
        &self,
        found: &[Found<'_>],
        row_bytes: usize,
        shape: &[i32],
        dtype: MlxDtype,
        read: impl Fn(&TensorInfo, usize, &mut [u8]) -> Result<(), WeightsError> + Sync,
    ) -> Result<Array, ShardError> {
        let fill = |piece: Piece<'_>| {
            read(piece.tensor, piece.first, &mut *piece.out)?;
            if let Some(pairing) = piece.pairing {
                pair_rows(piece.out, row_bytes, pairing);
            }
            Ok(self.reader.bytes_read())
        };
        let write =
            |out: &mut [u8]| in_parallel(pieces(found, row_bytes, out), fill, self.progress);
        let filled = match &self.slabs {
            Some(slabs) => slabs.filled(shape, dtype, write)?,
            None => mlx::filled(shape, dtype, write)?,
        };
        Ok(filled?)
    }
}

/// What a quantised matrix has.
const CODES: &str = "codes, in u32";

fn not_finite(found: &[Found<'_>]) -> ShardError {
    let mut names: Vec<&str> = found.iter().map(|(tensor, ..)| tensor.name.as_str()).collect();
    names.dedup();
    ShardError::NotFinite { tensor: names.join(" or ") }
}

/// A tensor, its first row that is wanted, how many, and their order.
type Found<'a> = (&'a TensorInfo, usize, usize, Option<Pairing>);
