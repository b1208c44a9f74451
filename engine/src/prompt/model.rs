//! What do the folder's small files say?

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::{
    ChatOptions, Decoder, PromptError, messages,
    pieces::Pieces,
    template::{ChatTemplate, RenderError},
};

/// The largest tokenizer in use (Gemma 3) has a file of 33 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Names under which Hugging Face hands special tokens to templates.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Whether the tokenizer adds the tokens that begin (or end) a text for this model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddSpecial {
    /// It does: for raw text, as in completions.
    Yes,
    /// It does not: a chat template has written them already.
    No,
}

/// A model's tokenizer and chat template.
pub struct PromptModel {
    name: String,
    tokenizer: Tokenizer,
    pieces: Pieces,
    special: HashSet<u32>,
    added: HashSet<u32>,
    templates: Templates,
    variables: Map<String, Value>,
    context_length: usize,
    vocab_size: usize,
    stop_tokens: Vec<u32>,
}

/// Most models have one template, some a second for conversations with tools.
struct Templates {
    default: Option<Result<ChatTemplate, String>>,
    tools: Option<Result<ChatTemplate, String>>,
}

impl PromptModel {
    /// Reads a model's folder: `tokenizer.json`, `config.json`, and if they are there
    /// `tokenizer_config.json`, `generation_config.json` and `chat_template.jinja` (which wins
    /// over a template in the tokenizer's configuration). `name` is what the model is called.
    ///
    /// A chat template that does not parse is not an error here: the model still completes text.
    ///
    /// # Errors
    /// [`PromptError`]: a file is missing, too large, not JSON, or describes no tokenizer.
    pub fn open(dir: &Path, name: &str) -> Result<Self, PromptError> {
        let config_file = dir.join("config.json");
        let config = read_json(&config_file)?;
        let generation = read_optional(&dir.join("generation_config.json"))?;
        let tokens = read_optional(&dir.join("tokenizer_config.json"))?;
        let template_file = read_optional_text(&dir.join("chat_template.jinja"))?;
        let (tokenizer, pieces) = read_tokenizer(&dir.join("tokenizer.json"))?;

        let decoder = tokenizer.get_added_tokens_decoder();
        let special =
            decoder.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        let added = decoder.keys().copied().collect();
        let stop_tokens = stop_tokens(&[&generation, &config, &tokens], &tokenizer);
        let context_length = context_length(&config, &tokens).ok_or_else(|| {
            let problem = "no max_position_embeddings: how long may a text be?".to_owned();
            PromptError::Invalid { file: config_file, problem }
        })?;
        let vocab_size = text_config(&config, "vocab_size")
            .and_then(as_size)
            .unwrap_or_else(|| tokenizer.get_vocab_size(true));
        Ok(Self {
            name: name.to_owned(),
            pieces,
            special,
            added,
            templates: Templates::read(template_file.as_deref(), tokens.get("chat_template")),
            variables: special_token_variables(&tokens),
            context_length,
            vocab_size,
            stop_tokens,
            tokenizer,
        })
    }

    /// What the model is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many tokens prompt and answer may have together.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Token ids are below this.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The tokens that end an answer.
    #[must_use]
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop_tokens
    }

    /// The text that these messages are for this model.
    ///
    /// # Errors
    /// [`PromptError`]: there is no template, it does not parse, refuses or fails, or a message is
    /// none.
    pub fn chat(&self, messages: &[Value], options: &ChatOptions) -> Result<String, PromptError> {
        let template = match self.templates.pick(options.tools.is_some()) {
            None => return Err(PromptError::NoTemplate { model: self.name.clone() }),
            Some(Err(problem)) => {
                let (model, problem) = (self.name.clone(), problem.clone());
                return Err(PromptError::TemplateSyntax { model, problem });
            }
            Some(Ok(template)) => template,
        };
        let mut variables = self.variables.clone();
        variables.extend(options.extra.clone());
        variables.insert("messages".to_owned(), messages::for_template(messages)?.into());
        variables.insert("tools".to_owned(), options.tools.clone().unwrap_or(Value::Null));
        variables.insert("documents".to_owned(), Value::Null);
        variables.insert("add_generation_prompt".to_owned(), options.add_generation_prompt.into());
        template.render(variables).map_err(|error| match error {
            RenderError::Refused(reason) => PromptError::Refused { reason },
            RenderError::Failed(problem) => PromptError::Template { problem },
        })
    }

    /// The token ids of a text. Special tokens written in it are recognised.
    ///
    /// # Errors
    /// [`PromptError::Encode`] if the tokenizer fails.
    pub fn encode(&self, text: &str, special: AddSpecial) -> Result<Vec<u32>, PromptError> {
        self.tokenizer
            .encode_fast(text, special == AddSpecial::Yes)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|source| PromptError::Encode { source })
    }

    /// The bytes of one token, for log-probabilities: a special token is its written form. `None`
    /// if the id is no token (vocabularies are padded).
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.tokenizer.id_to_token(id)?;
        Some(if self.added.contains(&id) { token.into_bytes() } else { self.pieces.bytes(&token) })
    }

    /// [`token_bytes`](Self::token_bytes) as text, with U+FFFD where it is only a part of one.
    #[must_use]
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.token_bytes(id).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Turns the ids of one answer into text as they come.
    #[must_use]
    pub fn decoder(self: &Arc<Self>) -> Decoder {
        Decoder::new(Arc::clone(self))
    }

    /// The tokens that are found in a text before it is split, special or not.
    #[cfg(test)]
    pub(super) fn added_tokens(&self) -> impl Iterator<Item = (u32, String)> {
        self.added.iter().map(|&id| (id, self.tokenizer.id_to_token(id).unwrap_or_default()))
    }

    /// Whether a token says something to the machine only.
    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    pub(super) fn strips_first_space(&self) -> bool {
        self.pieces.strips_first_space
    }
}

impl fmt::Debug for PromptModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptModel").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Templates {
    /// A template file wins; else the configuration has one text, or a list with names.
    fn read(file: Option<&str>, configured: Option<&Value>) -> Self {
        let parse = |source: &str| Some(ChatTemplate::parse(source));
        let named = |name: &str| {
            let entries = configured.and_then(Value::as_array)?;
            let entry = entries.iter().find(|entry| entry["name"] == name)?;
            entry["template"].as_str().and_then(parse)
        };
        match (file, configured) {
            (Some(source), _) => Self { default: parse(source), tools: None },
            (None, Some(Value::String(source))) => Self { default: parse(source), tools: None },
            _ => Self { default: named("default"), tools: named("tool_use") },
        }
    }

    fn pick(&self, with_tools: bool) -> Option<&Result<ChatTemplate, String>> {
        let tools = self.tools.as_ref().filter(|_| with_tools);
        tools.or(self.default.as_ref())
    }
}

fn read_tokenizer(file: &Path) -> Result<(Tokenizer, Pieces), PromptError> {
    let bytes = read(file)?;
    let invalid = |problem: String| PromptError::Invalid { file: file.to_owned(), problem };
    let mut tokenizer = Tokenizer::from_bytes(&bytes)
        .map_err(|source| PromptError::Tokenizer { file: file.to_owned(), source })?;
    // Files carry these over from training; a prompt must never be cut or filled up silently.
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|source| PromptError::Tokenizer { file: file.to_owned(), source })?;
    let decoder = serde_json::to_value(tokenizer.get_decoder())
        .map_err(|source| PromptError::Json { file: file.to_owned(), source })?;
    let pieces = Pieces::read(&decoder)
        .map_err(|step| invalid(format!("decoder step {step} is not supported")))?;
    Ok((tokenizer, pieces))
}

/// `key` of a configuration, or of the part of it that is about text (models that also see).
fn text_config<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    config.get(key).or_else(|| config.get("text_config")?.get(key)).filter(|value| !value.is_null())
}

fn as_size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0)
}

fn context_length(config: &Value, tokens: &Value) -> Option<usize> {
    // Some tokenizers say 10^30 for "unlimited": that is no integer, and no context length.
    text_config(config, "max_position_embeddings")
        .and_then(as_size)
        .or_else(|| tokens.get("model_max_length").and_then(as_size))
}

/// Every end-of-sequence token that any of the files names, as id, list of ids, or token.
fn stop_tokens(files: &[&Value], tokenizer: &Tokenizer) -> Vec<u32> {
    let mut stops = Vec::new();
    let mut add = |id: Option<u32>| {
        if let Some(id) = id.filter(|id| !stops.contains(id)) {
            stops.push(id);
        }
    };
    let as_id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    for file in files {
        match text_config(file, "eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().for_each(|id| add(as_id(id))),
            Some(id) => add(as_id(id)),
            None => {}
        }
        if let Some(token) = file.get("eos_token").and_then(token_text) {
            add(tokenizer.token_to_id(token));
        }
    }
    stops
}

/// A token in a tokenizer's configuration: its text, or an object with its text.
fn token_text(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// `bos_token`, `eos_token` and so on, as templates see them.
fn special_token_variables(tokens: &Value) -> Map<String, Value> {
    SPECIAL_TOKENS
        .iter()
        .filter_map(|&key| Some((key.to_owned(), token_text(tokens.get(key)?)?.into())))
        .collect()
}

fn read(file: &Path) -> Result<Vec<u8>, PromptError> {
    let error = |source| PromptError::Read { file: file.to_owned(), source };
    let bytes = std::fs::metadata(file).map_err(error)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(PromptError::TooLarge { file: file.to_owned(), bytes, max: FILE_BYTES_MAX });
    }
    std::fs::read(file).map_err(error)
}

fn read_json(file: &Path) -> Result<Value, PromptError> {
    serde_json::from_slice(&read(file)?)
        .map_err(|source| PromptError::Json { file: PathBuf::from(file), source })
}

/// An empty object if the file is not there.
fn read_optional(file: &Path) -> Result<Value, PromptError> {
    if file.exists() { read_json(file) } else { Ok(json!({})) }
}

fn read_optional_text(file: &Path) -> Result<Option<String>, PromptError> {
    if !file.exists() {
        return Ok(None);
    }
    let text = String::from_utf8(read(file)?);
    text.map(Some).map_err(|_| PromptError::Invalid {
        file: file.to_owned(),
        problem: "not UTF-8".to_owned(),
    })
}
