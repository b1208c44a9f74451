//! How fast one core seals: what an encrypted stream cannot go beyond.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use exo_transport::limits::{CHUNK_BYTES_DEFAULT, HEADER_BYTES};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::section::Values;

/// How long it is measured.
const FOR: Duration = Duration::from_millis(300);
/// Chunks sealed between two looks at the clock.
const BATCH: usize = 16;

/// Seals chunks as the transport's frames are: in place, with a header as additional data.
pub(super) fn seal() -> anyhow::Result<Values> {
    let broken = |_| anyhow!("the cipher refuses its key");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(broken)?);
    let mut chunk = vec![0; CHUNK_BYTES_DEFAULT];
    let began = Instant::now();
    let mut sealed = 0_u64;
    while began.elapsed() < FOR {
        for _ in 0..BATCH {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&sealed.to_le_bytes());
            let aad = Aad::from([0; HEADER_BYTES]);
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = key.seal_in_place_separate_tag(nonce, aad, &mut chunk).map_err(broken)?;
            let _ = std::hint::black_box(tag);
            sealed += 1;
        }
    }
    let bytes = sealed as f64 * CHUNK_BYTES_DEFAULT as f64;
    Ok(Values::from([("GB/s", bytes / began.elapsed().as_secs_f64() / 1e9)]))
}
