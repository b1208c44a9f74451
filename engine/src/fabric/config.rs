//! How is a fabric opened, and why might it not be?

use std::path::Path;

use exo_exchange::Hold;

use super::{Encrypt, InterfaceChoice, LinkError};

/// How a fabric is opened.
pub struct FabricConfig<'a> {
    /// The interface.
    pub interface: &'a InterfaceChoice,
    /// The port, or 0.
    pub listen: u16,
    /// This node's name.
    pub name: &'a str,
    /// Peers by address: `host:port`.
    pub peers: &'a [String],
    /// Whether to look for others on the link.
    pub discovery: bool,
    /// Where the node's key lies.
    pub data: &'a Path,
    /// The cluster's key.
    pub cluster_key_file: Option<&'a Path>,
    /// Whom to believe without one.
    pub trust: TrustWithoutKey,
    /// Whether frames are sealed.
    pub encrypt: Encrypt,
}

/// Whom a node believes that has no cluster key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustWithoutKey {
    /// The first peer on a cable.
    FirstUse,
    /// Only a peer that was believed before.
    Pinned,
    /// Nobody.
    Nobody,
}

/// Why a fabric was not opened.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// The link.
    #[error("{source}\nhint: {}", .source.hint())]
    Link {
        /// What is wrong with it.
        #[from]
        source: LinkError,
    },
    /// The node's key or the cluster's.
    #[error(transparent)]
    Key(#[from] exo_transport::KeyFileError),
    /// Another program speaks under this machine's own key.
    #[error(
        "{file} is in use: another exo-node or a `tbnet serve` speaks in this machine's name, and peers \
         would take one for the other\nhint: end it (`tbnet check --peer` ends by itself within \
         seconds), or give this node a folder of its own with --data"
    )]
    Held {
        /// The key file.
        file: String,
    },
    /// The key file cannot be locked.
    #[error(
        "{file} cannot be locked: {source}\nhint: give this node a folder on a local disk with --data"
    )]
    Hold {
        /// The key file.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// No thread.
    #[error("the thread that answers questions about the link cannot be started: {0}")]
    Thread(std::io::Error),
    /// The endpoint.
    #[error(transparent)]
    Open(#[from] exo_transport::OpenError),
    /// No key, and nobody else to believe.
    #[error(
        "--trust none believes only who holds the cluster's key, and no key was given\nhint: give one \
         with --cluster-key-file"
    )]
    NobodyTrusted,
    /// A peer's address.
    #[error("--peer {text}: {cause} (hint: an address and a port, as in 192.168.2.2:52416)")]
    Peer {
        /// As the user gave it.
        text: String,
        /// Why not.
        cause: String,
    },
}

/// Takes this machine's name for this program.
pub(super) fn speak_for(key_file: &Path) -> Result<Hold, FabricError> {
    let file = || key_file.display().to_string();
    let held = exo_exchange::hold(key_file);
    held.map_err(|source| FabricError::Hold { file: file(), source })?
        .ok_or_else(|| FabricError::Held { file: file() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_speaks_in_a_machines_name() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("identity.key");
        let missing = speak_for(&file).unwrap_err();
        assert!(matches!(missing, FabricError::Hold { .. }), "{missing}");
        std::fs::write(&file, "").unwrap();
        let held = speak_for(&file).unwrap();
        let second = speak_for(&file).unwrap_err();
        assert!(second.to_string().contains("hint: end it"), "{second}");
        drop(held);
        assert!(speak_for(&file).is_ok());
    }
}
