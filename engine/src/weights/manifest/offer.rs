//! What does a node that has all of a model tell one that lacks layers of it?
//!
//! An [`Offer`] says which bytes the tensors should have, and under which keys they may be read. It
//! comes from a peer, so nothing in it is believed but what the model's fingerprint, which the
//! placement names, confirms: configuration, names, types, shapes and samples of the bytes. Whether
//! a tensor's bytes are right is then told by its hash.

use std::{fs::File, io, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Manifest, ManifestError};
use crate::weights::{ModelFolder, WeightsError, folder};

/// A model's files beside its weights, as far as they matter to run it.
const SMALL_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];
/// The largest tokenizers have 35 MB.
const SMALL_BYTES_MAX: u64 = 256 << 20;
const FILES_MAX: usize = 4096;

/// A region that may be read: its key and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// As granted.
    pub key: u64,
    /// In bytes.
    pub len: u64,
}

/// A file beside the weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmallFile {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes.
    #[serde(with = "hex::serde")]
    pub sha256: [u8; 32],
    /// Where it may be read.
    pub region: Key,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// `config.json`, to the byte.
    config: String,
    manifest: Manifest,
    /// The bytes of tensors that the fingerprint covers, in hexadecimal digits.
    samples: Vec<String>,
    /// Of each tensor, in the manifest's order: which file, and where in it.
    places: Vec<(u32, u64)>,
    /// Files with weights.
    weights: Vec<Key>,
    small: Vec<SmallFile>,
}

/// An offer that is not believed.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// Not the JSON that it should be.
    #[error("the offer is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Its manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// What it says cannot be.
    #[error("the offer {0}")]
    Impossible(&'static str),
    /// Another model than the one that was asked for.
    #[error("the offer is of another model: its fingerprint differs")]
    OtherModel,
}

impl Offer {
    /// An offer of `folder`, whose manifest this is; `grant` is asked for a key for each file, in
    /// order.
    ///
    /// # Errors
    /// [`WeightsError`] if a file cannot be read; what `grant` says.
    pub fn of<E: From<WeightsError>>(
        folder: &ModelFolder,
        manifest: Manifest,
        grant: &mut dyn FnMut(Offered<'_>) -> Result<Key, E>,
    ) -> Result<Self, E> {
        let (mut files, mut places, mut weights) = (Vec::<&Path>::new(), Vec::new(), Vec::new());
        for tensor in folder.tensors() {
            let known = files.iter().rposition(|file| *file == &*tensor.file);
            let file = match known {
                Some(file) => file,
                None => {
                    files.push(&tensor.file);
                    weights.push(grant(Offered::Weights(&tensor.handle))?);
                    files.len() - 1
                }
            };
            places.push((file as u32, tensor.range.start));
        }
        let mut small = Vec::new();
        for name in SMALL_FILES {
            let path = folder.dir().join(name);
            let content = match std::fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.map_err(|source| WeightsError::Io { file: path, source })?,
            };
            if content.is_empty() || content.len() as u64 > SMALL_BYTES_MAX {
                continue;
            }
            let sha256 = Sha256::digest(&content).into();
            let region = grant(Offered::Small(content))?;
            small.push(SmallFile { name: name.to_owned(), sha256, region });
        }
        let config = String::from_utf8_lossy(&folder.config_bytes()?).into_owned();
        let samples = folder.samples()?.iter().map(hex::encode).collect();
        Ok(Self { config, manifest, samples, places, weights, small })
    }

    /// The offer in these bytes, of the model with this fingerprint.
    ///
    /// # Errors
    /// [`OfferError`].
    pub fn parse(json: &[u8], fingerprint: [u8; 32]) -> Result<Self, OfferError> {
        let offer: Self = serde_json::from_slice(json)?;
        offer.manifest.check()?;
        let tensors = offer.manifest.tensors();
        if offer.places.len() != tensors.len() {
            return Err(OfferError::Impossible("does not say where each tensor is"));
        }
        if offer.weights.len() > FILES_MAX || offer.small.len() > SMALL_FILES.len() {
            return Err(OfferError::Impossible("has too many files"));
        }
        for (tensor, &(file, start)) in tensors.iter().zip(&offer.places) {
            let end = start.checked_add(tensor.bytes());
            let room = offer.weights.get(file as usize).map(|file| file.len);
            if end.zip(room).is_none_or(|(end, room)| end > room) {
                return Err(OfferError::Impossible("has a tensor outside its file"));
            }
        }
        let known = |file: &SmallFile| SMALL_FILES.contains(&file.name.as_str());
        if !offer.small.iter().all(|file| known(file) && file.region.len <= SMALL_BYTES_MAX) {
            return Err(OfferError::Impossible("has a file that no model has"));
        }
        let samples: Result<Vec<Vec<u8>>, _> = offer.samples.iter().map(hex::decode).collect();
        let samples = samples.map_err(|_| OfferError::Impossible("has samples that are none"))?;
        let described = tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.as_slice()));
        if folder::fingerprint(offer.config.as_bytes(), described, &samples) != fingerprint {
            return Err(OfferError::OtherModel);
        }
        Ok(offer)
    }

    /// The bytes that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Plain data has no way to fail to be written as JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `config.json`.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Which bytes the tensors should have.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Files beside the weights.
    #[must_use]
    pub fn small(&self) -> &[SmallFile] {
        &self.small
    }

    /// Where a tensor may be read: the region, and where in it the tensor begins.
    #[must_use]
    pub fn place(&self, tensor: &str) -> Option<(Key, u64)> {
        let at = self.manifest.position(tensor)?;
        let &(file, start) = self.places.get(at)?;
        Some((*self.weights.get(file as usize)?, start))
    }
}

/// What a key is wanted for.
#[derive(Debug)]
pub enum Offered<'a> {
    /// A file with weights.
    Weights(&'a File),
    /// The content of another.
    Small(Vec<u8>),
}
