//! Which token ids is that text, and which text are those ids?
//!
//! [`PromptModel`] is all that a node needs of a model's folder to talk: tokenizer, chat template,
//! stop tokens, context length.

/// A model's tokenizer and chat template.
pub struct PromptModel {}
