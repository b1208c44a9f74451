//! Whole imports, right ones and files that lie.

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    GgmlType,
    file::read_header,
    import::{ImportDtype, ImportError, ImportOptions, ImportReport, import_gguf},
    testing::{Builder, HEAD_DIM, HIDDEN, VOCAB, llama},
};
use crate::weights::{
    Matrix, ModelFolder, Part, Precision, ShardReader, TensorReader, staging::StagingError,
};

const BLOCKS: &str = include_str!("../../../tests/fixtures/ggml_blocks.json");

fn import(bytes: &[u8], dir: &Path, options: &ImportOptions) -> Result<ImportReport, ImportError> {
    let file = dir.join("model.gguf");
    fs::write(&file, bytes).unwrap();
    import_gguf(&file, &dir.join("out"), options, &mut |_| {})
}

/// The names in a folder, hidden ones too.
fn listing(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn numbers(folder: &ModelFolder, name: &str) -> Vec<f32> {
    let tensor = folder.tensor(name).unwrap();
    let mut out = vec![0.0; tensor.elements()];
    TensorReader::new().read_f32_into(tensor, &mut out).unwrap();
    out
}

fn json_file(dir: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(dir.join("out").join(name)).unwrap()).unwrap()
}

#[test]
fn blocks_are_the_numbers_that_ggml_says() {
    let cases: Vec<Value> = serde_json::from_str(BLOCKS).unwrap();
    assert_eq!(cases.len(), GgmlType::ALL.len());
    for case in cases {
        let name = case["type"].as_str().unwrap();
        let kind = GgmlType::ALL.into_iter().find(|kind| kind.name() == name).unwrap();
        let bytes = |key: &str| hex::decode(case[key].as_str().unwrap()).unwrap();
        let (blocks, expected) = (bytes("blocks"), bytes("f32"));
        let mut out = vec![0.0_f32; expected.len() / 4];
        kind.dequantise(&blocks, &mut out);
        let bits: Vec<u8> = out.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(bits, expected, "{name}, to the bit");
    }
}

#[test]
fn a_llama_becomes_a_hugging_face_folder() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.gguf");
    fs::write(&file, llama().bytes()).unwrap();
    let mut last = None;
    let out = dir.path().join("out");
    let report = import_gguf(&file, &out, &ImportOptions::default(), &mut |progress| {
        last = Some((progress.tensor.to_owned(), progress.bytes_done, progress.bytes_total));
    })
    .unwrap();
    assert_eq!((report.layers, report.tensors, report.dtype), (1, 11, ImportDtype::F32));
    assert_eq!(last, Some(("model.norm.weight".to_owned(), report.bytes, report.bytes)));
    assert_eq!(listing(dir.path()), ["m.gguf", "out"]);

    let config = json_file(dir.path(), "config.json");
    let told = ["num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "vocab_size"];
    let told: Vec<&Value> = told.iter().map(|&key| &config[key]).collect();
    assert_eq!(json!(told), json!([2, HEAD_DIM, 1e-5, 1e5, VOCAB]));
    assert_eq!(
        (&config["tie_word_embeddings"], &config["eos_token_id"]),
        (&json!(true), &json!(257))
    );

    let folder = ModelFolder::open(&out).unwrap();
    assert_eq!(folder.tensor("model.layers.0.mlp.down_proj.weight").unwrap().shape, [HIDDEN, 64]);
    // Row r of q counts from 4r. In a head of 8, rows 0, 2, 4, 6 come first, then 1, 3, 5, 7.
    let q = numbers(&folder, "model.layers.0.self_attn.q_proj.weight");
    let firsts: Vec<f32> = q.chunks(HIDDEN).map(|row| row[0] / 4.0).take(10).collect();
    assert_eq!(firsts, [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0, 8.0, 10.0]);
    let v = numbers(&folder, "model.layers.0.self_attn.v_proj.weight");
    assert!(v.iter().enumerate().all(|(n, &number)| number == n as f32));

    let model = crate::prompt::PromptModel::open(&out, "m").unwrap();
    assert_eq!(
        model.encode("a</s><tool>", crate::prompt::AddSpecial::Yes).unwrap(),
        [97, 257, 258]
    );
    assert_eq!((model.stop_tokens(), model.context_length()), (&[257][..], 64));
    assert_eq!(model.token_text(259), None, "a padding row is no token");
    let special = |id: u32| {
        json_file(dir.path(), "tokenizer_config.json")["added_tokens_decoder"]
        [id.to_string()]["special"].clone()
    };
    assert_eq!((special(257), special(258)), (json!(true), json!(false)));
}

#[test]
fn llama_3_begins_texts_scales_its_rope_and_ends_in_more_ways() {
    let mut file = llama();
    file.set_text("tokenizer.ggml.pre", "llama-bpe");
    file.set_u32("tokenizer.ggml.eot_token_id", 258);
    // Waves of 6.28, 167, 4443 and 118142 tokens: at a context of 8192 two stay, one is blended
    // and one is stretched by 8.
    file.set("llama.rope.freq_base", 6, &5e5_f32.to_le_bytes());
    let factors = [1.0, 1.0, 2.694_529_f32, 8.0];
    let data = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
    file.add("rope_freqs.weight", &[4], 0, data);
    file.add_f32("output.weight", &[HIDDEN, VOCAB], 5.0);
    let dir = tempfile::tempdir().unwrap();
    import(&file.bytes(), dir.path(), &ImportOptions::default()).unwrap();
    let config = json_file(dir.path(), "config.json");
    assert_eq!(config["rope_scaling"]["factor"], json!(8.0));
    assert_eq!(config["tie_word_embeddings"], json!(false));
    let folder = ModelFolder::open(&dir.path().join("out")).unwrap();
    assert_eq!(numbers(&folder, "lm_head.weight")[8], 6.0);
    let model = crate::prompt::PromptModel::open(&dir.path().join("out"), "m").unwrap();
    assert_eq!(model.stop_tokens(), [257, 258]);
    assert_eq!(model.encode("a", crate::prompt::AddSpecial::Yes).unwrap(), [256, 97]);

    file.tensor("rope_freqs.weight").data[8..12].copy_from_slice(&5.0_f32.to_le_bytes());
    let options = ImportOptions { replace: true, ..ImportOptions::default() };
    let refused = import(&file.bytes(), dir.path(), &options).unwrap_err().to_string();
    assert!(refused.contains("rope_freqs.weight"), "{refused}");
}

#[test]
fn half_precision_on_request() {
    for dtype in ["f16", "bf16"] {
        let dir = tempfile::tempdir().unwrap();
        let options = ImportOptions { dtype: dtype.parse().unwrap(), replace: false };
        import(&llama().bytes(), dir.path(), &options).unwrap();
        let folder = ModelFolder::open(&dir.path().join("out")).unwrap();
        assert_eq!(numbers(&folder, "model.norm.weight")[..3], [3.0, 3.125, 3.25]);
        assert_eq!(options.dtype.to_string(), dtype);
        assert_eq!(folder.tensor("model.norm.weight").unwrap().bytes(), 64);
    }
    let mut file = llama();
    file.tensor("output_norm.weight").data[..4].copy_from_slice(&1e6_f32.to_le_bytes());
    let dir = tempfile::tempdir().unwrap();
    let options = ImportOptions { dtype: ImportDtype::F16, replace: false };
    let refused = import(&file.bytes(), dir.path(), &options).unwrap_err();
    assert!(
        matches!(&refused, ImportError::BeyondF16 { tensor } if tensor == "output_norm.weight")
    );
}

#[test]
fn blocks_may_stay_codes() {
    let dir = tempfile::tempdir().unwrap();
    let floats = import(&llama().bytes(), dir.path(), &ImportOptions::default()).unwrap();
    let names = ["model.embed_tokens", "model.layers.0.self_attn.k_proj", "model.norm"];
    let weights = |out: &str| {
        let folder = ModelFolder::open(&dir.path().join(out)).unwrap();
        let precision =
            Precision { compute: mlx_rs::Dtype::Float32, dense: true, keeps_bf16: false };
        let reader = TensorReader::new();
        let shard = ShardReader::new(&folder, &reader, precision, &|_| {}).unwrap();
        let rows = [VOCAB, 16];
        let of = |(name, rows): (&&str, &usize)| match shard
            .matrix(&Part::whole(*name, *rows), HIDDEN)
            .unwrap()
        {
            Matrix::Dense(array) => array.as_slice::<f32>().to_vec(),
            _ => panic!("{name} is not dense"),
        };
        (
            names[..2].iter().zip(&rows).map(of).collect::<Vec<_>>(),
            numbers(&folder, "model.norm.weight"),
        )
    };
    let expected = weights("out");
    fs::rename(dir.path().join("out"), dir.path().join("floats")).unwrap();

    let options = ImportOptions { dtype: "stored".parse().unwrap(), replace: false };
    let stored = import(&llama().bytes(), dir.path(), &options).unwrap();
    assert_eq!((stored.tensors, stored.dtype.to_string().as_str()), (floats.tensors, "stored"));
    assert!(stored.bytes * 3 < floats.bytes, "{} of {}", stored.bytes, floats.bytes);
    let folder = ModelFolder::open(&dir.path().join("out")).unwrap();
    let quantisation = json!({
        "group_size": 32, "bits": 4, "mode": "affine",
        "model.embed_tokens": {"group_size": 32, "bits": 8, "mode": "affine"},
    });
    assert_eq!(folder.config()["quantization"], quantisation);
    let shape = |name: &str| folder.tensor(name).unwrap().shape.clone();
    assert_eq!(shape("model.layers.0.mlp.down_proj.weight"), [HIDDEN, 64 * 4 / 32]);
    assert_eq!(shape("model.layers.0.mlp.down_proj.scales"), [HIDDEN, 2]);
    assert!(!folder.has("model.layers.0.self_attn.v_proj.scales"), "it is of halves");
    assert_eq!(
        folder.tensor("model.layers.0.self_attn.v_proj.weight").unwrap().bytes(),
        2 * 16 * HIDDEN
    );
    // In Hugging Face's order of rows, too.
    assert_eq!(weights("out"), expected);

    let mut file = llama();
    let scale = half::f16::INFINITY.to_le_bytes();
    file.tensor("blk.0.ffn_up.weight").data[..2].copy_from_slice(&scale);
    let again = ImportOptions { replace: true, ..options };
    let refused = import(&file.bytes(), dir.path(), &again).unwrap_err();
    assert!(
        matches!(&refused, ImportError::NotFinite { tensor } if tensor == "blk.0.ffn_up.weight")
    );
    file.tensor("blk.0.ffn_up.weight").data[..2].copy_from_slice(&[0, 0]);
    let scale = half::f16::from_f32(1000.0).to_le_bytes();
    file.tensor("token_embd.weight").data[..2].copy_from_slice(&scale);
    let refused = import(&file.bytes(), dir.path(), &again).unwrap_err();
    assert!(matches!(&refused, ImportError::BeyondF16 { tensor } if tensor == "token_embd.weight"));
}

#[test]
fn a_model_that_is_there_stays_unless_it_may_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let again = ImportOptions { replace: true, ..ImportOptions::default() };
    import(&llama().bytes(), dir.path(), &again).unwrap();
    let fingerprint = ModelFolder::open(&dir.path().join("out")).unwrap().fingerprint();

    let mut other = llama();
    other.tensors[0].data[0] ^= 1;
    let exists = import(&other.bytes(), dir.path(), &ImportOptions::default()).unwrap_err();
    assert!(matches!(exists, ImportError::Staging(StagingError::Exists { .. })));
    // A failure in the middle of a replacement leaves the old one.
    other.tensor("output_norm.weight").data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let damaged = import(&other.bytes(), dir.path(), &again).unwrap_err();
    assert!(
        matches!(&damaged, ImportError::NotFinite { tensor } if tensor == "output_norm.weight")
    );
    assert_eq!(ModelFolder::open(&dir.path().join("out")).unwrap().fingerprint(), fingerprint);
    assert_eq!(listing(dir.path()), ["model.gguf", "out"]);

    // What an interrupted import left is cleared away, what another is writing is not.
    let staging = dir.path().join(".out.importing");
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("model.safetensors"), "half").unwrap();
    let lock = fs::File::open(&staging).unwrap();
    lock.lock().unwrap();
    let busy = import(&llama().bytes(), dir.path(), &again).unwrap_err();
    assert!(
        matches!(busy, ImportError::Staging(StagingError::Busy { .. }))
            && staging.join("model.safetensors").exists()
    );
    drop(lock);
    import(&llama().bytes(), dir.path(), &again).unwrap();
    assert_eq!(listing(dir.path()), ["model.gguf", "out"]);

    fs::remove_file(dir.path().join("out/config.json")).unwrap();
    let not_mine = import(&llama().bytes(), dir.path(), &again).unwrap_err();
    assert!(matches!(not_mine, ImportError::Staging(StagingError::NotAModel { .. })));
}

#[test]
fn what_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.gguf");
    fs::write(&file, llama().bytes()).unwrap();
    let inside_a_file = file.join("models/out");
    let error = import_gguf(&file, &inside_a_file, &ImportOptions::default(), &mut |_| {});
    assert!(matches!(error, Err(ImportError::Staging(StagingError::Write { .. }))), "{error:?}");
    let missing =
        import_gguf(Path::new("/no/such.gguf"), dir.path(), &ImportOptions::default(), &mut |_| {});
    assert!(matches!(missing, Err(ImportError::Gguf(_))));
}

/// A change to a good file, and what the refusal says.
type Lie = (fn(&mut Builder), &'static str);

#[test]
fn every_lie_is_refused_by_name() {
    let lies: &[Lie] = &[
        (|f| f.version = 1, "version 0x1"),
        (|f| f.version = 3_u32.swap_bytes(), "big-endian"),
        (|f| f.version = 4, "version 0x4"),
        (|f| f.set_text("general.architecture", "mamba"), "architecture mamba"),
        (|f| f.remove("general.architecture"), "general.architecture: missing"),
        (|f| f.set_u32("general.architecture", 1), "general.architecture: not a text"),
        (|f| f.set_u32("general.alignment", 24), "general.alignment: 24"),
        (|f| f.set_u32("split.count", 3), "llama-gguf-split"),
        (|f| f.set_u32("llama.block_count", 2), "blk.1.attn_norm.weight: missing"),
        (|f| f.set_u32("llama.block_count", 0), "llama.block_count: 0"),
        (|f| f.set_u32("llama.block_count", u32::MAX), "llama.block_count: 4294967295"),
        (|f| f.set_u32("llama.attention.head_count", 0), "head_count: 0"),
        (|f| f.set_u32("llama.attention.head_count_kv", 3), "head_count_kv"),
        (|f| f.set_u32("llama.rope.dimension_count", 4), "rope.dimension_count"),
        (|f| f.set_u32("llama.attention.sliding_window", 4), "sliding_window: not supported"),
        (|f| f.set_u32("llama.expert_count", 8), "experts"),
        (|f| f.set_text("llama.rope.scaling.type", "yarn"), "yarn"),
        (|f| f.set("llama.rope.freq_base", 6, &f32::NAN.to_le_bytes()), "rope.freq_base"),
        (|f| f.set_text("tokenizer.ggml.model", "bert"), "tokenizer bert"),
        (|f| f.set_text("tokenizer.ggml.model", "llama"), "tokenizer.ggml.scores: missing"),
        (|f| f.set("tokenizer.ggml.add_eos_token", 7, &[1]), "add_eos_token"),
        (|f| f.set_text("tokenizer.ggml.pre", "mystery"), "rules mystery"),
        (|f| f.set_u32("tokenizer.ggml.eos_token_id", 999), "eos_token_id: 999, of 260"),
        (|f| f.set_array("tokenizer.ggml.token_type", 5, 1, &[1, 0, 0, 0]), "1 types for 260"),
        (
            |f| {
                f.set_array(
                    "tokenizer.ggml.merges",
                    8,
                    1,
                    &[3, 0, 0, 0, 0, 0, 0, 0, b'x', b' ', b'?'],
                );
            },
            "makes no tokenizer",
        ),
        (|f| f.set("x", 99, &[]), "x: unknown value type 99"),
        (|f| f.set_array("x", 99, 1, &[]), "x: array of unknown type 99"),
        (|f| f.set_array("x", 8, usize::MAX, &[]), "cut off: x ends"),
        (|f| f.set("x", 8, &u64::MAX.to_le_bytes()), "cut off: x ends"),
        (|f| f.set("x", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]), "x: a text is not UTF-8"),
        (|f| f.set_array("x", 10, 1, &[0xff; 8]), "x: an integer is too large"),
        (|f| f.tensor("output_norm.weight").name = "blk.0.ffn_up.weight".into(), "there twice"),
        (
            |f| f.tensor("output_norm.weight").name = "odd.weight".into(),
            "output_norm.weight: missing",
        ),
        (|f| f.add_f32("odd.weight", &[1], 0.0), "odd.weight: no part"),
        (|f| f.tensor("output_norm.weight").dims = vec![16], "output_norm.weight: shape [16]"),
        (|f| f.tensor("output_norm.weight").dims = vec![0], "output_norm.weight: shape [0]"),
        (|f| f.tensor("output_norm.weight").dims = vec![], "0 dimensions"),
        (|f| f.tensor("output_norm.weight").dims = vec![1; 5], "5 dimensions"),
        (|f| f.tensor("output_norm.weight").dims = vec![u64::MAX, 2], "too large"),
        (|f| f.tensor("output_norm.weight").dims = vec![1 << 40], "cut off: tensor output_norm"),
        (|f| f.tensor("blk.0.ffn_up.weight").dims = vec![33, 64], "blocks of 32"),
        (|f| f.tensor("output_norm.weight").code = 16, "stored as IQ2_XXS"),
        (|f| f.tensor("output_norm.weight").code = 4, "stored as unknown type 4"),
        (|f| f.tensor("output_norm.weight").offset = Some(1), "output_norm.weight: not aligned"),
        (|f| f.tensor("output_norm.weight").offset = Some(32), "overlap"),
        (|f| f.tensor("output_norm.weight").offset = Some(!31), "output_norm.weight"),
        (|f| f.tensor("output_norm.weight").data.truncate(127), "cut off: tensor output_norm"),
    ];
    for (lie, words) in lies {
        let dir = tempfile::tempdir().unwrap();
        let mut file = llama();
        lie(&mut file);
        let error = import(&file.bytes(), dir.path(), &ImportOptions::default()).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(listing(dir.path()), ["model.gguf"], "{words}");
    }
    let dir = tempfile::tempdir().unwrap();
    let other = import(b"PK\x03\x04 something", dir.path(), &ImportOptions::default());
    assert!(other.unwrap_err().to_string().contains("not a GGUF file"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mutated_headers_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = llama().bytes();
        // Lengths and counts are where it hurts: the tensors' bytes themselves are any bytes.
        let header = bytes.len() - llama().tensors.iter().map(|t| t.data.len()).sum::<usize>();
        for (at, byte) in changes {
            bytes[at.index(header)] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let read = read_header(&mut &bytes[..], bytes.len() as u64);
        if let Ok((_, tensors)) = read {
            for tensor in tensors {
                prop_assert!(tensor.range.end <= bytes.len() as u64);
                prop_assert!(tensor.range.start <= tensor.range.end);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mutated_files_import_whole_or_not_at_all(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = llama().bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let dir = tempfile::tempdir().unwrap();
        match import(&bytes, dir.path(), &ImportOptions::default()) {
            Ok(_) => drop(ModelFolder::open(&dir.path().join("out")).unwrap()),
            Err(error) => {
                prop_assert!(!error.to_string().is_empty());
                prop_assert_eq!(listing(dir.path()), ["model.gguf"]);
            }
        }
    }
}
