//! Sealing and opening of frames (PROTOCOL.md §2.2).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

use crate::limits::{HEADER_BYTES, TAG_BYTES};
use crate::wire::header::{Header, LANE_CONNECTION};

/// The two keys of an epoch: one for what goes out, one for what comes in.
pub(super) struct Keys {
    sealing: LessSafeKey,
    opening: LessSafeKey,
}

fn key(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are a key"))
}

/// No nonce repeats: the counters of lanes and connection are told apart by the lane's byte, and
/// never repeat in an epoch, whose keys are its own.
fn nonce(header: &Header) -> Nonce {
    let lane = match header.lane {
        Some(lane) if header.kind.is_of_lane() => lane as u8,
        _ => LANE_CONNECTION,
    };
    let mut nonce = [0; 12];
    nonce[..3].copy_from_slice(&header.epoch.to_le_bytes()[..3]);
    nonce[3] = lane;
    nonce[4..].copy_from_slice(&header.sequence.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Keys {
    pub(super) fn new(sealing: &[u8; 32], opening: &[u8; 32]) -> Self {
        Self { sealing: key(sealing), opening: key(opening) }
    }

    /// Seals `payload` where it is and gives the tag.
    pub(super) fn seal(
        &self,
        header: &Header,
        encoded: &[u8; HEADER_BYTES],
        payload: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let tag = self
            .sealing
            .seal_in_place_separate_tag(nonce(header), Aad::from(encoded), payload)
            .expect("a frame is far shorter than the cipher's limit");
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Opens `payload` where it is, if the tag is right.
    pub(super) fn open(
        &self,
        header: &Header,
        encoded: &[u8; HEADER_BYTES],
        payload: &mut [u8],
        tag: [u8; TAG_BYTES],
    ) -> bool {
        self.opening
            .open_in_place_separate_tag(
                nonce(header),
                Aad::from(encoded),
                Tag::from(tag),
                payload,
                0..,
            )
            .is_ok()
    }
}
