//! A stage's tensors, read from disk straight into MLX's memory.
//!
//! Matrices that are used together are read below each other into one array, so that one product
//! computes them all. One copy: from the page cache into the array (and, of codes that are to be
//! dense, one pass of MLX's own over each).

use std::sync::atomic::{AtomicU64, Ordering};

use mlx_rs::{Array, Dtype as MlxDtype, error::Exception, ops};
use safetensors::Dtype;

use super::pieces::{Piece, in_parallel, pieces};
use super::{
    ModelFolder, Precision, Quantisation, QuantisationConfig, TensorInfo, TensorReader,
    UnsupportedQuantisation, WeightsError,
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
    /// Codes of a quantised matrix are u32.
    #[error("tensor {tensor} holds {dtype}, but beside `.scales` it has to hold codes, in u32")]
    NotCodes {
        /// The tensor.
        tensor: String,
        /// What it holds.
        dtype: Dtype,
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
    /// Its numbers.
    Dense(Array),
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
}

/// Rows of one of the checkpoint's matrices.
#[derive(Debug, Clone)]
pub struct Part {
    module: String,
    /// The checkpoint's shape, less the columns.
    shape: Vec<usize>,
    first: usize,
    rows: usize,
    pairing: Option<Pairing>,
}

/// Moves rows so that the two that a rotary embedding turns together lie beside each other: row `i`
/// and row `i + rotary / 2` of each head become rows `2i` and `2i + 1`. Queries and keys that are
/// reordered alike give the same scores.
#[derive(Debug, Clone, Copy)]
pub struct Pairing {
    /// Rows of a head.
    pub head_dim: usize,
    /// How many of them, from the first, are turned.
    pub rotary: usize,
}

impl Part {
    /// All `rows` rows of `module` (without `.weight`).
    pub fn whole(module: impl Into<String>, rows: usize) -> Self {
        Self { module: module.into(), shape: vec![rows], first: 0, rows, pairing: None }
    }

    /// `rows` rows from the `first` on, of `of` rows.
    pub fn rows(module: impl Into<String>, first: usize, rows: usize, of: usize) -> Self {
        Self { module: module.into(), shape: vec![of], first, rows, pairing: None }
    }

    /// The `index`-th of `count` matrices of `rows` rows that lie behind each other.
    pub fn stacked(module: impl Into<String>, index: usize, count: usize, rows: usize) -> Self {
        let (shape, first) = (vec![count, rows], index * rows);
        Self { module: module.into(), shape, first, rows, pairing: None }
    }

    /// With its rows reordered.
    #[must_use]
    pub fn paired(self, pairing: Option<Pairing>) -> Self {
        Self { pairing, ..self }
    }

    fn tensor(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.module)
    }
}

/// Reads tensors as arrays of the type that is computed in.
pub struct ShardReader<'a> {
    folder: &'a ModelFolder,
    reader: &'a TensorReader,
    precision: Precision,
    quantisation: QuantisationConfig,
    progress: &'a dyn Fn(u64),
    read: AtomicU64,
}

impl<'a> ShardReader<'a> {
    /// Reads from `folder`; `progress` hears how many bytes were read so far.
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
        Ok(Self { folder, reader, precision, quantisation, progress, read: AtomicU64::new(0) })
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

    /// Matrices `[rows, columns]` below each other: one, unless they are quantised in more than one
    /// way; then one for each run of matrices that are alike.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or cannot be read.
    pub fn matrices(&self, parts: &[Part], columns: usize) -> Result<Vec<Matrix>, ShardError> {
        let mut formats = Vec::with_capacity(parts.len());
        for part in parts {
            formats.push(self.format(part)?);
        }
        let mut matrices = Vec::new();
        let mut start = 0;
        for end in 1..=parts.len() {
            if end == parts.len() || formats[end] != formats[start] {
                matrices.push(self.run(&parts[start..end], columns, formats[start], &[])?);
                start = end;
            }
        }
        if self.precision.dense && matrices.len() > 1 {
            let dense: Vec<&Array> = matrices
                .iter()
                .filter_map(|matrix| match matrix {
                    Matrix::Dense(array) => Some(array),
                    Matrix::Quantised { .. } => None,
                })
                .collect();
            let joined = ops::concatenate(&dense, 0)?;
            joined.eval()?;
            return Ok(vec![Matrix::Dense(joined)]);
        }
        Ok(matrices)
    }

    /// One matrix, of parts that are quantised alike.
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
        if !self.folder.has(&part.tensor("scales")) {
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
        let tensor = found.iter().map(|(tensor, ..)| tensor.name.as_str()).collect::<Vec<_>>();
        Err(ShardError::NotFinite { tensor: tensor.join(" or ") })
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
        if let Some((tensor, ..)) = found.iter().find(|(tensor, ..)| tensor.dtype != Dtype::U32) {
            let (tensor, dtype) = (tensor.name.clone(), tensor.dtype);
            return Err(ShardError::NotCodes { tensor, dtype });
        }
        self.filled(found, 4 * row, shape, MlxDtype::Uint32, |tensor, first, out| {
            self.reader.read_into(tensor, 4 * row * first, out)
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
        let counted = &self.read;
        let fill = |piece: Piece<'_>| {
            read(piece.tensor, piece.first, &mut *piece.out)?;
            if let Some(pairing) = piece.pairing {
                pair_rows(piece.out, row_bytes, pairing);
            }
            let bytes = piece.out.len() as u64;
            Ok(counted.fetch_add(bytes, Ordering::Relaxed) + bytes)
        };
        let filled = mlx::filled(shape, dtype, |out| {
            in_parallel(pieces(found, row_bytes, out), fill, self.progress)
        })?;
        Ok(filled?)
    }
}

/// A tensor, its first row that is wanted, how many, and their order.
type Found<'a> = (&'a TensorInfo, usize, usize, Option<Pairing>);

fn pair_rows(rows: &mut [u8], row: usize, Pairing { head_dim, rotary }: Pairing) {
    let mut before = vec![0; rotary * row];
    for head in rows.chunks_exact_mut(head_dim * row) {
        let turned = &mut head[..rotary * row];
        before.copy_from_slice(turned);
        let (low, high) = before.split_at(rotary / 2 * row);
        let pairs = low.chunks_exact(row).zip(high.chunks_exact(row));
        for (pair, (low, high)) in turned.chunks_exact_mut(2 * row).zip(pairs) {
            pair[..row].copy_from_slice(low);
            pair[row..].copy_from_slice(high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_turn_together_lie_beside_each_other() {
        // Two heads of six rows of two bytes, of which four turn.
        let mut rows: Vec<u8> = (0..12).flat_map(|row| [row, 100 + row]).collect();
        pair_rows(&mut rows, 2, Pairing { head_dim: 6, rotary: 4 });
        let order: Vec<u8> = rows.chunks_exact(2).map(|row| row[0]).collect();
        assert_eq!(order, [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
        assert!(rows.chunks_exact(2).all(|row| row[1] == 100 + row[0]));
    }
}
