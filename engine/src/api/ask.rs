//! What both endpoints ask for, and how a prompt becomes a running [`Answer`].

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    App,
    answer::{Answer, AnswerOptions},
    error::ApiError,
    params::Params,
    sampling,
};
use crate::{
    prompt::PromptModel,
    request::{GenerateRequest, Priority, Sampling, SubmitError},
};

/// Strings that may end an answer, as OpenAI limits them.
const STOP_STRINGS_MAX: usize = 4;
/// Log-probabilities of so many tokens may be asked for at each position.
pub(super) const TOP_LOGPROBS_MAX: u32 = 20;

/// The parameters that both endpoints share.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) return_token_ids: bool,
    /// `logprobs` is the endpoint's to fill in: they spell it differently.
    pub(super) sampling: Sampling,
    pub(super) max_tokens: Option<u32>,
    /// The parameter `max_tokens` came by.
    pub(super) max_tokens_param: &'static str,
    stop_strings: Vec<String>,
    stop_token_ids: Vec<u32>,
    ignore_eos: bool,
    priority: Priority,
    deadline: Option<Duration>,
}

impl Ask {
    pub(super) fn take(params: &mut Params) -> Result<Self, ApiError> {
        let stream = params.flag("stream")?;
        let (max_tokens_param, max_tokens) = max_tokens(params)?;
        Ok(Self {
            model: params.require("model", "the name of a model", as_text)?,
            stream,
            include_usage: include_usage(params, stream)?,
            return_token_ids: params.flag("return_token_ids")?,
            sampling: sampling::take(params)?,
            max_tokens,
            max_tokens_param,
            stop_strings: params
                .take("stop", "a string, or an array of up to 4 strings, none empty", stop_strings)?
                .unwrap_or_default(),
            stop_token_ids: params
                .take("stop_token_ids", "an array of token ids", |value| {
                    value.as_array()?.iter().map(as_token).collect()
                })?
                .unwrap_or_default(),
            ignore_eos: params.flag("ignore_eos")?,
            deadline: params
                .number("timeout", "seconds, from 0.001 to 86400", 0.001..=86_400.0)?
                .map(Duration::from_secs_f64),
            priority: params
                .take("service_tier", "auto, default, flex or priority", priority)?
                .unwrap_or_default(),
        })
    }

    /// The model that is asked for, if it is the one that is ready.
    pub(super) fn model(&self, app: &App) -> Result<Arc<PromptModel>, ApiError> {
        served(app, &self.model)
    }

    /// Hands `prompt` to the node. At most `default_max_tokens` where the client said nothing.
    pub(super) fn submit(
        self,
        app: &App,
        model: &Arc<PromptModel>,
        prompt: Vec<u32>,
        default_max_tokens: u32,
    ) -> Result<Answer, ApiError> {
        if prompt.is_empty() {
            return Err(ApiError::EmptyPrompt);
        }
        let vocabulary = model.vocab_size();
        let mut biased = self.sampling.logit_bias.iter().map(|&(id, _)| id);
        if let Some(id) = biased.find(|&id| id as usize >= vocabulary) {
            return Err(ApiError::UnknownToken { id: id.into(), vocabulary, param: "logit_bias" });
        }
        let max_tokens = self.room(model.context_length(), prompt.len(), default_max_tokens)?;
        let mut stop_tokens = self.stop_token_ids;
        if !self.ignore_eos {
            stop_tokens.extend_from_slice(model.stop_tokens());
        }
        let options = AnswerOptions {
            stop_tokens: stop_tokens.clone(),
            stop_strings: self.stop_strings,
            prompt_tokens: prompt.len(),
            deadline: self.deadline,
        };
        let priority = self.priority;
        let sampling = self.sampling;
        let request = GenerateRequest { prompt, sampling, max_tokens, stop_tokens, priority };
        Ok(Answer::new(app.node.generate(request)?, model, options))
    }

    /// How many tokens may be generated: what was asked for, if the context has room for it.
    fn room(&self, context: usize, prompt: usize, default: u32) -> Result<u32, ApiError> {
        let too_long = |asked, param| ApiError::ContextLength { context, prompt, asked, param };
        let room = u32::try_from(context.saturating_sub(prompt)).unwrap_or(u32::MAX);
        match self.max_tokens {
            Some(asked) if asked > room => Err(too_long(asked, self.max_tokens_param)),
            Some(asked) => Ok(asked),
            None if room == 0 => Err(too_long(1, "prompt")),
            None => Ok(default.min(room)),
        }
    }
}

/// The model `asked` for, if it is the one that is ready.
pub(super) fn served(app: &App, asked: &str) -> Result<Arc<PromptModel>, ApiError> {
    let cluster = app.node.cluster();
    let model = app.node.model();
    let served = model.as_deref().map(PromptModel::name).or(cluster.model.as_deref());
    if let Some(served) = served
        && served != asked
    {
        return Err(ApiError::ModelNotFound { asked: asked.to_owned(), served: served.to_owned() });
    }
    model.ok_or_else(|| SubmitError::NotReady { why: cluster.reason.clone() }.into())
}

fn max_tokens(params: &mut Params) -> Result<(&'static str, Option<u32>), ApiError> {
    let mut read = |name| params.integer(name, "an integer of at least 1", 1..=u32::MAX);
    match (read("max_completion_tokens")?, read("max_tokens")?) {
        (Some(a), Some(b)) if a != b => Err(ApiError::Contradiction {
            param: "max_tokens",
            why: "`max_completion_tokens` says otherwise; send one of them",
        }),
        (Some(n), _) => Ok(("max_completion_tokens", Some(n))),
        (None, n) => Ok(("max_tokens", n)),
    }
}

fn include_usage(params: &mut Params, stream: bool) -> Result<bool, ApiError> {
    let expected = "an object such as {\"include_usage\": true}";
    let Some(mut options) =
        params.take("stream_options", expected, |value| value.as_object().cloned())?
    else {
        return Ok(false);
    };
    if !stream {
        return Err(ApiError::Contradiction {
            param: "stream_options",
            why: "only where `stream` is true",
        });
    }
    let usage = match options.remove("include_usage") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(usage)) => usage,
        Some(other) => {
            return Err(ApiError::invalid("stream_options.include_usage", "true or false", &other));
        }
    };
    options.remove("include_obfuscation"); // padding against listeners: nothing of the answer
    match options.into_iter().find(|(_, value)| *value != false && !value.is_null()) {
        Some((name, _)) => Err(ApiError::Unsupported { param: format!("stream_options.{name}") }),
        None => Ok(usage),
    }
}

fn priority(value: &Value) -> Option<Priority> {
    match value.as_str()? {
        "auto" | "default" => Some(Priority::Normal),
        "flex" => Some(Priority::Low),
        "priority" => Some(Priority::High),
        _ => None,
    }
}

fn stop_strings(value: &Value) -> Option<Vec<String>> {
    let stops = match value {
        Value::String(stop) => vec![stop.clone()],
        Value::Array(stops) => stops.iter().map(as_text).collect::<Option<_>>()?,
        _ => return None,
    };
    (stops.len() <= STOP_STRINGS_MAX && stops.iter().all(|stop| !stop.is_empty())).then_some(stops)
}

pub(super) fn as_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(super) fn as_token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// A seed for a client that named none, and for the numbers of answers.
pub(super) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        // No system this runs on lacks randomness; the clock is random enough for a seed.
        std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64)
    })
}
