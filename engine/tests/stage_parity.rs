//! A stage computes what the reference computes: mlx-lm in f32, on tiny random checkpoints of every
//! architecture and, where it is at hand, on SmolLM2. `fixtures/README.md` says how they were made.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::path::{Path, PathBuf};

use exo_engine::{
    layers::LayerRange,
    model::ModelConfig,
    request::Sampling,
    sampler::{Sampler, Scratch},
    stage::{Rows, Stage, StageError, StageInput, StageOutput},
    weights::{ModelFolder, Precision, WeightsChoice},
};
use mlx_rs::Array;

/// A whole model as stages in one process: what goes over the cable goes by hand.
struct Ring {
    stages: Vec<Stage>,
    bytes: Vec<u64>,
}

impl Ring {
    fn load(dir: &Path, cuts: &[u32], choice: WeightsChoice) -> Self {
        let folder = ModelFolder::open(dir).unwrap();
        let layers = ModelConfig::from_json(folder.config()).unwrap().layers;
        let precision = Precision::of(folder.config(), choice, true);
        let mut bounds = vec![0];
        bounds.extend_from_slice(cuts);
        bounds.push(layers);
        let load = |pair: &[u32]| {
            let range = LayerRange::checked(pair[0], pair[1]).unwrap();
            Stage::load(&folder, range, precision, &|_| {}).unwrap()
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

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("tiny-{name}"))
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A reference of mlx-lm: a prompt, the logits of its last row, and what follows it.
struct Reference {
    prompt: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

impl Reference {
    fn of(dir: &Path) -> Self {
        let reference = json(&dir.join("reference.json"));
        let number = |value: &serde_json::Value| value.as_f64().unwrap() as f32;
        Self {
            prompt: ids(&reference["prompt_ids"]),
            logits: reference["last_logits"].as_array().unwrap().iter().map(number).collect(),
            greedy: ids(&reference["greedy_ids"]),
        }
    }

    /// Whole, and at every cut into two and three stages, and with a stage for every layer.
    fn check(&self, dir: &Path, choice: WeightsChoice, tolerance: f32) {
        let layers = json(&dir.join("config.json"))["num_hidden_layers"].as_u64().unwrap() as u32;
        let mut all_cuts = vec![vec![], (1..layers).collect()];
        for first in 1..layers {
            all_cuts.push(vec![first]);
            all_cuts.extend((first + 1..layers).map(|second| vec![first, second]));
        }
        for cuts in all_cuts {
            let mut ring = Ring::load(dir, &cuts, choice);
            let whole = rows(1, 0, self.prompt.len(), true);
            let logits = ring.step(&[whole], &self.prompt).unwrap();
            let ours = logits.as_slice::<f32>();
            assert_eq!(ours.len(), self.logits.len());
            for (ours, theirs) in ours.iter().zip(&self.logits) {
                let apart = (ours - theirs).abs();
                assert!(apart < tolerance, "{}, cuts {cuts:?}: {ours} for {theirs}", dir.display());
            }
            let greedy = ring.greedy(2, &self.prompt, 20, self.greedy.len());
            assert_eq!(greedy, self.greedy, "{}, cuts {cuts:?}", dir.display());
        }
    }
}

fn equals_its_reference(name: &str) {
    Reference::of(&tiny(name)).check(&tiny(name), WeightsChoice::Auto, 1e-3);
}

/// Of the same codes: computed with as they are, and as the floats they stand for.
fn equals_its_reference_quantised(name: &str) {
    for choice in [WeightsChoice::Stored, WeightsChoice::Dense] {
        Reference::of(&tiny(name)).check(&tiny(name), choice, 1e-3);
    }
}

#[test]
fn llama3() {
    equals_its_reference("llama3");
}

#[test]
fn mistral() {
    equals_its_reference("mistral");
}

#[test]
fn qwen2() {
    equals_its_reference("qwen2");
}

#[test]
fn qwen3() {
    equals_its_reference("qwen3");
}

#[test]
fn qwen3_moe() {
    equals_its_reference("qwen3_moe");
}

#[test]
fn deepseek_v2() {
    equals_its_reference("deepseek_v2");
}

#[test]
fn deepseek_v2_with_groups_of_experts_and_compressed_queries() {
    equals_its_reference("deepseek_v2-groups");
}

#[test]
fn deepseek_v3() {
    equals_its_reference("deepseek_v3");
}

#[test]
fn llama2() {
    equals_its_reference("llama2");
}

#[test]
fn qwen3_with_tied_embeddings() {
    equals_its_reference("qwen3-tied");
}

#[test]
fn phi3() {
    equals_its_reference("phi3");
}

#[test]
fn gemma3() {
    equals_its_reference("gemma3");
}

#[test]
fn gpt_oss() {
    equals_its_reference_quantised("gpt_oss");
}

#[test]
fn gpt_oss_as_mlx_holds_it() {
    equals_its_reference_quantised("gpt_oss-mlx-8bit");
}

#[test]
fn qwen3_of_mixed_bits() {
    equals_its_reference_quantised("qwen3-tied-mlx-mixed");
}

#[test]
fn llama3_of_4_bits() {
    equals_its_reference_quantised("llama3-mlx-4bit");
}

#[test]
fn qwen2_of_4_bits() {
    equals_its_reference_quantised("qwen2-mlx-4bit");
}

#[test]
fn qwen3_moe_of_4_bits() {
    equals_its_reference_quantised("qwen3_moe-mlx-4bit");
}

#[test]
fn deepseek_v3_of_4_bits() {
    equals_its_reference_quantised("deepseek_v3-mlx-4bit");
}

#[test]
fn sequences_in_one_step_do_not_disturb_each_other() {
    let reference = json(&tiny("llama3").join("reference.json"));
    let prompt = ids(&reference["prompt_ids"]);
    let mut ring = Ring::load(&tiny("llama3"), &[2], WeightsChoice::Auto);
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
    let mut whole = Ring::load(&tiny("llama3"), &[], WeightsChoice::Auto);
    let longer = whole.step(&[rows(1, 0, 16, true)], &prompt[5..21]).unwrap();
    let row = &next.as_slice::<f32>()[next.dim(1) as usize..];
    for (ours, theirs) in row.iter().zip(longer.as_slice::<f32>()) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} for {theirs}");
    }
}

#[test]
fn a_stage_reads_its_own_layers_and_no_others() {
    let whole = Ring::load(&tiny("llama3"), &[], WeightsChoice::Auto);
    let parts = Ring::load(&tiny("llama3"), &[1, 2, 3], WeightsChoice::Auto);
    // Tied: the last stage reads the embedding again.
    let embedding = 320 * 128 * 2;
    assert_eq!(parts.bytes.iter().sum::<u64>(), whole.bytes[0] + embedding);
    assert_eq!(parts.bytes[1], parts.bytes[2]);
    assert!(parts.bytes[1] < whole.bytes[0] / 4);
}

#[test]
fn rows_that_do_not_continue_the_cache_are_refused() {
    let mut ring = Ring::load(&tiny("llama3"), &[], WeightsChoice::Auto);
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
        let mut ring = Ring::load(Path::new(&dir), cuts, WeightsChoice::Auto);
        for (id, (name, case)) in golden.as_object().unwrap().iter().enumerate() {
            let (prompt, expected) = (ids(&case["prompt_ids"]), ids(&case["greedy_ids"]));
            let ours = ring.greedy(id as u64, &prompt, 512, expected.len());
            assert_eq!(ours, expected, "{name}, cuts {cuts:?}");
        }
    }
}

/// A GPU takes MLX's own kernels: every test of this file once more with them, in a process of its
/// own, on whatever device there is.
#[test]
fn all_of_it_holds_with_the_kernels_of_a_gpu() {
    const KERNELS: &str = "EXO_TEST_KERNELS";
    if std::env::var_os(KERNELS).is_some() {
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.env(KERNELS, "fused").args(["--skip", "smollm2", "--test-threads", "2"]);
    let said = again.output().unwrap();
    let words = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{words}\n{}", String::from_utf8_lossy(&said.stderr));
    assert!(words.contains("test gpt_oss ... ok"), "it ran:\n{words}");
}
