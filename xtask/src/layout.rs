//! Where does everything lie? Each path that more than one step uses is named here, once.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The name under which the demo model is imported and served.
pub(crate) const MODEL_NAME: &str = "smollm2-135m-instruct";

/// The repository and the ignored folders that xtask fills.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The repository that holds this xtask, wherever it was moved to since it was compiled.
    pub(crate) fn find() -> Result<Self> {
        let xtask = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = xtask.parent().context("xtask has no folder above it")?;
        let root = fs::canonicalize(root).with_context(|| format!("{}", root.display()))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn xtask_manifest(&self) -> PathBuf {
        self.root.join("xtask/Cargo.toml")
    }

    /// MLX for Linux, as `.cargo/config.toml` expects it.
    pub(crate) fn mlx(&self) -> PathBuf {
        self.root.join(".mlx")
    }

    /// Everything else that xtask makes: model, keys, virtual environment, logs.
    pub(crate) fn exo(&self) -> PathBuf {
        self.root.join(".exo")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.exo().join("data")
    }

    pub(crate) fn gguf(&self) -> PathBuf {
        self.exo().join("downloads/SmolLM2-135M-Instruct.Q4_1.gguf")
    }

    pub(crate) fn model_dir(&self) -> PathBuf {
        self.data().join("models").join(MODEL_NAME)
    }

    pub(crate) fn tokenizers(&self) -> PathBuf {
        self.exo().join("tokenizers")
    }

    pub(crate) fn venv(&self) -> PathBuf {
        self.exo().join("venv")
    }

    pub(crate) fn demo(&self) -> PathBuf {
        self.exo().join("demo")
    }
}

/// Makes `dir` and its parents.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("{} could not be made", dir.display()))
}

/// Removes `path`, a file or a whole folder; it need not be there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} could not be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes `text` to `path`, making the folder first.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    fs::write(path, text).with_context(|| format!("{} could not be written", path.display()))
}

/// Puts the finished folder `new` where `old` was. A reader sees the old folder, or for an instant
/// none, or the new one: never half of it.
pub(crate) fn replace_dir(new: &Path, old: &Path) -> Result<()> {
    let aside = old.with_extension("old");
    remove(&aside)?;
    if old.exists() {
        fs::rename(old, &aside)
            .with_context(|| format!("{} could not be moved aside", old.display()))?;
    }
    fs::rename(new, old)
        .with_context(|| format!("{} could not be moved to {}", new.display(), old.display()))?;
    remove(&aside)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder of the test's own, removed when the test is over.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Self {
            let dir = env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            remove(&dir).expect("an old scratch folder goes");
            make_dir(&dir).expect("a scratch folder");
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = remove(&self.0);
        }
    }

    #[test]
    fn a_folder_is_replaced_whole() {
        let scratch = Scratch::new("replace");
        let (new, old) = (scratch.0.join(".mlx.new"), scratch.0.join(".mlx"));
        write(&old.join("only-old"), "").expect("old");
        write(&new.join("only-new"), "").expect("new");
        replace_dir(&new, &old).expect("replaced");
        assert!(old.join("only-new").exists() && !old.join("only-old").exists());
        assert!(!new.exists() && !scratch.0.join(".mlx.old").exists());
    }

    #[test]
    fn the_root_holds_the_workspace() {
        let layout = Layout::find().expect("a layout");
        assert!(layout.root().join("Cargo.toml").exists());
        assert!(layout.xtask_manifest().exists());
    }
}
