//! What a token costs on its way, to be counted instead of timed: `cargo xtask guard` runs this under
//! callgrind and holds the counts against those that were agreed on.
//!
//! `token_paths PATH COUNT` goes one path so often and prints nothing; two counts tell what once
//! costs. `token_paths paths` names those whose instructions are the same each time, with how often is
//! enough; `token_paths counts` prints what each path allocates.
#![allow(clippy::unwrap_used, reason = "a failure is to be seen")]

use std::{alloc::System, hint::black_box, path::Path, sync::Arc};

use exo_engine::{
    layers::LayerRange,
    model::ModelConfig,
    prompt::PromptModel,
    request::{Priority, RequestId, Sampling},
    sampler::{Sampler, Scratch},
    scheduler::{Policy, Reuse, Ring, Scheduler, Submission},
    stage::{Rows, Stage, StageInput},
    weights::{ModelFolder, Precision, WeightsChoice},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts what every thread allocates, C++ left out.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct HotPath {
    name: &'static str,
    /// Goes it so often.
    go: fn(u64),
    /// How often is enough to be counted.
    enough: u64,
    /// Its instructions are the same each time.
    repeats: bool,
}

const fn path(name: &'static str, enough: u64, go: fn(u64)) -> HotPath {
    HotPath { name, go, enough, repeats: true }
}

const PATHS: &[HotPath] = &[
    path("scheduler/step 1", 1000, |count| schedule(count, 1)),
    path("scheduler/step 16", 1000, |count| schedule(count, 16)),
    path("sampler/greedy", 100, |count| sample(count, &likeliest())),
    path("sampler/top_p", 30, |count| sample(count, &nucleus())),
    path("prompt/decode a token", 1000, decode),
    // MLX's thread and this one wait for each other: how long is another number each time.
    HotPath { name: "stage/step of 4 layers", go: step, enough: 50, repeats: false },
];
/// Logits to choose from.
const VOCABULARY: usize = 4096;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["paths"] => {
            for HotPath { name, enough, .. } in PATHS.iter().filter(|path| path.repeats) {
                println!("{name}\t{enough}");
            }
        }
        ["counts"] => PATHS.iter().for_each(allocations),
        [path, count] => {
            let path = PATHS.iter().find(|one| one.name == path).expect("a path by its name");
            (path.go)(count.parse().expect("a count"));
        }
        _ => panic!("token_paths PATH COUNT | paths | counts"),
    }
}

/// What going it once allocates: what is made before and after cancels out.
fn allocations(path: &HotPath) {
    let so_often = |count: u64| {
        let before = ALLOCATOR.stats();
        (path.go)(count);
        let after = ALLOCATOR.stats();
        let all = |stats: stats_alloc::Stats| stats.allocations + stats.reallocations;
        (all(after) - all(before)) as f64
    };
    so_often(path.enough); // what is made once in a process
    let once = (so_often(3 * path.enough) - so_often(path.enough)) / (2 * path.enough) as f64;
    println!("{}/allocations\t{once:.2}", path.name);
}

/// Sequences that decode on a ring of three, a token each.
fn schedule(count: u64, sequences: u64) {
    let ring = Ring { stages: 3, chunk_tokens: 512, cache_tokens: 1 << 40, reuse: Reuse::Prefix };
    let mut scheduler = Scheduler::new(Policy::default(), ring);
    for number in 0..sequences {
        let prompt = (0..8).map(|at| number as u32 * 100 + at).collect();
        let sequence = RequestId(number);
        let priority = Priority::default();
        let of = Submission { sequence, attempt: 0, prompt, max_tokens: u32::MAX, priority };
        scheduler.handle_submit(of).unwrap();
    }
    let mut tokens = 0;
    while tokens < count * sequences {
        let step = scheduler.next_step().expect("all that went has come back");
        black_box(scheduler.take_orders());
        for rows in step.rows.iter().filter(|rows| rows.wants_token) {
            scheduler.handle_token(rows.sequence, rows.attempt, 7);
            tokens += 1;
        }
        scheduler.handle_round(step.number);
    }
}

fn likeliest() -> Sampling {
    Sampling { temperature: 0.0, ..Sampling::default() }
}

fn nucleus() -> Sampling {
    Sampling { temperature: 0.7, top_p: 0.9, seed: 1, ..Sampling::default() }
}

fn sample(count: u64, sampling: &Sampling) {
    let logits: Vec<f32> = (0..VOCABULARY).map(|at| (at as f32 * 0.7).sin() * 8.0).collect();
    let mut sampler = Sampler::new(sampling.clone(), &[], &[]);
    let mut scratch = Scratch::default();
    for _ in 0..count {
        black_box(sampler.choose(black_box(&logits), &mut scratch).unwrap());
    }
}

fn tiny() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama3"))
}

fn decode(count: u64) {
    let model = Arc::new(PromptModel::open(tiny(), "tiny").unwrap());
    let mut decoder = model.decoder();
    for at in 0..count {
        black_box(decoder.push(97 + (at % 20) as u32));
    }
}

/// Decode steps of one sequence.
fn step(count: u64) {
    let folder = ModelFolder::open(tiny()).unwrap();
    let layers = ModelConfig::from_json(folder.config()).unwrap().layers;
    let all = LayerRange::checked(0, layers).unwrap();
    let precision = Precision::of(folder.config(), WeightsChoice::Auto, true);
    let mut stage = Stage::load(&folder, all, precision, &|_| {}).unwrap();
    for start in 0..count {
        let start = start as u32;
        let rows = Rows { sequence: 1, attempt: 0, start, count: 1, wants_token: true };
        black_box(stage.step(StageInput::Tokens(&[97]), &[rows]).unwrap());
    }
}
