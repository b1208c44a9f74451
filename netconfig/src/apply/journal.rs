//! The file by which a setup can be undone, whenever it was cut off.
//!
//! JSON, one object per line. The first line holds the plan's actions and the old state; it is
//! written to a file of another name, synced and renamed, so that a journal is whole or not there.
//! Then `{"begin":N}` before and `{"done":N}` after each step, and `{"finished":true}`, each synced.
//! A last line that is torn was being written as the machine stopped: it is not counted.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::error::JournalError;
use crate::plan::{Action, State};

/// The version of the format.
const FORMAT: u32 = 1;
/// A journal larger than this is none of ours.
const BYTES_MAX: u64 = 4 << 20;
/// Journals that are kept; a machine is not set up as often.
pub(super) const NUMBER_MAX: u32 = 9_999;

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    interfaces: Vec<String>,
    actions: Vec<Action>,
    saved: State,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Begin(usize),
    Done(usize),
    Finished(bool),
}

/// How far a setup came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Steps that were begun.
    pub begun: usize,
    /// Steps that were seen to take effect.
    pub done: usize,
    /// Steps in all.
    pub of: usize,
    /// It came to its end.
    pub finished: bool,
}

/// A setup that was begun and has not been undone.
pub struct Journal {
    path: PathBuf,
    file: File,
    head: Head,
    summary: Summary,
}

impl Journal {
    /// Writes the old state, and only returns when it is on the disk.
    pub(super) fn create(
        folder: &Path,
        interfaces: &[String],
        actions: &[Action],
        saved: &State,
    ) -> Result<Self, JournalError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| JournalError::Io { path, error }
        };
        let last = numbers(folder)?.last().copied().unwrap_or(0);
        if last >= NUMBER_MAX {
            return Err(JournalError::Full { folder: folder.to_owned() });
        }
        let path = folder.join(format!("setup-{:04}.jsonl", last + 1));
        let head = Head {
            format: FORMAT,
            interfaces: interfaces.to_vec(),
            actions: actions.to_vec(),
            saved: saved.clone(),
        };
        let new = path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            // Addresses and names are nobody else's business.
            .mode(0o600)
            .open(&new)
            .map_err(io(&new))?;
        if let Err(error) = write_line(&mut file, &head) {
            // A disk that is full is not made fuller.
            let _ = fs::remove_file(&new);
            return Err(JournalError::Io { path: new, error });
        }
        fs::rename(&new, &path).map_err(io(&path))?;
        sync(folder)?;
        let summary = Summary { begun: 0, done: 0, of: actions.len(), finished: false };
        Ok(Self { path, file, head, summary })
    }

    /// The newest journal in `folder` that was not undone.
    ///
    /// # Errors
    /// If the folder or the journal cannot be read. No folder is no journal.
    pub fn newest(folder: &Path) -> Result<Option<Self>, JournalError> {
        match numbers(folder)?.into_iter().next_back() {
            Some(_) => {}
            None => return Ok(None),
        }
        let mut names: Vec<PathBuf> = Vec::new();
        let io = |error| JournalError::Io { path: folder.to_owned(), error };
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|e| e == "jsonl") {
                names.push(path);
            }
        }
        names.sort();
        names.pop().map(|path| Self::open(&path)).transpose()
    }

    fn open(path: &Path) -> Result<Self, JournalError> {
        let io = |error| JournalError::Io { path: path.to_owned(), error };
        let malformed = |detail: String| JournalError::Malformed { path: path.to_owned(), detail };
        let file = OpenOptions::new().read(true).append(true).open(path).map_err(io)?;
        let mut text = String::new();
        (&file).take(BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let first = lines.next().ok_or_else(|| malformed("its first line is missing".into()))?;
        let head: Head = serde_json::from_str(first).map_err(|e| malformed(e.to_string()))?;
        if head.format != FORMAT {
            return Err(malformed(format!("format {} instead of {FORMAT}", head.format)));
        }
        let of = head.actions.len();
        let mut summary = Summary { begun: 0, done: 0, of, finished: false };
        for line in lines {
            match serde_json::from_str(line).map_err(|e| malformed(e.to_string()))? {
                Line::Begin(number) => summary.begun = summary.begun.max(number).min(of),
                Line::Done(number) => summary.done = summary.done.max(number).min(of),
                Line::Finished(finished) => summary.finished = finished,
            }
        }
        Ok(Self { path: path.to_owned(), file, head, summary })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far it came.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The interfaces that it changes.
    pub fn interfaces(&self) -> &[String] {
        &self.head.interfaces
    }

    pub(super) fn saved(&self) -> &State {
        &self.head.saved
    }

    /// The actions that may have had an effect.
    pub(super) fn begun(&self) -> Vec<Action> {
        self.head.actions.iter().take(self.summary.begun).cloned().collect()
    }

    pub(super) fn begin(&mut self, number: usize) -> Result<(), JournalError> {
        self.summary.begun = number;
        self.line(&Line::Begin(number))
    }

    pub(super) fn done(&mut self, number: usize) -> Result<(), JournalError> {
        self.summary.done = number;
        self.line(&Line::Done(number))
    }

    pub(super) fn finished(&mut self) -> Result<(), JournalError> {
        self.summary.finished = true;
        self.line(&Line::Finished(true))
    }

    fn line(&mut self, line: &Line) -> Result<(), JournalError> {
        write_line(&mut self.file, line)
            .map_err(|error| JournalError::Io { path: self.path.clone(), error })
    }

    /// It has been undone: it is kept for people, and no longer looked at.
    pub(super) fn set_aside(self) -> Result<(), JournalError> {
        let aside = self.path.with_extension("undone");
        fs::rename(&self.path, &aside)
            .map_err(|error| JournalError::Io { path: self.path.clone(), error })?;
        sync(self.path.parent().unwrap_or(Path::new(".")))
    }
}

fn write_line(file: &mut File, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A rename is safe once its folder is.
fn sync(folder: &Path) -> Result<(), JournalError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| JournalError::Io { path: folder.to_owned(), error })
}

/// The numbers of all journals, undone ones included, in order.
fn numbers(folder: &Path) -> Result<Vec<u32>, JournalError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(JournalError::Io { path: folder.to_owned(), error }),
    };
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("setup-")?.split('.').next()?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(mtu: u32) -> Action {
        Action::SetMtu { interface: "br0".into(), mtu }
    }

    fn journal(folder: &Path) -> Journal {
        let actions = [action(1500), action(9000)];
        Journal::create(folder, &["br0".into()], &actions, &State::default()).unwrap()
    }

    #[test]
    fn what_was_begun_is_known_whenever_it_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut written = journal(folder.path());
        let read = || Journal::newest(folder.path()).unwrap().unwrap();
        assert_eq!(read().begun(), []);
        written.begin(1).unwrap();
        assert_eq!(read().begun(), [action(1500)]);
        written.done(1).unwrap();
        written.begin(2).unwrap();
        // The last line is torn.
        let torn = fs::read(written.path()).unwrap();
        fs::write(written.path(), &torn[..torn.len() - 3]).unwrap();
        assert_eq!(read().begun(), [action(1500)]);
        assert_eq!(read().summary().done, 1);
        fs::write(written.path(), &torn).unwrap();
        assert_eq!(read().begun().len(), 2);
        assert!(!read().summary().finished);
    }

    #[test]
    fn the_newest_is_undone_first_and_numbers_are_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journal::newest(&folder.path().join("none")).unwrap().is_none());
        let (first, second) = (journal(folder.path()), journal(folder.path()));
        let newest = Journal::newest(folder.path()).unwrap().unwrap();
        assert_eq!(newest.path(), second.path());
        newest.set_aside().unwrap();
        let next = Journal::newest(folder.path()).unwrap().unwrap();
        assert_eq!(next.path(), first.path());
        assert!(journal(folder.path()).path() > second.path());
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("setup-0001.jsonl");
        for text in ["", "{}", "no journal\n", "{\"format\":9}\n"] {
            fs::write(&path, text).unwrap();
            let error = Journal::newest(folder.path()).err().unwrap().to_string();
            assert!(error.contains("setup-0001.jsonl"), "{text:?}: {error}");
        }
    }
}
