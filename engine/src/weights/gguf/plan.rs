//! Which Hugging Face configuration and tensors is that?
//!
//! Every key of the architecture and every tensor is either understood or refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    GgufTensor,
    family::{FAMILIES, Family, KEYS, Shape},
    file::{GgufError, GgufFile},
    import::{ImportDtype, ImportError},
    settings::{self, shortest},
};

/// More layers than any model has.
const LAYERS_MAX: usize = 4096;
const EXPERTS_MAX: usize = 1 << 16;

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

/// A model's sizes.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    /// Numbers of a head that are turned.
    pub(super) rotary: usize,
    pub(super) experts: usize,
    pub(super) expert_width: usize,
    intermediate: usize,
    kv_heads: usize,
    vocab: usize,
    permuted: bool,
}

/// Everything that has to be written for this file.
pub(super) fn plan(file: &GgufFile, dtype: ImportDtype) -> Result<Plan, ImportError> {
    let architecture = file.metadata.text("general.architecture")?;
    let family = FAMILIES
        .iter()
        .find(|family| family.name == architecture)
        .ok_or_else(|| ImportError::Architecture { name: architecture.to_owned() })?;
    check_keys(file, family)?;
    let mut sources: Sources<'_> =
        file.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let sizes = sizes(file, family, &sources)?;
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
    Ok(Plan { config, model_type: family.model_type, layers: sizes.layers, tensors })
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

fn sizes(file: &GgufFile, family: &Family, sources: &Sources<'_>) -> Result<Sizes, ImportError> {
    let key = |name: &str| format!("{}.{name}", family.name);
    let size = |name: &str| match file.metadata.size(&key(name))? {
        0 => Err(GgufError::key(&key(name), "0")),
        size => Ok(size),
    };
    let optional = |name: &str| file.metadata.optional_size(&key(name));
    let hidden = size("embedding_length")?;
    let heads = size("attention.head_count")?;
    let kv_heads = optional("attention.head_count_kv")?.unwrap_or(heads);
    let head_dim = optional("attention.key_length")?.unwrap_or(hidden / heads);
    let rotary = optional("rope.dimension_count")?.unwrap_or(head_dim);
    let value_length = optional("attention.value_length")?;
    let turned = if family.name == "phi3" {
        (2..=head_dim).contains(&rotary) && rotary.is_multiple_of(2)
    } else {
        rotary == head_dim
    };
    for (name, agrees) in [
        ("attention.head_count_kv", kv_heads > 0 && heads.is_multiple_of(kv_heads)),
        ("attention.key_length", head_dim > 0 && head_dim.is_multiple_of(2)),
        ("attention.value_length", value_length.is_none_or(|length| length == head_dim)),
        ("rope.dimension_count", turned),
    ] {
        if !agrees {
            let problem = format!("does not go with {heads} heads of {head_dim}");
            return Err(GgufError::key(&key(name), problem).into());
        }
    }
    let (layers, experts) = (size("block_count")?, optional("expert_count")?.unwrap_or(0));
    for (name, count, max) in
        [("block_count", layers, LAYERS_MAX), ("expert_count", experts, EXPERTS_MAX)]
    {
        if count > max {
            return Err(GgufError::key(&key(name), format!("{count}, of {max} at most")).into());
        }
    }
    Ok(Sizes {
        hidden,
        intermediate: size("feed_forward_length")?,
        layers,
        heads,
        kv_heads,
        head_dim,
        rotary,
        experts,
        expert_width: optional("expert_feed_forward_length")?.unwrap_or(0),
        vocab: sources.get("token_embd.weight").map_or(0, |embedding| embedding.rows()),
        permuted: family.permuted,
    })
}

/// Takes every tensor of the model out of `sources`, checking its shape.
fn planned(
    family: &Family,
    sizes: &Sizes,
    tied: bool,
    sources: &mut Sources<'_>,
) -> Result<Vec<PlannedTensor>, GgufError> {
    let mut take = |source: String, name: String, shape: Option<Shape>| {
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
    let mut tensors = vec![take("token_embd.weight".to_owned(), embedding, None)?];
    for layer in 0..sizes.layers {
        for &(source, name, shape) in family.tensors.iter().copied().flatten() {
            let source = format!("blk.{layer}.{source}");
            let name = format!("model.layers.{layer}.{name}");
            tensors.push(take(source, name, Some(shape))?);
        }
    }
    let norm = "model.norm.weight".to_owned();
    tensors.push(take("output_norm.weight".to_owned(), norm, Some(Shape::Hidden))?);
    if !tied {
        let head = "lm_head.weight".to_owned();
        tensors.push(take("output.weight".to_owned(), head, None)?);
    }
    Ok(tensors)
}

impl Sizes {
    /// A tensor's shape; with the rows of a head, if they lie in llama.cpp's order.
    fn shape(&self, shape: Shape) -> (Vec<usize>, Option<usize>) {
        let queries = self.heads.saturating_mul(self.head_dim);
        let keys = self.kv_heads.saturating_mul(self.head_dim);
        let (hidden, inner) = (self.hidden, self.intermediate);
        let permuted = self.permuted.then_some(self.head_dim);
        match shape {
            Shape::Hidden => (vec![hidden], None),
            Shape::Head => (vec![self.head_dim], None),
            Shape::Query => (vec![queries, hidden], permuted),
            Shape::Key => (vec![keys, hidden], permuted),
            Shape::Value => (vec![keys, hidden], None),
            Shape::QueryBias => (vec![queries], None),
            Shape::KeyBias => (vec![keys], None),
            Shape::Joined => (vec![queries.saturating_add(keys.saturating_mul(2)), hidden], None),
            Shape::Output => (vec![hidden, queries], None),
            Shape::Up => (vec![inner, hidden], None),
            Shape::GateUp => (vec![inner.saturating_mul(2), hidden], None),
            Shape::Down => (vec![hidden, inner], None),
            Shape::Router => (vec![self.experts, hidden], None),
            Shape::ExpertsUp => (vec![self.experts, self.expert_width, hidden], None),
            Shape::ExpertsDown => (vec![self.experts, hidden, self.expert_width], None),
        }
    }
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
