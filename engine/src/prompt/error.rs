//! Why a model's folder cannot talk, or a conversation cannot be told to it.

use std::path::PathBuf;

/// What went wrong between text and token ids.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A file of the model's folder cannot be read.
    #[error("cannot read {}: {source}{}", .file.display(), hint_for_missing(.file, .source))]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the model's folder is larger than such a file may be.
    #[error("{} has {bytes} bytes, more than the {max} such a file may have", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// A file of the model's folder is not the JSON it should be.
    #[error("{} is not valid JSON: {source}", .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// A file lacks something that cannot be guessed, or says something impossible.
    #[error("{}: {problem}", .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The tokenizer cannot be built from its file.
    #[error("{} describes no tokenizer: {source}", .file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What the tokenizer library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model has no chat template.
    #[error(
        "{model} has no chat template\nhint: it is a base model; ask it for completions \
         (POST /v1/completions), or put a chat_template.jinja into its folder"
    )]
    NoTemplate {
        /// The model's name.
        model: String,
    },
    /// The chat template does not parse.
    #[error("the chat template of {model} does not parse: {problem}")]
    TemplateSyntax {
        /// The model's name.
        model: String,
        /// Where and what.
        problem: String,
    },
    /// The template itself refused these messages (`raise_exception`).
    #[error("the model's chat template refuses these messages: {reason}")]
    Refused {
        /// The template's words.
        reason: String,
    },
    /// The template failed on these messages.
    #[error("the model's chat template fails on these messages: {problem}")]
    Template {
        /// What failed, and where in the template.
        problem: String,
    },
    /// A message is not one.
    #[error("messages[{index}]: {problem}")]
    Message {
        /// Which message, from 0.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The tokenizer failed on a text.
    #[error("the tokenizer fails on this text: {source}")]
    Encode {
        /// What the tokenizer library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PromptError {
    /// Whether other messages could have been told to this model: the client is at fault, not the
    /// model's folder.
    #[must_use]
    pub fn is_clients_fault(&self) -> bool {
        matches!(
            self,
            Self::NoTemplate { .. }
                | Self::Refused { .. }
                | Self::Template { .. }
                | Self::Message { .. }
        )
    }
}

fn hint_for_missing(file: &std::path::Path, source: &std::io::Error) -> String {
    if source.kind() != std::io::ErrorKind::NotFound {
        return String::new();
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "\nhint: a model's folder needs {name}; `exo-node models import FILE.gguf` makes a whole \
         folder from a GGUF file"
    )
}
