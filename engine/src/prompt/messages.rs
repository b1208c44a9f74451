//! Is that a conversation, and in the shape that templates expect?
//!
//! Clients speak OpenAI's dialect, templates were written for Hugging Face's: content as parts
//! becomes one text, and the arguments of earlier tool calls, JSON in a string there, become the
//! object that templates write out as JSON themselves.

use serde_json::{Map, Value};

use super::PromptError;

/// `messages` as templates expect them.
///
/// # Errors
/// [`PromptError::Message`] names the first that is no message.
pub(super) fn for_template(messages: &[Value]) -> Result<Vec<Value>, PromptError> {
    messages
        .iter()
        .enumerate()
        .map(|(index, message)| {
            one(message)
                .map(Value::Object)
                .map_err(|problem| PromptError::Message { index, problem })
        })
        .collect()
}

fn one(message: &Value) -> Result<Map<String, Value>, String> {
    let Value::Object(message) = message else {
        return Err("a message is an object with `role` and `content`".to_owned());
    };
    let mut message = message.clone();
    if !message.get("role").is_some_and(Value::is_string) {
        return Err("`role` is missing or not a string".to_owned());
    }
    match message.get("content") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            let text = joined_text(parts)?;
            message.insert("content".to_owned(), Value::String(text));
        }
        Some(_) => return Err("`content` is neither text nor a list of parts".to_owned()),
    }
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        calls.iter_mut().for_each(parse_arguments);
    }
    Ok(message)
}

/// The texts of content parts, a line each.
fn joined_text(parts: &[Value]) -> Result<String, String> {
    let texts: Result<Vec<&str>, String> = parts
        .iter()
        .map(|part| match (part, part.get("type").and_then(Value::as_str)) {
            (Value::String(text), _) => Ok(text.as_str()),
            (_, Some("text")) => part
                .get("text")
                .and_then(Value::as_str)
                .ok_or_else(|| "a content part of type `text` has no `text`".to_owned()),
            (_, Some(other)) => {
                Err(format!("content of type `{other}` cannot be given to a text model"))
            }
            (_, None) => Err("a content part has no `type`".to_owned()),
        })
        .collect();
    Ok(texts?.join("\n"))
}

/// Turns `function.arguments` from JSON in a string to what it says, if it says an object.
fn parse_arguments(call: &mut Value) {
    let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments")) else {
        return;
    };
    let parsed = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(object @ Value::Object(_)) = parsed {
        *arguments = object;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn openai_shapes_become_hugging_face_shapes() {
        let messages = [
            json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": "{\"z\": 1, \"a\": 2}"}},
                {"type": "function", "function": {"name": "g", "arguments": "not json"}}]}),
        ];
        let shaped = for_template(&messages).unwrap();
        assert_eq!(shaped[0], json!({"role": "user", "content": "a\nb"}));
        let arguments = &shaped[1]["tool_calls"][0]["function"]["arguments"];
        assert_eq!(arguments.to_string(), r#"{"z":1,"a":2}"#, "keys stay in their order");
        assert_eq!(shaped[1]["tool_calls"][1]["function"]["arguments"], "not json");
    }

    #[test]
    fn what_is_no_message_is_named() {
        let image = json!({"role": "user", "content": [{"type": "image_url"}]});
        for (message, what) in [
            (json!("hi"), "object"),
            (json!({"content": "hi"}), "role"),
            (json!({"role": 3}), "role"),
            (json!({"role": "user", "content": 3}), "content"),
            (json!({"role": "user", "content": [3]}), "type"),
            (image, "image_url"),
        ] {
            let good = json!({"role": "user", "content": "x"});
            let error = for_template(&[good, message]).unwrap_err().to_string();
            assert!(error.starts_with("messages[1]:") && error.contains(what), "{error}");
        }
    }
}
