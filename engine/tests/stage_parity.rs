//! A stage computes what the reference computes: mlx-lm in f32, on a tiny random Llama 3 (rope
//! scaling, tied embeddings) and, where it is at hand, on SmolLM2.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::path::Path;

use exo_engine::{
    layers::LayerRange,
    request::Sampling,
    sampler::{Sampler, Scratch},
    stage::{Rows, Stage, StageError, StageInput, StageOutput},
    weights::ModelFolder,
};
use mlx_rs::Array;

/// A whole model as stages in one process: what goes over the cable goes by hand.
struct Ring {
    stages: Vec<Stage>,
    bytes: Vec<u64>,
}

impl Ring {
    fn load(dir: &Path, cuts: &[u32], layers: u32) -> Self {
        let folder = ModelFolder::open(dir).unwrap();
        let mut bounds = vec![0];
        bounds.extend_from_slice(cuts);
        bounds.push(layers);
        let load = |pair: &[u32]| {
            let range = LayerRange::checked(pair[0], pair[1]).unwrap();
            Stage::load(&folder, range, &|_| {}).unwrap()
        };
        let stages: Vec<Stage> = bounds.windows(2).map(load).collect();
        let bytes = stages.iter().map(Stage::bytes_read).collect();
        Self { stages, bytes }
    }

    /// Logits of the last row of each sequence that wants a token.
    fn step(&mut self, rows: &[Rows], tokens: &[u32]) -> Option<Array> {
        let mut hidden: Option<Array> = None;
        for stage in &mut self.stages {
            let input = match hidden.take() {
                None => StageInput::Tokens(tokens),
                Some(hidden) => StageInput::Hidden(hidden),
            };
            match stage.step(input, rows).unwrap() {
                StageOutput::Hidden(next) => hidden = Some(next),
                StageOutput::Logits(logits) => return logits,
            }
        }
        unreachable!("the last stage gives logits")
    }

    fn greedy(&mut self, sequence: u64, prompt: &[u32], chunk: usize, count: usize) -> Vec<u32> {
        let mut start = 0;
        let mut logits = None;
        for tokens in prompt.chunks(chunk) {
            let rows =
                rows(sequence, start, tokens.len(), start as usize + tokens.len() == prompt.len());
            logits = self.step(&[rows], tokens);
            start += tokens.len() as u32;
        }
        let mut out = Vec::new();
        let mut next = pick(logits.unwrap().as_slice::<f32>());
        while out.len() < count {
            out.push(next);
            let logits = self.step(&[rows(sequence, start, 1, true)], &[next]).unwrap();
            next = pick(logits.as_slice::<f32>());
            start += 1;
        }
        out
    }
}

fn rows(sequence: u64, start: u32, count: usize, wants_token: bool) -> Rows {
    Rows { sequence, attempt: 0, start, count: count as u32, wants_token }
}

fn pick(logits: &[f32]) -> u32 {
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    Sampler::new(greedy, &[], &[]).choose(logits, &mut Scratch::default()).unwrap().token
}

fn tiny() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama3"))
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn tiny_llama3_equals_its_reference_at_every_cut() {
    let reference = json(&tiny().join("reference.json"));
    let prompt = ids(&reference["prompt_ids"]);
    let greedy = ids(&reference["greedy_ids"]);
    for cuts in [&[][..], &[1], &[2], &[3], &[1, 2], &[1, 2, 3]] {
        let mut ring = Ring::load(tiny(), cuts, 4);
        let logits = ring.step(&[rows(1, 0, prompt.len(), true)], &prompt).unwrap();
        let expected = reference["last_logits"].as_array().unwrap();
        for (ours, theirs) in logits.as_slice::<f32>().iter().zip(expected) {
            let theirs = theirs.as_f64().unwrap() as f32;
            assert!((ours - theirs).abs() < 1e-3, "cuts {cuts:?}: {ours} for {theirs}");
        }
        assert_eq!(ring.greedy(2, &prompt, 20, greedy.len()), greedy, "cuts {cuts:?}");
    }
}

#[test]
fn sequences_in_one_step_do_not_disturb_each_other() {
    let reference = json(&tiny().join("reference.json"));
    let prompt = ids(&reference["prompt_ids"]);
    let mut ring = Ring::load(tiny(), &[2], 4);
    let alone: Vec<Vec<f32>> = [&prompt[..], &prompt[5..20]]
        .iter()
        .zip(10..)
        .map(|(prompt, id)| {
            let step = rows(id, 0, prompt.len(), true);
            ring.step(&[step], prompt).unwrap().as_slice::<f32>().to_vec()
        })
        .collect();
    let both: Vec<u32> = [&prompt[..], &prompt[5..20]].concat();
    let together =
        ring.step(&[rows(1, 0, prompt.len(), true), rows(2, 0, 15, true)], &both).unwrap();
    let together = together.as_slice::<f32>();
    for (ours, theirs) in together.iter().zip(alone.concat()) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} for {theirs}");
    }
    // And they go on together, each at its own position.
    let step = [rows(1, prompt.len() as u32, 1, true), rows(2, 15, 1, true)];
    let next = ring.step(&step, &[prompt[0], prompt[20]]).unwrap();
    let mut whole = Ring::load(tiny(), &[], 4);
    let longer = whole.step(&[rows(1, 0, 16, true)], &prompt[5..21]).unwrap();
    let row = &next.as_slice::<f32>()[next.dim(1) as usize..];
    for (ours, theirs) in row.iter().zip(longer.as_slice::<f32>()) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} for {theirs}");
    }
}

#[test]
fn a_stage_reads_its_own_layers_and_no_others() {
    let whole = Ring::load(tiny(), &[], 4);
    let parts = Ring::load(tiny(), &[1, 2, 3], 4);
    // Tied: the last stage reads the embedding again.
    let embedding = 320 * 128 * 2;
    assert_eq!(parts.bytes.iter().sum::<u64>(), whole.bytes[0] + embedding);
    assert_eq!(parts.bytes[1], parts.bytes[2]);
    assert!(parts.bytes[1] < whole.bytes[0] / 4);
}

#[test]
fn rows_that_do_not_continue_the_cache_are_refused() {
    let mut ring = Ring::load(tiny(), &[], 4);
    ring.step(&[rows(1, 0, 3, false)], &[1, 2, 3]);
    let stage = &mut ring.stages[0];
    let error = |stage: &mut Stage, rows: &[Rows], tokens: &[u32]| {
        stage.step(StageInput::Tokens(tokens), rows).err().unwrap()
    };
    let wrong = error(stage, &[rows(1, 5, 1, true)], &[1]);
    assert!(matches!(wrong, StageError::OutOfStep { holds: 3, start: 5, .. }), "{wrong}");
    let twice = [rows(2, 0, 1, true), rows(2, 0, 1, true)];
    assert!(matches!(error(stage, &twice, &[1, 2]), StageError::Malformed(2)));
    let unknown = error(stage, &[rows(2, 0, 1, true)], &[320]);
    assert!(matches!(unknown, StageError::UnknownToken { token: 320, vocabulary: 320 }));
    let long = error(stage, &[rows(2, 0, 4097, true)], &[0; 4097]);
    assert!(matches!(long, StageError::TooLong { wanted: 4097, .. }));
    let wide = Array::zeros::<f32>(&[1, 64]).unwrap();
    let width = stage.step(StageInput::Hidden(wide), &[rows(3, 0, 1, true)]).err().unwrap();
    assert!(matches!(width, StageError::Width { got: 64, want: 128 }));
    // An attempt that starts over empties the cache.
    let again = Rows { attempt: 1, ..rows(1, 0, 2, true) };
    stage.step(StageInput::Tokens(&[1, 2]), &[again]).unwrap();
    stage.close(1);
    assert_eq!((stage.sequences(), stage.cache_bytes()), (0, 0));
}

#[test]
fn smollm2_says_what_the_reference_says_whole_and_split() {
    let Some(dir) = std::env::var_os("EXO_TEST_MODEL_DIR") else {
        eprintln!("skipped: needs EXO_TEST_MODEL_DIR (cargo xtask test sets it)");
        return;
    };
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/smollm2_golden.json");
    let golden = json(&golden);
    for cuts in [&[][..], &[15], &[18, 24]] {
        let mut ring = Ring::load(Path::new(&dir), cuts, 30);
        for (id, (name, case)) in golden.as_object().unwrap().iter().enumerate() {
            let (prompt, expected) = (ids(&case["prompt_ids"]), ids(&case["greedy_ids"]));
            let ours = ring.greedy(id as u64, &prompt, 512, expected.len());
            assert_eq!(ours, expected, "{name}, cuts {cuts:?}");
        }
    }
}
