//! A request's parameters, taken one by one: what is left over was not understood, and that is
//! said by name rather than ignored.

use serde_json::{Map, Value};

use super::error::ApiError;

/// The members of a request's body that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Params(Map<String, Value>);

/// A parameter that is known but not supported, and the values at which it changes nothing.
pub(super) type Neutral = (&'static str, fn(&Value) -> bool);

impl Params {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body).map_err(ApiError::MalformedJson)? {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(ApiError::NotAnObject),
        }
    }

    /// Takes `name` if it is there and not null; `read` turns it down by `None`.
    pub(super) fn take<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(&value) {
                Some(read) => Ok(Some(read)),
                None => Err(ApiError::invalid(name, expected, &value)),
            },
        }
    }

    /// [`take`](Self::take) for what has to be there.
    pub(super) fn require<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, ApiError> {
        self.take(name, expected, read)?
            .ok_or(ApiError::Missing { param: name.to_owned(), expected })
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, ApiError> {
        Ok(self.take(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn number(
        &mut self,
        name: &'static str,
        expected: &'static str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<Option<f64>, ApiError> {
        self.take(name, expected, |value| value.as_f64().filter(|n| range.contains(n)))
    }

    pub(super) fn integer(
        &mut self,
        name: &'static str,
        expected: &'static str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<Option<u32>, ApiError> {
        self.take(name, expected, |value| {
            value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n))
        })
    }

    /// Refuses what is left, but for the `harmless` and for the `neutral` at a neutral value.
    pub(super) fn finish(mut self, harmless: &[&str], neutral: &[Neutral]) -> Result<(), ApiError> {
        self.0.retain(|name, value| !value.is_null() && !harmless.contains(&name.as_str()));
        for &(name, changes_nothing) in neutral {
            match self.0.remove(name) {
                Some(value) if !changes_nothing(&value) => {
                    return Err(ApiError::Unsupported { param: name.to_owned() });
                }
                _ => {}
            }
        }
        match self.0.into_iter().next() {
            Some((param, _)) => Err(ApiError::UnknownParameter { param }),
            None => Ok(()),
        }
    }
}

/// Parameters of both endpoints that change nothing about the answer.
pub(super) const HARMLESS: &[&str] = &[
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls", // without tools
    "request_id",
    "priority",
];

/// Parameters of both endpoints that would change the answer, were they not what they are here.
pub(super) const NEUTRAL: &[Neutral] = &[
    ("n", |v| v.as_u64() == Some(1)),
    ("store", is_false),
    ("min_tokens", is_zero),
    ("bad_words", is_empty),
    ("use_beam_search", is_false),
    ("include_stop_str_in_output", is_false),
    ("skip_special_tokens", Value::is_boolean), // no special token is text here
    ("spaces_between_special_tokens", Value::is_boolean),
    ("response_format", |v| v["type"] == "text"),
    ("tools", is_empty),
    ("functions", is_empty),
    ("tool_choice", |v| v == "none" || v == "auto"),
    ("function_call", |v| v == "none" || v == "auto"),
    ("modalities", |v| *v == serde_json::json!(["text"])),
    ("best_of", |v| v.as_u64() == Some(1)),
    ("suffix", |v| v == ""),
    ("echo", is_false),
    ("audio", Value::is_null),
    ("prediction", Value::is_null),
    ("reasoning_effort", Value::is_null),
    ("verbosity", Value::is_null),
    ("web_search_options", Value::is_null),
    ("prompt_logprobs", Value::is_null),
    ("continue_final_message", is_false),
];

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_false(value: &Value) -> bool {
    value.as_bool() == Some(false)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(body: &str) -> Result<(), ApiError> {
        Params::parse(body.as_bytes())?.finish(HARMLESS, NEUTRAL)
    }

    #[test]
    fn what_changes_nothing_is_accepted() {
        finish(
            r#"{"user": "me", "metadata": {}, "store": false, "n": 1, "tools": [],
                "response_format": {"type": "text"}, "whatever": null,
                "tool_choice": "auto", "modalities": ["text"], "best_of": 1}"#,
        )
        .unwrap();
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        for (name, value) in [
            ("n", "2"),
            ("store", "true"),
            ("response_format", r#"{"type": "json_object"}"#),
            ("tools", r#"[{"type": "function"}]"#),
            ("tool_choice", r#""required""#),
            ("best_of", "3"),
            ("suffix", r#""!""#),
            ("echo", "true"),
            ("reasoning_effort", r#""high""#),
        ] {
            match finish(&format!(r#"{{"{name}": {value}}}"#)) {
                Err(ApiError::Unsupported { param }) => assert_eq!(param, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(matches!(
            finish(r#"{"temprature": 1}"#),
            Err(ApiError::UnknownParameter { param }) if param == "temprature"
        ));
    }
}
