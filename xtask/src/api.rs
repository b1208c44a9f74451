//! How is a running node asked something? Over its HTTP API, of which this knows as much as the
//! demo needs.

use std::{
    io::{BufRead, BufReader, Read},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;

/// `GET /v1/cluster`, as far as the demo shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) model: Option<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) interface: String,
    pub(crate) link_kind: String,
    pub(crate) layers: Option<Layers>,
    pub(crate) weight_bytes_read: u64,
    pub(crate) state: String,
}

/// `end` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Layers {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Link {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) interface: String,
    pub(crate) kind: String,
    pub(crate) hop_us: Hop,
}

/// Microseconds from posting an activation to the peer's acknowledgement, on the sender's clock.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hop {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
}

impl Cluster {
    /// Whether `nodes` nodes hold the whole model between them and are ready to run it.
    pub(crate) fn is_ready(&self, nodes: usize) -> bool {
        let holding: Vec<_> = self.nodes.iter().filter(|node| node.layers.is_some()).collect();
        self.model.is_some()
            && holding.len() == nodes
            && holding.iter().all(|node| node.state == "ready")
            && self.layers_are_contiguous()
    }

    fn layers_are_contiguous(&self) -> bool {
        let mut layers: Vec<Layers> = self.nodes.iter().filter_map(|node| node.layers).collect();
        layers.sort_by_key(|layers| layers.start);
        layers.first().is_some_and(|first| first.start == 0)
            && layers.iter().all(|layers| layers.start < layers.end)
            && layers.is_sorted_by(|a, b| a.end == b.start)
    }
}

/// A node's API.
pub(crate) struct Api {
    agent: Agent,
    base: String,
}

impl Api {
    /// The API that listens on `address`.
    pub(crate) fn new(address: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_global(Some(Duration::from_secs(120)))
            .http_status_as_error(false) // the body says why
            .proxy(None)
            .build();
        Self { agent: config.into(), base: format!("http://{address}") }
    }

    /// The cluster as this node sees it.
    pub(crate) fn cluster(&self) -> Result<Cluster> {
        self.get("/v1/cluster")
    }

    /// The model that a chat names: the first that this node serves.
    pub(crate) fn model(&self) -> Result<String> {
        let models: Value = self.get("/v1/models")?;
        let id = models["data"][0]["id"].as_str();
        Ok(id.with_context(|| format!("no model among {models}"))?.to_owned())
    }

    /// Asks `question` greedily and hands each piece of the answer to `piece` as it comes; returns
    /// the whole.
    pub(crate) fn chat(
        &self,
        model: &str,
        question: &str,
        piece: impl FnMut(&str),
    ) -> Result<String> {
        let path = "/v1/chat/completions";
        let request = json!({
            "model": model,
            "messages": [{ "role": "user", "content": question }],
            "temperature": 0,
            "max_tokens": 64,
            "stream": true,
        });
        let url = format!("{}{path}", self.base);
        let mut response = self.agent.post(&url).send_json(request).context(url.clone())?;
        if !response.status().is_success() {
            let said = response.body_mut().read_to_string().unwrap_or_default();
            bail!("{url} answered {}: {said}", response.status());
        }
        read_answer(response.body_mut().as_reader(), piece).context(url)
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T> {
        let url = format!("{}{path}", self.base);
        let mut response = self.agent.get(&url).call().context(url.clone())?;
        let body = response.body_mut().read_to_string().context(url.clone())?;
        if !response.status().is_success() {
            bail!("{url} answered {}: {body}", response.status());
        }
        serde_json::from_str(&body).with_context(|| format!("{url} answered {body}"))
    }
}

/// Reads a stream of server-sent events up to `[DONE]`.
fn read_answer(stream: impl Read, mut piece: impl FnMut(&str)) -> Result<String> {
    let mut answer = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line.context("the stream broke off")?;
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
        if data == "[DONE]" {
            return Ok(answer);
        }
        let event: Value = serde_json::from_str(data).with_context(|| format!("event {data}"))?;
        if let Some(error) = event.get("error") {
            bail!("the node gave up: {error}");
        }
        if let Some(text) = event["choices"][0]["delta"]["content"].as_str() {
            piece(text);
            answer.push_str(text);
        }
    }
    bail!("the stream ended without [DONE], after {answer:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(layers: &[(u32, u32)], state: &str) -> Cluster {
        let node = |&(start, end): &(u32, u32)| Node {
            layers: Some(Layers { start, end }),
            state: state.into(),
            ..Node::default()
        };
        let nodes = layers.iter().map(node).collect();
        Cluster { model: Some("m".into()), nodes, ..Cluster::default() }
    }

    #[test]
    fn a_cluster_is_ready_when_the_layers_tile_and_all_are_loaded() {
        assert!(cluster(&[(15, 30), (0, 15)], "ready").is_ready(2));
        assert!(!cluster(&[(0, 15), (15, 30)], "loading").is_ready(2));
        assert!(!cluster(&[(0, 30)], "ready").is_ready(2), "one holds all");
        assert!(!cluster(&[(0, 15), (16, 30)], "ready").is_ready(2), "a layer is nobody's");
        assert!(!cluster(&[(1, 15), (15, 30)], "ready").is_ready(2), "the first is nobody's");
        assert!(!Cluster::default().is_ready(0));
    }

    #[test]
    fn a_cluster_is_read_from_the_contract() {
        let text = r#"{"this_node":"alpha","state":"ready","reason":"","model":"m","nodes":[
            {"id":"00","name":"alpha","interface":"lo","link_kind":"by-hand","memory_bytes":1,
             "layers":{"start":0,"end":15},"state":"ready"},
            {"id":"01","name":"beta","layers":null,"state":"idle"}],
            "links":[{"from":"alpha","to":"beta","interface":"lo","kind":"by-hand",
             "hop_us":{"p50":21.5,"p90":30,"p99":44.25,"count":9}}]}"#;
        let cluster: Cluster = serde_json::from_str(text).expect("the contract");
        assert_eq!(cluster.nodes[0].layers, Some(Layers { start: 0, end: 15 }));
        assert_eq!(cluster.nodes[1].layers, None);
        assert_eq!((cluster.links[0].hop_us.count, cluster.links[0].hop_us.p50), (9, 21.5));
    }

    #[test]
    fn an_answer_is_put_together_from_its_pieces() {
        let stream = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"Par\"}}]}\n\n\
                      : a comment\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"is.\"}}]}\n\n\
                      data: {\"choices\":[]}\n\ndata: [DONE]\n\n";
        let mut pieces = Vec::new();
        let answer = read_answer(stream.as_bytes(), |piece| pieces.push(piece.to_owned()));
        assert_eq!(answer.expect("whole"), "Paris.");
        assert_eq!(pieces, ["Par", "is."]);
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        let cut = "data: {\"choices\":[{\"delta\":{\"content\":\"Par\"}}]}\n\n";
        let error = read_answer(cut.as_bytes(), |_| {}).expect_err("cut off");
        assert!(error.to_string().contains("Par"), "{error}");
        let failed = "data: {\"error\":{\"message\":\"beta is gone\"}}\n\n";
        let error = read_answer(failed.as_bytes(), |_| {}).expect_err("failed");
        assert!(error.to_string().contains("beta is gone"), "{error}");
    }
}
