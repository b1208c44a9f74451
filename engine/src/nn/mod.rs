//! Blocks that the architectures share. Shapes are written `[rows, columns]`; a *row* is a token.

mod attention;
mod block;
mod cache;
mod embedding;
pub mod kernels;
mod latent_attention;
mod linear;
mod mlp;
mod moe;
mod rope;
mod step;

pub use attention::{AttentionArgs, GroupedAttention};
pub use block::{Attention, Block, FeedForward};
pub use cache::KvCache;
pub use embedding::Embedding;
pub use kernels::{Activation, Kernels, RmsNorm, Scores};
pub use latent_attention::{LatentArgs, LatentAttention};
pub use linear::Linear;
pub use mlp::Mlp;
pub use moe::{ExpertParts, Groups, Moe, Router, RouterArgs, Scoring};
pub use rope::{Llama3Scaling, Rope, Turns, YarnScaling};
pub use step::{Sequence, Step};
