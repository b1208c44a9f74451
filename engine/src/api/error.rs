//! What goes wrong, in OpenAI's words: `{"error": {message, type, param, code}}` and a status.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    prompt::PromptError,
    request::{GenerateError, SubmitError},
};

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    // What the client sent.
    #[error("the body is not valid JSON: {0}")]
    MalformedJson(serde_json::Error),
    #[error("the body has to be a JSON object")]
    NotAnObject,
    #[error("the body is longer than {limit} bytes")]
    BodyTooLong { limit: usize },
    #[error("the body did not arrive: {0}")]
    BodyLost(String),
    #[error("the body did not arrive within {limit_s} s")]
    BodySlow { limit_s: u64 },
    #[error("`{param}` is required: {expected}")]
    Missing { param: String, expected: &'static str },
    #[error("`{param}` has to be {expected}, not {got}")]
    Invalid { param: String, expected: &'static str, got: String },
    #[error("`{param}` is not supported; leave it out")]
    Unsupported { param: String },
    #[error("there is no parameter `{param}`")]
    UnknownParameter { param: String },
    #[error("`{param}`: {why}")]
    Contradiction { param: &'static str, why: &'static str },
    #[error("the prompt is empty: there is nothing to continue")]
    EmptyPrompt,
    #[error("token {id} is not in the vocabulary, which has {vocabulary} tokens")]
    UnknownToken { id: u64, vocabulary: usize, param: &'static str },
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(
        "this model's context has {context} tokens; the prompt has {prompt} and {asked} more were \
         asked for"
    )]
    ContextLength { context: usize, prompt: usize, asked: u32, param: &'static str },
    #[error("the model `{asked}` does not exist; this cluster serves `{served}`")]
    ModelNotFound { asked: String, served: String },
    #[error("no API key was sent: `Authorization: Bearer KEY` is needed")]
    KeyMissing,
    #[error("the API key is not the one this node was started with")]
    KeyWrong,
    #[error("requests from web pages of other origins are refused")]
    ForeignOrigin,
    #[error("there is no {method} {path}")]
    UnknownRoute { method: String, path: String },
    #[error("{path} does not take {method}")]
    WrongMethod { method: String, path: String },

    // What happened here.
    #[error("the answer was not there within the {limit:?} that the request gave it by `timeout`")]
    DeadlinePassed { limit: Duration },
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("the node stopped in the middle of the answer")]
    Abandoned,
}

impl ApiError {
    /// A parameter of the wrong type or out of range; says what came instead.
    pub(super) fn invalid(param: impl Into<String>, expected: &'static str, got: &Value) -> Self {
        let mut got = got.to_string();
        if got.len() > 80 {
            let end = (0..=80).rev().find(|&at| got.is_char_boundary(at)).unwrap_or(0);
            got.truncate(end);
            got.push('…');
        }
        Self::Invalid { param: param.into(), expected, got }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::KeyMissing | Self::KeyWrong => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::ModelNotFound { .. } | Self::UnknownRoute { .. } => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodySlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::DeadlinePassed { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::BodyTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Submit(SubmitError::Full { .. }) | Self::Generate(GenerateError::Busy { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Submit(SubmitError::NotReady { .. } | SubmitError::ShuttingDown)
            | Self::Generate(GenerateError::NotReady { .. } | GenerateError::ShuttingDown) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Generate(GenerateError::NodeLost { .. }) => StatusCode::BAD_GATEWAY,
            Self::Prompt(error) if error.is_clients_fault() => StatusCode::BAD_REQUEST,
            Self::Prompt(_) | Self::Generate(GenerateError::Stage { .. }) | Self::Abandoned => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::MalformedJson(_)
            | Self::NotAnObject
            | Self::BodyLost(_)
            | Self::Missing { .. }
            | Self::Invalid { .. }
            | Self::Unsupported { .. }
            | Self::UnknownParameter { .. }
            | Self::Contradiction { .. }
            | Self::EmptyPrompt
            | Self::UnknownToken { .. }
            | Self::ContextLength { .. } => StatusCode::BAD_REQUEST,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::MalformedJson(_) | Self::NotAnObject => "invalid_json",
            Self::BodyTooLong { .. } => "body_too_long",
            Self::BodyLost(_) => "body_incomplete",
            Self::BodySlow { .. } => "body_timeout",
            Self::DeadlinePassed { .. } => "deadline_exceeded",
            Self::Missing { .. } => "missing_required_parameter",
            Self::Invalid { .. } | Self::Contradiction { .. } | Self::UnknownToken { .. } => {
                "invalid_value"
            }
            Self::EmptyPrompt => "empty_prompt",
            Self::Unsupported { .. } => "unsupported_parameter",
            Self::UnknownParameter { .. } => "unknown_parameter",
            Self::Prompt(error) if error.is_clients_fault() => "invalid_messages",
            Self::Prompt(_) => "model_folder_broken",
            Self::ContextLength { .. } => "context_length_exceeded",
            Self::ModelNotFound { .. } => "model_not_found",
            Self::KeyMissing | Self::KeyWrong => "invalid_api_key",
            Self::ForeignOrigin => "origin_not_allowed",
            Self::UnknownRoute { .. } => "unknown_url",
            Self::WrongMethod { .. } => "method_not_allowed",
            Self::Submit(SubmitError::NotReady { .. })
            | Self::Generate(GenerateError::NotReady { .. }) => "model_not_ready",
            Self::Submit(SubmitError::Full { .. }) | Self::Generate(GenerateError::Busy { .. }) => {
                "rate_limit_exceeded"
            }
            Self::Submit(SubmitError::ShuttingDown)
            | Self::Generate(GenerateError::ShuttingDown) => "shutting_down",
            Self::Generate(GenerateError::NodeLost { .. }) => "node_lost",
            Self::Generate(GenerateError::Stage { .. }) => "stage_failed",
            Self::Abandoned => "node_stopped",
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::Missing { param, .. }
            | Self::Invalid { param, .. }
            | Self::Unsupported { param }
            | Self::UnknownParameter { param } => Some(param),
            Self::Contradiction { param, .. }
            | Self::ContextLength { param, .. }
            | Self::UnknownToken { param, .. } => Some(param),
            Self::ModelNotFound { .. } => Some("model"),
            Self::Prompt(error) if error.is_clients_fault() => Some("messages"),
            Self::EmptyPrompt => Some("prompt"),
            _ => None,
        }
    }

    /// When it is worth trying again: a model loads for seconds, a running request ends sooner.
    fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Submit(SubmitError::NotReady { .. })
            | Self::Generate(GenerateError::NotReady { .. }) => Some(5),
            Self::Submit(SubmitError::Full { .. }) => Some(1),
            Self::Generate(GenerateError::Busy { retry_after_s }) => Some(*retry_after_s),
            _ => None,
        }
    }

    /// The error's JSON: the body of a response, or the last event of a stream.
    pub(super) fn body(&self) -> Value {
        let status = self.status();
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({
            "error": {
                "message": self.to_string(),
                "type": kind,
                "param": self.param(),
                "code": self.code(),
            }
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self, Self::KeyMissing | Self::KeyWrong) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
