//! What a node says of itself, signed, so that others may pass it on.
//!
//! A [`Record`] travels as a [`SignedRecord`]: its bytes, and the proof that the node it names
//! said them. Which of two records is newer, [`Facts::version`] tells.

#![allow(missing_docs, reason = "rkyv repeats the fields of structs without their docs")]

use exo_transport::{Identity, NodeId, Proof};
use rkyv::{Archive, Deserialize, Serialize};

use super::messages::{self, Record};

/// What is signed is a record, and nothing else.
const PURPOSE: &str = "exo-node record v1";
/// Longer records are none.
const RECORD_BYTES_MAX: usize = 32 << 10;
/// Models of which a record tells.
pub const MODELS_MAX: usize = 64;
/// Addresses that it names.
pub const ADDRESSES_MAX: usize = 16;

/// What a node is and has, beside its part in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Facts {
    /// Counts the starts of this node's program on its data folder.
    pub incarnation: u64,
    /// A random number of this start: two programs with one key differ in it.
    pub instance: u64,
    /// Counts the records of this start.
    pub revision: u64,
    /// Bytes of memory the machine has.
    pub memory_total: u64,
    /// What the machine is called by its maker.
    pub device: String,
    /// Its processor.
    pub chip: String,
    /// Where it listens, by link.
    pub addresses: Vec<LinkAddress>,
    /// Bytes of weights it reads, and multiplications it does, in a second; as measured.
    pub speed: Option<(u64, u64)>,
    /// The models on its disk.
    pub models: Vec<HeldModel>,
    /// Its program and version.
    pub software: String,
}

/// Where a node listens on one of its links.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LinkAddress {
    /// The interface at its end.
    pub interface: String,
    /// `thunderbolt` or `by-hand`.
    pub kind: String,
    /// `address:port`.
    pub address: String,
}

/// A model on a node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct HeldModel {
    /// What it is called there.
    pub name: String,
    /// Of all its files.
    pub fingerprint: [u8; 32],
    /// The layers whose tensors are there: first, one past the last.
    pub layers: Vec<(u32, u32)>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SignedRecord {
    /// A [`Record`].
    pub bytes: Vec<u8>,
    /// The key that checks the signature.
    pub key: [u8; 32],
    /// By the node that the record names.
    pub signature: [u8; 64],
}

/// Why a record is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No record at all.
    #[error("not a record: {0}")]
    Malformed(String),
    /// Signed by nobody, or by another.
    #[error("the record of {node} is not signed by it")]
    NotSigned {
        /// Whom it names.
        node: NodeId,
    },
    /// More than a record has.
    #[error("a record of {bytes} bytes, {models} models and {addresses} addresses is none")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// Models it tells of.
        models: usize,
        /// Addresses it names.
        addresses: usize,
    },
}

impl Facts {
    /// Of two records of a node the one with the higher version is newer.
    #[must_use]
    pub fn version(&self) -> (u64, u64) {
        (self.incarnation, self.revision)
    }
}

impl SignedRecord {
    /// Signs a node's own record.
    #[must_use]
    pub fn sign(identity: &Identity, record: &Record) -> Self {
        let bytes = messages::encode(record).into_vec();
        let Proof { key, signature } = identity.sign(PURPOSE, &bytes);
        Self { bytes, key, signature }
    }

    /// The record, if it is the word of the node that it names.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn open(&self) -> Result<Record, RecordError> {
        let size = |models, addresses| RecordError::TooLarge {
            bytes: self.bytes.len(),
            models,
            addresses,
        };
        if self.bytes.len() > RECORD_BYTES_MAX {
            return Err(size(0, 0));
        }
        // What came inside another message lies where it happens to.
        let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(self.bytes.len());
        aligned.extend_from_slice(&self.bytes);
        let record: Record = messages::decode(&aligned)
            .map_err(|malformed| RecordError::Malformed(malformed.to_string()))?;
        let (models, addresses) = (record.facts.models.len(), record.facts.addresses.len());
        if models > MODELS_MAX || addresses > ADDRESSES_MAX {
            return Err(size(models, addresses));
        }
        let node = NodeId::from_bytes(record.node);
        let proof = Proof { key: self.key, signature: self.signature };
        if proof.signer(PURPOSE, &self.bytes) != Some(node) {
            return Err(RecordError::NotSigned { node });
        }
        Ok(record)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node's record of its first start.
    pub(crate) fn record_of(identity: &Identity, name: &str, incarnation: u64) -> Record {
        let facts = Facts {
            incarnation,
            instance: 7,
            addresses: vec![LinkAddress {
                interface: "bridge0".into(),
                kind: "thunderbolt".into(),
                address: "192.168.2.1:52416".into(),
            }],
            ..Facts::default()
        };
        Record {
            node: *identity.node_id().as_bytes(),
            name: name.into(),
            memory: 1 << 30,
            interface: "bridge0".into(),
            link_kind: "thunderbolt".into(),
            listen: "192.168.2.1:52416".into(),
            api: String::new(),
            wants: None,
            placement_epoch: 0,
            leaving: false,
            facts,
        }
    }

    #[test]
    fn a_record_is_the_word_of_the_node_that_it_names() {
        let (mini, air) = (Identity::generate(), Identity::generate());
        let record = record_of(&mini, "mini", 1);
        let signed = SignedRecord::sign(&mini, &record);
        assert_eq!(signed.open(), Ok(record.clone()));
        // Another cannot speak for it, nor bend what it said.
        let node = mini.node_id();
        assert_eq!(SignedRecord::sign(&air, &record).open(), Err(RecordError::NotSigned { node }));
        for at in 0..signed.bytes.len() {
            let mut bent = signed.clone();
            bent.bytes[at] ^= 1;
            assert!(bent.open().is_err(), "byte {at}");
        }
        let mut long = signed.clone();
        long.bytes.resize(RECORD_BYTES_MAX + 1, 0);
        assert!(matches!(long.open(), Err(RecordError::TooLarge { .. })));
        let mut boastful = record;
        boastful.facts.addresses = vec![boastful.facts.addresses[0].clone(); ADDRESSES_MAX + 1];
        let error = SignedRecord::sign(&mini, &boastful).open();
        assert!(matches!(error, Err(RecordError::TooLarge { addresses: 17, .. })));
    }

    #[test]
    fn a_later_start_is_newer_whatever_it_has_said() {
        let version =
            |incarnation, revision| Facts { incarnation, revision, ..Facts::default() }.version();
        assert!(version(2, 0) > version(1, 99) && version(2, 1) > version(2, 0));
    }
}
