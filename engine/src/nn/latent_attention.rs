//! Multi-head latent attention (DeepSeek V2, arXiv 2405.04434).
//!
//! Keys and values of a token are kept as one short vector, the latent, beside a key of its position
//! that all heads share. Each head's keys are a product of the latent (`keys_up`), and so are its
//! values. In a step of one row the product is taken of the query instead, so that the cache is read
//! as it lies: attention of all heads over one head of keys.

use mlx_rs::{Array, error::Exception, ops, ops::indexing::TryIndexOp};

use super::{Kernels, KvCache, Linear, RmsNorm, Step, kernels, kernels::Scores, linear::Weight};
use crate::weights::{Matrix, Part, ShardError, ShardReader};

/// Sizes of a latent attention block.
#[derive(Debug, Clone, Copy)]
pub struct LatentArgs {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Heads.
    pub heads: usize,
    /// Width of the compressed queries, if they are.
    pub query_rank: Option<usize>,
    /// Width of the latent.
    pub rank: usize,
    /// Numbers of a head's query and key without position.
    pub nope_dim: usize,
    /// Numbers with position.
    pub rope_dim: usize,
    /// Numbers of a head's value.
    pub value_dim: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Whether the compressing projections have biases.
    pub biased: bool,
}

/// Added to the mean square of compressed vectors, whatever the model's own epsilon is.
const LATENT_EPS: f32 = 1e-6;

enum Queries {
    Direct(Linear),
    Compressed { down: Linear, norm: RmsNorm, up: Linear },
}

/// See the module.
pub struct LatentAttention {
    args: LatentArgs,
    kernels: Kernels,
    queries: Queries,
    /// `hidden → rank + rope_dim`.
    down: Linear,
    norm: RmsNorm,
    /// `[heads, nope_dim, rank]`, or the other way round.
    keys_up: Weight,
    keys_flipped: bool,
    /// `[heads, value_dim, rank]`.
    values_up: Weight,
}

impl LatentAttention {
    /// Reads `prefix` (`model.layers.0.self_attn`), in Hugging Face's layout or in MLX's.
    ///
    /// # Errors
    /// What the reader says.
    pub fn load(
        reader: &ShardReader<'_>,
        prefix: &str,
        args: LatentArgs,
        kernels: Kernels,
    ) -> Result<Self, ShardError> {
        let LatentArgs { hidden, heads, rank, nope_dim, rope_dim, value_dim, biased, .. } = args;
        let linear = |name: &str, outputs: usize, inputs: usize, biased: bool| {
            let part = Part::whole(format!("{prefix}.{name}"), outputs);
            Linear::load(reader, &[part], inputs, biased)
        };
        let norm = |name: &str, width: usize| {
            let weight = reader.vector(&format!("{prefix}.{name}.weight"), width, None)?;
            Ok::<_, ShardError>(RmsNorm::new(&weight, LATENT_EPS, kernels)?)
        };
        let all_queries = heads * (nope_dim + rope_dim);
        let queries = match args.query_rank {
            None => Queries::Direct(linear("q_proj", all_queries, hidden, false)?),
            Some(query_rank) => Queries::Compressed {
                down: linear("q_a_proj", query_rank, hidden, biased)?,
                norm: norm("q_a_layernorm", query_rank)?,
                up: linear("q_b_proj", all_queries, query_rank, false)?,
            },
        };
        let keys_flipped = reader.has(&format!("{prefix}.embed_q.weight"));
        let (keys_up, values_up) = if keys_flipped {
            let stacked = |name: &str, rows: usize, columns: usize| {
                let module = format!("{prefix}.{name}");
                let part = |head| Part::stacked(&module, head, heads, rows);
                reader.experts(&(0..heads).map(part).collect::<Vec<_>>(), heads, columns)
            };
            (stacked("embed_q", rank, nope_dim)?, stacked("unembed_out", value_dim, rank)?)
        } else {
            let of_head = nope_dim + value_dim;
            let rows = |first: usize, rows: usize| {
                let module = format!("{prefix}.kv_b_proj");
                let part =
                    |head| Part::rows(&module, head * of_head + first, rows, heads * of_head);
                reader.experts(&(0..heads).map(part).collect::<Vec<_>>(), heads, rank)
            };
            (rows(0, nope_dim)?, rows(nope_dim, value_dim)?)
        };
        let weight = |matrix: &Matrix| Weight::new(matrix);
        Ok(Self {
            args,
            kernels,
            queries,
            down: linear("kv_a_proj_with_mqa", rank + rope_dim, hidden, biased)?,
            norm: norm("kv_a_layernorm", rank)?,
            keys_up: weight(&keys_up)?,
            keys_flipped,
            values_up: weight(&values_up)?,
        })
    }

    /// An empty cache for one sequence.
    #[must_use]
    pub fn cache(&self) -> KvCache {
        KvCache::new(None)
    }

    /// As [`GroupedAttention::forward`](super::GroupedAttention::forward):
    /// `[rows, hidden]` → `[rows, heads × value_dim]`.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(
        &self,
        x: &Array,
        step: &Step,
        caches: &mut [&mut KvCache],
    ) -> Result<Array, Exception> {
        let LatentArgs { heads, rank, nope_dim, rope_dim, .. } = self.args;
        let (rows, rank, nope_dim) = (x.dim(0), rank as i32, nope_dim as i32);
        let queries = match &self.queries {
            Queries::Direct(linear) => linear.forward(x)?,
            Queries::Compressed { down, norm, up } => {
                up.forward(&norm.forward(&down.forward(x)?)?)?
            }
        };
        let queries = queries.reshape(&[rows, heads as i32, nope_dim + rope_dim as i32])?;
        let plain = queries.try_index((.., .., ..nope_dim))?;
        let turned = queries.try_index((.., .., nope_dim..))?;
        let turned = step.turns(0).apply(&turned, step.sequences())?;
        let compressed = self.down.forward(x)?;
        let latent = self.norm.forward(&compressed.try_index((.., ..rank))?)?;
        let key = compressed.try_index((.., rank..))?.expand_dims(1)?;
        let key = step.turns(0).apply(&key, step.sequences())?.squeeze_axes(&[1])?;
        let token = ops::concatenate(&[latent, key], 1)?;

        let mut parts = Vec::with_capacity(caches.len());
        let mut row = 0;
        for (sequence, cache) in step.sequences().iter().zip(caches) {
            let own = row..row + sequence.rows;
            let token = token.try_index((own.clone(), ..))?.expand_dims_axes(&[0, 1])?;
            let [tokens] = cache.update([&token])?;
            // [heads, rows, …]
            let of_heads =
                |array: &Array| array.try_index((own.clone(), .., ..))?.transpose_axes(&[1, 0, 2]);
            parts.push(self.attend(&of_heads(&plain)?, &of_heads(&turned)?, &tokens, step)?);
            row += sequence.rows;
        }
        if parts.len() == 1 { Ok(parts.remove(0)) } else { ops::concatenate(&parts, 0) }
    }

    /// One sequence: queries `[heads, rows, …]`, all its tokens `[1, 1, tokens, rank + rope_dim]`.
    fn attend(
        &self,
        plain: &Array,
        turned: &Array,
        tokens: &Array,
        step: &Step,
    ) -> Result<Array, Exception> {
        let (rank, scale) = (self.args.rank as i32, self.args.scale);
        let (heads, rows) = (plain.dim(0), plain.dim(1));
        let latent = tokens.try_index((.., .., .., ..rank))?;
        let out = if rows == 1 {
            let plain = if self.keys_flipped {
                self.keys_up.apply(plain)?
            } else {
                self.keys_up.apply_back(plain)?
            };
            let queries = ops::concatenate(&[&plain, turned], -1)?.expand_dims(0)?;
            let seen = [&queries, tokens, &latent];
            let out = kernels::attention(
                self.kernels,
                step,
                seen,
                Scores { scale, ..Scores::default() },
            )?;
            self.values_up.apply(&out.squeeze_axes(&[0])?)?
        } else {
            // [heads, tokens, …]
            let latent = latent.squeeze_axes(&[0])?;
            let keys = if self.keys_flipped {
                self.keys_up.apply_back(&latent)?
            } else {
                self.keys_up.apply(&latent)?
            };
            let positions = tokens.try_index((0, .., .., rank..))?;
            let shape = [heads, positions.dim(1), positions.dim(2)];
            let positions = ops::broadcast_to(&positions, &shape)?;
            let keys = ops::concatenate(&[keys, positions], -1)?.expand_dims(0)?;
            let values = self.values_up.apply(&latent)?.expand_dims(0)?;
            let queries = ops::concatenate(&[plain, turned], -1)?.expand_dims(0)?;
            let seen = [&queries, &keys, &values];
            kernels::attention(self.kernels, step, seen, Scores { scale, ..Scores::default() })?
                .squeeze_axes(&[0])?
        };
        out.transpose_axes(&[1, 0, 2])?.reshape(&[rows, heads * self.args.value_dim as i32])
    }
}
