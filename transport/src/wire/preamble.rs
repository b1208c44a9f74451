//! The first 16 bytes of either side (PROTOCOL.md §1.1).

use std::fmt;

use thiserror::Error;

use crate::limits::PREAMBLE_BYTES;

/// Begins every connection.
pub const MAGIC: [u8; 8] = *b"EXO-TBN\n";
/// Newest version this program speaks.
pub const VERSION: u16 = 1;
/// Oldest version this program speaks.
pub const VERSION_MIN: u16 = 1;

/// How the two sides prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Pattern {
    /// With the cluster's key: `Noise_XXpsk0_25519_AESGCM_SHA256`.
    ClusterKey = 1,
    /// With keys that are remembered: `Noise_XX_25519_AESGCM_SHA256`.
    FirstUse = 2,
}

impl Pattern {
    /// Its name in the Noise framework.
    pub fn noise_name(self) -> &'static str {
        match self {
            Self::ClusterKey => "Noise_XXpsk0_25519_AESGCM_SHA256",
            Self::FirstUse => "Noise_XX_25519_AESGCM_SHA256",
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterKey => "cluster key",
            Self::FirstUse => "remembered keys",
        })
    }
}

/// A range of protocol versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Oldest.
    pub min: u16,
    /// Newest.
    pub max: u16,
}

impl Versions {
    /// What this program speaks.
    pub const OURS: Self = Self { min: VERSION_MIN, max: VERSION };

    /// The newest version that both speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "version {}", self.max)
        } else {
            write!(f, "versions {} to {}", self.min, self.max)
        }
    }
}

/// Why two sides cannot talk at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PreambleError {
    /// Not a node.
    #[error("it is no exo-node: it begins with {found:02x?}")]
    Magic {
        /// What stood there.
        found: [u8; 8],
    },
    /// No version in common.
    #[error(
        "it speaks {theirs} of the protocol, this node {ours}; hint: update the older of the two"
    )]
    Version {
        /// Of the peer.
        theirs: Versions,
        /// Of this node.
        ours: Versions,
    },
    /// Different ways to trust.
    #[error(
        "it trusts by {}, this node by {ours}; hint: give both nodes the same --cluster-key-file, or neither",
        theirs_name(*theirs)
    )]
    Pattern {
        /// Of the peer, as it wrote it.
        theirs: u8,
        /// Of this node.
        ours: Pattern,
    },
    /// Bytes that must be zero are not.
    #[error("reserved bytes of its preamble are not zero")]
    Reserved,
}

fn theirs_name(byte: u8) -> String {
    match byte {
        1 => Pattern::ClusterKey.to_string(),
        2 => Pattern::FirstUse.to_string(),
        other => format!("unknown pattern {other}"),
    }
}

/// The preamble of a side that speaks [`Versions::OURS`].
pub fn encode(pattern: Pattern) -> [u8; PREAMBLE_BYTES] {
    encode_versions(Versions::OURS, pattern)
}

fn encode_versions(versions: Versions, pattern: Pattern) -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&versions.max.to_le_bytes());
    bytes[10..12].copy_from_slice(&versions.min.to_le_bytes());
    bytes[12] = pattern as u8;
    bytes
}

/// Checks the other side's preamble against ours. Gives the version to speak.
///
/// # Errors
///
/// The first check that fails.
pub fn check(theirs: &[u8; PREAMBLE_BYTES], ours: Pattern) -> Result<u16, PreambleError> {
    let mut magic = [0; 8];
    magic.copy_from_slice(&theirs[..8]);
    if magic != MAGIC {
        return Err(PreambleError::Magic { found: magic });
    }
    let versions = Versions {
        max: u16::from_le_bytes([theirs[8], theirs[9]]),
        min: u16::from_le_bytes([theirs[10], theirs[11]]),
    };
    let version = Versions::OURS
        .common(versions)
        .ok_or(PreambleError::Version { theirs: versions, ours: Versions::OURS })?;
    if theirs[12] != ours as u8 {
        return Err(PreambleError::Pattern { theirs: theirs[12], ours });
    }
    if theirs[13..] != [0; 3] {
        return Err(PreambleError::Reserved);
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_accepted() {
        for pattern in [Pattern::ClusterKey, Pattern::FirstUse] {
            assert_eq!(check(&encode(pattern), pattern), Ok(VERSION));
        }
    }

    #[test]
    fn a_newer_peer_that_still_speaks_ours_is_accepted() {
        let newer = encode_versions(Versions { min: 1, max: 7 }, Pattern::ClusterKey);
        assert_eq!(check(&newer, Pattern::ClusterKey), Ok(1));
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let newer = encode_versions(Versions { min: 3, max: 7 }, Pattern::ClusterKey);
        let error = check(&newer, Pattern::ClusterKey).unwrap_err().to_string();
        assert!(error.contains("versions 3 to 7") && error.contains("version 1"), "{error}");
    }

    #[test]
    fn an_upside_down_range_is_refused() {
        let bad = encode_versions(Versions { min: 2, max: 1 }, Pattern::ClusterKey);
        assert!(matches!(check(&bad, Pattern::ClusterKey), Err(PreambleError::Version { .. })));
    }

    #[test]
    fn another_pattern_garbage_and_reserved_bytes_are_refused() {
        let error = check(&encode(Pattern::FirstUse), Pattern::ClusterKey).unwrap_err();
        assert!(error.to_string().contains("--cluster-key-file"), "{error}");
        let mut bytes = encode(Pattern::FirstUse);
        bytes[15] = 1;
        assert_eq!(check(&bytes, Pattern::FirstUse), Err(PreambleError::Reserved));
        assert!(matches!(
            check(b"GET / HTTP/1.1\r\n", Pattern::FirstUse),
            Err(PreambleError::Magic { .. })
        ));
    }
}
