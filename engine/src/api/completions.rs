//! `POST /v1/completions`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde_json::{Value, json};

use super::{
    App,
    answer::Piece,
    ask::{Ask, TOP_LOGPROBS_MAX, as_text, as_token},
    body::Body,
    error::ApiError,
    logprobs,
    params::{HARMLESS, NEUTRAL, Params},
    respond::{Dialect, Frame, respond},
};
use crate::prompt::{AddSpecial, PromptModel};

/// What OpenAI generates where a client says nothing.
const MAX_TOKENS_DEFAULT: u32 = 16;

/// What is to be continued.
#[derive(Debug, PartialEq, Eq)]
enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// A completion, as asked for.
#[derive(Debug)]
struct CompletionAsk {
    ask: Ask,
    prompt: Prompt,
    special: AddSpecial,
}

impl CompletionAsk {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut params = Params::parse(body)?;
        let mut ask = Ask::take(&mut params)?;
        let top = params.integer("logprobs", "an integer from 0 to 20", 0..=TOP_LOGPROBS_MAX)?;
        ask.sampling.logprobs = top.map(|top| top as u8);
        let expected = "one text, one array of token ids, or an array with one of them";
        let special = params.take("add_special_tokens", "true or false", Value::as_bool)?;
        let asked = Self {
            ask,
            prompt: params.require("prompt", expected, prompt)?,
            special: if special.unwrap_or(true) { AddSpecial::Yes } else { AddSpecial::No },
        };
        params.finish(HARMLESS, NEUTRAL)?;
        Ok(asked)
    }
}

fn prompt(value: &Value) -> Option<Prompt> {
    match value {
        Value::String(text) => Some(Prompt::Text(text.clone())),
        Value::Array(items) => match items.as_slice() {
            [one @ (Value::String(_) | Value::Array(_))] => match one.as_array() {
                Some(ids) => ids.iter().map(as_token).collect::<Option<_>>().map(Prompt::Ids),
                None => as_text(one).map(Prompt::Text),
            },
            ids => ids.iter().map(as_token).collect::<Option<_>>().map(Prompt::Ids),
        },
        _ => None,
    }
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let CompletionAsk { ask, prompt, special } = CompletionAsk::parse(&body)?;
    let model = ask.model(&app)?;
    let prompt = match prompt {
        Prompt::Ids(ids) => checked(ids, model.vocab_size())?,
        Prompt::Text(text) => {
            let model = model.clone();
            app.compute(move || Ok(model.encode(&text, special)?)).await?
        }
    };
    let dialect = Completion {
        model: model.clone(),
        logprobs: ask.sampling.logprobs,
        prompt: ask.return_token_ids.then(|| prompt.clone()),
    };
    let frame =
        Frame { model: ask.model.clone(), stream: ask.stream, include_usage: ask.include_usage };
    respond(ask.submit(&app, &model, prompt, MAX_TOKENS_DEFAULT)?, dialect, frame).await
}

fn checked(ids: Vec<u32>, vocabulary: usize) -> Result<Vec<u32>, ApiError> {
    match ids.iter().find(|&&id| id as usize >= vocabulary) {
        Some(&id) => Err(ApiError::UnknownToken { id: id.into(), vocabulary, param: "prompt" }),
        None => Ok(ids),
    }
}

struct Completion {
    model: Arc<PromptModel>,
    logprobs: Option<u8>,
    /// The prompt's ids, where ids were asked for.
    prompt: Option<Vec<u32>>,
}

impl Dialect for Completion {
    const OBJECTS: [&'static str; 2] = ["text_completion", "text_completion"];
    const ID: &'static str = "cmpl-";

    fn opening(&self) -> Option<Value> {
        let ids = self.prompt.as_ref()?;
        Some(json!({ "text": "", "logprobs": null, "token_ids": [], "prompt_token_ids": ids }))
    }

    fn chunk(&self, piece: &Piece) -> Value {
        let logprobs =
            self.logprobs.map(|top| logprobs::completions(&self.model, &piece.logprobs, top > 0));
        let mut choice = json!({ "text": piece.text, "logprobs": logprobs });
        if self.prompt.is_some() {
            choice["token_ids"] = json!(piece.tokens);
        }
        choice
    }

    fn whole(&self, piece: &Piece) -> Value {
        let mut choice = self.chunk(piece);
        if let Some(ids) = &self.prompt {
            choice["prompt_token_ids"] = json!(ids);
        }
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(prompt: Value) -> Result<CompletionAsk, ApiError> {
        CompletionAsk::parse(json!({ "model": "m", "prompt": prompt }).to_string().as_bytes())
    }

    #[test]
    fn a_prompt_is_one_text_or_one_list_of_ids() {
        for (sent, prompt) in [
            (json!("hi"), Prompt::Text("hi".to_owned())),
            (json!(["hi"]), Prompt::Text("hi".to_owned())),
            (json!([1, 2]), Prompt::Ids(vec![1, 2])),
            (json!([[1, 2]]), Prompt::Ids(vec![1, 2])),
            (json!([7]), Prompt::Ids(vec![7])),
        ] {
            assert_eq!(parse(sent).unwrap().prompt, prompt);
        }
        let bad = [
            json!(5),
            json!(["a", "b"]),
            json!([[1], [2]]),
            json!([1, "a"]),
            json!([-1]),
            json!({}),
        ];
        for bad in bad {
            match parse(bad.clone()) {
                Err(ApiError::Invalid { param, .. }) => assert_eq!(param, "prompt"),
                other => panic!("{bad}: {other:?}"),
            }
        }
        assert!(matches!(
            CompletionAsk::parse(br#"{"model": "m"}"#),
            Err(ApiError::Missing { param, .. }) if param == "prompt"
        ));
    }
}
