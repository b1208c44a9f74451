//! How does a model come from the Hugging Face hub?
//!
//! [`pull`] brings a repository's files, or only the tensors of some layers, into a model's folder:
//! resumed where it was cut off, each file checked against the hash that the hub names, a few at a
//! time, and whole or not at all.
//!
//! | file | question |
//! |---|---|
//! | `client` | how is the hub asked, and what if it does not answer? |
//! | `listing` | which files has a repository, and which of them are wanted? |
//! | `layers` | which tensors, and so which bytes, are those of some layers? |
//! | `peek` | what does a file of weights say of itself, without fetching it? |
//! | `download` | how does one file arrive, whatever breaks? |
//! | `pull` | how do all of them become a folder? |
//!
//! Over plain HTTP with byte ranges, not by `hf-hub`: version 1 of that crate keeps a cache of
//! its own layout, begins a file anew when a download was cut off, checks no hash, and needs an
//! asynchronous runtime, a second HTTP client and some three hundred crates for it.

mod client;
mod download;
mod error;
mod layers;
mod listing;
mod peek;
mod pull;
#[cfg(test)]
pub(in crate::weights) mod testing;
#[cfg(test)]
mod tests;

pub use client::{HubClient, HubOptions};
pub use error::HubError;
pub use layers::holds;
pub(crate) use layers::shape as layer_shape;
pub(super) use listing::is_repo;
pub use listing::{FileHash, Listing, RepoFile};
pub use pull::{PullOptions, PullProgress, PullReport, pull};
