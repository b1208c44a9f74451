//! Signatures by the key that names a node: what a node says can be passed on by others.

use curve25519_dalek::edwards::CompressedEdwardsY;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::identity::{Identity, NodeId};

/// A signature, and the key that checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The Ed25519 key. Its other form, an X25519 key, names the node.
    pub key: [u8; 32],
    /// The Ed25519 signature.
    pub signature: [u8; 64],
}

/// What is signed: no signature for one purpose is one for another.
fn signed(purpose: &str, message: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(purpose.len() + 1 + message.len());
    all.extend_from_slice(purpose.as_bytes());
    all.push(0);
    all.extend_from_slice(message);
    all
}

impl Identity {
    /// Signs a message for a purpose: a fixed word of the program, without a zero byte.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> Proof {
        let pair = Ed25519KeyPair::from_seed_unchecked(self.seed())
            .expect("a seed of 32 bytes is one, whatever they are");
        let (mut key, mut signature) = ([0; 32], [0; 64]);
        key.copy_from_slice(pair.public_key().as_ref());
        signature.copy_from_slice(pair.sign(&signed(purpose, message)).as_ref());
        Proof { key, signature }
    }
}

impl Proof {
    /// The node that signed this message for this purpose, if one did.
    pub fn signer(&self, purpose: &str, message: &[u8]) -> Option<NodeId> {
        let point = CompressedEdwardsY(self.key).decompress()?;
        // A key of small order signs what nobody said.
        if point.is_small_order() {
            return None;
        }
        let key = UnparsedPublicKey::new(&ED25519, self.key);
        key.verify(&signed(purpose, message), &self.signature).ok()?;
        Some(NodeId::of_public_key(&point.to_montgomery().to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_to_be_the_node_s_that_the_handshake_proves() {
        let node = Identity::generate();
        let proof = node.sign("record", b"I am mini");
        assert_eq!(proof.signer("record", b"I am mini"), Some(node.node_id()));
        assert_eq!(proof.signer("record", b"I am Mini"), None);
        assert_eq!(proof.signer("placement", b"I am mini"), None);
        assert_eq!(proof.signer("recor", b"d\0I am mini"), None);
        let other = Identity::generate().sign("record", b"I am mini");
        assert_ne!(other.signer("record", b"I am mini"), Some(node.node_id()));
        let stolen = Proof { key: proof.key, ..other };
        assert_eq!(stolen.signer("record", b"I am mini"), None);
        for bit in 0..512 {
            let mut bent = proof;
            bent.signature[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(bent.signer("record", b"I am mini"), None, "bit {bit}");
        }
    }

    #[test]
    fn keys_that_sign_anything_sign_nothing() {
        // The neutral point: with it, a signature of zeros would hold for every message.
        let mut key = [0; 32];
        key[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert_eq!(Proof { key, signature }.signer("record", b"anything"), None);
    }
}
