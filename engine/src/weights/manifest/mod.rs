//! Which bytes should a tensor have, and who can give them?
//!
//! A [`Manifest`] lists a model's tensors with the SHA-256 of each: whoever has the whole model
//! makes one, and with it a node that lacks layers can take them from anybody, since it knows what
//! has to come. [`fetch()`] asks the nearest first: the disk, then a neighbour, then the internet.
//!
//! | file | question |
//! |---|---|
//! | `source` | who has tensors, and how near is it? |
//! | `offer` | what does a node with all of a model tell one that lacks layers of it? |
//! | `known` | which manifests were made here before? |
//! | `fetch` | how do tensors come from several sources, none of which is believed? |

mod fetch;
mod known;
mod offer;
mod source;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use fetch::{FetchError, FetchReport, fetch};
pub use known::Manifests;
pub use offer::{Key, Offer, OfferError, Offered, SmallFile};
pub use source::{FolderSource, HubSource, Place, ShardSource, SourceError};

use super::{Dtype, ModelFolder, TensorInfo, TensorReader, WeightsError};

/// More than any model has (DeepSeek V3, not stacked: 91,991).
const TENSORS_MAX: usize = 1_000_000;
const JSON_BYTES_MAX: usize = 256 << 20;
const DIMS_MAX: usize = 8;
/// Read, hashed and checked at a time.
const CHUNK_BYTES: usize = 8 << 20;

/// A model's tensors, in order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    tensors: Vec<ManifestTensor>,
}

/// One tensor, and what its bytes hash to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestTensor {
    /// As the checkpoint calls it.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Row-major, outermost dimension first.
    pub shape: Vec<usize>,
    /// SHA-256 of its bytes.
    #[serde(with = "hex::serde")]
    pub sha256: [u8; 32],
}

/// A manifest that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than any is.
    #[error("a manifest of {bytes} bytes or {tensors} tensors is none")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// How many tensors, if that was read.
        tensors: usize,
    },
    /// Not the JSON that it should be.
    #[error("the manifest is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// What it says of a tensor cannot be.
    #[error("the manifest's tensor {tensor:?}: {problem}")]
    Tensor {
        /// Which.
        tensor: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl ManifestTensor {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // `checked` and a folder's header both bound it.
        (self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8) as u64
    }

    fn check(&self) -> Result<(), &'static str> {
        let sized = |n: usize, &dim: &usize| n.checked_mul(dim);
        if self.name.is_empty() || self.name.len() > 1024 {
            return Err("a name of no or of too many characters");
        }
        if self.shape.len() > DIMS_MAX {
            return Err("too many dimensions");
        }
        let bits = self.shape.iter().try_fold(self.dtype.bitsize(), sized);
        bits.filter(|bits| bits % 8 == 0).map(drop).ok_or("an impossible size")
    }
}

impl Manifest {
    /// Reads all tensors of a folder and hashes them. `progress` hears how many bytes were read.
    ///
    /// # Errors
    /// [`WeightsError`] if a tensor cannot be read.
    pub fn of(folder: &ModelFolder, progress: &mut dyn FnMut(u64)) -> Result<Self, WeightsError> {
        let reader = TensorReader::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        let tensors = folder.tensors().map(|tensor| {
            let sha256 = hash(&reader, tensor, &mut buffer)?;
            progress(reader.bytes_read());
            let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
            Ok(ManifestTensor { name, dtype: tensor.dtype, shape, sha256 })
        });
        Ok(Self { tensors: tensors.collect::<Result<_, WeightsError>>()? })
    }

    /// The manifest in these bytes, which may come from anywhere.
    ///
    /// # Errors
    /// [`ManifestError`] says what cannot be.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let bytes = json.len();
        if bytes > JSON_BYTES_MAX {
            return Err(ManifestError::TooLarge { bytes, tensors: 0 });
        }
        let manifest: Self = serde_json::from_slice(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether it can be one.
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        let tensors = self.tensors.len();
        if tensors > TENSORS_MAX {
            return Err(ManifestError::TooLarge { bytes: 0, tensors });
        }
        let mut before: Option<&str> = None;
        for tensor in &self.tensors {
            let in_order = before.replace(&tensor.name).is_none_or(|before| *before < *tensor.name);
            let checked =
                if in_order { tensor.check() } else { Err("out of order, or there twice") };
            checked.map_err(|problem| ManifestError::Tensor {
                tensor: tensor.name.clone(),
                problem,
            })?;
        }
        Ok(())
    }

    /// The bytes that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Plain data has no way to fail to be written as JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// All tensors, in order of their names.
    #[must_use]
    pub fn tensors(&self) -> &[ManifestTensor] {
        &self.tensors
    }

    /// A tensor by name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&ManifestTensor> {
        self.position(name).map(|at| &self.tensors[at])
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()
    }

    /// The same for two models with the same tensors, to the bit; SHA-256.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_json()).into()
    }
}

fn hash(
    reader: &TensorReader,
    tensor: &TensorInfo,
    buffer: &mut [u8],
) -> Result<[u8; 32], WeightsError> {
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < tensor.bytes() {
        let count = buffer.len().min(tensor.bytes() - at);
        reader.read_into(tensor, at, &mut buffer[..count])?;
        hash.update(&buffer[..count]);
        at += count;
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::weights::write::tests::write_file;

    pub(super) fn folder(dir: &std::path::Path, tensors: &[(&str, &[f32])]) -> ModelFolder {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("config.json"), "{}").unwrap();
        write_file(&dir.join("model.safetensors"), tensors);
        ModelFolder::open(dir).unwrap()
    }

    fn manifest() -> Manifest {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path(), &[("b", &[1.0, 2.0]), ("a", &[3.0])]);
        Manifest::of(&folder, &mut |_| {}).unwrap()
    }

    #[test]
    fn a_manifest_tells_each_tensor_s_bytes_by_their_hash() {
        let manifest = manifest();
        let a = manifest.tensor("a").unwrap();
        assert_eq!(a.sha256, <[u8; 32]>::from(Sha256::digest(3.0_f32.to_le_bytes())));
        assert_eq!((a.bytes(), manifest.tensor("b").unwrap().bytes()), (4, 8));
        assert_eq!(manifest.tensor("c"), None);
        let again = Manifest::parse(&manifest.to_json()).unwrap();
        assert_eq!((again.digest(), &again), (manifest.digest(), &manifest));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let good = String::from_utf8(manifest().to_json()).unwrap();
        for (from, to, words) in [
            (r#""name":"a""#, r#""name":"b""#, "\"b\": out of order"),
            (r#""name":"a""#, r#""name":"""#, "\"\": a name"),
            ("[1]", "[9223372036854775807,9]", "\"a\": an impossible size"),
            ("[1]", "[1,1,1,1,1,1,1,1,1]", "\"a\": too many dimensions"),
            ("F32", "F33", "not valid"),
            (r#""sha256":""#, r#""sha256":"00"#, "not valid"),
        ] {
            let error = Manifest::parse(good.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn damaged_manifests_never_panic(
            at in any::<prop::sample::Index>(), byte in any::<u8>(),
            cut in any::<prop::sample::Index>(), short in any::<bool>(),
        ) {
            let mut json = manifest().to_json();
            let at = at.index(json.len());
            json[at] = byte;
            if short {
                json.truncate(cut.index(json.len()));
            }
            if let Ok(manifest) = Manifest::parse(&json) {
                prop_assert!(manifest.tensors().iter().all(|tensor| tensor.bytes() < u64::MAX / 8));
            }
        }
    }
}
