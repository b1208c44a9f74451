//! Who a node is, and the keys that prove it.
//!
//! Secrets lie in files that only their owner may read; a file that others can read is refused, as
//! ssh does, because a key that others may have read proves nothing.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::digest;
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver as _, DefaultResolver};
use thiserror::Error;
use zeroize::Zeroizing;

/// Names a node: the first 16 bytes of the SHA-256 of its public key, so nobody can take the name
/// of another without its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The node that holds the private half of `public`.
    pub fn of_public_key(public: &[u8; 32]) -> Self {
        let hash = digest::digest(&digest::SHA256, public);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_ref()[..16]);
        Self(bytes)
    }

    /// The node of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first eight digits: enough for people to tell nodes apart.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// Not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a node's id is 32 hexadecimal digits")]
pub struct ParseNodeIdError;

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseNodeIdError)?;
        Ok(Self(bytes))
    }
}

impl serde::Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A file with a key is missing, unsafe or malformed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such file.
    #[error(
        "there is no key in {}; hint: make one with: openssl rand -hex 32 > {0} && chmod 600 {0}",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may use the file.
    #[error(
        "{} holds a secret and its mode is {mode:03o}: others may read it; hint: chmod 600 {0}",
        path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 64 hexadecimal digits.
    #[error(
        "{} must hold 32 bytes as 64 hexadecimal digits and nothing else; hint: make one with: openssl rand -hex 32 > {0}",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// 32 secret bytes, wiped when dropped.
type Secret = Zeroizing<[u8; 32]>;

fn read_secret(path: &Path) -> Result<Secret, KeyFileError> {
    let io = |doing| move |source| KeyFileError::Io { doing, path: path.into(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyFileError::Missing { path: path.into() });
        }
        Err(error) => return Err(io("open")(error)),
    };
    let mode = file.metadata().map_err(io("examine"))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.into(), mode });
    }
    // One byte more than may be there shows that there is too much.
    let mut text = Zeroizing::new(Vec::with_capacity(128));
    file.take(128).read_to_end(&mut text).map_err(io("read"))?;
    let mut secret = Secret::default();
    hex::decode_to_slice(text.trim_ascii(), secret.as_mut_slice())
        .map_err(|_| KeyFileError::Malformed { path: path.into() })?;
    Ok(secret)
}

/// Writes a secret into a file that did not exist, readable by its owner alone from the first byte.
fn write_secret(path: &Path, secret: &Secret) -> Result<(), KeyFileError> {
    let io = |doing| move |source| KeyFileError::Io { doing, path: path.into(), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(io("make the folder of"))?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io("make"))?;
    let text = Zeroizing::new(hex::encode(secret.as_slice()) + "\n");
    file.write_all(text.as_bytes()).map_err(io("write"))?;
    file.sync_all().map_err(io("write"))
}

/// The key pair by which a node is known.
///
/// The secret is the seed of an Ed25519 key, which signs. The handshake's X25519 key is the same
/// point in its other form, so a signature is by the node that the handshake proves.
#[derive(Clone)]
pub struct Identity {
    seed: Secret,
    private: Secret,
    public: [u8; 32],
}

impl Identity {
    /// A new one.
    pub fn generate() -> Self {
        let mut seed = Secret::default();
        getrandom::fill(seed.as_mut_slice()).expect("the system has random numbers");
        Self::of_seed(seed)
    }

    /// The one in `path`, which is made on first use with mode 0600.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]; also if others than the owner may read the file.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        match read_secret(path) {
            Ok(seed) => Ok(Self::of_seed(seed)),
            Err(KeyFileError::Missing { .. }) => {
                let new = Self::generate();
                write_secret(path, &new.seed)?;
                Ok(new)
            }
            Err(error) => Err(error),
        }
    }

    fn of_seed(seed: Secret) -> Self {
        // The scalar of an Ed25519 key (RFC 8032, 5.1.5), which X25519 clamps as Ed25519 does.
        let hash = digest::digest(&digest::SHA512, seed.as_slice());
        let mut private = Secret::default();
        private.copy_from_slice(&hash.as_ref()[..32]);
        let mut pair =
            DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("built with X25519");
        pair.set(private.as_slice());
        let mut public = [0; 32];
        public.copy_from_slice(pair.pubkey());
        Self { seed, private, public }
    }

    /// The name of the node.
    pub fn node_id(&self) -> NodeId {
        NodeId::of_public_key(&self.public)
    }

    /// The public half.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    pub(crate) fn private_key(&self) -> &[u8; 32] {
        &self.private
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node_id())
    }
}

/// What all nodes of a cluster know and nobody else does.
#[derive(Clone)]
pub struct ClusterKey(Secret);

impl ClusterKey {
    /// The key in `path`: 32 bytes as 64 hexadecimal digits, in a file of mode 0600.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], which says how to mend it.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        read_secret(path).map(Self)
    }

    /// These bytes as the key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_identity_is_the_same_the_second_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/identity");
        let first = Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Identity::load_or_create(&path).unwrap().node_id(), first.node_id());
        assert_ne!(Identity::generate().node_id(), first.node_id());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        Identity::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("640") && error.contains("hint: chmod 600"), "{error}");
        assert!(ClusterKey::from_file(&path).is_err());
    }

    #[test]
    fn a_cluster_key_is_64_digits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let error = ClusterKey::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("openssl rand -hex 32"), "{error}");
        let write = |text: &str| {
            let _ = fs::remove_file(&path);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            ClusterKey::from_file(&path)
        };
        assert_eq!(write(&("ab".repeat(32) + "\n")).unwrap().as_bytes(), &[0xab; 32]);
        assert!(matches!(write(&"ab".repeat(33)), Err(KeyFileError::Malformed { .. })));
        assert!(matches!(write(&"ab".repeat(300)), Err(KeyFileError::Malformed { .. })));
        assert!(matches!(write("secret"), Err(KeyFileError::Malformed { .. })));
        assert!(!format!("{:?}", ClusterKey::from_bytes([0xab; 32])).contains("ab"));
    }

    #[test]
    fn a_node_id_is_printed_and_read() {
        let id = Identity::generate().node_id();
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("xyz".parse::<NodeId>(), Err(ParseNodeIdError));
    }
}
