//! Where the time goes: step times of each stage, from the counts that `/v1/cluster` shows.

use std::{thread, time::Duration};

use serde::Serialize;
use serde_json::Value;

use super::nodes::Cluster;

/// Nodes tell each other their counts every second.
const TOLD_WITHIN: Duration = Duration::from_millis(2_200);

/// One stage over one measurement.
#[derive(Debug, Clone, Serialize)]
pub(super) struct StageProfile {
    pub(super) node: String,
    pub(super) layers: String,
    /// Steps computed.
    pub(super) steps: u64,
    /// Rows of a step on average.
    pub(super) rows: f64,
    /// Milliseconds of a step on average, sampling included.
    pub(super) step_ms: f64,
    /// Milliseconds of processor-free time between steps is what remains of it.
    pub(super) busy_percent: f64,
    /// Milliseconds that an activation took to the next stage, at the median.
    pub(super) hop_ms: Option<f64>,
}

/// Counts of each stage at one moment.
pub(super) struct Counts {
    stages: Vec<(String, String, u64, u64, f64)>,
    hops: Vec<(String, String, f64)>,
}

impl Counts {
    pub(super) fn now(cluster: &Cluster) -> anyhow::Result<Self> {
        thread::sleep(TOLD_WITHIN);
        let view = cluster.get(0, "/v1/cluster")?;
        let empty = Vec::new();
        let nodes = view["nodes"].as_array().unwrap_or(&empty);
        let stages = nodes.iter().map(|node| {
            let (mut steps, mut rows, mut ms) = (0, 0, 0.0);
            for kind in node["steps"].as_array().unwrap_or(&empty) {
                let count = kind["count"].as_u64().unwrap_or(0);
                steps += count;
                rows += count * kind["rows"].as_u64().unwrap_or(0);
                ms += kind["mean_ms"].as_f64().unwrap_or(0.0) * count as f64;
            }
            let layers = format!("{}..{}", node["layers"]["start"], node["layers"]["end"]);
            (text(&node["name"]), layers, steps, rows, ms)
        });
        let links = view["links"].as_array().unwrap_or(&empty);
        // A way that no activation has gone yet has none.
        let hops = links.iter().filter_map(|link| {
            let hop = &link["hop_us"];
            let us = hop["p50"].as_f64().filter(|_| hop["count"].as_u64() > Some(0))?;
            Some((text(&link["from"]), text(&link["to"]), us / 1e3))
        });
        Ok(Self { stages: stages.collect(), hops: hops.collect() })
    }

    /// What each stage did from `before` until now, while `tokens_per_s` tokens came out.
    pub(super) fn since(&self, before: &Self, tokens_per_s: f64) -> Vec<StageProfile> {
        let pairs = self.stages.iter().zip(&before.stages);
        let mut profiles: Vec<StageProfile> = pairs
            .map(|(now, then)| {
                let (steps, rows, ms) = (now.2 - then.2, now.3 - then.3, now.4 - then.4);
                let step_ms = ms / steps.max(1) as f64;
                let rows = rows as f64 / steps.max(1) as f64;
                let busy_percent = tokens_per_s / rows.max(1.0) * step_ms / 10.0;
                let (node, layers) = (now.0.clone(), now.1.clone());
                StageProfile { node, layers, steps, rows, step_ms, busy_percent, hop_ms: None }
            })
            .collect();
        for stage in 1..profiles.len() {
            let (from, to) = (profiles[stage - 1].node.clone(), profiles[stage].node.clone());
            let hop = self.hops.iter().find(|hop| (&hop.0, &hop.1) == (&from, &to));
            profiles[stage - 1].hop_ms = hop.map(|hop| hop.2);
        }
        profiles
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

/// The most that this split can gain: a token's way through all stages over the slowest of them.
pub(super) fn ceiling(stages: &[StageProfile]) -> f64 {
    let slowest = stages.iter().map(|stage| stage.step_ms).fold(0.0, f64::max);
    stages.iter().map(|stage| stage.step_ms).sum::<f64>() / slowest
}
