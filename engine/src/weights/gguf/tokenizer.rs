//! Which tokenizer.json is that vocabulary?
//!
//! A GGUF file holds tokens, their types and merges, and for the rest a name (`tokenizer.ggml.pre`)
//! of rules that llama.cpp has in its source. The rules of the names known here are those of the
//! tokenizer.json that the model was published with.

use serde_json::{Map, Value, json};

use super::{
    file::{GgufError, GgufFile},
    import::ImportError,
    metadata::MetaValue,
};

/// Token types of `tokenizer.ggml.token_type`.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
/// A row of the embedding that no token has.
const UNUSED: i64 = 5;

/// Llama 3's words.
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The files beside the weights.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    pub(super) tokenizer: Value,
    pub(super) tokenizer_config: Value,
    pub(super) generation_config: Value,
}

/// What a name of rules stands for.
struct Rules {
    class: &'static str,
    pre_tokenizer: Value,
    /// What is done to the ids, but for the token that begins a text.
    post_processor: Value,
    decoder: Value,
    ignore_merges: bool,
    add_bos: bool,
}

/// The tokenizer of a GGUF file.
pub(super) fn files(file: &GgufFile) -> Result<TokenizerFiles, ImportError> {
    let metadata = &file.metadata;
    let model = metadata.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(ImportError::Tokenizer { name: model.to_owned() });
    }
    let rules = rules(metadata.optional_text("tokenizer.ggml.pre")?.unwrap_or("default"))?;
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let (vocab, added) = vocabulary(tokens, metadata.integers("tokenizer.ggml.token_type")?)?;
    let id = |name: &str| special_id(file, name, tokens);
    let token = |name: &str| Ok::<_, GgufError>(id(name)?.map(|id| tokens[id].clone()));
    let add_bos = metadata.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(rules.add_bos);
    let post_processor = match id("bos")?.filter(|_| add_bos) {
        None => rules.post_processor,
        Some(bos) => begin_with(&tokens[bos], bos, rules.post_processor),
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": rules.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": rules.decoder,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": rules.ignore_merges,
            "vocab": vocab,
            "merges": metadata.texts("tokenizer.ggml.merges")?,
        },
    });
    let tokenizer_config = json!({
        "tokenizer_class": rules.class,
        "add_prefix_space": false,
        "add_bos_token": add_bos,
        "bos_token": token("bos")?,
        "eos_token": token("eos")?,
        "unk_token": token("unknown")?,
        "pad_token": token("padding")?,
        "model_max_length": metadata.optional_size("llama.context_length")?,
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

fn rules(name: &str) -> Result<Rules, ImportError> {
    let byte_level = |add_prefix_space: bool, use_regex: bool| {
        json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
            "use_regex": use_regex})
    };
    let sequence =
        |first: Value, second: Value| json!({"type": "Sequence", "pretokenizers": [first, second]});
    match name {
        "smollm" => Ok(Rules {
            class: "GPT2Tokenizer",
            pre_tokenizer: sequence(
                json!({"type": "Digits", "individual_digits": true}),
                byte_level(false, true),
            ),
            post_processor: Value::Null,
            decoder: byte_level(true, true),
            ignore_merges: false,
            add_bos: false,
        }),
        "llama-bpe" | "llama3" | "llama-v3" => Ok(Rules {
            class: "PreTrainedTokenizerFast",
            pre_tokenizer: sequence(
                json!({"type": "Split", "pattern": {"Regex": LLAMA3_WORDS},
                    "behavior": "Isolated", "invert": false}),
                byte_level(false, false),
            ),
            post_processor: byte_level(false, true),
            decoder: byte_level(true, true),
            ignore_merges: true,
            add_bos: true,
        }),
        other => Err(ImportError::Tokenizer { name: format!("gpt2 with rules {other}") }),
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
