//! Clients of a node's HTTP API: streams of tokens, and when each came.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

/// Longest silence of a node that computes: a long prompt before its first token.
const PATIENCE: Duration = Duration::from_secs(600);

/// One request.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) port: u16,
    pub(crate) model: String,
    pub(crate) prompt: Vec<u32>,
    pub(crate) tokens: usize,
}

/// What came of it.
pub(crate) struct Heard {
    pub(crate) begun: Instant,
    /// When each token came.
    pub(crate) at: Vec<Instant>,
    pub(crate) tokens: Vec<u32>,
}

impl Heard {
    /// Seconds until the first token.
    pub(crate) fn first_s(&self) -> f64 {
        self.at.first().map_or(f64::NAN, |at| (*at - self.begun).as_secs_f64())
    }

    /// Milliseconds between one token and the next.
    pub(crate) fn gaps_ms(&self) -> impl Iterator<Item = f64> + '_ {
        self.at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3)
    }
}

fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// `GET path`, parsed; to be called where the node is.
pub(crate) fn get(port: u16, path: &str) -> anyhow::Result<Value> {
    let mut socket = connect(port)?;
    write!(socket, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok(serde_json::from_str(body)?)
}

/// Runs one request to its end; to be called where the node is.
pub(crate) fn stream(ask: &Ask) -> anyhow::Result<Heard> {
    let heard = stream_while(ask, |_| true)?;
    ensure!(heard.at.len() == ask.tokens, "{} of {} tokens", heard.at.len(), ask.tokens);
    Ok(heard)
}

/// Runs one request until it ends or, after a token, `goes_on` says no: then the client goes away.
pub(crate) fn stream_while(
    ask: &Ask,
    mut goes_on: impl FnMut(&Heard) -> bool,
) -> anyhow::Result<Heard> {
    let body = json!({
        "model": ask.model, "prompt": ask.prompt, "max_tokens": ask.tokens, "temperature": 0,
        "ignore_eos": true, "return_token_ids": true, "stream": true,
    })
    .to_string();
    let mut socket = connect(ask.port)?;
    let begun = Instant::now();
    let length = body.len();
    write!(
        socket,
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut heard = Heard { begun, at: Vec::new(), tokens: Vec::new() };
    let mut said = String::new();
    for line in BufReader::new(socket).lines() {
        let line = line?;
        let Some(event) = line.strip_prefix("data: ") else {
            said.push_str(&line);
            continue;
        };
        if event == "[DONE]" {
            return Ok(heard);
        }
        let event: Value = serde_json::from_str(event)?;
        if !event["error"].is_null() {
            bail!("the node says: {}", event["error"]["message"]);
        }
        let now = Instant::now();
        let ids = event["choices"][0]["token_ids"].as_array();
        for id in ids.into_iter().flatten().filter_map(Value::as_u64) {
            heard.at.push(now);
            heard.tokens.push(id as u32);
        }
        if !goes_on(&heard) {
            return Ok(heard);
        }
    }
    bail!("the answer ended early: {said}")
}

/// Runs requests at the same time.
pub(crate) fn together(asks: &[Ask]) -> anyhow::Result<Vec<Heard>> {
    thread::scope(|scope| {
        let threads: Vec<_> = asks.iter().map(|ask| scope.spawn(move || stream(ask))).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a client's thread panicked")));
        ended.collect()
    })
}

/// Tokens per second of all, while all of them have begun and none has ended.
pub(crate) fn rate_together(heard: &[Heard]) -> anyhow::Result<f64> {
    let begun = heard.iter().filter_map(|own| own.at.first()).max().context("no token came")?;
    let ended = heard.iter().filter_map(|own| own.at.last()).min().context("no token came")?;
    ensure!(begun < ended, "the requests did not run at the same time: ask for more tokens");
    let counted = heard.iter().flat_map(|own| &own.at).filter(|at| *at > begun && *at <= ended);
    Ok(counted.count() as f64 / (*ended - *begun).as_secs_f64())
}

/// Tokens per second of requests that ran one after the other, their prompts left out.
pub(crate) fn rate_in_turn(heard: &[Heard]) -> f64 {
    let tokens: usize = heard.iter().map(|own| own.at.len() - 1).sum();
    let seconds: f64 =
        heard.iter().map(|own| (own.at[own.at.len() - 1] - own.at[0]).as_secs_f64()).sum();
    tokens as f64 / seconds
}
