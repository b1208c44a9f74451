//! The operations whose best form depends on the device.
//!
//! On a GPU MLX has one kernel each for a norm, a rotary embedding and attention. On the CPU device
//! it takes them apart into some 10, 20 and 12 operations, each with its own pass and dispatch;
//! composed here of what the CPU does have, they are 4, 1 and 3. Where MLX was given passes over rows
//! (`mlx::passes`), a norm is one, and so is a gate.

use mlx_rs::{
    Array, Dtype,
    error::Exception,
    fast::{self, ScaledDotProductAttentionMask},
    ops,
    ops::indexing::TryIndexOp,
};

use super::Step;
use crate::{
    mlx::passes::{self, Passes},
    weights,
};

/// Which form is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// MLX's own kernels: a GPU has them.
    Fused,
    /// Composed of few operations, for the CPU device.
    Composed,
}

impl Kernels {
    /// What is quicker on MLX's default device. `EXO_TEST_KERNELS=fused` takes a GPU's form on the
    /// CPU as well, so that it is tested where there is no GPU.
    #[must_use]
    pub fn of_device() -> Self {
        let asked = std::env::var_os("EXO_TEST_KERNELS").is_some_and(|form| form == "fused");
        if weights::is_cpu() && !asked { Self::Composed } else { Self::Fused }
    }
}

/// Root mean square norm over the last axis.
pub struct RmsNorm {
    kernels: Kernels,
    /// Composed: times the root of the width.
    weight: Array,
    eps: f32,
    /// Composed: the width times eps, `[1, 1]`.
    eps_sum: Array,
}

impl RmsNorm {
    /// `weight`: `[width]`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn new(weight: &Array, eps: f32, kernels: Kernels) -> Result<Self, Exception> {
        let width = weight.size() as f32;
        let weight = match kernels {
            Kernels::Fused => weight.clone(),
            // x / sqrt(Σx²/n + eps) = x √n / sqrt(Σx² + n eps): one operation less.
            Kernels::Composed => weight.multiply(Array::from_f32(width.sqrt()))?,
        };
        weight.eval()?;
        Ok(Self { kernels, weight, eps, eps_sum: Array::from_slice(&[width * eps], &[1, 1]) })
    }

    /// `[…, width]` → the same shape.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(&self, x: &Array) -> Result<Array, Exception> {
        if self.kernels == Kernels::Fused || x.dtype() != Dtype::Float32 {
            return fast::rms_norm(x, Some(&self.weight), self.eps);
        }
        let (rows, width) = ((x.size() / self.weight.size()) as i32, self.weight.dim(0));
        if let Some(passes) = passes::over(x) {
            return passes.norm(x, &self.weight, self.eps * width as f32);
        }
        if rows == 1 && x.ndim() == 2 {
            // The same, without the reshapes: half of a decode step's time between products goes
            // into asking for operations.
            let squares = ops::addmm(&self.eps_sum, x, x.transpose()?, 1.0, 1.0)?;
            return x.multiply(squares.rsqrt()?)?.multiply(&self.weight);
        }
        let row = x.reshape(&[rows, 1, width])?;
        let column = x.reshape(&[rows, width, 1])?;
        // Each row times itself: its sum of squares, without a pass of its own for the squares.
        let squares = ops::addmm(&self.eps_sum, &row, &column, 1.0, 1.0)?;
        let normed = row.multiply(squares.rsqrt()?)?.multiply(&self.weight)?;
        normed.reshape(x.shape())
    }
}

/// Rows of queries that are computed at a time on the CPU device: they need no keys behind the last
/// of them, and their scores stay small.
const QUERY_ROWS: i32 = 128;

/// What becomes of the scores of attention.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scores<'a> {
    /// What they are multiplied with.
    pub scale: f32,
    /// Tokens that a row sees, itself included: all, unless there is a window.
    pub window: Option<i32>,
    /// Of each head, a score that is in its softmax beside those of the tokens, `[heads]`.
    pub sinks: Option<&'a Array>,
}

/// Softmax attention. `queries`: `[1, heads, rows, key width]`; `keys`, `values`:
/// `[1, kv_heads, tokens, …]`, the rows' own tokens last. A row sees its own token and those before
/// it, a window of them if there is one. → `[1, heads, rows, value width]`.
///
/// # Errors
/// What MLX says.
pub fn attention(
    kernels: Kernels,
    step: &Step,
    [queries, keys, values]: [&Array; 3],
    Scores { scale, window, sinks }: Scores<'_>,
) -> Result<Array, Exception> {
    let (heads, rows) = (queries.dim(1), queries.dim(2));
    let (kv_heads, tokens) = (keys.dim(1), keys.dim(2));
    let fused = |queries: &Array, keys: &Array, values: &Array, mask: Option<&Array>| {
        let mask = match mask {
            Some(mask) => Some(ScaledDotProductAttentionMask::Array(mask)),
            None => (queries.dim(2) > 1).then_some(ScaledDotProductAttentionMask::Causal),
        };
        fast::scaled_dot_product_attention(queries, keys, values, scale, mask, sinks)
    };
    let sees_all = window.is_none_or(|window| tokens <= window);
    if kernels == Kernels::Fused {
        let masked = rows > 1 && !sees_all;
        let mask = masked.then(|| step.mask(rows, tokens, window.unwrap_or(i32::MAX)));
        return fused(queries, keys, values, mask.as_ref());
    }
    if rows == 1 {
        let grouped = queries.reshape(&[1, kv_heads, heads / kv_heads, queries.dim(3)])?;
        let scaled = grouped.multiply(Array::from_f32(scale))?;
        let out = attention_of_row([&scaled, keys, values], sinks)?;
        return out.reshape(&[1, heads, 1, values.dim(3)]);
    }
    let passes = passes::over(queries).filter(|_| sinks.is_none());
    let mut parts = Vec::with_capacity((rows / QUERY_ROWS + 1) as usize);
    for start in (0..rows).step_by(QUERY_ROWS as usize) {
        let end = rows.min(start + QUERY_ROWS);
        let last = tokens - rows + end;
        let first = window.map_or(0, |window| (last - (end - start) - window + 1).max(0));
        let queries = queries.try_index((.., .., start..end, ..))?;
        let keys = keys.try_index((.., .., first..last, ..))?;
        let values = values.try_index((.., .., first..last, ..))?;
        if let Some(passes) = passes {
            let of_key = heads / kv_heads * (end - start);
            let grouped = queries.reshape(&[1, kv_heads, of_key, queries.dim(3)])?;
            let seen = Seen { rows: end - start, window: window.unwrap_or(i32::MAX), scale };
            let out = attend_by(passes, [&grouped, &keys, &values], seen)?;
            parts.push(out.reshape(&[1, heads, end - start, values.dim(3)])?);
            continue;
        }
        let mask = step.mask(end - start, last - first, window.unwrap_or(i32::MAX));
        parts.push(fused(&queries, &keys, &values, Some(&mask))?);
    }
    if parts.len() == 1 { Ok(parts.remove(0)) } else { ops::concatenate(&parts, 2) }
}

/// Attention of one row, composed of few operations for the CPU device. `queries`: `[1, kv_heads,
/// queries of one key, width]`, scaled; `keys`, `values`: `[1, kv_heads, tokens, …]`, all of which the
/// row sees; `sinks`: see [`Scores`]. → the shape of `queries`, with the values' width.
///
/// # Errors
/// What MLX says.
pub fn attention_of_row(
    [queries, keys, values]: [&Array; 3],
    sinks: Option<&Array>,
) -> Result<Array, Exception> {
    if let (None, Some(passes)) = (sinks, passes::over(queries)) {
        let seen = Seen { rows: 1, window: i32::MAX, scale: 1.0 };
        return attend_by(passes, [queries, keys, values], seen);
    }
    // The queries that share keys are rows of one product, which reads the keys once.
    let scores = queries.matmul(keys.swap_axes(2, 3)?)?;
    let shares = match sinks {
        None => ops::softmax_axis(&scores, -1, true)?,
        Some(sinks) => {
            let sinks = sinks.reshape(&[1, scores.dim(1), scores.dim(2), 1])?;
            let all = ops::concatenate(&[&scores, &sinks], -1)?;
            ops::softmax_axis(&all, -1, true)?.try_index((.., .., .., ..scores.dim(3)))?
        }
    };
    shares.matmul(values)
}

/// What each head's rows see of the tokens, and what their scores are multiplied with.
struct Seen {
    /// Rows of one head, of consecutive tokens: the last ones.
    rows: i32,
    /// Tokens that a row sees, itself included.
    window: i32,
    scale: f32,
}

/// Attention whose softmax is one pass. `queries`: `[1, kv_heads, rows of each query of a key, width]`:
/// those that share keys are rows of one product, which reads the keys once.
fn attend_by(
    passes: Passes,
    [queries, keys, values]: [&Array; 3],
    Seen { rows, window, scale }: Seen,
) -> Result<Array, Exception> {
    let scores = queries.matmul(keys.swap_axes(2, 3)?)?;
    passes.softmax(&scores, rows, window, scale)?.matmul(values)
}

/// What a gate is passed through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// gpt-oss's: `x sigmoid(1.702 x) (up + 1)`, of gates no larger and of up no further from 0 than
    /// `limit`.
    Clamped {
        /// See there.
        limit: f32,
        /// Whether gates and up come in turn, not the one behind the other.
        in_turn: bool,
    },
}

/// The slope of gpt-oss's gates.
const CLAMPED_SLOPE: f32 = 1.702;

/// `activation(gate) × up`, of `[…, 2 width]`: the gate, then up. → `[…, width]`.
///
/// # Errors
/// What MLX says.
pub fn gated(both: &Array, activation: Activation) -> Result<Array, Exception> {
    if let (Activation::Silu, Some(passes)) = (activation, passes::over(both)) {
        return passes.gate(both);
    }
    let halves = match activation {
        Activation::Clamped { in_turn: true, .. } => {
            let mut pairs = both.shape().to_vec();
            pairs.last_mut().into_iter().for_each(|width| *width /= 2);
            let pairs = both.reshape(&[&pairs[..], &[2]].concat())?;
            let apart = pairs.split_equal(2, -1)?;
            apart.iter().map(|half| half.squeeze_axes(&[-1])).collect::<Result<Vec<_>, _>>()?
        }
        _ => both.split_equal(2, -1)?,
    };
    let [gate, up] = halves.as_slice() else {
        return Err(Exception::custom("gate and up do not split in two"));
    };
    let passed = match activation {
        Activation::Silu => ops::sigmoid(gate)?,
        Activation::GeluTanh => {
            // (1 + tanh z) / 2 = sigmoid(2z), with z = √(2/π) (x + 0.044715 x³).
            let double = 2.0 * (2.0 / std::f32::consts::PI).sqrt();
            let number = |number: f32| Array::from_f32(number).as_dtype(gate.dtype());
            let cubic = gate.multiply(gate)?.multiply(number(0.044_715 * double)?)?;
            ops::sigmoid(&cubic.add(number(double)?)?.multiply(gate)?)?
        }
        Activation::Clamped { limit, .. } => {
            let number = |number: f32| Array::from_f32(number).as_dtype(gate.dtype());
            let gate = ops::minimum(gate, number(limit)?)?;
            let up = ops::maximum(ops::minimum(up, number(limit)?)?, number(-limit)?)?;
            let passed = ops::sigmoid(&gate.multiply(number(CLAMPED_SLOPE)?)?)?;
            return gate.multiply(passed)?.multiply(up.add(number(1.0)?)?);
        }
    };
    gate.multiply(passed)?.multiply(up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Sequence;

    fn numbers(shape: &[i32], seed: f32) -> Array {
        let count: i32 = shape.iter().product();
        Array::from_iter((0..count).map(|n| (n as f32 * seed).sin()), shape)
    }

    /// What a GPU computes in one kernel is what the CPU device computes in several operations.
    #[test]
    fn both_forms_attend_alike() {
        let sinks = numbers(&[4], 0.9);
        for (rows, tokens, window, sinks) in [
            (1, 9, None, None),
            (1, 9, None, Some(&sinks)),
            (5, 9, None, Some(&sinks)),
            (300, 300, Some(7), Some(&sinks)),
            (5, 9, Some(3), None),
        ] {
            let step = Step::new(vec![Sequence { rows, position: 0 }], &[], Kernels::Composed);
            let (queries, keys) =
                (numbers(&[1, 4, rows, 8], 0.37), numbers(&[1, 2, tokens, 8], 0.53));
            let values = numbers(&[1, 2, tokens, 8], 0.71);
            let scores = Scores { scale: 0.6, window, sinks };
            let [fused, composed] = [Kernels::Fused, Kernels::Composed].map(|kernels| {
                let out = attention(kernels, &step, [&queries, &keys, &values], scores).unwrap();
                let out = out.contiguous().unwrap();
                out.eval().unwrap();
                out.as_slice::<f32>().to_vec()
            });
            assert_eq!(fused.len() as i32, 4 * rows * 8);
            for (fused, composed) in fused.iter().zip(&composed) {
                assert!((fused - composed).abs() < 1e-5, "{rows} rows: {fused} and {composed}");
            }
        }
    }
}
