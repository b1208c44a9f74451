//! The sizes of a model of the catalogue, from its card: for planning before anything is fetched.

use super::{ModelShape, PartShape};
use crate::weights::catalogue::{KnownModel, Variant};

/// Bytes of a number that is computed with, on the GPUs that such plans are for.
const NUMBER_BYTES: u64 = 2;

impl ModelShape {
    /// Of a model of the catalogue as it lies in a GPU's memory, from its card alone: all layers
    /// alike, and their norms counted as weights.
    #[must_use]
    pub fn of_known(model: &KnownModel, variant: &Variant) -> Self {
        let held = |elements: u64| match u64::from(variant.bits) {
            bits @ 0..16 => elements * (2 * bits + 1) / 16, // a scale and a bias for 64 weights
            _ => elements * NUMBER_BYTES,
        };
        let ends = u64::from(model.vocabulary) * u64::from(model.hidden);
        let count = u64::from(model.layers.max(1));
        let copies = if model.tied { 1 } else { 2 };
        let of_layer =
            |billions: f64| ((billions * 1e9) as u64).saturating_sub(copies * ends).div_ceil(count);
        let all = of_layer(model.parameters);
        let read = of_layer(model.active.unwrap_or(model.parameters)).min(all);
        let layer = PartShape { bytes: held(all), read_bytes: held(read), multiplies: read };
        Self {
            layers: vec![layer; count as usize],
            embedding_bytes: held(ends),
            head: PartShape::dense(held(ends), ends),
            tied: model.tied,
            kv_token_layer_bytes: u64::from(model.cache_numbers) * NUMBER_BYTES,
            context: u64::from(model.context),
            token_bytes: u64::from(model.hidden) * NUMBER_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::catalogue::{Catalogue, Meaning};

    fn shape(name: &str) -> (ModelShape, &'static KnownModel, &'static Variant) {
        match Catalogue::built_in().resolve(name).unwrap() {
            Meaning::Known { model, variant, .. } => {
                (ModelShape::of_known(model, variant), model, variant)
            }
            Meaning::Repository { .. } => panic!("{name} is in the catalogue"),
        }
    }

    #[test]
    fn the_parts_of_every_known_model_add_up_to_the_whole() {
        for model in Catalogue::built_in().models() {
            let (shape, model, variant) = shape(&model.name);
            let layers: u64 = shape.layers.iter().map(|layer| layer.bytes).sum();
            let head = if shape.tied { 0 } else { shape.head.bytes };
            let (sum, whole) = (layers + shape.embedding_bytes + head, model.weight_bytes(variant));
            let off = sum.abs_diff(whole) as f64 / whole as f64;
            assert!(off < 0.01, "{}: {sum} bytes of {whole}", model.name);
            assert!(layers > whole / 3, "{}: its ends are too large for it", model.name);
        }
    }

    #[test]
    fn a_token_reads_the_experts_it_chooses() {
        let (shape, ..) = shape("qwen3:30b");
        let layer = shape.layers[0];
        assert!(layer.read_bytes * 8 < layer.bytes, "{layer:?}");
        assert_eq!(shape.head.read_bytes, shape.head.bytes);
    }

    #[test]
    fn seventy_billion_parameters_at_four_bits_are_forty_gigabytes() {
        let (shape, ..) = shape("llama3.3:70b");
        assert_eq!(shape.layer_count(), 80);
        // Keys and values of 8 heads of 128 numbers, 2 bytes each: 320 KiB a token.
        assert_eq!(shape.kv_token_layer_bytes * 80, 320 << 10);
        assert_eq!(shape.token_bytes, 16 << 10);
    }
}
