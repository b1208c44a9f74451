//! The K types: superblocks of 256 numbers whose sub-blocks' scales are quantised themselves.

use super::quant::half_at;

/// Scale and minimum of sub-block `n` of eight, 6 bits each, packed in 12 bytes: the first four
/// lie whole in the low bits; the others' low nibbles follow, and their high bits are the two top
/// bits of the first eight bytes.
fn scale_and_min(packed: &[u8], n: usize) -> (f32, f32) {
    let (scale, min) = if n < 4 {
        (packed[n] & 63, packed[n + 4] & 63)
    } else {
        (
            (packed[n + 4] & 15) | ((packed[n - 4] >> 6) << 4),
            (packed[n + 4] >> 4) | ((packed[n] >> 6) << 4),
        )
    };
    (scale.into(), min.into())
}

/// A sub-block: `number = scale × code − least`.
type SubBlock = ([u8; 32], f32, f32);

/// scale f16, minimum f16, scales 12, codes 128: of each 32 bytes the low nibbles are one sub-block
/// and the high nibbles the next.
pub(super) fn q4_k_group(block: &[u8], n: usize) -> SubBlock {
    let (sub_scale, sub_min) = scale_and_min(&block[4..16], n);
    let mut codes = [0; 32];
    for (code, byte) in codes.iter_mut().zip(&block[16 + n / 2 * 32..]) {
        *code = (byte >> (n % 2 * 4)) & 15;
    }
    (codes, half_at(block, 0) * sub_scale, half_at(block, 2) * sub_min)
}

/// As Q4_K with 32 bytes of fifth bits before the codes: bit `n` of byte `i` is element `i` of
/// sub-block `n`.
pub(super) fn q5_k_group(block: &[u8], n: usize) -> SubBlock {
    let (sub_scale, sub_min) = scale_and_min(&block[4..16], n);
    let mut codes = [0; 32];
    let bytes = block[48 + n / 2 * 32..].iter().zip(&block[16..48]);
    for (code, (byte, fifth)) in codes.iter_mut().zip(bytes) {
        *code = (byte >> (n % 2 * 4)) & 15 | ((fifth >> n) & 1) << 4;
    }
    (codes, half_at(block, 0) * sub_scale, half_at(block, 2) * sub_min)
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    sub_blocks(|n| q4_k_group(block, n), out);
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    sub_blocks(|n| q5_k_group(block, n), out);
}

fn sub_blocks(group: impl Fn(usize) -> SubBlock, out: &mut [f32; 256]) {
    for (n, sub) in out.chunks_exact_mut(32).enumerate() {
        let (codes, scale, least) = group(n);
        for (x, code) in sub.iter_mut().zip(codes) {
            *x = scale * f32::from(code) - least;
        }
    }
}

/// low nibbles 128, high pairs 64, signed scales 16 (one per 16 numbers), scale f16. Each half of
/// the superblock takes 64 bytes of nibbles and 32 of pairs.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half_at(block, 208);
    for (n, sub) in out.chunks_exact_mut(32).enumerate() {
        let (half, quarter) = (n / 4, n % 4);
        let low = &block[half * 64 + quarter % 2 * 32..][..32];
        let high = &block[128 + half * 32..][..32];
        for (i, (x, (low, high))) in sub.iter_mut().zip(low.iter().zip(high)).enumerate() {
            let code = (low >> (quarter / 2 * 4)) & 15 | ((high >> (quarter * 2)) & 3) << 4;
            let sub_scale = f32::from(block[192 + n * 2 + i / 16].cast_signed());
            *x = scale * sub_scale * (f32::from(code) - 32.0);
        }
    }
}
