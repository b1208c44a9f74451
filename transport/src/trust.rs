//! Whom to believe: by a key that all share, or by keys that are remembered.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use crate::identity::{ClusterKey, NodeId};
use crate::limits::KNOWN_PEERS_MAX;
use crate::proto::HandshakeError;

/// How a peer proves that it may connect.
#[derive(Clone, Debug)]
pub enum Trust {
    /// It knows the cluster's key.
    ClusterKey(ClusterKey),
    /// The first peer that comes is believed and remembered in `store`; later only that one is. For
    /// a Thunderbolt cable, which has two ends.
    FirstUse {
        /// The file of remembered keys.
        store: PathBuf,
    },
    /// Its key is in `store` already.
    Pinned {
        /// The file of remembered keys.
        store: PathBuf,
    },
}

impl Trust {
    pub(crate) fn cluster_key(&self) -> Option<&ClusterKey> {
        match self {
            Self::ClusterKey(key) => Some(key),
            Self::FirstUse { .. } | Self::Pinned { .. } => None,
        }
    }

    /// Whether the peer with this proven key may connect. Remembers it if it is the first.
    pub(crate) fn check(&self, key: &[u8; 32]) -> Result<(), HandshakeError> {
        let (store, may_learn) = match self {
            Self::ClusterKey(_) => return Ok(()),
            Self::FirstUse { store } => (store, true),
            Self::Pinned { store } => (store, false),
        };
        let unusable = |words: String| HandshakeError::TrustStore {
            store: store.display().to_string(),
            words,
        };
        let known = match fs::read_to_string(store) {
            Ok(text) => parse(&text).map_err(unusable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(unusable(error.to_string())),
        };
        if known.contains(key) {
            return Ok(());
        }
        if may_learn && known.is_empty() {
            return remember(store, key).map_err(|error| unusable(error.to_string()));
        }
        let node = NodeId::of_public_key(key);
        Err(HandshakeError::Untrusted { node, store: store.display().to_string() })
    }
}

/// One public key per line, 64 hexadecimal digits; what follows a `#` is for people.
fn parse(text: &str) -> Result<Vec<[u8; 32]>, String> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let digits = line.split('#').next().unwrap_or_default().trim();
        if digits.is_empty() {
            continue;
        }
        let mut key = [0; 32];
        hex::decode_to_slice(digits, &mut key)
            .map_err(|_| format!("line {} is not 64 hexadecimal digits", number + 1))?;
        keys.push(key);
        if keys.len() > KNOWN_PEERS_MAX {
            return Err(format!("it holds more than {KNOWN_PEERS_MAX} keys"));
        }
    }
    Ok(keys)
}

fn remember(store: &PathBuf, key: &[u8; 32]) -> io::Result<()> {
    if let Some(parent) = store.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(store)?;
    writeln!(file, "{} # {}", hex::encode(key), NodeId::of_public_key(key))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_remembered_and_the_second_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("known/peers");
        let pinned = Trust::Pinned { store: store.clone() };
        assert!(matches!(pinned.check(&[1; 32]), Err(HandshakeError::Untrusted { .. })));
        let trust = Trust::FirstUse { store: store.clone() };
        trust.check(&[1; 32]).unwrap();
        trust.check(&[1; 32]).unwrap();
        assert!(matches!(trust.check(&[2; 32]), Err(HandshakeError::Untrusted { .. })));
        pinned.check(&[1; 32]).unwrap();
    }

    #[test]
    fn a_spoilt_store_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("peers");
        fs::write(&store, "# a comment\n\nnot a key\n").unwrap();
        let error = Trust::FirstUse { store }.check(&[1; 32]).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }
}
