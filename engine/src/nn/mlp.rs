//! The gated feed-forward block.

use mlx_rs::{Array, error::Exception};

use super::{Linear, kernels, kernels::Activation};
use crate::weights::{Part, ShardError, ShardReader};

/// `down(activation(gate(x)) × up(x))`, with one product for gate and up.
pub struct Mlp {
    /// Rows: the gate, then up.
    gate_up: Linear,
    down: Linear,
    activation: Activation,
}

impl Mlp {
    /// Of these projections: `hidden → 2 width`, `width → hidden`.
    #[must_use]
    pub fn new(gate_up: Linear, down: Linear, activation: Activation) -> Self {
        Self { gate_up, down, activation }
    }

    /// Reads `gate_proj`, `up_proj` and `down_proj` of `prefix` (`model.layers.0.mlp`).
    ///
    /// # Errors
    /// What the reader says.
    pub fn load(
        reader: &ShardReader<'_>,
        prefix: &str,
        hidden: usize,
        width: usize,
        activation: Activation,
    ) -> Result<Self, ShardError> {
        let part = |name: &str, rows: usize| Part::whole(format!("{prefix}.{name}"), rows);
        let parts = [part("gate_proj", width), part("up_proj", width)];
        let gate_up = Linear::load(reader, &parts, hidden, false)?;
        let down = Linear::load(reader, &[part("down_proj", hidden)], width, false)?;
        Ok(Self { gate_up, down, activation })
    }

    /// `[rows, hidden]` → the same, plus `residual` if there is one.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(&self, x: &Array, residual: Option<&Array>) -> Result<Array, Exception> {
        let passed = kernels::gated(&self.gate_up.forward(x)?, self.activation)?;
        match residual {
            Some(residual) => self.down.forward_add(&passed, residual),
            None => self.down.forward(&passed),
        }
    }
}
