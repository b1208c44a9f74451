//! Which manifests were made here before?

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::Manifest;
use crate::weights::{ModelFolder, WeightsError};

/// Manifests of this node's models, kept under `DATA/manifests`: a model is read and hashed once.
#[derive(Debug)]
pub struct Manifests {
    dir: PathBuf,
    /// One is made at a time: several would only wait for the disk.
    making: Mutex<()>,
}

impl Manifests {
    /// Those under `data`, which need not exist.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { dir: data.join("manifests"), making: Mutex::new(()) }
    }

    /// The manifest of a folder: one that was made before, or a new one. A folder that was changed
    /// since has another fingerprint, or wrong bytes, which whoever reads them sees.
    ///
    /// # Errors
    /// [`WeightsError`] if the folder cannot be read.
    pub fn of(&self, folder: &ModelFolder) -> Result<Manifest, WeightsError> {
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join(format!("{}.json", hex::encode(folder.fingerprint())));
        let known = fs::read(&path).ok().and_then(|json| Manifest::parse(&json).ok());
        let same = |manifest: &Manifest| {
            let of_folder = folder.tensors().map(|t| (&t.name, t.dtype, &t.shape));
            manifest.tensors().iter().map(|t| (&t.name, t.dtype, &t.shape)).eq(of_folder)
        };
        if let Some(known) = known.filter(same) {
            return Ok(known);
        }
        let manifest = Manifest::of(folder, &mut |_| {})?;
        if let Err(error) = self.keep(&path, &manifest) {
            tracing::warn!(file = %path.display(), %error, "a manifest is not kept");
        }
        Ok(manifest)
    }

    fn keep(&self, path: &Path, manifest: &Manifest) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let new = path.with_extension("new");
        fs::write(&new, manifest.to_json())?;
        fs::rename(&new, path)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::folder, *};

    #[test]
    fn a_model_is_hashed_once_and_one_that_changed_again() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = Manifests::new(&dir.path().join("data"));
        let of = |name: &str, value: f32| {
            folder(&dir.path().join(name), &[("a", &[value]), ("b", &[2.0])])
        };
        let first = of("one", 1.0);
        let made = manifests.of(&first).unwrap();
        assert_eq!(made, Manifest::of(&first, &mut |_| {}).unwrap());
        let kept = dir.path().join("data/manifests");
        let kept = kept.join(format!("{}.json", hex::encode(first.fingerprint())));
        assert_eq!(Manifest::parse(&fs::read(&kept).unwrap()).unwrap(), made);
        let other = of("two", 3.0);
        assert_ne!(manifests.of(&other).unwrap(), made);
        // What is kept is not believed blindly.
        fs::write(&kept, "{}").unwrap();
        assert_eq!(manifests.of(&first).unwrap(), made);
    }
}
