//! Why a model did not come from the hub.

use std::{io, path::PathBuf};

use crate::{
    layers::LayerRange,
    weights::{WeightsError, staging::StagingError},
};

/// Why a model did not come from the hub. What had arrived is kept for the next try.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No answer, or none that made sense, however often it was asked.
    #[error(
        "the hub at {endpoint} could not be reached: {cause}\nhint: check the network; what has arrived is kept, and the same command goes on from there; HF_ENDPOINT names another hub"
    )]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What came instead, last.
        cause: String,
    },
    /// The hub has no such thing.
    #[error(
        "the hub has no {what}\nhint: `exo-node models ls --known` lists names; else give a repository as OWNER/NAME"
    )]
    NotFound {
        /// What.
        what: String,
    },
    /// The hub wants to know who asks.
    #[error(
        "the hub refuses {repo}: {status}\nhint: accept the model's licence on its page, then put an access token into HF_TOKEN"
    )]
    Denied {
        /// The repository.
        repo: String,
        /// The status.
        status: u16,
    },
    /// The hub answered what it was not asked.
    #[error(
        "{file}: asked for bytes {start}..{end}, the hub answered {got}\nhint: a proxy in between may not know byte ranges"
    )]
    WrongRange {
        /// The file.
        file: String,
        /// First byte that was asked for.
        start: u64,
        /// One past the last.
        end: u64,
        /// What came.
        got: String,
    },
    /// A file is not the one that the hub describes, twice.
    #[error(
        "{file} arrived with hash {found}, the hub says {expected}: it was fetched twice and thrown away\nhint: try again later; if a proxy changes files, leave it out"
    )]
    Checksum {
        /// The file.
        file: String,
        /// What the hub says.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// The hub's description of a repository makes no sense.
    #[error("{repo}: {problem}")]
    Listing {
        /// The repository.
        repo: String,
        /// What is wrong.
        problem: String,
    },
    /// The repository holds no model that is understood.
    #[error(
        "{repo} has no {missing}\nhint: a repository with config.json, tokenizer.json and safetensors is needed; GGUF files are for `exo-node models import`"
    )]
    NoModel {
        /// The repository.
        repo: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// Layers that the model does not have.
    #[error("{repo} has layers 0..{layers}, not {asked}")]
    NoSuchLayers {
        /// The repository.
        repo: String,
        /// What was asked for.
        asked: LayerRange,
        /// How many it has.
        layers: u32,
    },
    /// The disk would be full before the end.
    #[error("{needed} bytes are to come, {} has room for {free}\nhint: make room, or name another folder with --data", .dir.display())]
    NoRoom {
        /// The folder.
        dir: PathBuf,
        /// What is to come, in bytes.
        needed: u64,
        /// What there is room for.
        free: u64,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// What arrived is no model's folder.
    #[error("what arrived cannot be used: {0}")]
    Weights(#[from] WeightsError),
    /// Another file failed first.
    #[error("stopped")]
    Stopped,
}
