//! `exo-node run`: a chat in the terminal.

use std::{
    io::{BufRead, IsTerminal},
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use crossbeam::channel::{self, RecvTimeoutError};
use exo_engine::node::ClusterView;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use signal_hook::{consts::SIGINT, flag};

use super::{args::RunArgs, client::Client, local::LocalNode, report::print};

/// How often the cluster is asked whether it is ready, and Ctrl-C is looked for.
const POLL: Duration = Duration::from_millis(100);
/// Longest wait for a model: a big one comes from a slow disk in this time.
const READY_MAX: Duration = Duration::from_secs(600);
/// What Ctrl-C ends a shell's program with.
const INTERRUPTED: i32 = 130;

pub(super) fn run(args: RunArgs) -> Result<()> {
    let mut client = Client::new(&args.api.api, args.api.api_key.clone());
    let mut here = None;
    if !client.is_there() {
        let listen = address(&args.api.api)?;
        let key = args.api.api_key.clone();
        let node = LocalNode::start(args.node, Some(args.model.clone()), listen, key)?;
        client = Client::new(&format!("http://{}", node.address), args.api.api_key);
        here = Some(node);
    }
    let chat = Chat {
        model: ready(&client, &args.model, here.is_some())?,
        client,
        max_tokens: args.max_tokens,
        temperature: args.temperature,
    };
    match args.prompt {
        Some(prompt) => {
            let never = AtomicBool::new(false);
            chat.answer(&[json!({ "role": "user", "content": prompt })], &never)?;
            Ok(())
        }
        None => chat.converse(),
    }
}

/// The address in an API's URL, to listen there for whoever comes later.
fn address(url: &str) -> Result<SocketAddr> {
    let authority = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next())
        .ok_or_else(|| anyhow!("{url} is no API\nhint: --api http://127.0.0.1:52415"))?;
    let found = authority.to_socket_addrs().ok().and_then(|mut found| found.next());
    match found {
        Some(address) if address.ip().is_loopback() => Ok(address),
        // Elsewhere no node can be started from here.
        _ => bail!(
            "no node answers at {url}\nhint: start one there with `exo-node serve`, or leave out \
             --api to start one here"
        ),
    }
}

/// Waits until the model is ready; its name as the API has it.
fn ready(client: &Client, wanted: &str, here: bool) -> Result<String> {
    let spinner = ProgressBar::new_spinner();
    let deadline = Instant::now() + READY_MAX;
    loop {
        let cluster: ClusterView = client.get("/v1/cluster")?;
        let model = cluster.model.as_deref().unwrap_or_default();
        // A folder that was named is known to the API by its last part.
        if !here && !model.is_empty() && !names(wanted, model) {
            bail!(
                "the node that serves has {model}, not {wanted}\nhint: `exo-node run {model}`, or \
                 stop it and start one with {wanted}"
            );
        }
        match cluster.state.as_str() {
            "ready" if !model.is_empty() => return Ok(model.to_owned()),
            "failed" => bail!("{wanted} could not be placed: {}", cluster.reason),
            state if Instant::now() > deadline => {
                bail!("{wanted} is not ready after {READY_MAX:?}: {state}: {}", cluster.reason)
            }
            "waiting" if !here && model.is_empty() && cluster.reason.is_empty() => {
                bail!("the node that serves has no model\nhint: start it with --model {wanted}")
            }
            state => spinner.set_message(format!("{state} {}", cluster.reason)),
        }
        spinner.tick();
        thread::sleep(POLL);
    }
}

fn names(wanted: &str, model: &str) -> bool {
    wanted == model || wanted.trim_end_matches('/').rsplit('/').next() == Some(model)
}

struct Chat {
    client: Client,
    model: String,
    max_tokens: Option<u32>,
    temperature: f32,
}

impl Chat {
    fn body(&self, messages: &[Value]) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "temperature": self.temperature,
            "stream": true,
        });
        if let Some(max_tokens) = self.max_tokens {
            body["max_tokens"] = max_tokens.into();
        }
        body
    }

    /// Prints an answer as it comes, until it ends or `cancel` is set. What was printed.
    fn answer(&self, messages: &[Value], cancel: &AtomicBool) -> Result<String> {
        let events = self.client.stream("/v1/chat/completions", &self.body(messages))?;
        let (sender, pieces) = channel::bounded(64);
        // Reading blocks; when nobody wants the next piece this thread closes the connection, and
        // the node frees the request.
        thread::spawn(move || {
            for event in events {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let mut text = String::new();
        while !cancel.load(Ordering::Relaxed) {
            match pieces.recv_timeout(POLL) {
                Ok(event) => {
                    if let Some(piece) = event?["choices"][0]["delta"]["content"].as_str() {
                        print(piece)?;
                        text.push_str(piece);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        print("\n")?;
        Ok(text)
    }

    /// Line by line, until `/exit` or the end of the input.
    fn converse(&self) -> Result<()> {
        // Ctrl-C ends an answer; where none is under way it ends the program.
        let waiting = Arc::new(AtomicBool::new(true));
        let cancel = Arc::new(AtomicBool::new(false));
        flag::register_conditional_shutdown(SIGINT, INTERRUPTED, waiting.clone())
            .and_then(|_| flag::register(SIGINT, cancel.clone()))
            .context("cannot listen for Ctrl-C")?;
        let prompt = if std::io::stdin().is_terminal() { ">>> " } else { "" };
        if !prompt.is_empty() {
            print(&format!("{}: /exit or Ctrl-D ends it, Ctrl-C an answer\n", self.model))?;
        }
        let mut messages = Vec::new();
        let mut lines = std::io::stdin().lock();
        loop {
            waiting.store(true, Ordering::Relaxed);
            print(prompt)?;
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim() {
                "" => continue,
                "/exit" => return Ok(()),
                question => messages.push(json!({ "role": "user", "content": question })),
            }
            cancel.store(false, Ordering::Relaxed);
            waiting.store(false, Ordering::Relaxed);
            match self.answer(&messages, &cancel) {
                Ok(answer) => {
                    messages.push(json!({ "role": "assistant", "content": answer }));
                }
                // One answer that fails does not end a chat.
                Err(error) => {
                    messages.pop();
                    eprint!("{}", super::report::failure(&error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_started_on_this_machine_only() {
        assert_eq!(address("http://127.0.0.1:52415/").unwrap().port(), 52415);
        assert!(address("http://192.0.2.1:52415").is_err());
        assert!(address("https://127.0.0.1:1").is_err());
        assert!(address("http://127.0.0.1").is_err());
    }

    #[test]
    fn a_folder_s_last_part_names_its_model() {
        assert!(names("smollm2", "smollm2") && names("./models/smollm2/", "smollm2"));
        assert!(!names("smollm2", "qwen") && !names("models/smollm2x", "smollm2"));
    }
}
