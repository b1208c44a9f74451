//! Token ids → rows, and, where the head is tied to it, rows → logits.

use mlx_rs::{Array, Dtype, error::Exception, ops};

use super::Linear;
use crate::{mlx::mxfp4, weights::Matrix};

/// A table of `[vocabulary, hidden]`.
pub struct Embedding {
    table: Matrix,
    compute: Dtype,
}

impl Embedding {
    /// Of that table, for rows of the type that is computed in.
    #[must_use]
    pub fn new(table: Matrix, compute: Dtype) -> Self {
        Self { table, compute }
    }

    /// `[rows, hidden]` of token ids.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(&self, tokens: &[u32]) -> Result<Array, Exception> {
        let ids = Array::from_slice(tokens, &[tokens.len() as i32]);
        match &self.table {
            Matrix::Dense(table) => table.take_axis(&ids, 0),
            Matrix::Narrow(table) => table.take_axis(&ids, 0)?.as_dtype(self.compute),
            Matrix::Quantised { weight, scales, biases, quantisation } => {
                let row = |array: &Array| array.take_axis(&ids, 0);
                let (group_size, bits) = (quantisation.group_size as i32, quantisation.bits as i32);
                ops::dequantize(row(weight)?, row(scales)?, &row(biases)?, group_size, bits)
            }
            Matrix::Mxfp4 { weight, scales } => {
                let (weight, scales) = (weight.take_axis(&ids, 0)?, scales.take_axis(&ids, 0)?);
                mxfp4::dequantise(&weight, &scales, self.compute)
            }
        }
    }

    /// The head that is this table, in the same memory.
    ///
    /// # Errors
    /// What MLX says.
    pub fn as_head(&self) -> Result<Linear, Exception> {
        Linear::new(std::slice::from_ref(&self.table), None)
    }
}
