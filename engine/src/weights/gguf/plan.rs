//! Which Hugging Face configuration and tensors is that?
//!
//! Every key of the architecture and every tensor is either understood or refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    GgufTensor,
    family::{FAMILIES, Family, KEYS, LayerForm, Shape},
    file::{GgufError, GgufFile},
    import::{ImportDtype, ImportError},
    settings::{self, shortest},
    sizes::Sizes,
    weights,
};

/// The file's tensors that were not taken yet, by name.
pub(super) type Sources<'a> = BTreeMap<&'a str, &'a GgufTensor>;

/// What has to be written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Value,
    pub(super) model_type: &'static str,
    pub(super) layers: usize,
    pub(super) tensors: Vec<PlannedTensor>,
}

/// One tensor of the folder.
#[derive(Debug, PartialEq)]
pub(super) struct PlannedTensor {
    pub(super) name: String,
    pub(super) source: GgufTensor,
    /// Rows come in heads of that many, in llama.cpp's order.
    pub(super) permuted_head: Option<usize>,
    /// A norm's weight that is stored plus one.
    pub(super) plus_one: bool,
}

/// Everything that has to be written for this file.
pub(super) fn plan(file: &GgufFile, dtype: ImportDtype) -> Result<Plan, ImportError> {
    let architecture = file.metadata.text("general.architecture")?;
    let family = family(file, architecture)?;
    check_keys(file, family)?;
    let mut sources: Sources<'_> =
        file.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let sizes = Sizes::read(file, family, &sources)?;
    let own = settings::of(file, family, &sizes, &mut sources)?;
    let tied = !sources.contains_key("output.weight");
    let tensors = planned(family, &sizes, tied, &mut sources)?;
    if let Some(unknown) = sources.keys().next() {
        let problem = format!("no part of a {architecture} model as it is known here");
        return Err(GgufError::tensor(unknown, problem).into());
    }
    let mut config = config(file, family, &sizes, tied, dtype)?;
    if let Some(fields) = config.as_object_mut() {
        fields.extend(own);
    }
    if let Some(quantisation) = weights::quantisation(&tensors, dtype) {
        config["quantization"] = quantisation;
    }
    Ok(Plan { config, model_type: family.model_type, layers: sizes.layers, tensors })
}

fn family(file: &GgufFile, architecture: &str) -> Result<&'static Family, ImportError> {
    let mut called = FAMILIES.iter().filter(|family| family.name == architecture);
    let first =
        called.next().ok_or_else(|| ImportError::Architecture { name: architecture.to_owned() })?;
    // DeepSeek V2 and V3 have one name; they differ in how experts are scored.
    Ok(called.next().filter(|_| settings::is_sigmoid(file, architecture)).unwrap_or(first))
}

fn check_keys(file: &GgufFile, family: &Family) -> Result<(), ImportError> {
    let metadata = &file.metadata;
    for key in metadata.0.keys() {
        let own = key.strip_prefix(family.name).and_then(|rest| rest.strip_prefix('.'));
        if own.is_some_and(|rest| !KEYS.contains(&rest) && !family.keys.contains(&rest)) {
            return Err(GgufError::key(key, "not supported: it may change what is computed").into());
        }
    }
    let experts = metadata.optional_size(&format!("{}.expert_count", family.name))?.unwrap_or(0);
    if experts > 0 && !family.has_experts() {
        let name = format!("{} with experts (such as Mixtral)", family.name);
        return Err(ImportError::Architecture { name });
    }
    if metadata.optional_size("split.count")?.unwrap_or(1) > 1 {
        return Err(ImportError::Split);
    }
    Ok(())
}

/// Takes every tensor of the model out of `sources`, checking its shape.
fn planned(
    family: &Family,
    sizes: &Sizes,
    tied: bool,
    sources: &mut Sources<'_>,
) -> Result<Vec<PlannedTensor>, GgufError> {
    let take = |sources: &mut Sources<'_>, source: String, name: String, shape: Option<Shape>| {
        let (expected, permuted_head) = match shape {
            Some(shape) => sizes.shape(shape),
            None => (vec![sizes.vocab, sizes.hidden], None),
        };
        let tensor = sources
            .remove(source.as_str())
            .ok_or_else(|| GgufError::tensor(&source, "missing: the model needs it"))?;
        if tensor.shape != expected {
            let problem = format!("shape {:?}; the model needs {expected:?}", tensor.shape);
            return Err(GgufError::tensor(&source, problem));
        }
        let plus_one = family.norms_plus_one && shape.is_some_and(Family::is_norm);
        Ok(PlannedTensor { name, source: tensor.clone(), permuted_head, plus_one })
    };
    let embedding = "model.embed_tokens.weight".to_owned();
    let mut tensors = vec![take(sources, "token_embd.weight".to_owned(), embedding, None)?];
    for layer in 0..sizes.layers {
        let joined = format!("blk.{layer}.attn_kv_b.weight");
        let form = LayerForm {
            is_dense: layer < sizes.first_sparse,
            has_shared: sizes.shared_experts > 0,
            compresses_queries: sizes.latent.query_rank > 0,
            joins_up: sources.contains_key(joined.as_str()),
        };
        for &(source, name, shape) in family.layer(form).into_iter().flatten() {
            let source = format!("blk.{layer}.{source}");
            let name = format!("model.layers.{layer}.{name}");
            tensors.push(take(sources, source, name, Some(shape))?);
        }
    }
    let norm = "model.norm.weight".to_owned();
    tensors.push(take(sources, "output_norm.weight".to_owned(), norm, Some(Shape::Hidden))?);
    if !tied {
        let head = "lm_head.weight".to_owned();
        tensors.push(take(sources, "output.weight".to_owned(), head, None)?);
    }
    Ok(tensors)
}

/// The fields of config.json that all architectures have.
fn config(
    file: &GgufFile,
    family: &Family,
    sizes: &Sizes,
    tied: bool,
    dtype: ImportDtype,
) -> Result<Value, GgufError> {
    let metadata = &file.metadata;
    let epsilon = format!("{}.attention.layer_norm_rms_epsilon", family.name);
    let epsilon =
        metadata.optional_float(&epsilon)?.ok_or_else(|| GgufError::key(&epsilon, "missing"))?;
    let id = |name: &str| metadata.optional_size(&format!("tokenizer.ggml.{name}_token_id"));
    Ok(json!({
        "architectures": [family.class],
        "model_type": family.model_type,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "max_position_embeddings": metadata.size(&format!("{}.context_length", family.name))?,
        "rms_norm_eps": shortest(epsilon),
        "vocab_size": sizes.vocab,
        "tie_word_embeddings": tied,
        "bos_token_id": id("bos")?,
        "eos_token_id": id("eos")?,
        "pad_token_id": id("padding")?,
        "torch_dtype": dtype.torch_name(),
    }))
}
