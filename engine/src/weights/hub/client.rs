//! How is the hub asked, and what if it does not answer?

use std::{fmt, io::Read, ops::Range, time::Duration};

use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
};

use super::HubError;

/// Where models are, unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How long an answer may take to begin.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a connection may be silent in the middle of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Tries in a row that bring nothing.
const TRIES_MAX: u32 = 6;
/// Between them: doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest pause, whatever the hub asks for.
const PAUSE_MAX: Duration = Duration::from_secs(120);
/// A repository's description (DeepSeek's has 60 KB).
const DESCRIPTION_BYTES_MAX: u64 = 64 << 20;

/// Which hub is asked, and as whom.
#[derive(Clone)]
pub struct HubOptions {
    /// Its address, without a slash at the end.
    pub endpoint: String,
    /// An access token, for models whose licence has to be accepted.
    pub token: Option<String>,
    /// How pauses between tries are made: by sleeping, but in tests.
    pub pause: fn(Duration),
}

impl HubOptions {
    /// As `HF_ENDPOINT` and `HF_TOKEN` say.
    #[must_use]
    pub fn from_environment() -> Self {
        let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoint: named("HF_ENDPOINT")
                .map_or_else(|| ENDPOINT.to_owned(), |url| url.trim_end_matches('/').to_owned()),
            token: named("HF_TOKEN"),
            pause: std::thread::sleep,
        }
    }
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        f.debug_struct("HubOptions").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A hub, asked over HTTP. Nothing is kept open between questions but connections.
pub struct HubClient {
    agent: Agent,
    options: HubOptions,
}

/// What came of one question.
enum Failed {
    /// It may go better next time: after this long, if the hub says so.
    Again { cause: String, after: Option<Duration> },
    /// It will not.
    For(HubError),
}

/// Counts the tries in a row that brought nothing.
#[derive(Default)]
pub(super) struct Patience {
    tries: u32,
}

impl HubClient {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(options: HubOptions) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(ANSWER_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .user_agent(concat!("exo-node/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), options }
    }

    /// The address of a file of a repository at a commit.
    pub(super) fn file_url(&self, repo: &str, commit: &str, file: &str) -> String {
        format!("{}/{repo}/resolve/{commit}/{file}", self.options.endpoint)
    }

    /// The JSON at `path`.
    pub(super) fn json(&self, repo: &str, path: &str) -> Result<serde_json::Value, HubError> {
        let url = format!("{}{path}", self.options.endpoint);
        let mut patience = Patience::default();
        loop {
            let failed = match self.ask(repo, &url, None) {
                Ok(mut response) => {
                    let body = response.body_mut().with_config().limit(DESCRIPTION_BYTES_MAX);
                    match body.read_json() {
                        Ok(json) => return Ok(json),
                        Err(error) => Failed::Again { cause: error.to_string(), after: None },
                    }
                }
                Err(failed) => failed,
            };
            self.give_way(&mut patience, failed)?;
        }
    }

    /// Bytes `range` of the file at `url`, which has `file_bytes`. One try: what breaks later is the
    /// reader's to notice, and it asks again through [`give_way`](Self::retry).
    pub(super) fn open(
        &self,
        repo: &str,
        url: &str,
        range: Range<u64>,
        file_bytes: u64,
        patience: &mut Patience,
    ) -> Result<impl Read + use<>, HubError> {
        loop {
            let answer = self.ask(repo, url, Some(&range));
            let failed = match answer.and_then(|response| check(response, &range, file_bytes, url))
            {
                Ok(response) => {
                    let length = range.end - range.start;
                    return Ok(response.into_body().into_reader().take(length));
                }
                Err(failed) => failed,
            };
            self.give_way(patience, failed)?;
        }
    }

    /// A connection broke in the middle of an answer, after `progress` bytes of it.
    ///
    /// # Errors
    /// [`HubError::Unreachable`] after too many tries in a row that brought nothing.
    pub(super) fn broke(
        &self,
        patience: &mut Patience,
        progress: u64,
        cause: String,
    ) -> Result<(), HubError> {
        if progress > 0 {
            patience.tries = 0;
        }
        self.give_way(patience, Failed::Again { cause, after: None })
    }

    /// Pauses before the next try, or gives up.
    fn give_way(&self, patience: &mut Patience, failed: Failed) -> Result<(), HubError> {
        let (cause, after) = match failed {
            Failed::For(error) => return Err(error),
            Failed::Again { cause, after } => (cause, after),
        };
        patience.tries += 1;
        if patience.tries >= TRIES_MAX {
            return Err(HubError::Unreachable { endpoint: self.options.endpoint.clone(), cause });
        }
        let own = PAUSE_FIRST * 2_u32.pow(patience.tries - 1);
        let pause = after.unwrap_or(own).min(PAUSE_MAX);
        tracing::debug!(cause, ?pause, "asking the hub again");
        (self.options.pause)(pause);
        Ok(())
    }

    fn ask(
        &self,
        repo: &str,
        url: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Response<Body>, Failed> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.options.token {
            // Not sent on to where a redirection leads.
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(range) = range {
            let bytes = format!("bytes={}-{}", range.start, range.end - 1);
            request = request.header(header::RANGE, bytes);
        }
        let response = request
            .call()
            .map_err(|error| Failed::Again { cause: error.to_string(), after: None })?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let (repo, status) = (repo.to_owned(), status.as_u16());
                Err(Failed::For(HubError::Denied { repo, status }))
            }
            StatusCode::NOT_FOUND => {
                let what = url.strip_prefix(&self.options.endpoint).unwrap_or(url).to_owned();
                Err(Failed::For(HubError::NotFound { what }))
            }
            _ => {
                let asked = response.headers().get(header::RETRY_AFTER);
                let seconds = asked.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let after = seconds.map(Duration::from_secs);
                Err(Failed::Again { cause: format!("{url}: {status}"), after })
            }
        }
    }
}

/// Whether the answer has the bytes that were asked for, of a file of the right length.
fn check(
    response: Response<Body>,
    range: &Range<u64>,
    file_bytes: u64,
    url: &str,
) -> Result<Response<Body>, Failed> {
    let told = response.headers().get(header::CONTENT_RANGE).and_then(|told| told.to_str().ok());
    let got = match (response.status(), told) {
        (StatusCode::PARTIAL_CONTENT, Some(told)) => {
            let expected = format!("bytes {}-{}/{file_bytes}", range.start, range.end - 1);
            if told == expected {
                return Ok(response);
            }
            told.to_owned()
        }
        // The whole file is as good where its beginning was asked for.
        (StatusCode::OK, _) if range.start == 0 => return Ok(response),
        (status, _) => status.to_string(),
    };
    let (file, start, end) = (url.to_owned(), range.start, range.end);
    Err(Failed::For(HubError::WrongRange { file, start, end, got }))
}
