//! Where the report goes, and what happens if it cannot.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The report could not be written where it was wanted.
#[derive(Debug, Error)]
#[error("{file}: {error}", file = .file.display())]
pub(super) struct SaveError {
    file: PathBuf,
    error: io::Error,
}

/// A file of the report.
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// Makes the folder and sees that something can be written there: before measuring for minutes.
pub(super) fn prepare(folder: &Path) -> Result<(), SaveError> {
    let fail = |file: &Path| {
        let file = file.to_owned();
        |error| SaveError { file, error }
    };
    fs::create_dir_all(folder).map_err(fail(folder))?;
    let probe = folder.join(".tbbench");
    fs::write(&probe, "writable").map_err(fail(&probe))?;
    fs::remove_file(&probe).map_err(fail(&probe))
}

/// Writes all files. A file that is not whole is taken away again: half a report is worse than none.
pub(super) fn write(folder: &Path, files: &[File]) -> Result<(), SaveError> {
    for File { name, text } in files {
        let file = folder.join(name);
        if let Err(error) = fs::write(&file, text) {
            let _ = fs::remove_file(&file);
            return Err(SaveError { file, error });
        }
    }
    Ok(())
}

/// Writes them where they were wanted, or else into the system's folder for what is temporary; says
/// where they are, and why not where they should be.
pub(super) fn write_somewhere(
    folder: &Path,
    files: &[File],
) -> Result<(PathBuf, Option<SaveError>), SaveError> {
    let Err(error) = write(folder, files) else { return Ok((folder.to_owned(), None)) };
    let instead = std::env::temp_dir().join(format!("tbbench-versus-{}", std::process::id()));
    let saved = prepare(&instead).and_then(|()| write(&instead, files));
    match saved {
        Ok(()) => Ok((instead, Some(error))),
        Err(_) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_there_is_written_elsewhere() {
        let files = [File { name: "report.json", text: "{}".into() }];
        let place = tempfile::tempdir().unwrap();
        let (at, error) = write_somewhere(place.path(), &files).unwrap();
        assert!(at == place.path() && error.is_none());
        // A file where a folder should be: as good as a disk that takes nothing.
        let wrong = place.path().join("report.json");
        assert!(prepare(&wrong).unwrap_err().to_string().contains("report.json"));
        let (at, error) = write_somewhere(&wrong, &files).unwrap();
        assert_ne!(at, wrong);
        assert!(error.is_some());
        assert_eq!(fs::read_to_string(at.join("report.json")).unwrap(), "{}");
        fs::remove_dir_all(at).unwrap();
    }
}
