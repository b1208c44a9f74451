//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde_json::{Map, Value, json};

use super::{
    App,
    answer::Piece,
    ask::{Ask, TOP_LOGPROBS_MAX},
    body::Body,
    error::ApiError,
    logprobs, messages,
    params::{HARMLESS, NEUTRAL, Params},
    respond::{Dialect, Frame, respond},
};
use crate::prompt::{AddSpecial, ChatOptions, PromptModel};

/// A chat, as asked for.
#[derive(Debug)]
struct ChatAsk {
    ask: Ask,
    messages: Vec<Value>,
    options: ChatOptions,
}

impl ChatAsk {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut params = Params::parse(body)?;
        let mut ask = Ask::take(&mut params)?;
        ask.sampling.logprobs = logprobs_asked(&mut params)?;
        let asked = Self {
            ask,
            messages: messages::take(&mut params)?,
            options: ChatOptions {
                tools: None,
                add_generation_prompt: params
                    .take("add_generation_prompt", "true or false", Value::as_bool)?
                    .unwrap_or(true),
                extra: params
                    .take("chat_template_kwargs", "an object", |value| value.as_object().cloned())?
                    .unwrap_or_default(),
            },
        };
        params.finish(HARMLESS, NEUTRAL)?;
        Ok(asked)
    }
}

fn logprobs_asked(params: &mut Params) -> Result<Option<u8>, ApiError> {
    let wanted = params.flag("logprobs")?;
    let top = params.integer("top_logprobs", "an integer from 0 to 20", 0..=TOP_LOGPROBS_MAX)?;
    match (wanted, top) {
        (true, top) => Ok(Some(top.unwrap_or(0) as u8)),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(ApiError::Contradiction {
            param: "top_logprobs",
            why: "only where `logprobs` is true",
        }),
    }
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let ChatAsk { ask, messages, options } = ChatAsk::parse(&body)?;
    let model = ask.model(&app)?;
    // A long conversation takes a while to tokenize: not on a thread that others stream on.
    let prompt = app
        .compute({
            let model = model.clone();
            move || {
                let text = model.chat(&messages, &options)?;
                Ok(model.encode(&text, AddSpecial::No)?)
            }
        })
        .await?;
    let dialect = Chat {
        model: model.clone(),
        logprobs: ask.sampling.logprobs.is_some(),
        prompt: ask.return_token_ids.then(|| prompt.clone()),
    };
    let frame =
        Frame { model: ask.model.clone(), stream: ask.stream, include_usage: ask.include_usage };
    respond(ask.submit(&app, &model, prompt, u32::MAX)?, dialect, frame).await
}

struct Chat {
    model: Arc<PromptModel>,
    logprobs: bool,
    /// The prompt's ids, where ids were asked for.
    prompt: Option<Vec<u32>>,
}

impl Chat {
    fn choice(&self, name: &str, content: Value, piece: &Piece) -> Value {
        let logprobs = self.logprobs.then(|| logprobs::chat(&self.model, &piece.logprobs));
        let mut choice = json!({ name: content, "logprobs": logprobs });
        if self.prompt.is_some() {
            choice["token_ids"] = json!(piece.tokens);
        }
        choice
    }
}

impl Dialect for Chat {
    const OBJECTS: [&'static str; 2] = ["chat.completion", "chat.completion.chunk"];
    const ID: &'static str = "chatcmpl-";

    fn opening(&self) -> Option<Value> {
        Some(json!({ "delta": { "role": "assistant", "content": "" }, "logprobs": null }))
    }

    fn chunk(&self, piece: &Piece) -> Value {
        let delta = match piece.text.as_str() {
            "" => json!({}),
            text => json!({ "content": text }),
        };
        self.choice("delta", delta, piece)
    }

    fn whole(&self, piece: &Piece) -> Value {
        let message = json!({ "role": "assistant", "content": piece.text, "refusal": null });
        self.choice("message", message, piece)
    }

    fn beside(&self) -> Map<String, Value> {
        let prompt = self.prompt.as_ref().map(|ids| ("prompt_token_ids".to_owned(), json!(ids)));
        prompt.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<ChatAsk, ApiError> {
        let messages = r#"[{"role": "user", "content": "hi"}]"#;
        ChatAsk::parse(format!(r#"{{"model": "m", "messages": {messages}{rest}}}"#).as_bytes())
    }

    #[test]
    fn defaults_are_openai_s() {
        let chat = parse("").unwrap();
        assert_eq!((chat.ask.sampling.temperature, chat.ask.sampling.top_p), (1.0, 1.0));
        assert_eq!((chat.ask.max_tokens, chat.ask.stream), (None, false));
        assert!(chat.options.add_generation_prompt);
        assert_ne!(chat.ask.sampling.seed, parse("").unwrap().ask.sampling.seed);
        assert_eq!(parse(r#", "seed": -1"#).unwrap().ask.sampling.seed, u64::MAX);
    }

    #[test]
    fn wrong_values_name_their_parameter() {
        for (param, rest) in [
            ("temperature", r#""temperature": "hot""#),
            ("temperature", r#""temperature": 2.1"#),
            ("top_p", r#""top_p": 1.5"#),
            ("max_tokens", r#""max_tokens": 0"#),
            ("max_completion_tokens", r#""max_completion_tokens": 1.5"#),
            ("stop", r#""stop": ["a", "b", "c", "d", "e"]"#),
            ("stop", r#""stop": """#),
            ("seed", r#""seed": 0.5"#),
            ("stream", r#""stream": "yes""#),
            ("top_logprobs", r#""logprobs": true, "top_logprobs": 21"#),
            (
                "stream_options.include_usage",
                r#""stream": true, "stream_options": {"include_usage": 1}"#,
            ),
        ] {
            match parse(&format!(", {rest}")) {
                Err(ApiError::Invalid { param: named, .. }) => assert_eq!(named, param),
                other => panic!("{rest}: {other:?}"),
            }
        }
        for (param, rest) in [
            ("max_tokens", r#""max_tokens": 5, "max_completion_tokens": 6"#),
            ("top_logprobs", r#""top_logprobs": 3"#),
            ("stream_options", r#""stream_options": {"include_usage": true}"#),
        ] {
            match parse(&format!(", {rest}")) {
                Err(ApiError::Contradiction { param: named, .. }) => assert_eq!(named, param),
                other => panic!("{rest}: {other:?}"),
            }
        }
    }
}
