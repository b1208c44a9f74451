//! What loading and running cost in memory. What a process holds is asked of the system, and what an
//! earlier load gave back may still be its own: each load is measured in a process of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use exo_engine::{
    layers::LayerRange,
    model::{ModelConfig, ModelShape},
    stage::{Cut, Preparation, Rows, Stage, StageInput, WeightsId},
    weights::{ModelFolder, Precision, WeightsChoice},
};
use serde_json::{Value, json};

/// In the process that measures: which case.
const CASE: &str = "EXO_TEST_LOAD_CASE";

const HIDDEN: usize = 1024;
const WIDTH: usize = 4096;
const LAYERS: usize = 3;
const VOCABULARY: usize = 16_000;

/// Bytes of a line of /proc/self/status.
fn status(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find(|found| found.starts_with(line)).unwrap();
    found.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// The modules of a Llama: name, rows, columns.
fn modules() -> Vec<(String, usize, usize)> {
    let mut modules = vec![("model.embed_tokens".to_owned(), VOCABULARY, HIDDEN)];
    for layer in 0..LAYERS {
        for (name, rows, columns) in [
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.k_proj", HIDDEN, HIDDEN),
            ("self_attn.v_proj", HIDDEN, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HIDDEN),
            ("mlp.gate_proj", WIDTH, HIDDEN),
            ("mlp.up_proj", WIDTH, HIDDEN),
            ("mlp.down_proj", HIDDEN, WIDTH),
        ] {
            modules.push((format!("model.layers.{layer}.{name}"), rows, columns));
        }
    }
    modules
}

/// A Llama of zeros: its file takes no room on the disk.
fn model(dir: &Path, quantised: bool) {
    let mut tensors = BTreeMap::new();
    for (module, rows, columns) in modules() {
        if quantised {
            tensors.insert(format!("{module}.weight"), ("U32", vec![rows, columns / 8]));
            for part in ["scales", "biases"] {
                tensors.insert(format!("{module}.{part}"), ("F16", vec![rows, columns / 32]));
            }
        } else {
            tensors.insert(format!("{module}.weight"), ("BF16", vec![rows, columns]));
        }
    }
    for layer in 0..LAYERS {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            let name = format!("model.layers.{layer}.{norm}.weight");
            tensors.insert(name, ("BF16", vec![HIDDEN]));
        }
    }
    tensors.insert("model.norm.weight".to_owned(), ("BF16", vec![HIDDEN]));
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, (dtype, shape)) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * if dtype == "U32" { 4 } else { 2 };
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        header.insert(name, entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(dir.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    let mut config = json!({
        "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": 16, "vocab_size": VOCABULARY,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "max_position_embeddings": 2048,
    });
    if quantised {
        config["quantization"] = json!({"group_size": 32, "bits": 4});
    }
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn loading_holds_little_more_than_what_stays() {
    let cases =
        [(false, WeightsChoice::Auto), (true, WeightsChoice::Dense), (true, WeightsChoice::Stored)];
    if let Ok(case) = std::env::var(CASE) {
        let (quantised, choice) = cases[case.parse::<usize>().unwrap()];
        let dir = tempfile::tempdir().unwrap();
        model(dir.path(), quantised);
        let folder = ModelFolder::open(dir.path()).unwrap();
        let precision = Precision::of(folder.config(), choice, true);
        let before = status("VmRSS");
        // The peak is counted from here.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let range = LayerRange::checked(0, LAYERS as u32).unwrap();
        let stage = Stage::load(&folder, range, precision, &|_| {}).unwrap();
        let resident = status("VmRSS").saturating_sub(before);
        let peak = status("VmHWM").saturating_sub(before);
        let numbers: usize = modules().iter().map(|(_, rows, columns)| rows * columns).sum();
        let least = match choice {
            WeightsChoice::Stored => numbers / 2,
            // What is stored in bf16 may stay so.
            _ if !quantised && precision.keeps_bf16 => 2 * numbers,
            _ => 4 * numbers,
        } as u64;
        eprintln!("{choice:?}: {} MiB held, peak {} MiB", resident >> 20, peak >> 20);
        assert!(resident >= least * 9 / 10, "{resident} bytes held of {least}");
        assert!(peak <= resident * 115 / 100 + (64 << 20), "peak {peak}, held {resident}");
        drop(stage);
        return;
    }
    for (case, which) in cases.iter().enumerate() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "loading_holds_little_more_than_what_stays", "--nocapture"]);
        assert!(alone.env(CASE, case.to_string()).status().unwrap().success(), "{which:?}");
    }
}

/// MLX counts the arrays of all threads: who looks at its count is alone.
static COUNTED: Mutex<()> = Mutex::new(());

#[test]
fn memory_does_not_grow_over_2000_tokens() {
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama3");
    let folder = ModelFolder::open(&dir).unwrap();
    let precision = Precision::of(folder.config(), WeightsChoice::Auto, true);
    let range = LayerRange::checked(0, 4).unwrap();
    let mut stage = Stage::load(&folder, range, precision, &|_| {}).unwrap();
    let mut held = Vec::new();
    for start in 0..2_000 {
        let rows = Rows { sequence: 1, attempt: 0, start, count: 1, wants_token: true };
        drop(stage.step(StageInput::Tokens(&[start % 256]), &[rows]).unwrap());
        if start % 500 == 499 {
            let memory = mlx_rs::memory::active_memory().unwrap();
            held.push(memory - stage.cache_bytes());
        }
    }
    // Beside the cache of the sequence nothing is held longer than a step.
    assert!(held.iter().all(|memory| *memory == held[0]), "{held:?}");
}

/// Placement reckons with the names, types and shapes of tensors; what is loaded is decided where each
/// is read. Of every checkpoint, as stored, as floats, and with nothing left in bf16.
#[test]
fn what_placement_reckons_with_is_what_is_loaded() {
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let counted = || mlx_rs::memory::active_memory().unwrap() as u64;
    // What is kept for reuse may be larger than what is asked for next.
    mlx_rs::memory::clear_cache().unwrap();
    let kept = mlx_rs::memory::set_cache_limit(0).unwrap();
    let mut off = Vec::new();
    let mut checkpoints = 0;
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("config.json").exists() {
            continue;
        }
        checkpoints += 1;
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let folder = ModelFolder::open(&dir).unwrap();
        let config = ModelConfig::from_json(folder.config()).unwrap();
        let all = LayerRange::checked(0, config.layers).unwrap();
        let as_of = |choice| Precision::of(folder.config(), choice, true);
        let wide = Precision { keeps_bf16: false, ..as_of(WeightsChoice::Auto) };
        for precision in [as_of(WeightsChoice::Auto), as_of(WeightsChoice::Stored), wide] {
            let shape = ModelShape::of(&folder, &config, precision).unwrap();
            let parts = shape.layers.iter().chain([&shape.head]).map(|part| part.bytes);
            // Both ends are here: what is tied is there once.
            let embedding = if shape.tied { 0 } else { shape.embedding_bytes };
            let reckoned = parts.sum::<u64>() + embedding;
            // Whatever MLX makes once is made.
            drop(Stage::load(&folder, all, precision, &|_| {}).unwrap());
            let before = counted();
            let stage = Stage::load(&folder, all, precision, &|_| {}).unwrap();
            let held = counted() - before;
            drop(stage);
            // A few numbers that no tensor holds, such as the scale of attention.
            if held < reckoned || held > reckoned + 2048 {
                off.push(format!("{name} {precision:?}: {reckoned} reckoned, {held} held"));
            }
        }
    }
    mlx_rs::memory::set_cache_limit(kept).unwrap();
    assert!(checkpoints > 10, "{checkpoints}");
    assert!(off.is_empty(), "{off:#?}");
}

#[test]
fn a_stage_and_the_one_it_becomes_hold_what_both_have_once() {
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama2");
    let folder = Arc::new(ModelFolder::open(&dir).unwrap());
    let precision = Precision::of(folder.config(), WeightsChoice::Auto, true);
    let weights = WeightsId { fingerprint: folder.fingerprint(), precision };
    let prepared = |start, end, held: Option<&Stage>| {
        let range = LayerRange::checked(start, end).unwrap();
        let mut next = Preparation::new(Cut { folder: folder.clone(), weights, range }).unwrap();
        held.into_iter().for_each(|held| next.share(held));
        next.finish(&|_| {}).unwrap()
    };
    // Whatever MLX makes once is made, and what is held for nothing is gone.
    let counted = || mlx_rs::memory::active_memory().unwrap();
    let fresh = |start, end| {
        let before = counted();
        let stage = prepared(start, end, None);
        let held = counted() - before;
        drop(stage);
        assert_eq!(counted(), before);
        held
    };
    drop(prepared(0, 3, None));
    let (before, all) = (counted(), fresh(0, 3));
    let first = prepared(0, 2, None);
    let second = prepared(1, 3, Some(&first));
    assert_eq!(counted() - before, all, "both together hold all");
    drop(first);
    assert_eq!(counted() - before, fresh(1, 3), "what only the first one had is freed");
    drop(prepared(2, 3, Some(&second)));
    assert_eq!(counted() - before, fresh(1, 3));
}
