//! Which token ids is that text, and which text are those ids?
//!
//! [`PromptModel`] is all that a node needs of a model's folder to talk: tokenizer, chat template,
//! stop tokens, context length. It reads no weights.
//!
//! | file | question |
//! |---|---|
//! | `model` | what do the folder's small files say? |
//! | `template` | what text is this conversation? |
//! | `messages` | is that a conversation, and in the shape that templates expect? |
//! | `python_json` | how would Python write that value as JSON? |
//! | `pieces` | which bytes is this one token? |
//! | `decoder` | which text is complete, now that this token came? |
//! | `stop` | has one of the client's stop strings come? |

mod decoder;
mod error;
mod messages;
mod model;
mod pieces;
mod python_json;
mod stop;
mod template;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use error::PromptError;
pub use model::{AddSpecial, PromptModel};
pub use stop::{StopStrings, Stopped};
pub use template::ChatOptions;
