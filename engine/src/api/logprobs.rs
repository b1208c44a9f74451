//! Log-probabilities in the two shapes that OpenAI has for them.

use serde_json::{Map, Value, json};

use super::answer::TextLogprobs;
use crate::prompt::PromptModel;

/// JSON has no −∞: OpenAI's stand-in for "practically impossible".
const LOGPROB_MIN: f32 = -9999.0;

/// `choices[].logprobs` of chat completions.
pub(super) fn chat(model: &PromptModel, tokens: &[TextLogprobs]) -> Value {
    let content: Vec<_> = tokens
        .iter()
        .map(|token| {
            let mut entry = entry(model, token.id, token.logprobs.chosen);
            let top = token.logprobs.top.iter().map(|&(id, logprob)| entry_of(model, id, logprob));
            entry.insert("top_logprobs".to_owned(), top.collect());
            entry
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

/// `choices[].logprobs` of completions. `top` says whether the likeliest were asked for, too.
pub(super) fn completions(model: &PromptModel, tokens: &[TextLogprobs], top: bool) -> Value {
    let top_logprobs = |token: &TextLogprobs| {
        let mut map = Map::new();
        let chosen = (token.id, token.logprobs.chosen);
        // Two ids may share a text: the likelier one, which comes first, is kept.
        for (id, logprob) in token.logprobs.top.iter().copied().chain([chosen]) {
            map.entry(text(model, id, "bytes:")).or_insert_with(|| clamped(logprob));
        }
        Value::Object(map)
    };
    json!({
        "tokens": tokens.iter().map(|token| text(model, token.id, "bytes:")).collect::<Vec<_>>(),
        "token_logprobs":
            tokens.iter().map(|token| clamped(token.logprobs.chosen)).collect::<Vec<_>>(),
        "top_logprobs":
            if top { tokens.iter().map(top_logprobs).collect() } else { Value::Null },
        "text_offset": tokens.iter().map(|token| token.offset).collect::<Vec<_>>(),
    })
}

fn entry_of(model: &PromptModel, id: u32, logprob: f32) -> Value {
    Value::Object(entry(model, id, logprob))
}

fn entry(model: &PromptModel, id: u32, logprob: f32) -> Map<String, Value> {
    let bytes = model.token_bytes(id);
    Map::from_iter([
        ("token".to_owned(), text(model, id, "").into()),
        ("logprob".to_owned(), clamped(logprob)),
        ("bytes".to_owned(), json!(bytes)),
    ])
}

fn clamped(logprob: f32) -> Value {
    // `max` takes the number where the other is none.
    json!(logprob.max(LOGPROB_MIN))
}

/// A token's text; of one that is a part of a character, its bytes, escaped, after `mark`.
fn text(model: &PromptModel, id: u32, mark: &str) -> String {
    match model.token_bytes(id).map(String::from_utf8) {
        Some(Ok(text)) => text,
        Some(Err(broken)) => {
            let escaped = broken.as_bytes().iter().map(|byte| format!("\\x{byte:02x}"));
            std::iter::once(mark.to_owned()).chain(escaped).collect()
        }
        None => model.token_text(id).unwrap_or_default(),
    }
}
