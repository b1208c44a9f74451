//! Blocks that the architectures share. Shapes are written `[rows, columns]`; a *row* is a token.

mod attention;
mod cache;
mod linear;
mod rope;

pub use attention::{Attention, AttentionArgs};
pub use cache::KvCache;
pub use linear::Linear;
pub use rope::{Llama3Scaling, Rope};
