//! Which tokenizer.json is that vocabulary?
//!
//! A GGUF file holds tokens, their types, and merges or scores. Two kinds of vocabularies are read:
//! byte-level ones (`gpt2`), whose rules of splitting a text are only named in the file, and
//! SentencePiece ones (`llama`), which have no rules but scores instead of merges. Others are
//! refused by name.
//!
//! | file | question |
//! |---|---|
//! | `rules` | what do the names of rules stand for? |
//! | `pieces` | which merges are those scores? |

mod pieces;
mod rules;
#[cfg(test)]
mod vectors;

use serde_json::{Map, Value, json};

use super::{
    file::{GgufError, GgufFile},
    import::ImportError,
    metadata::MetaValue,
};

/// Token types of `tokenizer.ggml.token_type`.
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
/// A row of the embedding that no token has.
const UNUSED: i64 = 5;

/// The files beside the weights.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    pub(super) tokenizer: Value,
    pub(super) tokenizer_config: Value,
    pub(super) generation_config: Value,
}

/// What the two kinds of vocabularies do not share.
struct Kind {
    class: &'static str,
    normalizer: Value,
    pre_tokenizer: Value,
    /// What is done to the ids, but for the token that begins a text.
    post_processor: Value,
    decoder: Value,
    /// The library's model, but for its vocabulary.
    model: Value,
    add_bos: bool,
}

/// The tokenizer of a GGUF file.
pub(super) fn files(file: &GgufFile) -> Result<TokenizerFiles, ImportError> {
    let metadata = &file.metadata;
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let types = metadata.integers("tokenizer.ggml.token_type")?;
    let (vocab, mut added) = vocabulary(tokens, types)?;
    let kind = match metadata.text("tokenizer.ggml.model")? {
        "gpt2" => byte_level(file)?,
        "llama" => sentence_pieces(file, tokens, types)?,
        other => return Err(ImportError::Tokenizer { name: other.to_owned() }),
    };
    if metadata.optional_bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false) {
        let problem = "texts that end with a token are not supported";
        return Err(GgufError::key("tokenizer.ggml.add_eos_token", problem).into());
    }
    let architecture = metadata.text("general.architecture")?;
    if architecture == "phi3" && kind.class == "LlamaTokenizer" {
        strip_after_turns(&mut added);
    }
    let id = |name: &str| special_id(file, name, tokens);
    let token = |name: &str| Ok::<_, GgufError>(id(name)?.map(|id| tokens[id].clone()));
    let add_bos = metadata.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(kind.add_bos);
    let post_processor = match id("bos")?.filter(|_| add_bos) {
        None => kind.post_processor,
        Some(bos) => begin_with(&tokens[bos], bos, kind.post_processor),
    };
    let mut model = kind.model;
    model["vocab"] = vocab.into();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": kind.normalizer,
        "pre_tokenizer": kind.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": kind.decoder,
        "model": model,
    });
    let tokenizer_config = json!({
        "tokenizer_class": kind.class,
        "add_prefix_space": false,
        "add_bos_token": add_bos,
        "bos_token": token("bos")?,
        "eos_token": token("eos")?,
        "unk_token": token("unknown")?,
        "pad_token": token("padding")?,
        "model_max_length": metadata.optional_size(&format!("{architecture}.context_length"))?,
        "clean_up_tokenization_spaces": false,
        "chat_template": chat_template(file)?,
        "added_tokens_decoder": added_by_id(&added),
    });
    // All tokens that end an answer: of text, of a turn, of a message.
    let mut ends = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ends.extend(id(name)?.filter(|end| !ends.contains(end)));
    }
    let generation_config = json!({
        "bos_token_id": id("bos")?,
        "eos_token_id": if let [end] = ends[..] { json!(end) } else { json!(ends) },
        "pad_token_id": id("padding")?,
    });
    Ok(TokenizerFiles { tokenizer, tokenizer_config, generation_config })
}

fn byte_level(file: &GgufFile) -> Result<Kind, ImportError> {
    let name = file.metadata.optional_text("tokenizer.ggml.pre")?.unwrap_or("default");
    let rules = rules::byte_level_rules(name)
        .ok_or_else(|| ImportError::Tokenizer { name: format!("gpt2 with rules {name}") })?;
    let merges = file.metadata.texts("tokenizer.ggml.merges")?;
    Ok(Kind {
        class: rules.class,
        normalizer: rules.normalizer,
        pre_tokenizer: rules.pre_tokenizer,
        post_processor: rules.post_processor,
        decoder: rules::byte_level(true, true),
        model: model(Value::Null, json!(merges), false, rules.ignore_merges),
        add_bos: rules.add_bos,
    })
}

fn sentence_pieces(file: &GgufFile, tokens: &[String], types: &[i64]) -> Result<Kind, ImportError> {
    const SCORES: &str = "tokenizer.ggml.scores";
    let metadata = &file.metadata;
    let scores = metadata.floats(SCORES)?;
    if scores.len() != tokens.len() || scores.iter().any(|score| score.is_nan()) {
        let problem = format!("no {} numbers, one for each token", tokens.len());
        return Err(GgufError::key(SCORES, problem).into());
    }
    for key in ["precompiled_charsmap", "remove_extra_whitespaces"] {
        let key = format!("tokenizer.ggml.{key}");
        if !matches!(metadata.0.get(&key), None | Some(MetaValue::Bool(false))) {
            return Err(GgufError::key(&key, "changing a text first is not supported").into());
        }
    }
    let ordinary: Vec<(&str, usize, f32)> = tokens
        .iter()
        .zip(types)
        .zip(scores)
        .enumerate()
        .filter(|(_, ((_, kind), _))| **kind == NORMAL)
        .map(|(id, ((token, _), &score))| (token.as_str(), id, score))
        .collect();
    let unknown = special_id(file, "unknown", tokens)?.map(|id| tokens[id].as_str());
    let prefix = metadata.optional_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    Ok(Kind {
        class: "LlamaTokenizer",
        normalizer: pieces::normalizer(prefix),
        pre_tokenizer: Value::Null,
        post_processor: Value::Null,
        decoder: pieces::decoder(prefix),
        model: model(json!(unknown), pieces::merges(&ordinary).into(), true, false),
        add_bos: true,
    })
}

fn model(unknown: Value, merges: Value, byte_fallback: bool, ignore_merges: bool) -> Value {
    json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unknown,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": byte_fallback,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "merges": merges,
    })
}

/// Phi-3's tokenizer.json takes the space after the words of a turn's frame (`<|user|>`, `<|end|>`)
/// with them; a GGUF file does not say so.
fn strip_after_turns(added: &mut [Value]) {
    for token in added {
        let content = token["content"].as_str().unwrap_or_default();
        if !matches!(content, "<unk>" | "<s>" | "<|endoftext|>") {
            token["rstrip"] = true.into();
        }
    }
}

/// Ids by token, and the tokens that are found in a text before it is split.
fn vocabulary(
    tokens: &[String],
    types: &[i64],
) -> Result<(Map<String, Value>, Vec<Value>), GgufError> {
    if tokens.len() != types.len() {
        let problem = format!("{} types for {} tokens", types.len(), tokens.len());
        return Err(GgufError::key("tokenizer.ggml.token_type", problem));
    }
    let (mut vocab, mut added) = (Map::new(), Vec::new());
    for (id, (token, &kind)) in tokens.iter().zip(types).enumerate() {
        if kind == UNUSED {
            continue;
        }
        if vocab.insert(token.clone(), id.into()).is_some() {
            let problem = format!("{token:?} is there twice");
            return Err(GgufError::key("tokenizer.ggml.tokens", problem));
        }
        if kind == CONTROL || kind == USER_DEFINED {
            added.push(json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": kind == CONTROL}));
        }
    }
    Ok((vocab, added))
}

/// The added tokens as tokenizer_config.json lists them.
fn added_by_id(added: &[Value]) -> Map<String, Value> {
    added
        .iter()
        .map(|token| {
            let mut token = token.clone();
            let id = token.as_object_mut().and_then(|fields| fields.shift_remove("id"));
            (id.unwrap_or_default().to_string(), token)
        })
        .collect()
}

/// The id that `tokenizer.ggml.NAME_token_id` says, if it is a token's.
fn special_id(file: &GgufFile, name: &str, tokens: &[String]) -> Result<Option<usize>, GgufError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match file.metadata.optional_size(&key)? {
        Some(id) if id >= tokens.len() => {
            Err(GgufError::key(&key, format!("{id}, of {} tokens", tokens.len())))
        }
        id => Ok(id),
    }
}

/// A post-processor that puts the token that begins a text before it, after what `first` does.
fn begin_with(token: &str, id: usize, first: Value) -> Value {
    let special = |kind: u8| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [special(0), text("A", 0)],
        "pair": [special(0), text("A", 0), special(1), text("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    });
    if first.is_null() {
        template
    } else {
        json!({"type": "Sequence", "processors": [first, template]})
    }
}

/// The chat template; with names, if there are several.
fn chat_template(file: &GgufFile) -> Result<Value, GgufError> {
    const KEY: &str = "tokenizer.chat_template";
    let Some(default) = file.metadata.optional_text(KEY)? else { return Ok(Value::Null) };
    let mut named = vec![json!({"name": "default", "template": default})];
    for (key, value) in &file.metadata.0 {
        let name = key.strip_prefix(KEY).and_then(|rest| rest.strip_prefix('.'));
        if let (Some(name), MetaValue::Text(template)) = (name, value) {
            named.push(json!({"name": name, "template": template}));
        }
    }
    Ok(if named.len() == 1 { json!(default) } else { json!(named) })
}
