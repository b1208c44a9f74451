//! Machines that people have, and the models they want: as `exo-node plan` explains them.

use std::fmt::Write as _;

use super::*;
use crate::weights::catalogue::{Catalogue, Meaning};

/// A machine that offers three quarters of its memory, as nodes do.
fn machine(id: u8, name: &str, gibibytes: u64, chip: &str) -> Offer {
    let speed = Some(chip.parse::<Chip>().unwrap().speed());
    Offer { name: name.into(), speed, ..offer(id, gibibytes * GIB / 4 * 3) }
}

/// The pair of the guide that this project began with.
fn pair() -> Vec<Offer> {
    vec![machine(1, "mini", 64, "m4-pro"), machine(2, "air", 16, "m2")]
}

fn three() -> Vec<Offer> {
    let mut all = pair();
    all.push(machine(3, "book", 36, "m3-pro"));
    all
}

fn eight() -> Vec<Offer> {
    let mut all = three();
    all.push(machine(4, "studio", 192, "m2-ultra"));
    all.push(machine(5, "max", 128, "m4-max"));
    all.push(machine(6, "old", 8, "m1"));
    all.push(machine(7, "desk", 32, "m1-max"));
    all.push(machine(8, "lab", 24, "m4"));
    all
}

fn explained(offers: &[Offer], models: &[&str], wishes: &[Wish]) -> String {
    let mut text = String::new();
    for name in models {
        let meant = Catalogue::built_in().resolve(name).unwrap();
        let Meaning::Known { model, variant, .. } = meant else { panic!("{name} is known") };
        let shape = ModelShape::of_known(model, variant);
        for wish in wishes {
            let _ = writeln!(text, "{name}, {:?}, {:?}", wish.goal, wish.nodes);
            match plan(offers, &shape, wish, &Links::default()) {
                Ok(plan) => {
                    for stage in &plan.stages {
                        let (needs, offers) = (gib(stage.needed_bytes), gib(stage.offered_bytes));
                        let (name, range) = (&stage.name, stage.range);
                        let step = stage.step_ns.map(millis).unwrap_or_default();
                        let _ = writeln!(text, "  {name} {range}: {needs} of {offers}, {step}");
                    }
                    for why in &plan.why {
                        let _ = writeln!(text, "  - {why}");
                    }
                    let _ = writeln!(text, "  room for {} tokens", plan.cache_tokens);
                }
                Err(error) => {
                    let _ = writeln!(text, "  {error}");
                }
            }
        }
    }
    text
}

fn memory() -> Wish {
    NodesWanted::Smallest.into()
}

#[test]
fn the_guide_s_pair() {
    let wishes = [
        memory(),
        NodesWanted::All.into(),
        by(Goal::Latency, NodesWanted::Smallest),
        by(Goal::Throughput, NodesWanted::Smallest),
    ];
    let models = ["qwen2.5-coder:7b", "qwen2.5-coder:32b", "llama3.3:70b"];
    insta::assert_snapshot!("pair", explained(&pair(), &models, &wishes));
    // Eight bits are what the pair is needed for; what fits on neither is said to.
    let models = ["llama3.3:70b-8bit"];
    insta::assert_snapshot!("pair_at_eight_bits", explained(&pair(), &models, &wishes[..1]));
}

#[test]
fn three_unequal_machines() {
    let wishes = [
        memory(),
        NodesWanted::All.into(),
        by(Goal::Latency, NodesWanted::Smallest),
        by(Goal::Throughput, NodesWanted::Smallest),
    ];
    let models = ["qwen2.5-coder:32b", "llama3.3:70b", "llama3.3:70b-8bit"];
    insta::assert_snapshot!("three", explained(&three(), &models, &wishes));
}

#[test]
fn eight_unequal_machines() {
    let wishes = [
        memory(),
        NodesWanted::All.into(),
        by(Goal::Latency, NodesWanted::Smallest),
        by(Goal::Throughput, NodesWanted::Smallest),
    ];
    let models = ["llama3.3:70b", "deepseek-r1:671b"];
    insta::assert_snapshot!("eight", explained(&eight(), &models, &wishes));
}
