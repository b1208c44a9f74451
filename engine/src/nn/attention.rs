//! Grouped-query attention over the cache of each sequence.

use mlx_rs::{
    Array,
    error::Exception,
    fast::{self, ScaledDotProductAttentionMask},
    ops,
    ops::indexing::TryIndexOp,
};

use super::{KvCache, Linear, Rope};

/// Sizes of an attention block.
#[derive(Debug, Clone, Copy)]
pub struct AttentionArgs {
    /// Query heads.
    pub heads: i32,
    /// Key and value heads: a divisor of `heads`.
    pub kv_heads: i32,
    /// Numbers per head.
    pub head_dim: i32,
}

/// Attention with one product for queries, keys and values.
pub struct Attention {
    args: AttentionArgs,
    /// Rows of the weight: all queries, then all keys, then all values.
    qkv: Linear,
    output: Linear,
}

impl Attention {
    /// `qkv`: `hidden → (heads + 2 kv_heads) × head_dim`; `output`: `heads × head_dim → hidden`.
    #[must_use]
    pub fn new(args: AttentionArgs, qkv: Linear, output: Linear) -> Self {
        Self { args, qkv, output }
    }

    /// `residual` plus the attention of `x` (both `[rows, hidden]`). The rows belong to sequences in
    /// the order of `caches`: so many rows each, to be appended to that cache. With `wanted`, only
    /// these rows come out.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward_add(
        &self,
        x: &Array,
        residual: &Array,
        rope: &Rope,
        caches: &mut [(i32, &mut KvCache)],
        wanted: Option<&[i32]>,
    ) -> Result<Array, Exception> {
        let qkv = self.qkv.forward(x)?;
        let attended = if let [(_, cache)] = caches {
            self.attend(&qkv, rope, cache)?
        } else {
            let mut parts = Vec::with_capacity(caches.len());
            let mut row = 0;
            for (rows, cache) in caches {
                let own = qkv.try_index((row..row + *rows, ..))?;
                parts.push(self.attend(&own, rope, cache)?);
                row += *rows;
            }
            ops::concatenate(&parts, 0)?
        };
        match wanted {
            None => self.output.forward_add(&attended, residual),
            Some(wanted) => {
                let wanted = Array::from_slice(wanted, &[wanted.len() as i32]);
                let residual = residual.take_axis(&wanted, 0)?;
                self.output.forward_add(&attended.take_axis(&wanted, 0)?, &residual)
            }
        }
    }

    /// One sequence: `[rows, (heads + 2 kv_heads) × head_dim]` → `[rows, heads × head_dim]`.
    fn attend(&self, qkv: &Array, rope: &Rope, cache: &mut KvCache) -> Result<Array, Exception> {
        let AttentionArgs { heads, kv_heads, head_dim } = self.args;
        let (rows, position) = (qkv.dim(0), cache.len());
        // [1, heads, rows, head_dim]: for one row the transposition moves nothing.
        let qkv = qkv.reshape(&[1, rows, heads + 2 * kv_heads, head_dim])?;
        let qkv = qkv.transpose_axes(&[0, 2, 1, 3])?;
        // Queries and keys turn alike, so they turn together.
        let turned = qkv.try_index((.., ..heads + kv_heads, .., ..))?;
        let turned = rope.forward(&turned, position)?;
        let queries = turned.try_index((.., ..heads, .., ..))?;
        let keys = turned.try_index((.., heads.., .., ..))?;
        let values = qkv.try_index((.., heads + kv_heads.., .., ..))?;
        let (keys, values) = cache.update(&keys, &values)?;
        let scale = (head_dim as f32).sqrt().recip();
        let mask = (rows > 1).then_some(ScaledDotProductAttentionMask::Causal);
        let out = match mask {
            Some(mask) => {
                fast::scaled_dot_product_attention(&queries, &keys, &values, scale, mask, None)?
            }
            None => fast::scaled_dot_product_attention(
                &queries,
                &keys,
                &values,
                scale,
                None::<ScaledDotProductAttentionMask<'_>>,
                None,
            )?,
        };
        out.transpose_axes(&[0, 2, 1, 3])?.reshape(&[rows, heads * head_dim])
    }
}
