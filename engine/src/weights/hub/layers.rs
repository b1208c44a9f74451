//! Which tensors, and so which bytes, are those of some layers?

use std::{collections::BTreeMap, ops::Range, path::Path};

use safetensors::{Dtype, tensor::TensorInfo as Entry};
use serde_json::{Value, json};

use super::HubError;
use crate::{
    layers::LayerRange,
    weights::{header, write::header_bytes},
};

/// Whether a node with these layers of a model of `layers` layers needs that tensor. What belongs
/// to no layer goes by its name: embeddings to the first stage (and to the last, if they are the
/// output head as well), the final norm and the head to the last. What is not known goes to all.
#[must_use]
pub fn holds(range: LayerRange, layers: u32, tied: bool, tensor: &str) -> bool {
    let mut parts = tensor.split('.');
    if parts.any(|part| part == "layers")
        && let Some(layer) = parts.next().and_then(|number| number.parse::<u32>().ok())
    {
        return range.contains(layer);
    }
    let (first, last) = (range.is_first(), range.is_last(layers));
    if tensor.contains("embed_tokens.") {
        first || (tied && last)
    } else if tensor.starts_with("lm_head.") || tensor.ends_with("model.norm.weight") {
        last
    } else {
        true
    }
}

/// A safetensors file that holds only some of another's tensors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its own beginning, up to the first tensor.
    pub(super) prefix: Vec<u8>,
    /// Which bytes of the other follow, in order; neighbours are joined.
    pub(super) pieces: Vec<Range<u64>>,
    /// The tensors it holds.
    pub(super) tensors: Vec<String>,
}

/// The part with the tensors that `wanted` names, of a file that begins with `beginning` (at least
/// its header) and has `file_bytes` bytes. `None` if there are none.
pub(super) fn part(
    beginning: &[u8],
    file_bytes: u64,
    name: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<Part>, HubError> {
    let header = header::read_from(beginning, file_bytes, Path::new(name))?;
    let mut pieces: Vec<Range<u64>> = Vec::new();
    let mut kept: Vec<(String, Dtype, Vec<usize>)> = Vec::new();
    // In the order of their bytes, so that joining works.
    for (name, Entry { dtype, shape, data_offsets: (start, end) }) in header.entries {
        if !wanted(&name) {
            continue;
        }
        let (start, end) = (start as u64, end as u64);
        match pieces.last_mut() {
            Some(piece) if piece.end == start => piece.end = end,
            _ if start == end => {}
            _ => pieces.push(start..end),
        }
        kept.push((name, dtype, shape));
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let tensors = kept.iter().map(|(name, ..)| name.clone()).collect();
    let prefix =
        header_bytes(kept).map_err(|source| HubError::Write { file: name.into(), source })?;
    Ok(Some(Part { prefix, pieces, tensors }))
}

/// How many bytes of a safetensors file are its length prefix and header.
pub(super) fn header_length(first: [u8; 8]) -> Option<u64> {
    let json = u64::from_le_bytes(first);
    (json <= header::HEADER_BYTES_MAX).then(|| 8 + json)
}

/// `model.safetensors.index.json` of what is here.
pub(super) fn index(tensors: &BTreeMap<String, String>) -> Value {
    json!({ "metadata": {}, "weight_map": tensors })
}

/// What a model's configuration says about its layers: how many, and whether the embeddings are
/// the output head as well.
pub(crate) fn shape(config: &Value) -> Option<(u32, bool)> {
    let text = config.get("text_config").unwrap_or(config);
    let layers = u32::try_from(text.get("num_hidden_layers")?.as_u64()?).ok()?;
    let tied = text.get("tie_word_embeddings").or_else(|| config.get("tie_word_embeddings"));
    Some((layers, tied.and_then(Value::as_bool).unwrap_or(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tensor_goes_to_the_stages_that_need_it() {
        let range = |start, end| LayerRange::checked(start, end).unwrap();
        let (first, middle, last) = (range(0, 2), range(2, 4), range(4, 6));
        for (tensor, tied, whose) in [
            ("model.layers.1.mlp.up_proj.weight", false, [true, false, false]),
            ("model.layers.11.mlp.up_proj.weight", false, [false, false, false]),
            ("model.layers.4.mlp.switch_mlp.up_proj.scales", false, [false, false, true]),
            ("model.embed_tokens.weight", false, [true, false, false]),
            ("model.embed_tokens.scales", true, [true, false, true]),
            ("language_model.model.embed_tokens.weight", true, [true, false, true]),
            ("model.norm.weight", false, [false, false, true]),
            ("lm_head.weight", false, [false, false, true]),
            ("model.rotary.inv_freq", false, [true, true, true]),
        ] {
            let found = [first, middle, last].map(|range| holds(range, 6, tied, tensor));
            assert_eq!(found, whose, "{tensor}");
        }
    }

    #[test]
    fn a_part_is_a_safetensors_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        crate::weights::write::tests::write_file(
            &path,
            &[("a", &[1.0]), ("b", &[2.0, 2.5]), ("c", &[3.0]), ("d", &[4.0])],
        );
        let whole = std::fs::read(&path).unwrap();
        let wanted = |name: &str| name != "c";
        let part = part(&whole, whole.len() as u64, "m", wanted).unwrap().unwrap();
        assert_eq!(part.pieces.len(), 2, "a and b are neighbours: {:?}", part.pieces);
        let mut own = part.prefix.clone();
        for piece in part.pieces {
            own.extend(&whole[piece.start as usize..piece.end as usize]);
        }
        let tensors = safetensors::SafeTensors::deserialize(&own).unwrap();
        assert_eq!(tensors.names().len(), 3);
        assert_eq!(tensors.tensor("d").unwrap().data(), 4.0_f32.to_le_bytes());
        assert_eq!(super::part(&whole, whole.len() as u64, "m", |_| false).unwrap(), None);
    }
}
