//! `x → x Wᵀ + b`, of a dense or a quantised matrix.

use mlx_rs::{Array, error::Exception, ops};

use crate::{
    mlx::{mxfp4, narrow},
    weights::{Matrix, Part, ShardError, ShardReader},
};

/// A projection.
pub struct Linear {
    /// One, unless matrices that are quantised in several ways are computed together.
    parts: Vec<Weight>,
    /// `[outputs]`.
    bias: Option<Array>,
}

/// A matrix, ready to be multiplied with.
pub(super) enum Weight {
    /// `[…, inputs, outputs]`: the view that the product wants.
    Dense(Array),
    /// `[outputs, inputs]` in bf16, though f32 is computed in.
    Narrow(Array),
    /// As it lies in memory.
    Quantised { weight: Array, scales: Array, biases: Array, group_size: i32, bits: i32 },
    /// The same in floats of 4 bits.
    Mxfp4 { weight: Array, scales: Array },
}

impl Weight {
    pub(super) fn new(matrix: &Matrix) -> Result<Self, Exception> {
        Ok(match matrix {
            Matrix::Dense(matrix) => {
                let transposed = matrix.swap_axes(-1, -2)?;
                transposed.eval()?;
                Self::Dense(transposed)
            }
            Matrix::Narrow(matrix) => Self::Narrow(matrix.clone()),
            Matrix::Quantised { weight, scales, biases, quantisation } => Self::Quantised {
                weight: weight.clone(),
                scales: scales.clone(),
                biases: biases.clone(),
                group_size: quantisation.group_size as i32,
                bits: quantisation.bits as i32,
            },
            Matrix::Mxfp4 { weight, scales } => {
                Self::Mxfp4 { weight: weight.clone(), scales: scales.clone() }
            }
        })
    }

    /// `x Wᵀ`; leading axes of both are matched.
    pub(super) fn apply(&self, x: &Array) -> Result<Array, Exception> {
        match self {
            Self::Dense(transposed) => x.matmul(transposed),
            Self::Narrow(weight) => narrow::matmul(x, weight, None),
            Self::Quantised { weight, scales, biases, group_size, bits } => {
                ops::quantized_matmul(x, weight, scales, biases, true, *group_size, *bits)
            }
            Self::Mxfp4 { weight, scales } => mxfp4::matmul(x, weight, scales, true),
        }
    }

    /// `x Wᵀ` by the matrix that `experts` names for each row of `x` (`[…, 1, inputs]`).
    pub(super) fn gather(
        &self,
        x: &Array,
        experts: &Array,
        sorted: bool,
    ) -> Result<Array, Exception> {
        match self {
            Self::Dense(transposed) => ops::gather_mm(x, transposed, None, experts, sorted),
            // Experts are read in the type that is computed in.
            Self::Narrow(weight) => {
                let wide = weight.as_dtype(x.dtype())?.swap_axes(-1, -2)?;
                ops::gather_mm(x, wide, None, experts, sorted)
            }
            Self::Quantised { weight, scales, biases, group_size, bits } => ops::gather_qmm(
                x,
                weight,
                scales,
                biases,
                None,
                experts,
                true,
                *group_size,
                *bits,
                sorted,
            ),
            Self::Mxfp4 { weight, scales } => mxfp4::gather(x, weight, scales, experts, sorted),
        }
    }

    /// `x W`: from outputs back to inputs.
    pub(super) fn apply_back(&self, x: &Array) -> Result<Array, Exception> {
        match self {
            Self::Dense(transposed) => x.matmul(transposed.swap_axes(-1, -2)?),
            // What is multiplied from both sides is read in the type that is computed in.
            Self::Narrow(weight) => x.matmul(weight.as_dtype(x.dtype())?),
            Self::Quantised { weight, scales, biases, group_size, bits } => {
                ops::quantized_matmul(x, weight, scales, biases, false, *group_size, *bits)
            }
            Self::Mxfp4 { weight, scales } => mxfp4::matmul(x, weight, scales, false),
        }
    }
}

impl Linear {
    /// A projection by matrices below each other.
    ///
    /// # Errors
    /// What MLX says.
    pub fn new(matrices: &[Matrix], bias: Option<Array>) -> Result<Self, Exception> {
        let parts = matrices.iter().map(Weight::new).collect::<Result<_, _>>()?;
        Ok(Self { parts, bias })
    }

    /// Reads it: the outputs of all `parts`, behind each other; with their biases if the checkpoint
    /// has them and the architecture does (`biased`).
    ///
    /// # Errors
    /// What the reader says.
    pub fn load(
        reader: &ShardReader<'_>,
        parts: &[Part],
        inputs: usize,
        biased: bool,
    ) -> Result<Self, ShardError> {
        let bias = biased.then(|| reader.biases(parts)).transpose()?;
        Ok(Self::new(&reader.matrices(parts, inputs)?, bias)?)
    }

    /// `x`: `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(&self, x: &Array) -> Result<Array, Exception> {
        match (self.parts.as_slice(), &self.bias) {
            ([Weight::Dense(transposed)], Some(bias)) => ops::addmm(bias, x, transposed, 1.0, 1.0),
            ([part], None) => part.apply(x),
            ([part], Some(bias)) => part.apply(x)?.add(bias),
            (parts, bias) => {
                let outputs = parts.iter().map(|part| part.apply(x)).collect::<Result<Vec<_>, _>>();
                let joined = ops::concatenate(&outputs?, -1)?;
                bias.as_ref().map_or(Ok(joined.clone()), |bias| joined.add(bias))
            }
        }
    }

    /// `residual + x Wᵀ + b`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward_add(&self, x: &Array, residual: &Array) -> Result<Array, Exception> {
        match (self.parts.as_slice(), &self.bias) {
            ([Weight::Dense(transposed)], None) => ops::addmm(residual, x, transposed, 1.0, 1.0),
            ([Weight::Narrow(weight)], None) => narrow::matmul(x, weight, Some(residual)),
            _ => residual.add(self.forward(x)?),
        }
    }
}
