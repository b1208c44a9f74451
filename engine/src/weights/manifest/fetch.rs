//! How do tensors come from several sources, none of which is believed?

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{CHUNK_BYTES, Manifest, ManifestTensor, Place, ShardSource};
use crate::weights::write::SafetensorsWriter;

/// Why tensors could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The manifest does not have it.
    #[error("the model has no tensor {tensor}")]
    Unknown {
        /// Which.
        tensor: String,
    },
    /// Nobody gave the right bytes.
    #[error("nobody has tensor {tensor}: {}\nhint: connect a node that has the model, or go online", told(.tried))]
    Nowhere {
        /// Which.
        tensor: String,
        /// Who was asked, and what was wrong.
        tried: Vec<String>,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How much came from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// Bytes by place.
    pub bytes: BTreeMap<Place, u64>,
    /// Sources that gave wrong bytes, and were asked no more.
    pub liars: Vec<String>,
}

fn told(tried: &[String]) -> String {
    if tried.is_empty() { "no source has it".to_owned() } else { tried.join("; ") }
}

/// Writes the safetensors file `path`, which must not exist, with the tensors `wanted`, each from
/// the nearest of `sources` that gives the right bytes. `progress` hears how many bytes are there.
///
/// A source that gives wrong bytes is not asked again; one that fails is, for the next tensor.
///
/// # Errors
/// [`FetchError`]; what there is of the file is removed.
pub fn fetch(
    manifest: &Manifest,
    wanted: &[&str],
    sources: &[&dyn ShardSource],
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<FetchReport, FetchError> {
    let fetched = fetch_into(manifest, wanted, sources, path, progress);
    if fetched.is_err() {
        let _ = std::fs::remove_file(path);
    }
    fetched
}

fn fetch_into(
    manifest: &Manifest,
    wanted: &[&str],
    sources: &[&dyn ShardSource],
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<FetchReport, FetchError> {
    let known = |&name: &&str| {
        manifest.tensor(name).ok_or_else(|| FetchError::Unknown { tensor: name.to_owned() })
    };
    let tensors: Vec<&ManifestTensor> = wanted.iter().map(known).collect::<Result<_, _>>()?;
    let failed = |source| FetchError::Write { file: path.to_owned(), source };
    let declared = tensors.iter().map(|t| (t.name.clone(), t.dtype, t.shape.clone()));
    let mut writer = SafetensorsWriter::create(path, declared).map_err(failed)?;
    let mut sources: Vec<&dyn ShardSource> = sources.to_vec();
    sources.sort_by_key(|source| source.place());
    let (mut report, mut liars, mut done) = (FetchReport::default(), HashSet::new(), 0);
    let mut bytes = Vec::new();
    for tensor in tensors {
        let mut tried = Vec::new();
        let from = sources.iter().enumerate().find(|&(number, source)| {
            if liars.contains(&number) || !source.has(tensor) {
                return false;
            }
            match read(*source, tensor, &mut bytes) {
                Ok(true) => return true,
                Ok(false) => {
                    tried.push(format!("{} gave other bytes", source.name()));
                    tracing::warn!(source = source.name(), tensor = tensor.name, "wrong bytes");
                    liars.insert(number);
                    report.liars.push(source.name());
                }
                Err(why) => tried.push(format!("{}: {why}", source.name())),
            }
            false
        });
        let Some((_, source)) = from else {
            return Err(FetchError::Nowhere { tensor: tensor.name.clone(), tried });
        };
        writer.write(&bytes).map_err(failed)?;
        *report.bytes.entry(source.place()).or_default() += tensor.bytes();
        done += tensor.bytes();
        progress(done);
    }
    writer.finish().map_err(failed)?;
    Ok(report)
}

/// Reads all of a tensor; whether it is the right one.
fn read(
    source: &dyn ShardSource,
    tensor: &ManifestTensor,
    bytes: &mut Vec<u8>,
) -> Result<bool, String> {
    // One tensor in memory: nothing is written before its hash is right.
    bytes.resize(tensor.bytes() as usize, 0);
    let mut hash = Sha256::new();
    for (number, chunk) in bytes.chunks_mut(CHUNK_BYTES).enumerate() {
        let offset = (number * CHUNK_BYTES) as u64;
        source.read(tensor, offset, chunk).map_err(|error| error.to_string())?;
        hash.update(&*chunk);
    }
    Ok(<[u8; 32]>::from(hash.finalize()) == tensor.sha256)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::weights::{
        ModelFolder,
        hub::{
            Listing,
            testing::{Fault, Hub, REPO, files},
        },
        manifest::{FolderSource, HubSource},
    };

    const LAYERS: [&str; 2] =
        ["model.layers.1.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"];

    /// The test hub's model as a folder, or some of its tensors.
    fn folder_of(hub: &Hub, dir: &Path, shards: &[&str]) -> ModelFolder {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("config.json"), hub.file("config.json")).unwrap();
        let index: serde_json::Value =
            serde_json::from_slice(&hub.file("model.safetensors.index.json")).unwrap();
        let mut map = index["weight_map"].as_object().unwrap().clone();
        map.retain(|_, shard| shards.contains(&shard.as_str().unwrap()));
        let index = serde_json::json!({ "weight_map": map });
        fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
        for shard in shards {
            fs::write(dir.join(shard), hub.file(shard)).unwrap();
        }
        ModelFolder::open(dir).unwrap()
    }

    #[test]
    fn the_nearest_that_has_it_is_asked_and_nobody_is_believed() {
        const SHARDS: [&str; 2] =
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let (hub, dir) = (Hub::start(files()), tempfile::tempdir().unwrap());
        let whole = folder_of(&hub, &dir.path().join("whole"), &SHARDS);
        let manifest = Manifest::of(&whole, &mut |_| {}).unwrap();
        let half = folder_of(&hub, &dir.path().join("half"), &SHARDS[..1]);
        let client = hub.client();
        let listing = Listing::ask(&client, REPO, "main").unwrap();
        let internet = HubSource::open(&client, &listing).unwrap();
        let disk = FolderSource::new(&half);
        let get = |sources: &[&dyn ShardSource], name: &str| {
            let path = dir.path().join(name);
            fetch(&manifest, &LAYERS, sources, &path, &mut |_| {}).map(|report| (report, path))
        };
        hub.asked();

        // Layer 1 is on the disk, layer 2 is not.
        let (report, path) = get(&[&internet, &disk], "a.safetensors").unwrap();
        assert_eq!(
            report.bytes,
            BTreeMap::from([(Place::Disk, 12_000), (Place::Internet, 12_000)])
        );
        assert_eq!(hub.asked().len(), 1, "one range of one tensor");
        let bytes = fs::read(path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for name in LAYERS {
            let sha256: [u8; 32] = Sha256::digest(tensors.tensor(name).unwrap().data()).into();
            assert_eq!(sha256, manifest.tensor(name).unwrap().sha256);
        }

        // A disk that rots: its tensors come from elsewhere, and it is named.
        let shard = dir.path().join("half").join(SHARDS[0]);
        let mut rotten = fs::read(&shard).unwrap();
        let last = rotten.len() - 1;
        rotten[last] ^= 1;
        fs::write(&shard, rotten).unwrap();
        let (report, _) = get(&[&disk, &internet], "b.safetensors").unwrap();
        assert_eq!(report.bytes, BTreeMap::from([(Place::Internet, 24_000)]));
        assert_eq!(report.liars, [disk.name()]);

        // Nobody has the right bytes: all who were asked are named, and nothing is left.
        hub.fail(SHARDS[0], &[Fault::Changed]);
        let error = get(&[&disk, &internet], "c.safetensors").unwrap_err().to_string();
        assert!(error.contains(LAYERS[0]) && error.contains("half gave other bytes"), "{error}");
        assert!(error.contains("the hub's org/tiny gave other bytes"), "{error}");
        assert!(!dir.path().join("c.safetensors").exists());

        let error = get(&[], "d.safetensors").unwrap_err().to_string();
        assert!(error.contains("no source has it\nhint: "), "{error}");
        let unknown = fetch(&manifest, &["x"], &[], &dir.path().join("e"), &mut |_| {});
        assert!(matches!(unknown, Err(FetchError::Unknown { .. })));
    }
}
