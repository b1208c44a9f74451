//! Layers of models that came from other nodes, on this disk.
//!
//! `DATA/shards/FINGERPRINT-START-END` is a model's folder with the tensors of these layers only. It
//! is made whole or not at all, and removed when another part of the same model has come.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    fabric::shards::PeerShards,
    layers::LayerRange,
    weights::{
        ModelFolder,
        hub::{holds, layer_shape},
        manifest::{self, FolderSource, ShardSource},
        staging::{Leftovers, Staging},
    },
};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    dir: PathBuf,
}

/// A part that is there.
pub(super) struct Part {
    pub(super) dir: PathBuf,
    pub(super) range: LayerRange,
}

impl Parts {
    pub(super) fn new(data: &Path) -> Self {
        Self { dir: data.join("shards") }
    }

    /// The part that holds these layers of the model, if there is one.
    pub(super) fn find(&self, fingerprint: [u8; 32], range: LayerRange) -> Option<Part> {
        let holds =
            |part: &Part| part.range.start() <= range.start() && range.end() <= part.range.end();
        self.all(fingerprint).into_iter().find(holds)
    }

    fn all(&self, fingerprint: [u8; 32]) -> Vec<Part> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let prefix = format!("{}-", hex::encode(fingerprint));
        let part = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let (start, end) = name.strip_prefix(&prefix)?.split_once('-')?;
            let range = LayerRange::checked(start.parse().ok()?, end.parse().ok()?).ok()?;
            Some(Part { dir: entry.path(), range })
        };
        entries.filter_map(Result::ok).filter_map(part).collect()
    }

    /// Brings these layers from `peers`, the first of which says which bytes they should have, and
    /// from what is here of the model. `progress` hears how many bytes have come.
    pub(super) fn fetch(
        &self,
        fingerprint: [u8; 32],
        range: LayerRange,
        peers: &[PeerShards],
        progress: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, String> {
        let offer = peers.first().ok_or("nobody offers it")?.offer();
        let config = serde_json::from_str(offer.config()).map_err(|error| error.to_string())?;
        let (layers, tied) = layer_shape(&config).ok_or("config.json tells no number of layers")?;
        let wanted: Vec<&str> = offer
            .manifest()
            .tensors()
            .iter()
            .map(|tensor| tensor.name.as_str())
            .filter(|tensor| holds(range, layers, tied, tensor))
            .collect();
        let name = format!("{}-{}-{}", hex::encode(fingerprint), range.start(), range.end());
        let target = self.dir.join(name);
        let staging = Staging::begin(&target, "coming", true, Leftovers::Clear)
            .map_err(|error| error.to_string())?;
        let old = self.all(fingerprint);
        let here: Vec<ModelFolder> =
            old.iter().filter_map(|part| ModelFolder::open(&part.dir).ok()).collect();
        let here: Vec<FolderSource<'_>> = here.iter().map(FolderSource::new).collect();
        let here = here.iter().map(|source| source as &dyn ShardSource);
        let sources: Vec<&dyn ShardSource> =
            here.chain(peers.iter().map(|peer| peer as &dyn ShardSource)).collect();
        let path = staging.dir.join("model.safetensors");
        let report = manifest::fetch(offer.manifest(), &wanted, &sources, &path, progress)
            .map_err(|error| error.to_string())?;
        tracing::info!(bytes = ?report.bytes, liars = ?report.liars, "layers fetched");
        staging
            .write("config.json", offer.config().as_bytes())
            .map_err(|error| error.to_string())?;
        for small in offer.small() {
            let given = peers.iter().find_map(|peer| {
                let own = peer.offer().small().iter().find(|own| own.name == small.name)?;
                let content = peer.region(own.region).ok()?;
                (<[u8; 32]>::from(Sha256::digest(&content)) == small.sha256).then_some(content)
            });
            match given {
                Some(content) => {
                    staging.write(&small.name, &content).map_err(|error| error.to_string())?;
                }
                // The layers run without it: this node's API then takes no requests.
                None => tracing::warn!(file = small.name, "it did not come"),
            }
        }
        staging.commit().map_err(|error| error.to_string())?;
        for part in old.iter().filter(|part| part.dir != target) {
            let _ = fs::remove_dir_all(&part.dir);
        }
        Ok(target)
    }
}
