//! Which numbers is that block?
//!
//! ggml stores a row as blocks of 32 (or 256) numbers: a scale, perhaps an offset, and a few bits
//! each. All arithmetic is in f32 in ggml's own order of operations, so that the result is the same
//! to the bit. Layouts: `ggml-common.h` and `ggml-quants.c` of <https://github.com/ggml-org/ggml>.

use half::{bf16, f16};

use super::quant_k;

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, missing_docs, reason = "ggml's names, in its documentation")]
pub enum GgmlType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
    MXFP4,
}

/// Names of all types that the format knows, at their codes (empty: withdrawn).
const NAMES: [&str; 40] = [
    "F32", "F16", "Q4_0", "Q4_1", "", "", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K",
    "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S",
    "IQ4_XS", "I8", "I16", "I32", "I64", "F64", "IQ1_M", "BF16", "", "", "", "TQ1_0", "TQ2_0", "",
    "", "", "MXFP4",
];

impl GgmlType {
    /// All that are read.
    pub const ALL: [Self; 12] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::MXFP4,
    ];

    /// The type with that code in a file, if it is read.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        let name = NAMES.get(code as usize)?;
        Self::ALL.into_iter().find(|kind| kind.name() == *name)
    }

    /// What ggml calls the type with that code.
    #[must_use]
    pub fn name_of_code(code: u32) -> String {
        match NAMES.get(code as usize) {
            Some(name) if !name.is_empty() => (*name).to_owned(),
            _ => format!("unknown type {code}"),
        }
    }

    /// What ggml calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::MXFP4 => "MXFP4",
        }
    }

    /// Numbers in a block.
    #[must_use]
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::MXFP4 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes in a block.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::MXFP4 => 17,
        }
    }

    /// Bytes of that many numbers, a multiple of [`block_elements`](Self::block_elements).
    #[must_use]
    pub fn bytes(self, elements: usize) -> usize {
        elements / self.block_elements() * self.block_bytes()
    }

    /// The numbers of these blocks.
    ///
    /// # Panics
    /// If `blocks` are not whole blocks, or `out` has not their number of elements.
    pub fn dequantise(self, blocks: &[u8], out: &mut [f32]) {
        assert_eq!(blocks.len() % self.block_bytes(), 0, "whole blocks");
        assert_eq!(blocks.len() / self.block_bytes() * self.block_elements(), out.len());
        match self {
            Self::F32 => each(blocks, out, |&bytes, [x]: &mut [f32; 1]| {
                *x = f32::from_le_bytes(bytes);
            }),
            Self::F16 => each(blocks, out, |&bytes: &[u8; 2], [x]: &mut [f32; 1]| {
                *x = f16::from_le_bytes(bytes).to_f32();
            }),
            Self::BF16 => each(blocks, out, |&bytes: &[u8; 2], [x]: &mut [f32; 1]| {
                *x = bf16::from_le_bytes(bytes).to_f32();
            }),
            Self::Q4_0 => each(blocks, out, q4_0),
            Self::Q4_1 => each(blocks, out, q4_1),
            Self::Q5_0 => each(blocks, out, q5_0),
            Self::Q5_1 => each(blocks, out, q5_1),
            Self::Q8_0 => each(blocks, out, q8_0),
            Self::Q4_K => each(blocks, out, quant_k::q4_k),
            Self::Q5_K => each(blocks, out, quant_k::q5_k),
            Self::Q6_K => each(blocks, out, quant_k::q6_k),
            Self::MXFP4 => each(blocks, out, mxfp4),
        }
    }
}

/// Runs `block` over all blocks of `B` bytes and their `N` numbers.
fn each<const B: usize, const N: usize>(
    blocks: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; B], &mut [f32; N]),
) {
    let (blocks, _) = blocks.as_chunks::<B>();
    let (outs, _) = out.as_chunks_mut::<N>();
    for (bytes, numbers) in blocks.iter().zip(outs) {
        block(bytes, numbers);
    }
}

/// The f16 at `at`.
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The 32 codes of 4 bits in 16 bytes: low nibbles are the first half, high ones the second.
pub(super) fn nibbles(packed: &[u8]) -> impl Iterator<Item = u8> {
    packed.iter().map(|byte| byte & 15).chain(packed.iter().map(|byte| byte >> 4))
}

/// The fifth bits of 32 codes, in their place.
pub(super) fn fifth_bits(bits: &[u8]) -> impl Iterator<Item = u8> {
    (0..32).map(|n| ((bits[n / 8] >> (n % 8)) & 1) << 4)
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (x, code) in out.iter_mut().zip(nibbles(&block[2..])) {
        *x = scale * (f32::from(code) - 8.0);
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, offset) = (half_at(block, 0), half_at(block, 2));
    for (x, code) in out.iter_mut().zip(nibbles(&block[4..])) {
        *x = scale * f32::from(code) + offset;
    }
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    let codes = nibbles(&block[6..]).zip(fifth_bits(&block[2..6]));
    for (x, (low, high)) in out.iter_mut().zip(codes) {
        *x = scale * (f32::from(low | high) - 16.0);
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, offset) = (half_at(block, 0), half_at(block, 2));
    let codes = nibbles(&block[8..]).zip(fifth_bits(&block[4..8]));
    for (x, (low, high)) in out.iter_mut().zip(codes) {
        *x = scale * f32::from(low | high) + offset;
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (x, &code) in out.iter_mut().zip(&block[2..]) {
        *x = scale * f32::from(code.cast_signed());
    }
}

/// What a float of 4 bits stands for (OCP Microscaling Formats 1.0); ggml has one zero.
const FP4: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// The power of two that a byte stands for; the last byte is NaN.
fn power_of_two(exponent: u8) -> f32 {
    if exponent == u8::MAX { f32::NAN } else { (f32::from(exponent) - 127.0).exp2() }
}

fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let scale = power_of_two(block[0]);
    for (x, code) in out.iter_mut().zip(nibbles(&block[1..])) {
        *x = scale * FP4[usize::from(code)];
    }
}
