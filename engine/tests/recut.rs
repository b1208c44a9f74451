//! A stage that is cut anew computes what one loaded fresh computes, and reads only what it has not;
//! and the worker prepares one beside the stage that runs.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crossbeam::channel::{Receiver, unbounded};
use exo_engine::{
    fabric::messages::{OpenSequence, TokenMessage},
    layers::LayerRange,
    model::ModelConfig,
    request::{RequestId, Sampling},
    scheduler::{self, StepRows},
    stage::{
        Cut, Preparation, Rows, Stage, StageInput, StageOutput, WeightsId,
        worker::{self, Job, Route, WorkerEvent},
    },
    weights::{ModelFolder, Precision, WeightsChoice, hub},
};
use mlx_rs::Array;

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("tiny-{name}"))
}

fn range(start: u32, end: u32) -> LayerRange {
    LayerRange::checked(start, end).unwrap()
}

/// One model, held in one way.
struct Model {
    folder: Arc<ModelFolder>,
    config: ModelConfig,
    weights: WeightsId,
}

impl Model {
    fn open(name: &str, choice: WeightsChoice) -> Self {
        let folder = Arc::new(ModelFolder::open(&tiny(name)).unwrap());
        let config = ModelConfig::from_json(folder.config()).unwrap();
        let precision = Precision::of(folder.config(), choice, true);
        let weights = WeightsId { fingerprint: folder.fingerprint(), precision };
        Self { folder, config, weights }
    }

    fn cut(&self, range: LayerRange) -> Cut {
        Cut { folder: Arc::clone(&self.folder), weights: self.weights, range }
    }

    fn fresh(&self, range: LayerRange) -> Stage {
        Preparation::new(self.cut(range)).unwrap().finish(&|_| {}).unwrap()
    }

    fn recut(&self, held: &Stage, to: LayerRange) -> Stage {
        let mut next = Preparation::new(self.cut(to)).unwrap();
        next.share(held);
        next.finish(&|_| {}).unwrap()
    }

    /// Bytes of the tensors of `to` that are none of `from`.
    fn bytes(&self, to: LayerRange, from: Option<LayerRange>) -> u64 {
        let holds =
            |range, name: &str| hub::holds(range, self.config.layers, self.config.tied, name);
        let missing = self.folder.tensors().filter(|tensor| {
            holds(to, &tensor.name) && !from.is_some_and(|from| holds(from, &tensor.name))
        });
        missing.map(|tensor| tensor.bytes() as u64).sum()
    }

    fn ranges(&self) -> Vec<LayerRange> {
        let layers = self.config.layers;
        (0..layers)
            .flat_map(|start| (start + 1..=layers).map(move |end| range(start, end)))
            .collect()
    }
}

/// What a stage makes of a prompt, and of a token after it.
fn computes(stage: &mut Stage) -> Vec<f32> {
    let mut out = Vec::new();
    for (start, count) in [(0, 5), (5, 1)] {
        let rows = Rows { sequence: 1, attempt: 0, start, count, wants_token: true };
        let tokens: Vec<u32> = (start..start + count).map(|n| 7 + 11 * n).collect();
        let numbers = count as usize * stage.hidden();
        let numbers: Vec<f32> = (0..numbers).map(|n| (n as f32 * 0.37).sin()).collect();
        let input = if stage.range().is_first() {
            StageInput::Tokens(&tokens)
        } else {
            StageInput::Hidden(Array::from_slice(&numbers, &[count as i32, stage.hidden() as i32]))
        };
        let array = match stage.step(input, &[rows]).unwrap() {
            StageOutput::Hidden(hidden) => hidden,
            StageOutput::Logits(logits) => logits.unwrap(),
        };
        out.extend_from_slice(array.as_slice::<f32>());
    }
    out
}

/// From every range to every other.
fn every_cut_becomes_every_other(name: &str, choice: WeightsChoice) {
    let model = Model::open(name, choice);
    let mut fresh = HashMap::new();
    for range in model.ranges() {
        let mut stage = model.fresh(range);
        assert_eq!(stage.bytes_read(), model.bytes(range, None), "{name}, {range}");
        fresh.insert(range, computes(&mut stage));
    }
    for from in model.ranges() {
        for to in model.ranges() {
            let mut held = model.fresh(from);
            let mut stage = model.recut(&held, to);
            let what = format!("{name}, {from} to {to}");
            assert_eq!(stage.bytes_read(), model.bytes(to, Some(from)), "{what}");
            // The one that runs goes on meanwhile, and is gone then.
            assert_eq!(computes(&mut held), fresh[&from], "{what}");
            drop(held);
            assert_eq!(computes(&mut stage), fresh[&to], "{what}");
        }
    }
}

#[test]
fn dense_stages_are_cut_anew() {
    for name in ["llama3", "llama2", "qwen3-tied"] {
        every_cut_becomes_every_other(name, WeightsChoice::Auto);
    }
}

#[test]
fn quantised_stages_are_cut_anew() {
    every_cut_becomes_every_other("llama3-mlx-4bit", WeightsChoice::Stored);
    every_cut_becomes_every_other("qwen3-tied-mlx-mixed", WeightsChoice::Dense);
}

#[test]
fn stages_of_experts_are_cut_anew() {
    every_cut_becomes_every_other("qwen3_moe", WeightsChoice::Auto);
    every_cut_becomes_every_other("qwen3_moe-mlx-4bit", WeightsChoice::Stored);
    every_cut_becomes_every_other("deepseek_v3", WeightsChoice::Auto);
}

#[test]
fn nothing_is_taken_over_from_other_weights() {
    let stored = Model::open("llama3-mlx-4bit", WeightsChoice::Stored);
    let held = stored.fresh(range(0, 4));
    for choice in [WeightsChoice::Dense, WeightsChoice::Stored] {
        let mut other = Model::open("llama3-mlx-4bit", choice);
        other.weights.fingerprint[0] ^= u8::from(choice == WeightsChoice::Stored);
        let stage = other.recut(&held, range(1, 4));
        assert_eq!(stage.bytes_read(), other.bytes(range(1, 4), None));
    }
}

#[test]
fn a_preparation_that_is_given_up_leaves_what_it_has_read() {
    let model = Model::open("llama3", WeightsChoice::Auto);
    let mut first = Preparation::new(model.cut(range(1, 4))).unwrap();
    // Tied: the embedding, then layers 1 and 2.
    (0..3).for_each(|_| first.read_next(&|_| {}).unwrap());
    let mut second = Preparation::new(model.cut(range(0, 3))).unwrap();
    second.inherit(first);
    assert!(!second.is_complete());
    let mut stage = second.finish(&|_| {}).unwrap();
    let layer = model.bytes(range(1, 2), None);
    assert_eq!(stage.bytes_read(), layer);
    assert_eq!(computes(&mut stage), computes(&mut model.fresh(range(0, 3))));
}

/// A worker whose jobs all wait for it when it starts, and what it reports.
fn reports(jobs: Vec<Job>) -> Vec<String> {
    let (to, queue) = unbounded();
    let (events, heard) = unbounded();
    jobs.into_iter().for_each(|job| to.send(job).ok().unwrap());
    drop(to);
    worker::start("here".into(), Arc::default(), queue, events).unwrap().join().unwrap();
    told(&heard)
}

fn told(heard: &Receiver<WorkerEvent>) -> Vec<String> {
    let brief = |event| match event {
        WorkerEvent::Loaded { epoch, result } => Some(format!("loaded {epoch}: {result:?}")),
        WorkerEvent::Prepared { epoch, result } => Some(format!("prepared {epoch}: {result:?}")),
        WorkerEvent::StepDone { epoch } => Some(format!("step of {epoch}")),
        WorkerEvent::Token { message: TokenMessage::Token { index, token, .. }, .. } => {
            Some(format!("token {index}: {token}"))
        }
        WorkerEvent::Token { message, .. } => Some(format!("{message:?}")),
        WorkerEvent::Misbehaved { what, .. } => Some(what),
        // As the clock has it.
        WorkerEvent::Loading { .. } | WorkerEvent::StepTimes { .. } | WorkerEvent::Round { .. } => {
            None
        }
    };
    heard.try_iter().filter_map(brief).collect()
}

/// mlx-lm's prompt and answer, as jobs of a placement.
struct Answer {
    prompt: Vec<u32>,
    greedy: Vec<u32>,
}

impl Answer {
    fn of(name: &str) -> Self {
        let bytes = std::fs::read(tiny(name).join("reference.json")).unwrap();
        let reference: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let ids = |what: &str| serde_json::from_value(reference[what].clone()).unwrap();
        Self { prompt: ids("prompt_ids"), greedy: ids("greedy_ids") }
    }

    fn open(epoch: u64) -> Job {
        Job::Open(OpenSequence {
            placement_epoch: epoch,
            sequence: 1,
            attempt: 0,
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            prompt_tokens: Vec::new(),
            generated: vec![],
            max_tokens: 1000,
            stop_tokens: Vec::new(),
            entry: [0; 16],
        })
    }

    /// The prompt, then each token of the answer.
    fn step(&self, epoch: u64, number: usize) -> Job {
        let (start, tokens) = match number {
            0 => (0, self.prompt.clone()),
            _ => (self.prompt.len() + number - 1, vec![self.greedy[number - 1]]),
        };
        let sequence = RequestId(1);
        let start = start as u32;
        let rows = StepRows { sequence, attempt: 0, start, tokens, wants_token: true };
        Job::Step { epoch, step: scheduler::Step { number: number as u64 + 1, rows: vec![rows] } }
    }

    fn token(&self, number: usize) -> String {
        format!("token {number}: {}", self.greedy[number])
    }
}

#[test]
fn layers_are_read_one_by_one_between_the_steps_of_a_stage_that_runs() {
    let (model, answer) = (Model::open("llama3", WeightsChoice::Auto), Answer::of("llama3"));
    let [half, whole] = [range(0, 2), range(0, 4)];
    let missing = model.bytes(whole, Some(half));
    let mut jobs = vec![
        Job::Load { epoch: 1, cut: model.cut(half), route: Route::default() },
        Answer::open(1),
        answer.step(1, 0),
        Job::Prepare { epoch: 2, cut: model.cut(whole) },
    ];
    jobs.extend((1..6).map(|number| answer.step(1, number)));
    jobs.push(Job::Switch { epoch: 2, route: Route::default() });
    jobs.push(Answer::open(2));
    // Of the placement that was: nothing is computed, and nothing said but that it is done.
    jobs.push(answer.step(1, 6));
    jobs.extend((0..4).map(|number| answer.step(2, number)));
    let mut expected = vec![format!("loaded 1: Ok({})", model.bytes(half, None))];
    // What is missing: two layers and the last norm; each after a step, the prompt's too.
    expected.extend(vec!["step of 1".to_owned(); 4]);
    expected.push(format!("prepared 2: Ok({missing})"));
    expected.extend(vec!["step of 1".to_owned(); 2]);
    expected.push(format!("loaded 2: Ok({missing})"));
    expected.push("step of 1".to_owned());
    expected.extend((0..4).flat_map(|number| [answer.token(number), "step of 2".to_owned()]));
    assert_eq!(reports(jobs), expected);
}

#[test]
fn a_ring_that_lost_a_node_leaves_its_layers_and_nothing_else() {
    let (model, answer) = (Model::open("llama3", WeightsChoice::Auto), Answer::of("llama3"));
    let [half, whole] = [range(0, 2), range(0, 4)];
    let jobs = vec![
        Job::Load { epoch: 1, cut: model.cut(whole), route: Route::default() },
        Answer::open(1),
        answer.step(1, 0),
        // Of a placement that came to nothing here; that before it goes on no more either.
        Job::FreeCaches { epoch: 2 },
        Answer::open(1),
        answer.step(1, 1),
        Job::Load { epoch: 3, cut: model.cut(half), route: Route::default() },
        Job::Load { epoch: 4, cut: model.cut(whole), route: Route::default() },
        // What was lost before does not concern it.
        Job::FreeCaches { epoch: 3 },
        Answer::open(4),
        answer.step(4, 0),
        answer.step(4, 1),
    ];
    let missing = model.bytes(whole, Some(half));
    let expected = [
        format!("loaded 1: Ok({})", model.bytes(whole, None)),
        answer.token(0),
        "step of 1".into(),
        "step of 1".into(),
        "loaded 3: Ok(0)".into(),
        format!("loaded 4: Ok({missing})"),
        answer.token(0),
        "step of 4".into(),
        answer.token(1),
        "step of 4".into(),
    ];
    assert_eq!(reports(jobs), expected);
}

#[test]
fn a_stage_answers_while_a_smaller_one_is_prepared_and_a_load_of_it_is_a_switch() {
    for name in ["llama3-mlx-4bit", "qwen3_moe"] {
        let (model, answer) = (Model::open(name, WeightsChoice::Stored), Answer::of(name));
        let [half, whole] = [range(0, 2), range(0, 4)];
        let route = Route::default;
        let jobs = vec![
            Job::Load { epoch: 1, cut: model.cut(whole), route: route() },
            Answer::open(1),
            answer.step(1, 0),
            Job::Prepare { epoch: 2, cut: model.cut(half) },
            answer.step(1, 1),
            Job::Switch { epoch: 7, route: route() },
            answer.step(1, 2),
            Job::Load { epoch: 2, cut: model.cut(half), route: route() },
            answer.step(1, 3),
            // And back, without a preparation.
            Job::Load { epoch: 3, cut: model.cut(whole), route: route() },
            Answer::open(3),
            answer.step(3, 0),
            Job::Prepare { epoch: 4, cut: model.cut(half) },
            Job::Unload,
            Job::Switch { epoch: 4, route: route() },
            Job::Load { epoch: 5, cut: model.cut(half), route: route() },
        ];
        let missing = model.bytes(whole, Some(half));
        let unprepared = |epoch| {
            format!("loaded {epoch}: Err(\"no layers were prepared for placement {epoch}\")")
        };
        let expected = [
            format!("loaded 1: Ok({})", model.bytes(whole, None)),
            answer.token(0),
            "step of 1".into(),
            "prepared 2: Ok(0)".into(),
            answer.token(1),
            "step of 1".into(),
            unprepared(7),
            answer.token(2),
            "step of 1".into(),
            "loaded 2: Ok(0)".into(),
            "step of 1".into(),
            format!("loaded 3: Ok({missing})"),
            answer.token(0),
            "step of 3".into(),
            "prepared 4: Ok(0)".into(),
            unprepared(4),
            format!("loaded 5: Ok({})", model.bytes(half, None)),
        ];
        assert_eq!(reports(jobs), expected, "{name}");
    }
}

#[test]
fn a_switch_reads_what_is_missing_still_and_a_preparation_replaces_another() {
    let (model, answer) = (Model::open("llama3", WeightsChoice::Auto), Answer::of("llama3"));
    let [first, middle, whole] = [range(0, 1), range(1, 3), range(0, 4)];
    let jobs = vec![
        Job::Load { epoch: 1, cut: model.cut(first), route: Route::default() },
        Answer::open(1),
        Job::Prepare { epoch: 2, cut: model.cut(middle) },
        answer.step(1, 0), // Layer 1 is read after it.
        Job::Prepare { epoch: 3, cut: model.cut(whole) },
        Job::Switch { epoch: 2, route: Route::default() },
        Job::Switch { epoch: 3, route: Route::default() },
        Answer::open(3),
        answer.step(3, 0),
    ];
    let missing = model.bytes(whole, Some(range(0, 2)));
    let expected = [
        format!("loaded 1: Ok({})", model.bytes(first, None)),
        "step of 1".into(),
        "loaded 2: Err(\"no layers were prepared for placement 2\")".into(),
        format!("loaded 3: Ok({missing})"),
        answer.token(0),
        "step of 3".into(),
    ];
    assert_eq!(reports(jobs), expected);
}

#[test]
fn layers_that_cannot_be_read_leave_the_stage_that_runs() {
    let (model, answer) = (Model::open("llama3", WeightsChoice::Auto), Answer::of("llama3"));
    let broken = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(tiny("llama3").join(file), broken.path().join(file)).unwrap();
    }
    let folder = Arc::new(ModelFolder::open(broken.path()).unwrap());
    // Cut off behind the headers, after they were read.
    let file = std::fs::File::options().write(true).open(broken.path().join("model.safetensors"));
    file.unwrap().set_len(20_000).unwrap();
    let cut = Cut { folder, weights: model.weights, range: range(0, 4) };
    let jobs = vec![
        Job::Load { epoch: 1, cut: model.cut(range(0, 2)), route: Route::default() },
        Answer::open(1),
        answer.step(1, 0),
        Job::Prepare { epoch: 2, cut },
        answer.step(1, 1),
        answer.step(1, 2),
        Job::Load { epoch: 3, cut: model.cut(range(0, 2)), route: Route::default() },
    ];
    let reports = reports(jobs);
    let [loaded, done, again, failed, third, same] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    assert!(
        loaded.starts_with("loaded 1: Ok(") && failed.starts_with("prepared 2: Err("),
        "{failed}"
    );
    assert!(failed.contains("model.safetensors"), "{failed}");
    assert_eq!([done, again, third], ["step of 1"; 3]);
    assert_eq!(same, "loaded 3: Ok(0)");
}
