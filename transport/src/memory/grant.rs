//! Regions that the peer of one session may touch by key, without this side doing anything.
//!
//! Contract: a granted region is in nobody's hands but the connection's. What is granted to be read
//! is a [`RegionSlice`], which nobody can write; what is granted to be written is a [`Region`],
//! which nobody else can read. Taking a grant back is exact: once it returned, no byte of the peer
//! lands there any more, not from this socket nor from one before, because bytes go where a key
//! points at the moment they are read.

use std::collections::HashMap;

use thiserror::Error;

use super::region::{Region, RegionSlice};
use crate::limits::GRANTS_MAX;

/// A region of the peer's, as its owner told of it: what a write or a read names.
///
/// It travels in a message of the owner's choosing, as the 16 bytes of
/// [`to_bytes`](Self::to_bytes) or as its two numbers. It is good for the session that it was
/// granted in, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemoteRegion {
    key: u64,
    len: u64,
}

impl RemoteRegion {
    /// Bytes of an encoded one.
    pub const BYTES: usize = 16;

    /// What the owner has told.
    pub fn new(key: u64, len: u64) -> Self {
        Self { key, len }
    }

    /// The key.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Key and length, little-endian.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// The opposite of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let at = |from: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[from..from + 8]);
            u64::from_le_bytes(word)
        };
        Self { key: at(0), len: at(8) }
    }
}

/// Why a region was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantError {
    /// As many are granted as may be.
    #[error("{GRANTS_MAX} regions are granted to this peer already: take one back first")]
    Full,
    /// The session is over.
    #[error("the connection is over")]
    Disconnected,
    /// The system has no random numbers, without which a key could be guessed.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// What the peer may do with a region.
#[derive(Debug)]
pub(crate) enum Granted {
    Read(RegionSlice),
    Write(Region),
}

/// All that one peer may touch.
///
/// A key is a count, in its lower half, beside 32 bits that cannot be guessed. By the count a key
/// that was taken back can be told from one that never was: a write with the first is thrown away,
/// one with the second is an attack.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    granted: HashMap<u64, Granted>,
    issued: u32,
}

impl Grants {
    /// Gives a key for `granted`, or gives it back if there are too many. `salt` must not be
    /// guessable.
    pub(crate) fn grant(&mut self, granted: Granted, salt: u32) -> Result<u64, Granted> {
        if self.granted.len() >= GRANTS_MAX || self.issued == u32::MAX {
            return Err(granted);
        }
        self.issued += 1;
        let key = u64::from(salt) << 32 | u64::from(self.issued);
        self.granted.insert(key, granted);
        Ok(key)
    }

    /// Takes a grant back.
    pub(crate) fn revoke(&mut self, key: u64) -> Option<Granted> {
        self.granted.remove(&key)
    }

    pub(crate) fn find(&self, key: u64) -> Option<&Granted> {
        self.granted.get(&key)
    }

    /// The region that is granted to be written under this key.
    pub(crate) fn writable(&mut self, key: u64) -> Option<&mut Region> {
        match self.granted.get_mut(&key)? {
            Granted::Write(region) => Some(region),
            Granted::Read(_) => None,
        }
    }

    /// Whether this may be the key of a grant that was taken back.
    pub(crate) fn may_have_been(&self, key: u64) -> bool {
        (1..=self.issued).contains(&(key as u32))
    }

    pub(crate) fn count(&self) -> usize {
        self.granted.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_by_what_became_of_them() {
        let mut grants = Grants::default();
        let read = grants.grant(Granted::Read(Region::pages(5).freeze()), 7).unwrap();
        let write = grants.grant(Granted::Write(Region::pages(6)), 8).unwrap();
        assert!(matches!(grants.find(read), Some(Granted::Read(slice)) if slice.len() == 5));
        assert!(grants.writable(read).is_none(), "what is read is never written");
        assert_eq!(grants.writable(write).map(|region| region.len()), Some(6));
        assert!(grants.revoke(write).is_some() && grants.find(write).is_none());
        assert!(
            grants.may_have_been(write) && !grants.may_have_been(3) && !grants.may_have_been(0)
        );
        assert!(grants.find(read ^ 1 << 40).is_none(), "the other half counts too");
    }

    #[test]
    fn their_number_is_bounded() {
        let mut grants = Grants::default();
        let slice = Region::pages(1).freeze();
        for _ in 0..GRANTS_MAX {
            grants.grant(Granted::Read(slice.clone()), 1).unwrap();
        }
        let one_more = grants.grant(Granted::Read(slice), 1);
        assert!(matches!(one_more, Err(Granted::Read(_))), "given back");
    }

    #[test]
    fn a_remote_region_travels_as_16_bytes() {
        let region = RemoteRegion::new(0x0102_0304_0506_0708, 9);
        assert_eq!(RemoteRegion::from_bytes(region.to_bytes()), region);
        assert_eq!(region.to_bytes()[..9], [8, 7, 6, 5, 4, 3, 2, 1, 9]);
    }
}
