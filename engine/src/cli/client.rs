//! The API of a serving node, asked over HTTP.

use std::{
    io::{BufRead, BufReader},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

/// A node on this or a neighbouring machine answers sooner, or is not there.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long an answer without a stream may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest line of a stream: one event.
const EVENT_BYTES_MAX: u64 = 1 << 20;

/// A node's API.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    key: Option<String>,
}

impl Client {
    /// Nothing is sent yet.
    pub(super) fn new(base: &str, key: Option<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .proxy(None) // a node is asked directly
            .build();
        Self { agent: config.into(), base: base.trim_end_matches('/').to_owned(), key }
    }

    /// Whether a node serves here.
    pub(super) fn is_there(&self) -> bool {
        self.get::<Value>("/healthz").is_ok_and(|health| health["status"] == "ok")
    }

    /// What `GET path` answers.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut request = self
            .agent
            .get(format!("{}{path}", self.base))
            .config()
            .timeout_global(Some(ANSWER_MAX))
            .build();
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = self.checked(request.call())?;
        response.body_mut().read_json().with_context(|| format!("{} answers oddly", self.base))
    }

    /// The events of a stream that `POST path` answers with, until `[DONE]`.
    pub(super) fn stream(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<impl Iterator<Item = Result<Value>> + Send + use<>> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = self.checked(request.send_json(body))?;
        let mut lines = BufReader::new(response.into_body().into_reader());
        Ok(std::iter::from_fn(move || event(&mut lines).transpose()))
    }

    /// A response that is no error, or the error it is.
    fn checked(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        let mut response = response.map_err(|error| {
            anyhow!(error).context(format!(
                "no node answers at {}\nhint: start one with `exo-node serve`, or say where it is \
                 with --api",
                self.base
            ))
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let body: Value = response.body_mut().read_json().unwrap_or_default();
        let hint = match response.status().as_u16() {
            401 => "\nhint: give the key it was started with by --api-key or EXO_API_KEY",
            503 => "\nhint: `exo-node status` says what it is waiting for",
            _ => "",
        };
        match body["error"]["message"].as_str() {
            Some(message) => bail!("{message}{hint}"),
            None => bail!("{} answers {}, as no node does", self.base, response.status()),
        }
    }
}

/// The next event's data; comments are passed over. `None` at `[DONE]`.
fn event(lines: &mut impl BufRead) -> Result<Option<Value>> {
    loop {
        let mut line = String::new();
        let mut bounded = std::io::Read::take(&mut *lines, EVENT_BYTES_MAX);
        if bounded.read_line(&mut line).context("the connection to the node broke")? == 0 {
            bail!("the node broke off in the middle of its answer");
        }
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
        if data == "[DONE]" {
            return Ok(None);
        }
        let event: Value = serde_json::from_str(data).context("the node's answer is not JSON")?;
        if let Some(message) = event["error"]["message"].as_str() {
            bail!("{message}");
        }
        return Ok(Some(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(mut stream: &[u8]) -> (Vec<Value>, Option<String>) {
        let mut seen = Vec::new();
        loop {
            match event(&mut stream) {
                Ok(Some(event)) => seen.push(event),
                Ok(None) => return (seen, None),
                Err(error) => return (seen, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn a_stream_ends_with_done_an_error_or_is_broken() {
        assert_eq!(events(b": ping\n\ndata: 1\n\ndata:2\n\ndata: [DONE]\n\n").0, [1, 2]);
        let (seen, why) = events(b"data: 1\n\ndata: {\"error\": {\"message\": \"air left\"}}\n\n");
        assert_eq!((seen.len(), why.as_deref()), (1, Some("air left")));
        assert!(events(b"data: 1\n\n").1.unwrap().contains("broke off"));
        assert!(events(b"data: {\n\n").1.is_some());
    }
}
