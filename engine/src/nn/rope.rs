//! Rotary position embedding, and the ways in which models stretch it.
//!
//! Each pair of numbers of a head is a complex number, turned by an angle that grows with the
//! position: by `position / period` for the pair's period. The pairs lie beside each other
//! (`2i`, `2i + 1`): checkpoints that pair `i` with `i + half` are reordered when they are read
//! ([`Pairing`](crate::weights::Pairing)).

use mlx_rs::{Array, Dtype, complex64, error::Exception, fast, ops, ops::indexing::TryIndexOp};

use super::{Kernels, Sequence};

/// How positions turn queries and keys.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Of each pair that is turned; a head may have more numbers.
    periods: Vec<f64>,
    /// What the turned numbers are multiplied with beside.
    stretch: f64,
}

/// Llama 3's scaling: long wavelengths are stretched by `factor`, short ones left alone.
#[derive(Debug, Clone, Copy)]
pub struct Llama3Scaling {
    /// By how much.
    pub factor: f64,
    /// Wavelengths longer than `original_context / low_frequency_factor` are stretched fully.
    pub low_frequency_factor: f64,
    /// Wavelengths shorter than `original_context / high_frequency_factor` are left alone.
    pub high_frequency_factor: f64,
    /// Context length the model was trained with before.
    pub original_context: f64,
}

/// YaRN (arXiv 2309.00071), as DeepSeek and Qwen use it.
#[derive(Debug, Clone, Copy)]
pub struct YarnScaling {
    /// By how much long wavelengths are stretched.
    pub factor: f64,
    /// Context length the model was trained with before.
    pub original_context: f64,
    /// Pairs that turn more often than this within it are left alone.
    pub beta_fast: f64,
    /// Pairs that turn less often than this are stretched fully.
    pub beta_slow: f64,
    /// Whether the ramp between them begins and ends at whole pairs.
    pub whole_pairs: bool,
    /// What the turned numbers are multiplied with.
    pub stretch: f64,
}

impl Rope {
    /// Plain, over the first `dims` numbers of a head.
    #[must_use]
    pub fn new(dims: i32, base: f64) -> Self {
        let period = |pair: i32| base.powf(f64::from(2 * pair) / f64::from(dims));
        Self { periods: (0..dims / 2).map(period).collect(), stretch: 1.0 }
    }

    /// All positions divided by `factor`.
    #[must_use]
    pub fn with_linear(mut self, factor: f64) -> Self {
        self.periods.iter_mut().for_each(|period| *period *= factor);
        self
    }

    /// Llama 3's scaling (the formula of the Llama 3.1 reference implementation).
    #[must_use]
    pub fn with_llama3(mut self, scaling: Llama3Scaling) -> Self {
        let Llama3Scaling { factor, original_context, .. } = scaling;
        let (low, high) = (scaling.low_frequency_factor, scaling.high_frequency_factor);
        for period in &mut self.periods {
            let turns = original_context / (2.0 * std::f64::consts::PI * *period);
            // 0 where it is stretched fully, 1 where it is left alone.
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            *period /= (1.0 - smooth) / factor + smooth;
        }
        self
    }

    /// YaRN's scaling.
    #[must_use]
    pub fn with_yarn(mut self, base: f64, scaling: YarnScaling) -> Self {
        let dims = 2.0 * self.periods.len() as f64;
        // The pair that turns so often within the original context.
        let pair = |turns: f64| {
            let period = scaling.original_context / (turns * 2.0 * std::f64::consts::PI);
            dims * period.ln() / (2.0 * base.ln())
        };
        let (mut low, mut high) = (pair(scaling.beta_fast), pair(scaling.beta_slow));
        if scaling.whole_pairs {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, high) = (low.max(0.0), high.min(dims - 1.0));
        let width = if high > low { high - low } else { 0.001 };
        for (number, period) in self.periods.iter_mut().enumerate() {
            let stretched = ((number as f64 - low) / width).clamp(0.0, 1.0);
            *period /= stretched / scaling.factor + (1.0 - stretched);
        }
        self.stretch = scaling.stretch;
        self
    }

    /// LongRoPE (arXiv 2402.13753): each pair has its own factor.
    #[must_use]
    pub fn with_factors(mut self, factors: &[f64], stretch: f64) -> Self {
        for (period, factor) in self.periods.iter_mut().zip(factors) {
            *period *= factor;
        }
        self.stretch = stretch;
        self
    }

    /// What a step needs to turn heads of `head_dim` numbers, for its `rows` rows.
    #[must_use]
    pub fn turns(&self, head_dim: i32, sequences: &[Sequence], kernels: Kernels) -> Turns {
        let dims = 2 * self.periods.len() as i32;
        if kernels == Kernels::Fused {
            let periods: Vec<f32> = self.periods.iter().map(|&period| period as f32).collect();
            let stretch = (self.stretch != 1.0).then(|| {
                let numbers =
                    (0..head_dim).map(|i| if i < dims { self.stretch as f32 } else { 1.0 });
                Array::from_iter(numbers, &[head_dim])
            });
            let periods = Array::from_slice(&periods, &[dims / 2]);
            return Turns::Periods { periods, dims, stretch };
        }
        let pairs = head_dim / 2;
        let rows: i32 = sequences.iter().map(|sequence| sequence.rows).sum();
        let mut turns = Vec::with_capacity((rows * pairs) as usize);
        for sequence in sequences {
            for position in sequence.position..sequence.position + sequence.rows {
                turns.extend(self.periods.iter().map(|period| {
                    let (sin, cos) = (f64::from(position) / period).sin_cos();
                    complex64::new((cos * self.stretch) as f32, (sin * self.stretch) as f32)
                }));
                turns.resize(turns.len() + pairs as usize - self.periods.len(), 1.0.into());
            }
        }
        Turns::Complex(Array::from_slice(&turns, &[rows, 1, pairs]))
    }
}

/// A [`Rope`] at the positions of a step.
pub enum Turns {
    /// Of each row and pair, `[rows, 1, pairs]`: a product turns.
    Complex(Array),
    /// For MLX's kernel.
    Periods {
        /// Of each pair.
        periods: Array,
        /// Numbers of a head that are turned.
        dims: i32,
        /// What a head is multiplied with before, `[head_dim]`.
        stretch: Option<Array>,
    },
}

impl Turns {
    /// Turns `x` (`[rows, heads, head_dim]`).
    ///
    /// # Errors
    /// What MLX says.
    pub fn apply(&self, x: &Array, sequences: &[Sequence]) -> Result<Array, Exception> {
        let (periods, dims, stretch) = match self {
            Self::Complex(turns) => {
                let turned = x.view_dtype(Dtype::Complex64)?.multiply(turns)?;
                return turned.view_dtype(Dtype::Float32);
            }
            Self::Periods { periods, dims, stretch } => (periods, *dims, stretch),
        };
        let stretched = match stretch {
            Some(stretch) => x.multiply(stretch.as_dtype(x.dtype())?)?,
            None => x.clone(),
        };
        if sequences.iter().all(|sequence| sequence.rows == 1) {
            let positions: Vec<i32> = sequences.iter().map(|sequence| sequence.position).collect();
            let positions = Array::from_slice(&positions, &[positions.len() as i32]);
            // Each row is a batch of its own, with its own position.
            let rows = stretched.expand_dims(2)?;
            let turned = fast::rope_dynamic(&rows, dims, true, None, 1.0, &positions, periods)?;
            return turned.reshape(x.shape());
        }
        let mut parts = Vec::with_capacity(sequences.len());
        let mut row = 0;
        for sequence in sequences {
            let own = stretched.try_index(row..row + sequence.rows)?;
            let own = own.transpose_axes(&[1, 0, 2])?.expand_dims(0)?;
            let turned = fast::rope(&own, dims, true, None, 1.0, sequence.position, periods)?;
            parts.push(turned.squeeze_axes(&[0])?.transpose_axes(&[1, 0, 2])?);
            row += sequence.rows;
        }
        ops::concatenate(&parts, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_turn_alike() {
        let scaling = YarnScaling {
            factor: 40.0,
            original_context: 256.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            whole_pairs: true,
            stretch: 1.25,
        };
        let rope = Rope::new(8, 10_000.0).with_yarn(10_000.0, scaling);
        let numbers: Vec<f32> = (0..5 * 3 * 12).map(|n| (n as f32 * 0.37).sin()).collect();
        let x = Array::from_slice(&numbers, &[5, 3, 12]);
        for sequences in [
            vec![Sequence { rows: 5, position: 7 }],
            vec![Sequence { rows: 2, position: 0 }, Sequence { rows: 3, position: 300 }],
            (0..5).map(|n| Sequence { rows: 1, position: 11 * n }).collect(),
        ] {
            let [fused, composed] = [Kernels::Fused, Kernels::Composed].map(|kernels| {
                let turned = rope.turns(12, &sequences, kernels).apply(&x, &sequences).unwrap();
                let turned = turned.contiguous().unwrap();
                turned.eval().unwrap();
                turned.as_slice::<f32>().to_vec()
            });
            for (fused, composed) in fused.iter().zip(&composed) {
                assert!((fused - composed).abs() < 1e-4, "{fused} and {composed}");
            }
        }
    }
}
