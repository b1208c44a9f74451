//! Which of MLX's codes are those blocks?
//!
//! MLX's affine quantisation has groups of 32 numbers, `number = scale × code + bias`. Most of ggml's
//! blocks say the same in other words: signed codes become unsigned ones with a bias, and the
//! sub-blocks of K types groups. Nothing is rounded, but for Q6_K, whose groups of 16 MLX does not
//! have: it gets codes of 8 bits, an eighth of its own step from its numbers at most.

use half::f16;
use safetensors::Dtype;

use super::quant::{GgmlType, fifth_bits, half_at, nibbles};
use super::quant_k;

/// Numbers of a group.
pub(super) const GROUP: usize = 32;

/// How MLX holds the numbers of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    /// Of a code.
    pub(super) bits: usize,
    /// The type that scales have without being rounded, and biases; but MXFP4 has none of these, and
    /// its scales are exponents.
    pub(super) scales: Dtype,
}

impl Form {
    /// Whether codes are floats of 4 bits.
    pub(super) fn is_mxfp4(self) -> bool {
        self.scales == Dtype::U8
    }
}

/// A group's numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) codes: [u8; GROUP],
    pub(super) scale: f32,
    pub(super) bias: f32,
}

impl GgmlType {
    /// How MLX holds it; `None` if as floats.
    pub(super) fn form(self) -> Option<Form> {
        let (bits, scales) = match self {
            Self::F32 | Self::F16 | Self::BF16 => return None,
            Self::Q4_0 | Self::Q4_1 => (4, Dtype::F16),
            Self::Q5_0 | Self::Q5_1 => (5, Dtype::F16),
            Self::Q8_0 => (8, Dtype::F16),
            // A product of a half and an integer.
            Self::Q4_K => (4, Dtype::F32),
            Self::Q5_K => (5, Dtype::F32),
            Self::Q6_K => (8, Dtype::F32),
            Self::MXFP4 => (4, Dtype::U8),
        };
        Some(Form { bits, scales })
    }

    /// The groups of these blocks, in order; none of a type that MLX holds as floats.
    pub(super) fn groups(self, blocks: &[u8]) -> impl Iterator<Item = Group> {
        let of_block = if self.form().is_some() { self.block_elements() / GROUP } else { 0 };
        blocks
            .chunks_exact(self.block_bytes())
            .flat_map(move |block| (0..of_block).map(move |number| self.group(block, number)))
    }

    /// The `number`-th group of a block.
    fn group(self, block: &[u8], number: usize) -> Group {
        let filled = |codes: &mut dyn Iterator<Item = u8>| {
            let mut all = [0; GROUP];
            all.iter_mut().zip(codes).for_each(|(to, code)| *to = code);
            all
        };
        // A scale, and how much of it the smallest code stands for; or a bias of its own.
        let signed = |codes, least: f32| {
            let scale = half_at(block, 0);
            Group { codes, scale, bias: -scale * least }
        };
        let offset = |codes| Group { codes, scale: half_at(block, 0), bias: half_at(block, 2) };
        let five = |fifths: usize| {
            let low = nibbles(&block[fifths + 4..]).zip(fifth_bits(&block[fifths..fifths + 4]));
            filled(&mut low.map(|(low, high)| low | high))
        };
        match self {
            Self::Q4_0 => signed(filled(&mut nibbles(&block[2..])), 8.0),
            Self::Q4_1 => offset(filled(&mut nibbles(&block[4..]))),
            Self::Q5_0 => signed(five(2), 16.0),
            Self::Q5_1 => offset(five(4)),
            // Of a signed byte the sign's bit flipped is the byte plus 128.
            Self::Q8_0 => signed(filled(&mut block[2..].iter().map(|code| code ^ 0x80)), 128.0),
            Self::Q4_K => {
                let (codes, scale, least) = quant_k::q4_k_group(block, number);
                Group { codes, scale, bias: -least }
            }
            Self::Q5_K => {
                let (codes, scale, least) = quant_k::q5_k_group(block, number);
                Group { codes, scale, bias: -least }
            }
            // The exponent as it is.
            Self::MXFP4 => Group {
                codes: filled(&mut nibbles(&block[1..])),
                scale: block[0].into(),
                bias: 0.0,
            },
            _ => {
                let mut numbers = vec![0.0; self.block_elements()];
                self.dequantise(block, &mut numbers);
                rounded(&numbers[number * GROUP..][..GROUP])
            }
        }
    }
}

/// Numbers in 8 bits each.
fn rounded(numbers: &[f32]) -> Group {
    let least = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let most = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (most - least) / 255.0;
    let mut codes = [0; GROUP];
    for (code, number) in codes.iter_mut().zip(numbers) {
        // Of a group of one number the scale is 0, and NaN becomes 0.
        *code = ((number - least) / scale).round() as u8;
    }
    Group { codes, scale, bias: least }
}

/// Appends codes as MLX packs them: from the lowest bit of the first byte on, without gaps.
pub(super) fn pack(codes: &[u8; GROUP], bits: usize, out: &mut Vec<u8>) {
    for eight in codes.as_chunks::<8>().0 {
        let packed = eight.iter().rev().fold(0_u64, |word, &code| word << bits | u64::from(code));
        out.extend_from_slice(&packed.to_le_bytes()[..bits]);
    }
}

/// Appends a scale, exponent or bias; `false` if it is too large for the type.
pub(super) fn append(number: f32, dtype: Dtype, out: &mut Vec<u8>) -> bool {
    if dtype == Dtype::F16 {
        let half = f16::from_f32(number);
        out.extend_from_slice(&half.to_le_bytes());
        return half.is_finite();
    }
    if dtype == Dtype::U8 {
        out.push(number as u8);
        return true;
    }
    out.extend_from_slice(&number.to_le_bytes());
    true
}

#[cfg(test)]
mod tests {
    use mlx_rs::{Array, ops};
    use serde_json::Value;

    use super::*;

    const BLOCKS: &str = include_str!("../../../tests/fixtures/ggml_blocks.json");

    /// MLX makes the same numbers of the codes as ggml does of the blocks.
    #[test]
    fn the_codes_stand_for_the_same_numbers() {
        let cases: Vec<Value> = serde_json::from_str(BLOCKS).unwrap();
        let mut compared = 0;
        for case in cases {
            let name = case["type"].as_str().unwrap();
            let kind = GgmlType::ALL.into_iter().find(|kind| kind.name() == name).unwrap();
            let Some(form) = kind.form().filter(|form| !form.is_mxfp4()) else { continue };
            let blocks = hex::decode(case["blocks"].as_str().unwrap()).unwrap();
            let mut expected = vec![0.0; blocks.len() / kind.block_bytes() * kind.block_elements()];
            kind.dequantise(&blocks, &mut expected);
            let (mut words, mut scales, mut biases) = (Vec::new(), Vec::new(), Vec::new());
            for group in kind.groups(&blocks) {
                pack(&group.codes, form.bits, &mut words);
                scales.push(group.scale);
                biases.push(group.bias);
            }
            let rows = scales.len() as i32;
            let (words, _) = words.as_chunks::<4>();
            let words: Vec<u32> = words.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
            let array = |numbers: &[f32]| Array::from_slice(numbers, &[rows, 1]);
            let words = Array::from_slice(&words, &[rows, form.bits as i32]);
            let numbers =
                ops::dequantize(&words, array(&scales), &array(&biases), 32, form.bits as i32)
                    .unwrap();
            numbers.eval().unwrap();
            for (group, (ours, ggml)) in
                numbers.as_slice::<f32>().chunks(GROUP).zip(expected.chunks(GROUP)).enumerate()
            {
                // Q6_K is rounded to half a step of 255; the others differ in the last bit at most,
                // of the largest number that is added.
                let largest = ggml.iter().fold(biases[group].abs(), |most, x| most.max(x.abs()));
                let bound = if kind == GgmlType::Q6_K { scales[group] * 0.51 } else { 0.0 };
                let bound = bound + largest * 2.0 * f32::EPSILON;
                for (ours, ggml) in ours.iter().zip(ggml) {
                    assert!((ours - ggml).abs() <= bound, "{name}: {ours} for {ggml}");
                }
                compared += 1;
            }
        }
        assert!(compared >= 8, "{compared} groups");
    }

    #[test]
    fn floats_of_4_bits_stay_what_they_are() {
        let cases: Vec<Value> = serde_json::from_str(BLOCKS).unwrap();
        let case = cases.iter().find(|case| case["type"] == "MXFP4").unwrap();
        let blocks = hex::decode(case["blocks"].as_str().unwrap()).unwrap();
        let mut expected = vec![0.0; blocks.len() / 17 * 32];
        GgmlType::MXFP4.dequantise(&blocks, &mut expected);
        let (mut words, mut exponents) = (Vec::new(), Vec::new());
        for group in GgmlType::MXFP4.groups(&blocks) {
            pack(&group.codes, 4, &mut words);
            assert!(append(group.scale, Dtype::U8, &mut exponents));
        }
        let rows = exponents.len() as i32;
        let (words, _) = words.as_chunks::<4>();
        let words: Vec<u32> = words.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let words = Array::from_slice(&words, &[rows, 4]);
        let exponents = Array::from_slice(&exponents, &[rows, 1]);
        let numbers =
            crate::mlx::mxfp4::dequantise(&words, &exponents, mlx_rs::Dtype::Float32).unwrap();
        numbers.eval().unwrap();
        assert_eq!(numbers.as_slice::<f32>(), expected);
    }

    #[test]
    fn a_scale_that_no_half_holds_is_told() {
        let mut out = Vec::new();
        assert!(append(65504.0, Dtype::F16, &mut out) && append(1e9, Dtype::F32, &mut out));
        assert!(!append(65536.0, Dtype::F16, &mut out));
        assert_eq!(rounded(&[3.0; GROUP]).codes, [0; GROUP]);
    }
}
