//! How does a folder come to be whole or not at all?
//!
//! Everything is written into a hidden folder beside the one that is wanted, and renamed at the
//! end. What interrupts that leaves at most the hidden folder.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Why a folder cannot be made. What was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// There is a model of that name already.
    #[error("{} is there already\nhint: say --replace, or give another name with --name", .dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// What would be replaced is not a model.
    #[error("{} is not a model's folder, and is not replaced", .dir.display())]
    NotAModel {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process is making the same folder.
    #[error("another process is making {}", .dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder cannot be written.
    #[error("cannot write {}: {source}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said: most often that the disk is full.
        source: io::Error,
    },
}

/// What becomes of a hidden folder whose making was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// It is cleared away.
    Clear,
    /// The next one goes on with it.
    Keep,
}

/// The hidden folder, locked as long as this lives.
pub(crate) struct Staging {
    pub(crate) dir: PathBuf,
    target: PathBuf,
    parent: PathBuf,
    replace: bool,
    leftovers: Leftovers,
    lock: File,
    committed: bool,
}

impl Staging {
    /// `.NAME.SUFFIX` beside `target`, which must not be there, or be a model that may be replaced.
    pub(crate) fn begin(
        target: &Path,
        suffix: &str,
        replace: bool,
        leftovers: Leftovers,
    ) -> Result<Self, StagingError> {
        check_target(target, replace)?;
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |source| StagingError::Write { file, source }
        };
        let Some(name) = target.file_name() else {
            return Err(failed(target)(io::Error::other("not a name for a folder")));
        };
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        fs::create_dir_all(&parent).map_err(failed(&parent))?;
        let dir = parent.join(format!(".{}.{suffix}", name.to_string_lossy()));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(&dir)(error));
            }
            _ => {}
        }
        let lock = File::open(&dir).map_err(failed(&dir))?;
        if lock.try_lock().is_err() {
            return Err(StagingError::Busy { dir: target.to_owned() });
        }
        let target = target.to_owned();
        let staging = Self { dir, target, parent, replace, leftovers, lock, committed: false };
        if leftovers == Leftovers::Clear {
            staging.clear()?;
        }
        Ok(staging)
    }

    /// Removes all files in it.
    pub(crate) fn clear(&self) -> Result<(), StagingError> {
        let failed = |file: &Path, source| StagingError::Write { file: file.to_owned(), source };
        let entries = fs::read_dir(&self.dir).map_err(|error| failed(&self.dir, error))?;
        for entry in entries.filter_map(Result::ok) {
            fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
        }
        Ok(())
    }

    /// Writes a file, to the disk itself.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), StagingError> {
        let path = self.dir.join(name);
        let write = || {
            let mut file = File::create(&path)?;
            io::Write::write_all(&mut file, content)?;
            file.sync_all()
        };
        write().map_err(|source| StagingError::Write { file: path.clone(), source })
    }

    /// Puts the folder where it is wanted.
    pub(crate) fn commit(mut self) -> Result<(), StagingError> {
        check_target(&self.target, self.replace)?;
        let failed = |source| StagingError::Write { file: self.target.clone(), source };
        self.lock.sync_all().map_err(failed)?;
        let name = self.target.file_name().unwrap_or_default().to_string_lossy();
        let old = self.parent.join(format!(".{name}.replaced"));
        if self.target.exists() {
            if old.exists() {
                fs::remove_dir_all(&old).map_err(failed)?;
            }
            fs::rename(&self.target, &old).map_err(failed)?;
        }
        if let Err(error) = fs::rename(&self.dir, &self.target) {
            let _ = fs::rename(&old, &self.target);
            return Err(failed(error));
        }
        self.committed = true;
        // The model is there; what follows only tidies up and makes the rename outlast a crash.
        let _ = fs::remove_dir_all(&old);
        let _ = File::open(&self.parent).and_then(|parent| parent.sync_all());
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed && self.leftovers == Leftovers::Clear {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Whether something may be put there: nothing is, or a model that may be replaced.
fn check_target(target: &Path, replace: bool) -> Result<(), StagingError> {
    let dir = || target.to_owned();
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StagingError::Write { file: dir(), source }),
        Ok(_) if !replace => Err(StagingError::Exists { dir: dir() }),
        Ok(metadata) if !metadata.is_dir() || !target.join("config.json").is_file() => {
            Err(StagingError::NotAModel { dir: dir() })
        }
        Ok(_) => Ok(()),
    }
}
