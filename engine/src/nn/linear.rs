//! `x → x Wᵀ`.

use mlx_rs::{Array, error::Exception};

/// A dense projection without bias.
pub struct Linear {
    /// `[inputs, outputs]`: the view that the product wants.
    transposed: Array,
}

impl Linear {
    /// A projection by `weight`, shape `[outputs, inputs]`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn new(weight: &Array) -> Result<Self, Exception> {
        let transposed = weight.transpose()?;
        transposed.eval()?;
        Ok(Self { transposed })
    }

    /// `x`: `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(&self, x: &Array) -> Result<Array, Exception> {
        x.matmul(&self.transposed)
    }

    /// `residual + x Wᵀ` in one operation.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward_add(&self, x: &Array, residual: &Array) -> Result<Array, Exception> {
        mlx_rs::ops::addmm(residual, x, &self.transposed, 1.0, 1.0)
    }
}
