//! Grouped-query attention over the cache of each sequence.

use mlx_rs::{Array, Dtype, error::Exception, ops, ops::indexing::TryIndexOp};

use super::{Kernels, KvCache, Linear, RmsNorm, Step, kernels, kernels::Scores};

/// Sizes of an attention block.
#[derive(Debug, Clone, Copy)]
pub struct AttentionArgs {
    /// Query heads.
    pub heads: i32,
    /// Key and value heads: a divisor of `heads`.
    pub kv_heads: i32,
    /// Numbers per head.
    pub head_dim: i32,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Tokens that a row sees, itself included: all, unless there is a window.
    pub window: Option<i32>,
    /// Which of the model's rotary embeddings turns queries and keys.
    pub rope: usize,
}

/// Attention with one product for queries, keys and values.
pub struct GroupedAttention {
    args: AttentionArgs,
    kernels: Kernels,
    /// Rows of the weight: all queries, then all keys, then all values.
    qkv: Linear,
    /// Of each head of queries and of keys, before they are turned.
    norms: Option<[RmsNorm; 2]>,
    /// Of each head, a score that is in its softmax beside those of the tokens, `[heads]`.
    sinks: Option<Array>,
}

impl GroupedAttention {
    /// `qkv`: `hidden → (heads + 2 kv_heads) × head_dim`.
    #[must_use]
    pub fn new(
        args: AttentionArgs,
        kernels: Kernels,
        qkv: Linear,
        norms: Option<[RmsNorm; 2]>,
        sinks: Option<Array>,
    ) -> Self {
        Self { args, kernels, qkv, norms, sinks }
    }

    /// An empty cache for one sequence.
    #[must_use]
    pub fn cache(&self) -> KvCache {
        KvCache::new(self.args.window)
    }

    /// `[rows, hidden]` → `[rows, heads × head_dim]`. The rows belong to the step's sequences, in
    /// the order of `caches`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(
        &self,
        x: &Array,
        step: &Step,
        caches: &mut [&mut KvCache],
    ) -> Result<Array, Exception> {
        let AttentionArgs { heads, kv_heads, head_dim, .. } = self.args;
        let qkv = self.qkv.forward(x)?;
        if self.norms.is_none()
            && step.sequences().iter().all(|sequence| sequence.rows == 1)
            && qkv.dtype() == Dtype::Float32
            && let Some(turns) =
                step.tiled_turns(self.args.rope, [heads, kv_heads], self.args.scale)
        {
            return self.decode(&qkv, &turns, caches);
        }
        let qkv = qkv.reshape(&[x.dim(0), heads + 2 * kv_heads, head_dim])?;
        let values = qkv.try_index((.., heads + kv_heads.., ..))?;
        let turns = step.turns(self.args.rope);
        let (queries, keys) = if let Some([query_norm, key_norm]) = &self.norms {
            let queries = query_norm.forward(&qkv.try_index((.., ..heads, ..))?)?;
            let keys = key_norm.forward(&qkv.try_index((.., heads..heads + kv_heads, ..))?)?;
            (turns.apply(&queries, step.sequences())?, turns.apply(&keys, step.sequences())?)
        } else {
            // They turn alike, so they turn together.
            let both = qkv.try_index((.., ..heads + kv_heads, ..))?;
            let both = turns.apply(&both, step.sequences())?;
            (both.try_index((.., ..heads, ..))?, both.try_index((.., heads.., ..))?)
        };
        if let [cache] = caches {
            return self.attend([&queries, &keys, &values], step, cache);
        }
        let mut parts = Vec::with_capacity(caches.len());
        let mut row = 0;
        for (sequence, cache) in step.sequences().iter().zip(caches) {
            let own = |array: &Array| array.try_index((row..row + sequence.rows, .., ..));
            parts.push(self.attend(
                [&own(&queries)?, &own(&keys)?, &own(&values)?],
                step,
                cache,
            )?);
            row += sequence.rows;
        }
        ops::concatenate(&parts, 0)
    }

    /// A row of each sequence, in few operations: for the CPU device, where each costs about as much
    /// as a small product. `qkv`: `[rows, (heads + 2 kv_heads) × head_dim]`.
    fn decode(
        &self,
        qkv: &Array,
        turns: &Array,
        caches: &mut [&mut KvCache],
    ) -> Result<Array, Exception> {
        let AttentionArgs { heads, kv_heads, head_dim, .. } = self.args;
        let rows = qkv.dim(0);
        let [turned, values] = two(qkv.split_at_indices(&[(heads + kv_heads) * head_dim], -1)?)?;
        let turned = turned.view_dtype(Dtype::Complex64)?.multiply(turns)?;
        let turned = turned.view_dtype(Dtype::Float32)?;
        let [queries, keys] = two(turned.split_at_indices(&[heads * head_dim], -1)?)?;
        let of_rows = |array: &Array, of_key: i32| {
            let array = array.reshape(&[rows, kv_heads, of_key, head_dim])?;
            if rows == 1 { Ok(vec![array]) } else { array.split_equal(rows, 0) }
        };
        let queries = of_rows(&queries, heads / kv_heads)?;
        let (keys, values) = (of_rows(&keys, 1)?, of_rows(&values, 1)?);
        let mut parts = Vec::with_capacity(caches.len());
        for (((queries, key), value), cache) in queries.iter().zip(&keys).zip(&values).zip(caches) {
            let [keys, values] = cache.update([key, value])?;
            parts.push(kernels::attention_of_row([queries, &keys, &values], self.sinks.as_ref())?);
        }
        let out = match parts.as_slice() {
            [out] => out.clone(),
            parts => ops::concatenate(parts, 0)?,
        };
        out.reshape(&[rows, heads * head_dim])
    }

    /// One sequence: `[rows, …heads, head_dim]` each → `[rows, heads × head_dim]`.
    fn attend(
        &self,
        parts: [&Array; 3],
        step: &Step,
        cache: &mut KvCache,
    ) -> Result<Array, Exception> {
        let AttentionArgs { heads, head_dim, scale, window, .. } = self.args;
        let sinks = self.sinks.as_ref();
        let rows = parts[0].dim(0);
        // [1, heads, rows, head_dim]: for one row this moves nothing.
        let [queries, keys, values] = parts.map(|part| {
            if rows == 1 {
                part.reshape(&[1, part.dim(1), 1, head_dim])
            } else {
                part.transpose_axes(&[1, 0, 2])?.expand_dims(0)
            }
        });
        let [keys, values] = cache.update([&keys?, &values?])?;
        let inputs = [&queries?, &keys, &values];
        let out = kernels::attention(self.kernels, step, inputs, Scores { scale, window, sinks })?;
        if rows == 1 {
            return out.reshape(&[1, heads * head_dim]);
        }
        out.transpose_axes(&[0, 2, 1, 3])?.reshape(&[rows, heads * head_dim])
    }
}

fn two(parts: Vec<Array>) -> Result<[Array; 2], Exception> {
    parts.try_into().map_err(|_| Exception::custom("a split in two gave other parts"))
}
