//! The plan for a person, and as JSON.

use std::fmt::Write as _;

use bytesize::ByteSize;
use exo_engine::{
    cluster::{Estimate, Plan, millis},
    layers::LayerRange,
};
use serde_json::{Value, json};

use super::{machines::Machines, model::PlannedModel};
use crate::cli::report::table;

/// A line per machine, in ring order, those that hold nothing last; then why.
pub(super) fn text(plan: &Plan, model: &PlannedModel, machines: &Machines) -> String {
    let layers = model.shape.layer_count();
    let mut text = format!(
        "{}: {layers} layers, {} of weights ({})\n\n",
        model.name,
        size(weights(model)),
        model.known_from
    );
    let mut rows: Vec<[String; 6]> = plan
        .stages
        .iter()
        .map(|stage| {
            [
                stage.name.clone(),
                stage.range.to_string(),
                size(stage.weight_bytes),
                size(stage.needed_bytes),
                size(stage.offered_bytes),
                stage.step_ns.map_or_else(|| "-".to_owned(), millis),
            ]
        })
        .collect();
    let none = || "-".to_owned();
    let idle = plan.left_out.iter();
    rows.extend(
        idle.map(|offer| [offer.name.clone(), none(), none(), none(), size(offer.memory), none()]),
    );
    text += &table(["NODE", "LAYERS", "WEIGHTS", "NEEDS", "OFFERS", "STEP"], &rows);
    text += "\n";
    for why in &plan.why {
        let _ = writeln!(text, "{}.", sentence(why));
    }
    let _ = writeln!(
        text,
        "Room for {} tokens of context, of all requests together.",
        thousands(plan.cache_tokens)
    );
    let ways = match (machines.links.is_measured(), plan.estimate) {
        (_, None) => "no machine's speed is known: --node NAME=SIZE,chip=CHIP says it",
        (true, _) => "speeds and ways between them as measured",
        (false, _) if machines.described => "speeds as their chips promise, ways as --link says",
        (false, _) => "speeds as measured, ways as --link says",
    };
    let _ = writeln!(text, "Machines: {}; {ways}.", machines.known_from);
    text
}

pub(super) fn json(plan: &Plan, model: &PlannedModel, machines: &Machines) -> Value {
    let nodes = plan.stages.iter().map(|stage| {
        json!({
            "id": stage.node.to_string(),
            "name": stage.name,
            "layers": stage.range,
            "weight_bytes": stage.weight_bytes,
            "needed_bytes": stage.needed_bytes,
            "offered_bytes": stage.offered_bytes,
            "step_ms": stage.step_ns.map(ms),
        })
    });
    let idle = plan.left_out.iter().map(|offer| {
        json!({
            "id": offer.node.to_string(),
            "name": offer.name,
            "layers": Option::<LayerRange>::None,
            "offered_bytes": offer.memory,
        })
    });
    json!({
        "model": model.name,
        "model_known_from": model.known_from,
        "machines_known_from": machines.known_from,
        "layers": model.shape.layer_count(),
        "weight_bytes": weights(model),
        "nodes": nodes.chain(idle).collect::<Vec<_>>(),
        "token_ms": plan.estimate.map(|estimate| ms(estimate.token_ns)),
        "tokens_per_s": plan.estimate.as_ref().map(Estimate::tokens_per_s),
        "batch": Estimate::BATCH,
        "cache_tokens": plan.cache_tokens,
        "why": plan.why,
    })
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Of the whole model on one machine.
fn weights(model: &PlannedModel) -> u64 {
    let shape = &model.shape;
    let layers: u64 = shape.layers.iter().map(|layer| layer.bytes).sum();
    layers + shape.head.bytes + if shape.tied { 0 } else { shape.embedding_bytes }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// With a capital letter, unless a node's name is first.
fn sentence(text: &str) -> String {
    let opens = ["fits", "laid", "on ", "the ", "it ", "with "];
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if opens.iter().any(|word| text.starts_with(word)) => {
            first.to_uppercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), shown);
        }
    }
}
