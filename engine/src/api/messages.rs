//! The messages of a chat: each is somebody's, and says something. Their content is
//! [`prompt`](crate::prompt)'s to read.

use serde_json::{Value, json};

use super::{error::ApiError, params::Params};

const ROLES: &[&str] = &["system", "user", "assistant", "tool"];

/// Takes `messages`; each has a role that templates know.
pub(super) fn take(params: &mut Params) -> Result<Vec<Value>, ApiError> {
    let expected = "an array of at least one message";
    let mut messages = params.require("messages", expected, |value| {
        value.as_array().filter(|messages| !messages.is_empty()).cloned()
    })?;
    for (index, message) in messages.iter_mut().enumerate() {
        check(message, &format!("messages[{index}]"))?;
    }
    Ok(messages)
}

fn check(message: &mut Value, at: &str) -> Result<(), ApiError> {
    if !message.is_object() {
        return Err(ApiError::invalid(at, "an object with a role and content", message));
    }
    // OpenAI's newer name for who wrote the system prompt; templates know the older one.
    if message["role"] == "developer" {
        message["role"] = json!("system");
    }
    match message["role"].as_str() {
        Some(role) if ROLES.contains(&role) => {}
        _ => {
            let expected = "system, developer, user, assistant or tool";
            return Err(ApiError::invalid(format!("{at}.role"), expected, &message["role"]));
        }
    }
    match &message["content"] {
        Value::String(_) | Value::Array(_) => Ok(()),
        // An assistant that called a tool said nothing.
        Value::Null if message["role"] == "assistant" => Ok(()),
        other => {
            let expected = "a string or an array of text parts";
            Err(ApiError::invalid(format!("{at}.content"), expected, other))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(messages: Value) -> Result<Vec<Value>, String> {
        let body = json!({ "messages": messages }).to_string();
        take(&mut Params::parse(body.as_bytes()).unwrap()).map_err(|error| match error {
            ApiError::Invalid { param, .. } | ApiError::Missing { param, .. } => param,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn a_developer_is_the_system_to_a_template() {
        let messages = read(json!([
            { "role": "developer", "content": "Be brief." },
            { "role": "assistant", "content": null, "tool_calls": [] },
        ]))
        .unwrap();
        assert_eq!(messages[0]["role"], "system");
        assert_eq!(messages[1]["content"], Value::Null);
    }

    #[test]
    fn what_is_no_message_is_refused_where_it_stands() {
        for (messages, param) in [
            (json!(null), "messages"),
            (json!([]), "messages"),
            (json!("hi"), "messages"),
            (json!(["hi"]), "messages[0]"),
            (json!([{ "content": "hi" }]), "messages[0].role"),
            (json!([{ "role": "king", "content": "hi" }]), "messages[0].role"),
            (json!([{ "role": "user" }]), "messages[0].content"),
            (json!([{ "role": "user", "content": 5 }]), "messages[0].content"),
        ] {
            assert_eq!(read(messages), Err(param.to_owned()));
        }
    }
}
