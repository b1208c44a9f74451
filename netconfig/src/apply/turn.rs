//! One setup, or one undoing, at a time: two would each save a state that the other is changing.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use super::error::JournalError;

/// The right to change something, until this is dropped (or the process ends). It is a lock on the
/// folder where journals are kept.
#[derive(Debug)]
#[must_use = "another may begin when this is dropped"]
pub struct Turn {
    folder: PathBuf,
    _locked: File,
}

impl Turn {
    /// Makes the folder, if it is not there, and locks it.
    ///
    /// # Errors
    /// [`JournalError::Busy`] if another has its turn, [`JournalError::Io`] if the folder cannot be
    /// made or locked.
    pub fn take(folder: &Path) -> Result<Self, JournalError> {
        let io = |error| JournalError::Io { path: folder.to_owned(), error };
        fs::create_dir_all(folder).map_err(io)?;
        let locked = File::open(folder).map_err(io)?;
        match locked.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _locked: locked }),
            Err(TryLockError::WouldBlock) => Err(JournalError::Busy { folder: folder.to_owned() }),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }

    /// Where journals are kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_waits_until_the_first_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made/for it");
        let first = Turn::take(&folder).unwrap();
        let second = Turn::take(&folder).unwrap_err();
        assert!(matches!(second, JournalError::Busy { .. }), "{second}");
        drop(first);
        assert_eq!(Turn::take(&folder).unwrap().folder(), folder);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Turn::take(&file).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
