//! A folder of recorded answers: read on any system, written by `tbnet snapshot`.
//!
//! One file per source, named after its command. **A missing file means "not known".**
//!
//! | macOS | Linux |
//! |---|---|
//! | `networksetup-listnetworkserviceorder.txt` | `ip-address.json` (`ip -j -d address`) |
//! | `networksetup-listallhardwareports.txt` | `ip-route.json` (`ip -j route`) |
//! | `networksetup-getinfo/<service>.txt` (`/` in a name as `:`) | `ip-6-route.json` (`ip -j -6 route`) |
//! | `ifconfig.txt` | `ip-route-get-<peer>.json` (`ip -j route get PEER`) |
//! | `system_profiler-SPThunderboltDataType.json` | `sys/class/net/…`, `sys/bus/thunderbolt/…` |
//! | `netstat-rn.txt`, `route-get-<peer>.txt` | |
//! | `com.apple.nat.plist.txt`, `preferences.plist.txt` (XML, binary or `plutil -p`) | |
//!
//! `peer-<peer>.json` keeps what was learned by talking to a peer ([`Exchange`]), `keepers.json` who
//! keeps the configuration of each Linux interface ([`keepers`]). `platform.txt` holds `macos` or `linux`; without it the platform is told by the files.

mod mask;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

#[cfg(target_os = "linux")]
use super::change;
use super::{
    Request, linux,
    macos::{self, Answer, Query},
};
use crate::{
    peer::Exchange,
    plan::Keeper,
    snapshot::{Platform, Snapshot, Unknown},
    text::{Lang, Text, tool},
};

const PLATFORM: &str = "platform.txt";

const KEEPERS: &str = "keepers.json";

/// Of more interfaces nobody is asked who keeps them.
#[cfg(target_os = "linux")]
const KEPT_MAX: usize = 64;

/// Who keeps the configuration of each interface; `None`: nobody that is known.
pub type Keepers = BTreeMap<String, Option<Keeper>>;

/// An answer larger than this is no recording of ours.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a folder could not be read as, or written as, a recorded set.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// It cannot be opened.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Nothing in it is named like a recorded answer.
    NothingRecorded {
        /// The folder.
        path: PathBuf,
    },
    /// What `tbnet` itself had written (of a peer, of who keeps the configuration) cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: Unknown,
    },
    /// It holds a recording already: answers of two times, or of two machines, would be mixed.
    AlreadyRecorded {
        /// The folder.
        path: PathBuf,
    },
    /// `platform.txt` names something else.
    UnknownPlatform {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
}

impl RecordError {
    /// What went wrong.
    pub fn text(&self) -> Text {
        match self {
            Self::Io { path, error } => tool::record_io(path.display(), error),
            Self::NothingRecorded { path } => tool::record_nothing(path.display()),
            Self::AlreadyRecorded { path } => tool::record_already(path.display()),
            Self::Unreadable { path, why } => tool::record_io(path.display(), why.text()),
            Self::UnknownPlatform { path, found } => tool::record_platform(path.display(), found),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Text {
        match self {
            Self::Io { path, error } => tool::record_io_hint_for(path, error),
            Self::Unreadable { path, .. } => tool::record_io_hint(path.display()),
            Self::NothingRecorded { .. } => tool::record_nothing_hint(),
            Self::AlreadyRecorded { .. } => tool::record_already_hint(),
            Self::UnknownPlatform { path, .. } => tool::record_platform_hint(path.display()),
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

impl std::error::Error for RecordError {}

/// Reads a recorded set into a snapshot.
///
/// # Errors
/// If the folder cannot be opened or holds nothing that was recorded. A single missing or
/// unreadable answer is no error: it is unknown in the snapshot.
pub fn load(folder: &Path, request: &Request) -> Result<Snapshot, RecordError> {
    fs::read_dir(folder).map_err(|error| RecordError::Io { path: folder.to_owned(), error })?;
    Ok(match platform(folder)? {
        Platform::MacOs => macos::full(&Folder { path: folder.to_owned() }, request),
        Platform::Linux => linux::recorded(folder, request),
    })
}

/// What talking to `peer` brought when the set was recorded; `None` if it was not recorded.
///
/// # Errors
/// If it was recorded and cannot be read.
pub fn exchange(folder: &Path, peer: IpAddr) -> Result<Option<Exchange>, RecordError> {
    own(folder, &exchange_file(peer))
}

/// Who kept the configuration of each interface of a Linux machine, and `None` for those that nobody
/// known kept; `None` if it was not recorded, as in recordings of before, which do not tell Wi-Fi
/// either.
///
/// # Errors
/// If it was recorded and cannot be read.
pub fn keepers(folder: &Path) -> Result<Option<Keepers>, RecordError> {
    own(folder, KEEPERS)
}

/// The Wi-Fi interfaces of a recorded Linux machine.
pub fn wifi(folder: &Path) -> Vec<String> {
    linux::sysfs::wifi(&folder.join(linux::SYS))
}

/// What `tbnet` itself had found out; `None` if there is no such file.
fn own<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, RecordError> {
    let unreadable = |why| RecordError::Unreadable { path: folder.join(name), why };
    let bytes = match read(folder, name) {
        Ok(bytes) => bytes,
        Err(Unknown::Missing { .. }) => return Ok(None),
        Err(why) => return Err(unreadable(why)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| unreadable(Unknown::Unreadable { detail: error.to_string() }))
}

fn exchange_file(peer: IpAddr) -> String {
    format!("peer-{peer}.json")
}

fn platform(folder: &Path) -> Result<Platform, RecordError> {
    let path = folder.join(PLATFORM);
    if let Ok(text) = read(folder, PLATFORM) {
        return match String::from_utf8_lossy(&text).trim().to_ascii_lowercase().as_str() {
            "macos" => Ok(Platform::MacOs),
            "linux" => Ok(Platform::Linux),
            found => Err(RecordError::UnknownPlatform { path, found: found.to_owned() }),
        };
    }
    let has = |name: &str| folder.join(name).exists();
    let mac = macos::queries(&Request::default());
    if mac.iter().any(|q| has(&q.recorded_as())) || has("networksetup-getinfo") {
        Ok(Platform::MacOs)
    } else if linux::FILES.iter().any(|file| has(file)) {
        Ok(Platform::Linux)
    } else {
        Err(RecordError::NothingRecorded { path: folder.to_owned() })
    }
}

struct Folder {
    path: PathBuf,
}

impl Answer for Folder {
    fn answer(&self, query: &Query) -> Result<Vec<u8>, Unknown> {
        read(&self.path, &query.recorded_as())
    }

    fn is_recorded(&self) -> bool {
        true
    }
}

/// Reads one recorded file.
pub(super) fn read(folder: &Path, name: &str) -> Result<Vec<u8>, Unknown> {
    let path = folder.join(name);
    let about = fs::metadata(&path).map_err(|error| unreadable(name, &error))?;
    // A device or a pipe says no size, and may have no end.
    if !about.is_file() {
        return Err(Unknown::Failed { detail: format!("{name} is no plain file") });
    }
    if about.len() > FILE_BYTES_MAX {
        let detail = format!("{name} is larger than {FILE_BYTES_MAX} bytes");
        return Err(Unknown::Failed { detail });
    }
    fs::read(&path).map_err(|error| unreadable(name, &error))
}

/// Why a file gave no answer.
pub(super) fn unreadable(name: &str, error: &io::Error) -> Unknown {
    match error.kind() {
        io::ErrorKind::NotFound => Unknown::Missing { what: name.to_owned() },
        io::ErrorKind::PermissionDenied => Unknown::Permission { detail: error.to_string() },
        _ => Unknown::Failed { detail: format!("{name}: {error}") },
    }
}

/// What is to become of names, serial numbers, hardware addresses and UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// They are written as the system says them.
    AsItIs,
    /// They are replaced, the same by the same; IP addresses are kept.
    Masked,
}

/// What became of each source when a set was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The file's name inside the folder.
    pub file: String,
    /// Why there is no such file, if there is none.
    pub left_out: Option<Unknown>,
}

/// Asks the running system and writes its answers to `folder`, which is created, with what talking
/// to peers brought.
///
/// Of the property lists only what the checks read is written, as the rest is nobody's business.
///
/// # Errors
/// If the folder holds a recording already, or it or a file cannot be written. A source that does not answer is left out and named.
pub fn record(
    folder: &Path,
    request: &Request,
    exchanges: &[(IpAddr, Exchange)],
    privacy: Privacy,
) -> Result<Vec<Recorded>, RecordError> {
    create(folder)?;
    if !matches!(platform(folder), Err(RecordError::NothingRecorded { .. })) {
        return Err(RecordError::AlreadyRecorded { path: folder.to_owned() });
    }
    #[cfg(target_os = "linux")]
    let (platform, mut answers) = ("linux", linux::live::answers(request));
    #[cfg(not(target_os = "linux"))]
    let (platform, mut answers) = ("macos", macos::answers(&macos::Live, request));

    #[cfg(target_os = "linux")]
    answers.push((KEEPERS.to_owned(), Ok(serde_json::to_vec_pretty(&kept()).unwrap_or_default())));
    for (peer, exchange) in exchanges {
        let bytes = serde_json::to_vec_pretty(exchange).unwrap_or_default();
        answers.push((exchange_file(*peer), Ok(bytes)));
    }
    let answers = match privacy {
        Privacy::AsItIs => answers,
        Privacy::Masked => mask::answers(answers),
    };
    let mut written = Vec::new();
    write(folder, PLATFORM, format!("{platform}\n").as_bytes())?;
    for (file, answer) in answers {
        let left_out = match answer {
            Ok(bytes) => {
                write(folder, &file, &bytes)?;
                None
            }
            Err(why) => Some(why),
        };
        written.push(Recorded { file, left_out });
    }
    Ok(written)
}

#[cfg(target_os = "linux")]
fn kept() -> Keepers {
    let snapshot = linux::live::quick();
    let interfaces = snapshot.interfaces.items().iter();
    let cables = interfaces.filter(|i| !i.is_loopback());
    let names = || cables.clone().take(KEPT_MAX).map(|interface| interface.name.as_str());
    let keepers = change::keepers(names());
    names().map(|name| (name.to_owned(), keepers.get(name).copied())).collect()
}

fn create(folder: &Path) -> Result<(), RecordError> {
    fs::create_dir_all(folder).map_err(|error| RecordError::Io { path: folder.to_owned(), error })
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        create(parent)?;
    }
    fs::write(&path, bytes).map_err(|error| RecordError::Io { path, error })
}

#[cfg(test)]
mod tests;
