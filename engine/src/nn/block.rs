//! One layer: attention, then a feed-forward block, each with its norms and around it the residual.

use mlx_rs::{Array, error::Exception};

use super::{GroupedAttention, KvCache, LatentAttention, Linear, Mlp, Moe, RmsNorm, Step};

/// A layer's attention.
pub enum Attention {
    /// Keys and values for groups of heads.
    Grouped(GroupedAttention),
    /// Compressed keys and values.
    Latent(LatentAttention),
}

/// A layer's feed-forward block.
pub enum FeedForward {
    /// One for all rows.
    Dense(Mlp),
    /// A few of many for each row.
    Experts(Box<Moe>),
}

/// A layer.
pub struct Block {
    /// Of what attention sees.
    pub attention_norm: RmsNorm,
    /// See there.
    pub attention: Attention,
    /// `heads × width → hidden`.
    pub output: Linear,
    /// Of what attention gives, before it is added: Gemma has it.
    pub attention_out_norm: Option<RmsNorm>,
    /// Of what the feed-forward block sees.
    pub mlp_norm: RmsNorm,
    /// See there.
    pub mlp: FeedForward,
    /// Of what the feed-forward block gives, before it is added.
    pub mlp_out_norm: Option<RmsNorm>,
}

impl Block {
    /// An empty cache for one sequence.
    #[must_use]
    pub fn cache(&self) -> KvCache {
        match &self.attention {
            Attention::Grouped(attention) => attention.cache(),
            Attention::Latent(attention) => attention.cache(),
        }
    }

    /// `[rows, hidden]` → the same. The rows belong to the step's sequences, in the order of
    /// `caches`. With `wanted`, only these rows come out: the others are computed no further than
    /// their keys and values.
    ///
    /// # Errors
    /// What MLX says.
    pub fn forward(
        &self,
        x: &Array,
        step: &Step,
        caches: &mut [&mut KvCache],
        wanted: Option<&Array>,
    ) -> Result<Array, Exception> {
        let normed = self.attention_norm.forward(x)?;
        let attended = match &self.attention {
            Attention::Grouped(attention) => attention.forward(&normed, step, caches)?,
            Attention::Latent(attention) => attention.forward(&normed, step, caches)?,
        };
        let (attended, x) = match wanted {
            Some(wanted) => (attended.take_axis(wanted, 0)?, &x.take_axis(wanted, 0)?),
            None => (attended, x),
        };
        let x = match &self.attention_out_norm {
            None => self.output.forward_add(&attended, x)?,
            Some(norm) => x.add(norm.forward(&self.output.forward(&attended)?)?)?,
        };
        let normed = self.mlp_norm.forward(&x)?;
        match (&self.mlp, &self.mlp_out_norm) {
            (FeedForward::Dense(mlp), None) => mlp.forward(&normed, Some(&x)),
            (FeedForward::Dense(mlp), Some(norm)) => {
                x.add(norm.forward(&mlp.forward(&normed, None)?)?)
            }
            (FeedForward::Experts(moe), _) => moe.forward_add(&normed, &x),
        }
    }
}
