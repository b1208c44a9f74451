//! Files that lie: each lie is refused by name before anything is computed, whatever is changed
//! nothing panics, and what a file says costs no memory that it does not have.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use exo_engine::{
    layers::LayerRange,
    model::ModelConfig,
    stage::{Rows, Stage, StageInput},
    weights::{ModelFolder, Precision, WeightsChoice},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";

/// A copy of a tiny model that a test may damage.
struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    fn of(name: &str) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let dir = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(from.join(format!("tiny-{name}"))).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes what the header of the weights says, or bytes of tensors.
    fn change(&self, lie: impl FnOnce(&mut Value, &mut Vec<u8>)) {
        let bytes = fs::read(self.path(WEIGHTS)).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let mut data = bytes[8 + length..].to_vec();
        lie(&mut header, &mut data);
        let header = header.to_string();
        let length = (header.len() as u64).to_le_bytes();
        fs::write(self.path(WEIGHTS), [&length, header.as_bytes(), &data].concat()).unwrap();
    }

    fn set(&self, field: &str, value: Value) {
        let file = self.path("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config[field] = value;
        fs::write(file, config.to_string()).unwrap();
    }

    /// All layers in one stage, and a token through it.
    fn load(&self, choice: WeightsChoice) -> Result<(), String> {
        let folder = ModelFolder::open(self.dir.path()).map_err(|error| error.to_string())?;
        let config = ModelConfig::from_json(folder.config()).map_err(|error| error.to_string())?;
        let precision = Precision::of(folder.config(), choice, true);
        let all = LayerRange::checked(0, config.layers).unwrap();
        let mut stage =
            Stage::load(&folder, all, precision, &|_| {}).map_err(|error| error.to_string())?;
        let rows = Rows { sequence: 1, attempt: 0, start: 0, count: 1, wants_token: true };
        stage.step(StageInput::Tokens(&[0]), &[rows]).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn refusal(&self) -> String {
        self.load(WeightsChoice::Auto).unwrap_err()
    }
}

/// Where a tensor's bytes lie, behind the header.
fn place(header: &Value, tensor: &str) -> std::ops::Range<usize> {
    let offset = |end: usize| header[tensor]["data_offsets"][end].as_u64().unwrap() as usize;
    offset(0)..offset(1)
}

const CODES: &str = "model.layers.1.mlp.up_proj.weight";
const SCALES: &str = "model.layers.1.mlp.up_proj.scales";
const BIASES: &str = "model.layers.2.self_attn.o_proj.biases";
const NORM: &str = "model.norm.weight";

/// A change to a good file, and what the refusal has to say.
type Lie = (fn(&mut Value, &mut Vec<u8>), &'static [&'static str]);

#[test]
fn a_tensor_that_lies_is_refused_by_name() {
    let lies: &[Lie] = &[
        // Two tensors on the same bytes.
        (|h, _| h[CODES]["data_offsets"] = h[SCALES]["data_offsets"].clone(), &[CODES]),
        (
            |h, _| {
                let start = place(h, SCALES).start - 4;
                let end = place(h, SCALES).end - 4;
                h[SCALES]["data_offsets"] = json!([start, end]);
            },
            &[WEIGHTS, "its bytes overlap another tensor's"],
        ),
        (|h, _| h[NORM]["data_offsets"] = json!([0, u64::MAX]), &[NORM]),
        (|h, _| h[NORM]["data_offsets"] = json!([8, 4]), &[NORM]),
        // Types: of as many bytes, of others, of none that there is.
        (|h, _| h[CODES]["dtype"] = json!("F32"), &[CODES, "u32"]),
        (|h, _| h[CODES]["dtype"] = json!("I32"), &[CODES, "u32"]),
        (|h, _| h[SCALES]["dtype"] = json!("I32"), &[SCALES, "not f32, f16 or bf16"]),
        (|h, _| h[NORM]["dtype"] = json!("U32"), &[NORM, "not f32, f16 or bf16"]),
        (|h, _| h[NORM]["dtype"] = json!("F64"), &[NORM, "does not take bytes"]),
        (|h, _| h[NORM]["dtype"] = json!("Q4"), &[NORM, "unknown variant"]),
        // Shapes: of as many numbers, of others, of too many.
        (
            |h, _| h[CODES]["shape"].as_array_mut().unwrap().reverse(),
            &[CODES, "config.json implies"],
        ),
        (|h, _| h[NORM]["shape"] = json!([1, 128]), &[NORM, "config.json implies [128]"]),
        (|h, _| h[NORM]["shape"] = json!([129]), &[NORM, "does not take bytes"]),
        (|h, _| h[NORM]["shape"] = json!([1_u64 << 62, 16]), &[NORM]),
        (|h, _| h[NORM]["shape"] = json!([-1]), &[NORM]),
        // Names.
        (
            |h, _| {
                let entry = h.as_object_mut().unwrap().remove(NORM).unwrap();
                h["model.norm.wieght"] = entry;
            },
            &[NORM, "no tensor"],
        ),
        // Scales and biases that would make a row of NaN.
        (
            |h, data| data[place(h, SCALES)][..4].copy_from_slice(&f32::NAN.to_le_bytes()),
            &[SCALES, "NaN or infinity"],
        ),
        (
            |h, data| {
                let at = place(h, BIASES).end - 4;
                data[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            },
            &[BIASES, "NaN or infinity"],
        ),
        (|_, data| data.truncate(data.len() - 1), &[WEIGHTS, "its header describes"]),
        (|_, data| data.push(0), &[WEIGHTS, "its header describes"]),
    ];
    for (number, (lie, words)) in lies.iter().enumerate() {
        let copy = Copy::of("qwen2-mlx-4bit");
        copy.change(lie);
        let refusal = copy.refusal();
        for word in *words {
            assert!(refusal.contains(word), "lie {number}, {word}: {refusal}");
        }
    }
    // Untouched but written anew it loads, in both ways.
    let copy = Copy::of("qwen2-mlx-4bit");
    copy.change(|_, _| {});
    copy.load(WeightsChoice::Stored).unwrap();
    copy.load(WeightsChoice::Dense).unwrap();
}

#[test]
fn a_header_that_claims_to_be_huge_costs_nothing() {
    for length in [u64::MAX, 1 << 40, 100_000_001, 99_999_999] {
        let copy = Copy::of("qwen2-mlx-4bit");
        let mut bytes = fs::read(copy.path(WEIGHTS)).unwrap();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        fs::write(copy.path(WEIGHTS), bytes).unwrap();
        let refusal = copy.refusal();
        assert!(refusal.contains(WEIGHTS), "{refusal}");
        let said = if length > 100_000_000 { "the header has" } else { "describes" };
        assert!(refusal.contains(said), "{refusal}");
    }
}

#[test]
fn shards_that_are_missing_or_loop_are_named() {
    const SECOND: &str = "model-00002-of-00002.safetensors";
    let copy = Copy::of("deepseek_v2");
    copy.load(WeightsChoice::Auto).unwrap();
    fs::remove_file(copy.path(SECOND)).unwrap();
    let refusal = copy.refusal();
    assert!(refusal.contains(SECOND) && refusal.contains("not there"), "{refusal}");

    for name in [SECOND, "model.safetensors.index.json", "config.json"] {
        let copy = Copy::of("deepseek_v2");
        fs::remove_file(copy.path(name)).unwrap();
        symlink(name, copy.path(name)).unwrap();
        let refusal = copy.refusal();
        assert!(refusal.contains(name) && refusal.contains("symbolic links"), "{refusal}");

        let copy = Copy::of("deepseek_v2");
        fs::remove_file(copy.path(name)).unwrap();
        symlink("there", copy.path("back")).unwrap();
        symlink("back", copy.path("there")).unwrap();
        symlink("there", copy.path(name)).unwrap();
        let refusal = copy.refusal();
        assert!(refusal.contains(name) && refusal.contains("symbolic links"), "{refusal}");
    }
    // A link that leads somewhere is how Hugging Face's cache has them.
    let copy = Copy::of("deepseek_v2");
    fs::rename(copy.path(SECOND), copy.path("blob")).unwrap();
    symlink("blob", copy.path(SECOND)).unwrap();
    copy.load(WeightsChoice::Auto).unwrap();
}

#[test]
fn floats_of_4_bits_lie_by_name_too() {
    const BLOCKS: &str = "model.layers.1.mlp.experts.gate_up_proj_blocks";
    const SCALES: &str = "model.layers.3.mlp.experts.down_proj_scales";
    let lies: &[Lie] = &[
        (|h, data| data[place(h, SCALES)][5] = 255, &[SCALES, "NaN or infinity"]),
        (|h, _| h[SCALES]["dtype"] = json!("I8"), &[SCALES, "exponents, in u8"]),
        (|h, _| h[BLOCKS]["dtype"] = json!("I8"), &[BLOCKS, "blocks, in u8"]),
        (|h, _| h[BLOCKS]["shape"] = json!([8, 128, 32]), &[BLOCKS, "implies [8, 128, 2, 16]"]),
    ];
    for (lie, words) in lies {
        for choice in [WeightsChoice::Stored, WeightsChoice::Dense] {
            let copy = Copy::of("gpt_oss");
            copy.change(lie);
            let refusal = copy.load(choice).unwrap_err();
            assert!(words.iter().all(|word| refusal.contains(word)), "{words:?}: {refusal}");
        }
    }
}

#[test]
fn weights_that_are_quantised_in_secret_are_named() {
    let copy = Copy::of("qwen2-mlx-4bit");
    copy.set("quantization", Value::Null);
    copy.set("quantization_config", Value::Null);
    let refusal = copy.refusal();
    assert!(refusal.contains("is quantised, but config.json has no"), "{refusal}");
    let copy = Copy::of("qwen2-mlx-4bit");
    copy.set("quantization", json!({"group_size": 64, "bits": 4}));
    let refusal = copy.refusal();
    assert!(refusal.contains("config.json implies"), "{refusal}");
}

/// Models of every kind of layer: dense and quantised, grouped and latent attention, experts.
const FUZZED: [&str; 5] = ["qwen2-mlx-4bit", "deepseek_v3-mlx-4bit", "gemma3", "phi3", "gpt_oss"];

/// Values that a field should not have.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!("x")),
        Just(json!([])),
        Just(json!([0, -1, 1e308])),
        Just(json!({})),
        Just(json!({"rope_type": "yarn", "factor": -1.0})),
        prop_oneof![Just(0), Just(1), Just(2), Just(3), Just(7), Just(31), Just(64), Just(320)]
            .prop_map(|number: u64| json!(number)),
        prop_oneof![Just(1_u64 << 31), Just(1 << 32), Just(1 << 53), Just(u64::MAX)]
            .prop_map(|number| json!(number)),
        Just(json!(-1)),
        prop_oneof![Just(0.0), Just(-0.5), Just(1e-300), Just(1e300), Just(0.3)]
            .prop_map(|number: f64| json!(number)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever config.json says, it loads or says why not.
    #[test]
    fn odd_configurations_never_panic(
        model in 0..FUZZED.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), odd()), 1..3),
    ) {
        let copy = Copy::of(FUZZED[model]);
        let config: Value =
            serde_json::from_slice(&fs::read(copy.path("config.json")).unwrap()).unwrap();
        let fields: Vec<&String> = config.as_object().unwrap().keys().collect();
        for (field, value) in changes {
            copy.set(fields[field.index(fields.len())], value);
        }
        if let Err(refusal) = copy.load(WeightsChoice::Auto) {
            prop_assert!(!refusal.is_empty());
        }
    }

    /// Whatever the header says, it loads or says why not.
    #[test]
    fn odd_headers_never_panic(
        model in 0..FUZZED.len(),
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0..5_u8, odd()), 1..3),
        choice in prop_oneof![Just(WeightsChoice::Stored), Just(WeightsChoice::Dense)],
    ) {
        let copy = Copy::of(FUZZED[model]);
        copy.change(|header, _| {
            for (at, what, value) in changes {
                let names: Vec<String> = header.as_object().unwrap().keys().cloned().collect();
                let (name, other) =
                    (&names[at.index(names.len())], &names[at.index(names.len() / 2)]);
                match what {
                    0 => header[name]["shape"] = json!([value]),
                    1 => header[name]["data_offsets"] = json!([value, 8]),
                    2 => header[name]["dtype"] = json!(["F16", "U8", "I64"][at.index(3)]),
                    3 => header[name] = header[other].clone(),
                    _ => drop(header.as_object_mut().unwrap().remove(name)),
                }
            }
        });
        if let Err(refusal) = copy.load(choice) {
            prop_assert!(!refusal.is_empty());
        }
    }

    /// Any bytes of a file changed, or its end cut off.
    #[test]
    fn damaged_files_never_panic(
        model in 0..FUZZED.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        of_header in any::<bool>(),
    ) {
        let copy = Copy::of(FUZZED[model]);
        let mut bytes = fs::read(copy.path(WEIGHTS)).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for (at, byte) in changes {
            let at = at.index(if of_header { header } else { bytes.len() });
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(copy.path(WEIGHTS), bytes).unwrap();
        if let Err(refusal) = copy.load(WeightsChoice::Stored) {
            prop_assert!(!refusal.is_empty());
        }
    }
}
