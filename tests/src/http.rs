//! The API of a node, asked as plainly as can be.

use std::{io::Write, net::TcpStream, time::Duration};

use serde_json::Value;

/// Longest wait for one answer: a small model computes for seconds on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// Status and JSON of `GET url`.
///
/// # Panics
/// If nobody answers, or not in JSON.
#[must_use]
pub fn get(url: &str) -> (u16, Value) {
    try_get(url).unwrap_or_else(|error| panic!("GET {url}: {error}"))
}

/// [`get`], where nobody may be listening yet.
///
/// # Errors
/// What the connection says.
pub fn try_get(url: &str) -> Result<(u16, Value), ureq::Error> {
    let mut response = agent().get(url).call()?;
    Ok((response.status().as_u16(), response.body_mut().read_json()?))
}

/// Status and JSON of `POST url`.
///
/// # Panics
/// If nobody answers, or not in JSON.
#[must_use]
pub fn post(url: &str, body: &Value) -> (u16, Value) {
    let mut response =
        agent().post(url).send_json(body).unwrap_or_else(|error| panic!("POST {url}: {error}"));
    let json = response.body_mut().read_json();
    (response.status().as_u16(), json.unwrap_or_else(|error| panic!("POST {url}: {error}")))
}

/// Sends a request and leaves the answer unread: the connection is the caller's to break.
///
/// # Panics
/// If nobody listens at `address`.
#[must_use]
pub fn begin(address: &str, path: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut socket = TcpStream::connect(address).expect("a node listens");
    socket.set_read_timeout(Some(ANSWER_MAX)).expect("a timeout is no matter");
    let length = body.len();
    write!(
        socket,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("a request fits into a socket");
    socket
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_MAX))
        .proxy(None)
        .build()
        .into()
}
