//! How does one file arrive, whatever breaks?
//!
//! A file grows as `NAME.part`, front to back, so that its length says how much of it is there. It
//! gets its name only once its hash is right.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{HubClient, HubError, PullProgress, client::Patience, listing::FileHash};

const BUFFER_BYTES: usize = 256 << 10;

/// A file that is wanted: some bytes of our own, then pieces of one of the hub's files.
pub(super) struct Wanted {
    /// What it is called here.
    pub(super) name: String,
    /// Written first.
    pub(super) prefix: Vec<u8>,
    /// Then these bytes of the hub's file, in this order.
    pub(super) pieces: Vec<Range<u64>>,
    /// Where the hub has it.
    pub(super) url: String,
    /// How many bytes the hub's file has.
    pub(super) source_bytes: u64,
    /// What the result hashes to, if the hub knows.
    pub(super) hash: Option<FileHash>,
}

/// What downloads that go on at once know of each other.
pub(super) struct Going<'a> {
    pub(super) client: &'a HubClient,
    pub(super) repo: &'a str,
    /// Bytes that there will be, all together.
    pub(super) bytes_total: u64,
    pub(super) bytes_done: AtomicU64,
    /// Whether one has failed, so that the others need not go on.
    pub(super) stopped: AtomicBool,
    pub(super) progress: &'a (dyn Fn(PullProgress) + Sync),
}

impl Going<'_> {
    fn came(&self, bytes: u64) {
        let bytes_done = self.bytes_done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(PullProgress { bytes_done, bytes_total: self.bytes_total });
    }

    fn thrown_away(&self, bytes: u64) {
        self.bytes_done.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Wanted {
    /// How many bytes it will have.
    pub(super) fn bytes(&self) -> u64 {
        self.prefix.len() as u64 + self.pieces.iter().map(|p| p.end - p.start).sum::<u64>()
    }

    /// How many bytes are still to come, by what is in `dir`.
    pub(super) fn missing(&self, dir: &Path) -> u64 {
        let length = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let there = length(dir.join(&self.name)).max(length(part_path(dir, &self.name)));
        self.bytes().saturating_sub(there)
    }

    /// Brings it into `dir`, from where an earlier try ended.
    pub(super) fn fetch(&self, dir: &Path, going: &Going<'_>) -> Result<(), HubError> {
        let path = dir.join(&self.name);
        // It got that name because its hash was right.
        if fs::metadata(&path).is_ok_and(|there| there.len() == self.bytes()) {
            going.came(self.bytes());
            return Ok(());
        }
        let part = part_path(dir, &self.name);
        let failed = |source| HubError::Write { file: part.clone(), source };
        let mut last = None;
        for _ in 0..2 {
            let mut file = Growing::open(&part, self, going).map_err(failed)?;
            file.grow(self, going, &part)?;
            let Err((expected, found)) = file.check(self) else {
                file.file.sync_all().map_err(failed)?;
                return fs::rename(&part, &path).map_err(failed);
            };
            // What was there before may be at fault, so once more from the beginning.
            going.thrown_away(self.bytes());
            fs::remove_file(&part).map_err(failed)?;
            last = Some(HubError::Checksum { file: self.name.clone(), expected, found });
        }
        Err(last.unwrap_or(HubError::Stopped))
    }

    /// Which bytes of the hub's file come when `at` bytes are there: the rest of a piece.
    fn next_piece(&self, at: u64) -> Option<Range<u64>> {
        let mut skip = at - self.prefix.len() as u64;
        for piece in &self.pieces {
            let length = piece.end - piece.start;
            if skip < length {
                return Some(piece.start + skip..piece.end);
            }
            skip -= length;
        }
        None
    }
}

fn part_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.part"))
}

/// The file as far as it is there, and its hash so far.
struct Growing {
    file: File,
    bytes: u64,
    hash: Hash,
}

enum Hash {
    Sha256(Box<Sha256>),
    GitBlob(Box<Sha1>),
    None,
}

impl Growing {
    fn open(part: &Path, wanted: &Wanted, going: &Going<'_>) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part)?;
        let mut bytes = file.metadata()?.len();
        if bytes < wanted.prefix.len() as u64 || bytes > wanted.bytes() {
            bytes = 0;
        }
        let mut growing = Self { file, bytes: 0, hash: Hash::for_file(wanted) };
        growing.file.set_len(bytes)?;
        file = growing.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        while growing.bytes < bytes {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            growing.hash.update(&buffer[..count]);
            growing.bytes += count as u64;
        }
        if bytes == 0 {
            growing.append(&wanted.prefix)?;
        }
        going.came(growing.bytes);
        Ok(growing)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Appends what is missing.
    fn grow(&mut self, wanted: &Wanted, going: &Going<'_>, part: &Path) -> Result<(), HubError> {
        let failed = |source| HubError::Write { file: part.to_owned(), source };
        let mut patience = Patience::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(range) = wanted.next_piece(self.bytes) {
            let (repo, url, all) = (going.repo, wanted.url.as_str(), wanted.source_bytes);
            let mut input = going.client.open(repo, url, range.clone(), all, &mut patience)?;
            let mut came = 0;
            let broken = loop {
                if going.stopped.load(Ordering::Relaxed) {
                    return Err(HubError::Stopped);
                }
                match input.read(&mut buffer) {
                    Ok(0) if came == range.end - range.start => break None,
                    Ok(0) => break Some("the connection ended early".to_owned()),
                    Ok(count) => {
                        self.append(&buffer[..count]).map_err(failed)?;
                        came += count as u64;
                        going.came(count as u64);
                    }
                    Err(error) => break Some(error.to_string()),
                }
            };
            if let Some(cause) = broken {
                going.client.broke(&mut patience, came, cause)?;
            }
        }
        Ok(())
    }

    /// Expected and found, if they differ.
    fn check(&mut self, wanted: &Wanted) -> Result<(), (String, String)> {
        let (expected, found): (Vec<u8>, Vec<u8>) =
            match (wanted.hash, std::mem::replace(&mut self.hash, Hash::None)) {
                (Some(FileHash::Sha256(expected)), Hash::Sha256(hash)) => {
                    (expected.into(), hash.finalize().to_vec())
                }
                (Some(FileHash::GitBlob(expected)), Hash::GitBlob(hash)) => {
                    (expected.into(), hash.finalize().to_vec())
                }
                _ => return Ok(()),
            };
        if expected == found { Ok(()) } else { Err((hex::encode(expected), hex::encode(found))) }
    }
}

impl Hash {
    fn for_file(wanted: &Wanted) -> Self {
        match wanted.hash {
            None => Self::None,
            Some(FileHash::Sha256(_)) => Self::Sha256(Box::default()),
            Some(FileHash::GitBlob(_)) => {
                let head = format!("blob {}\0", wanted.bytes());
                Self::GitBlob(Box::new(Sha1::new_with_prefix(head)))
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitBlob(hash) => hash.update(bytes),
            Self::None => {}
        }
    }
}
