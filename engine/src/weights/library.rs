//! Which models does this node have, and what are they called?
//!
//! A model is a folder under `DATA/models`, and its name is the folder's. Names that begin with a
//! dot are none: imports under way live there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    catalogue::{self, Catalogue},
    hub,
};

const NAME_CHARACTERS_MAX: usize = 128;

/// The models under a data folder.
#[derive(Debug, Clone)]
pub struct ModelLibrary {
    models: PathBuf,
}

/// One model, as far as its folder tells without reading weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    /// What it is called.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// `model_type` of its configuration, or `unknown`.
    pub architecture: String,
    /// How many layers, or 0 if the configuration does not say.
    pub layers: usize,
    /// Size of its safetensors files.
    pub bytes: u64,
}

/// Why a model was not found, named or removed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// No model of that name.
    #[error("there is no model {name} here{}\nhint: `exo-node models pull {name}` fetches one, `exo-node models import FILE.gguf --name NAME` makes one from a GGUF file; a path to a Hugging Face folder works as well", what_is_there(.known))]
    Unknown {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A name that can be no folder's.
    #[error(
        "{name:?} is no name for a model\nhint: letters, digits, `-`, `_`, `.` and `:`, not beginning with a dot, at most 128"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A folder without a model.
    #[error("{} holds no model: it has no config.json", .dir.display())]
    NoModel {
        /// The folder.
        dir: PathBuf,
    },
    /// A configuration that cannot be read.
    #[error("{}: not valid: {source}", .file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// The system failed us.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ModelLibrary {
    /// The models under `data_dir`, which need not exist.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { models: data_dir.join("models") }
    }

    /// All models, in order of their names. A folder whose configuration cannot be read is left
    /// out, and logged.
    ///
    /// # Errors
    /// [`LibraryError::Io`] if the models' folder cannot be read; that there is none is no error.
    pub fn list(&self) -> Result<Vec<ModelEntry>, LibraryError> {
        let entries = match fs::read_dir(&self.models) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => {
                other.map_err(|source| LibraryError::Io { path: self.models.clone(), source })?
            }
        };
        let mut models = Vec::new();
        for entry in entries {
            let entry =
                entry.map_err(|source| LibraryError::Io { path: self.models.clone(), source })?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if !is_name(&name) {
                continue;
            }
            match describe(name, &entry.path()) {
                Ok(model) => models.push(model),
                Err(error) => tracing::warn!(%error, "a folder among the models is left out"),
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// The model of that name, or in that folder if it has a path's look (see
    /// [`is_path`](catalogue::is_path)). A name of the catalogue may be said in any of its ways, and
    /// a repository as `OWNER/NAME`.
    ///
    /// # Errors
    /// [`LibraryError`]: unknown (the error lists the names there are), not a model, not readable.
    pub fn find(&self, name_or_dir: &str) -> Result<ModelEntry, LibraryError> {
        if catalogue::is_path(name_or_dir) {
            let given = Path::new(name_or_dir);
            let io = |source| LibraryError::Io { path: given.to_owned(), source };
            let dir = fs::canonicalize(given).map_err(io)?;
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return describe(name, &dir);
        }
        let (own, meant) = (name_or_dir.to_owned(), Catalogue::built_in().resolve(name_or_dir));
        for name in
            [Some(own), meant.ok().map(|meant| meant.name().to_owned())].into_iter().flatten()
        {
            if is_name(&name) && self.models.join(&name).is_dir() {
                let dir = self.models.join(&name);
                return describe(name, &dir);
            }
        }
        if !is_name(name_or_dir) && !hub::is_repo(name_or_dir) {
            return Err(LibraryError::Name { name: name_or_dir.to_owned() });
        }
        let known = self.list()?.into_iter().map(|model| model.name).collect();
        Err(LibraryError::Unknown { name: name_or_dir.to_owned(), known })
    }

    /// Where a model of that name is, or would be.
    ///
    /// # Errors
    /// [`LibraryError::Name`] if it cannot be a folder's name.
    pub fn dir_for(&self, name: &str) -> Result<PathBuf, LibraryError> {
        if is_name(name) {
            Ok(self.models.join(name))
        } else {
            Err(LibraryError::Name { name: name.to_owned() })
        }
    }

    /// Removes a model. What its folder links to stays.
    ///
    /// # Errors
    /// [`LibraryError`]: no such model, or the system would not.
    pub fn remove(&self, name: &str) -> Result<(), LibraryError> {
        let dir = self.find_named(name)?;
        let io = |source| LibraryError::Io { path: dir.clone(), source };
        if fs::symlink_metadata(&dir).map_err(io)?.is_symlink() {
            return fs::remove_file(&dir).map_err(io);
        }
        // Out of the way at once, so that nobody opens half of it.
        let going = self.models.join(format!(".{name}.removing"));
        if going.exists() {
            fs::remove_dir_all(&going).map_err(io)?;
        }
        fs::rename(&dir, &going).map_err(io)?;
        fs::remove_dir_all(&going).map_err(io)
    }

    /// Like [`find`](Self::find), for a name only.
    fn find_named(&self, name: &str) -> Result<PathBuf, LibraryError> {
        self.dir_for(name)?;
        self.find(name).map(|model| model.dir)
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    !name.is_empty()
        && name.len() <= NAME_CHARACTERS_MAX
        && !name.starts_with('.')
        && name.chars().all(fits)
}

fn what_is_there(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are: {}", known.join(", ")) }
}

fn describe(name: String, dir: &Path) -> Result<ModelEntry, LibraryError> {
    let file = dir.join("config.json");
    let config: Value = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LibraryError::NoModel { dir: dir.to_owned() });
        }
        Err(source) => return Err(LibraryError::Io { path: file, source }),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|source| LibraryError::Config { file, source })?,
    };
    let io = |source| LibraryError::Io { path: dir.to_owned(), source };
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            bytes += fs::metadata(&path).map_err(io)?.len();
        }
    }
    let layers = config["num_hidden_layers"].as_u64().unwrap_or(0);
    Ok(ModelEntry {
        name,
        dir: dir.to_owned(),
        architecture: config["model_type"].as_str().unwrap_or("unknown").to_owned(),
        layers: usize::try_from(layers).unwrap_or(0),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library() -> (tempfile::TempDir, ModelLibrary) {
        let data = tempfile::tempdir().unwrap();
        for name in ["b-model", "a:7b", ".half.importing"] {
            let dir = data.path().join("models").join(name);
            fs::create_dir_all(&dir).unwrap();
            let config = r#"{"model_type": "llama", "num_hidden_layers": 4}"#;
            fs::write(dir.join("config.json"), config).unwrap();
            fs::write(dir.join("model.safetensors"), [0; 100]).unwrap();
        }
        fs::create_dir_all(data.path().join("models/broken")).unwrap();
        let library = ModelLibrary::new(data.path());
        (data, library)
    }

    #[test]
    fn models_are_listed_found_and_removed() {
        let (data, library) = library();
        let names: Vec<String> = library.list().unwrap().into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["a:7b", "b-model"]);
        let model = library.find("b-model").unwrap();
        assert_eq!((model.architecture.as_str(), model.layers, model.bytes), ("llama", 4, 100));
        assert_eq!(library.find(model.dir.to_str().unwrap()).unwrap().name, "b-model");

        library.remove("b-model").unwrap();
        assert!(!model.dir.exists());
        let unknown = library.find("b-model").unwrap_err().to_string();
        assert!(unknown.contains("no model b-model here; there are: a:7b"), "{unknown}");
        assert!(matches!(library.find("broken"), Err(LibraryError::NoModel { .. })));
        assert!(matches!(library.find("./nowhere"), Err(LibraryError::Io { .. })));
        assert!(ModelLibrary::new(&data.path().join("none")).list().unwrap().is_empty());

        for (name, typed) in [("llama3.2:3b", "Llama3.2"), ("Qwen--Qwen3-8B", "Qwen/Qwen3-8B")] {
            assert!(matches!(library.find(typed), Err(LibraryError::Unknown { .. })));
            let (from, to) =
                (data.path().join("models/a:7b"), data.path().join("models").join(name));
            std::os::unix::fs::symlink(from, to).unwrap();
            assert_eq!(library.find(typed).unwrap().name, name);
        }
    }

    #[test]
    fn a_name_cannot_leave_the_library() {
        let (_data, library) = library();
        for name in
            ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0b", "a b", &"x".repeat(129)]
        {
            assert!(matches!(library.dir_for(name), Err(LibraryError::Name { .. })), "{name:?}");
            assert!(library.remove(name).is_err(), "{name:?}");
        }
        assert!(library.dir_for("Qwen2.5-Coder_32B:q4").is_ok());
    }

    #[test]
    fn removing_a_link_leaves_what_it_links_to() {
        let (data, library) = library();
        let real = data.path().join("models/a:7b");
        std::os::unix::fs::symlink(&real, data.path().join("models/link")).unwrap();
        library.remove("link").unwrap();
        assert!(real.join("config.json").exists() && library.find("link").is_err());
    }
}
