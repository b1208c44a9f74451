//! One large language model across the machines that are there.
//!
//! The way of a token through this crate, top to bottom:
//!
//! | module | question |
//! |---|---|
//! | [`api`] | what did the client ask, in OpenAI's words? The only place that knows HTTP |
//! | [`prompt`] | which token ids is that text, and which text are those ids? |
//! | [`request`] | what is asked of the cluster, in its own words? |
//! | [`node`] | one running node: the loop that joins everything below |
//! | [`cluster`] | who is there, and who holds which layers? Pure |
//! | [`scheduler`] | what does stage 0 compute next? Pure |
//! | [`stage`] | run a [`layers::LayerRange`] of a model on one MLX thread |
//! | [`sampler`] | which token do these logits mean? |
//! | [`model`], [`nn`] | the architectures, one short file each, over shared blocks |
//! | [`weights`] | which tensors are mine, and how do they get into memory? |
//! | [`mlx`] | what `mlx-rs` does not wrap. The only unsafe code of this crate |
//! | [`fabric`] | the one door to the transport and the link |

pub mod api;
pub mod cluster;
pub mod fabric;
pub mod layers;
pub mod mlx;
pub mod model;
pub mod nn;
pub mod node;
pub mod prompt;
pub mod request;
pub mod sampler;
pub mod scheduler;
pub mod stage;
pub mod weights;
