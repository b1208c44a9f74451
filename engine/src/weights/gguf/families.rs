//! Every architecture that can be imported: a checkpoint whose answers are known is written as
//! llama.cpp's converter would, imported, and has to give them.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    import::{ImportOptions, import_gguf},
    testing::{Builder, add_tokenizer},
};
use crate::{
    layers::LayerRange,
    stage::{Rows, Stage, StageInput, StageOutput},
    weights::{ModelFolder, Precision, TensorReader, WeightsChoice},
};

const BF16: u32 = 30;
const F32: u32 = 0;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("tiny-{name}"))
}

/// llama.cpp's name of what a layer calls `name`.
fn in_layer(architecture: &str, name: &str) -> &'static str {
    match name {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if architecture == "gemma3" => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.qkv_proj" => "attn_qkv",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "mlp.gate" => "ffn_gate_inp",
        "gate_proj" => "ffn_gate_exps",
        "up_proj" => "ffn_up_exps",
        "down_proj" => "ffn_down_exps",
        other => panic!("{other}"),
    }
}

/// A tensor's name in the file, and which of the stacked experts it is.
fn ggml_name(architecture: &str, name: &str) -> (String, Option<usize>) {
    let (module, suffix) = name.rsplit_once('.').unwrap();
    let plain = match module {
        "model.embed_tokens" => "token_embd",
        "model.norm" => "output_norm",
        "lm_head" => "output",
        _ => "",
    };
    if !plain.is_empty() {
        return (format!("{plain}.{suffix}"), None);
    }
    let (layer, rest) = module.strip_prefix("model.layers.").unwrap().split_once('.').unwrap();
    let expert = rest.strip_prefix("mlp.experts.").map(|rest| rest.split_once('.').unwrap());
    let rest = expert.map_or(rest, |(_, rest)| rest);
    let name = format!("blk.{layer}.{}.{suffix}", in_layer(architecture, rest));
    (name, expert.map(|(number, _)| number.parse().unwrap()))
}

/// Rows of heads in llama.cpp's order: those that are turned together lie beside each other.
fn permuted(bytes: &[u8], row: usize, head_dim: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for head in bytes.chunks(head_dim * row) {
        let (low, high) = head.split_at(head.len() / 2);
        for (low, high) in low.chunks(row).zip(high.chunks(row)) {
            out.extend_from_slice(low);
            out.extend_from_slice(high);
        }
    }
    out
}

fn settings(file: &mut Builder, architecture: &str, config: &Value) {
    for (key, field) in [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("expert_count", "num_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("rope.scaling.original_context_length", "original_max_position_embeddings"),
        ("attention.sliding_window_pattern", "sliding_window_pattern"),
    ] {
        if let Some(number) = config[field].as_u64() {
            file.set_u32(&format!("{architecture}.{key}"), number as u32);
        }
    }
    let float = |key: &str| (config[key].as_f64().unwrap() as f32).to_le_bytes();
    let epsilon = format!("{architecture}.attention.layer_norm_rms_epsilon");
    file.set(&epsilon, 6, &float("rms_norm_eps"));
    if config["rope_theta"].is_number() {
        file.set(&format!("{architecture}.rope.freq_base"), 6, &float("rope_theta"));
    }
    if architecture == "gemma3" {
        file.set_u32("gemma3.attention.sliding_window", 16);
        file.set_text("gemma3.rope.scaling.type", "linear");
        file.set("gemma3.rope.scaling.factor", 6, &8.0_f32.to_le_bytes());
    }
    if architecture == "phi3" {
        file.set_u32("phi3.rope.dimension_count", 24);
        for name in ["long", "short"] {
            let factors = config["rope_scaling"][format!("{name}_factor")].as_array().unwrap();
            let data = factors.iter().flat_map(|n| (n.as_f64().unwrap() as f32).to_le_bytes());
            let name = format!("rope_factors_{name}.weight");
            file.add(&name, &[factors.len()], F32, data.collect());
        }
    }
}

/// A matrix's dimensions, and its bytes for each expert.
type Experts = (Vec<usize>, BTreeMap<usize, Vec<u8>>);

/// The checkpoint as a GGUF file.
fn gguf(name: &str, architecture: &str) -> Builder {
    let folder = ModelFolder::open(&fixture(name)).unwrap();
    let (config, reader) = (folder.config(), TensorReader::new());
    let heads = config["num_attention_heads"].as_u64().unwrap() as usize;
    let mut file = Builder::new(architecture);
    settings(&mut file, architecture, config);
    add_tokenizer(&mut file);
    let mut stacked: BTreeMap<String, Experts> = BTreeMap::new();
    for tensor in folder.tensors() {
        let (name, expert) = ggml_name(architecture, &tensor.name);
        let mut bytes = vec![0; tensor.bytes()];
        reader.read_into(tensor, 0, &mut bytes).unwrap();
        let dims: Vec<usize> = tensor.shape.iter().rev().copied().collect();
        if architecture == "llama" && (name.contains("attn_q.") || name.contains("attn_k.")) {
            bytes = permuted(&bytes, 2 * dims[0], dims[0] / heads);
        }
        if let Some(expert) = expert {
            stacked.entry(name).or_insert((dims, BTreeMap::new())).1.insert(expert, bytes);
        } else if architecture == "gemma3" && name.contains("norm") {
            let mut numbers = vec![0.0; tensor.elements()];
            reader.read_f32_into(tensor, &mut numbers).unwrap();
            let bytes = numbers.iter().flat_map(|number| (number + 1.0).to_le_bytes()).collect();
            file.add(&name, &dims, F32, bytes);
        } else {
            file.add(&name, &dims, BF16, bytes);
        }
    }
    for (name, (mut dims, experts)) in stacked {
        dims.push(experts.len());
        file.add(&name, &dims, BF16, experts.into_values().flatten().collect());
    }
    file
}

/// Logits of the last row of the reference's prompt, and those that it has.
fn logits(dir: &std::path::Path, reference: &Value) -> Vec<[f32; 2]> {
    let folder = ModelFolder::open(dir).unwrap();
    let layers = folder.config()["num_hidden_layers"].as_u64().unwrap() as u32;
    let precision = Precision::of(folder.config(), WeightsChoice::Auto, true);
    let range = LayerRange::checked(0, layers).unwrap();
    let mut stage = Stage::load(&folder, range, precision, &|_| {}).unwrap();
    let numbers = |key: &str| reference[key].as_array().unwrap().iter();
    let prompt: Vec<u32> = numbers("prompt_ids").map(|id| id.as_u64().unwrap() as u32).collect();
    let count = prompt.len() as u32;
    let rows = Rows { sequence: 1, attempt: 0, start: 0, count, wants_token: true };
    let StageOutput::Logits(Some(logits)) =
        stage.step(StageInput::Tokens(&prompt), &[rows]).unwrap()
    else {
        panic!("no logits")
    };
    let theirs = numbers("last_logits").map(|number| number.as_f64().unwrap() as f32);
    logits.as_slice::<f32>().iter().copied().zip(theirs).map(|(ours, own)| [ours, own]).collect()
}

#[test]
fn an_imported_model_answers_as_its_checkpoint_does() {
    for (name, architecture) in [
        ("llama2", "llama"),
        ("qwen2", "qwen2"),
        ("qwen3", "qwen3"),
        ("qwen3_moe", "qwen3moe"),
        ("gemma3", "gemma3"),
        ("phi3", "phi3"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (file, out) = (dir.path().join("m.gguf"), dir.path().join("out"));
        std::fs::write(&file, gguf(name, architecture).bytes()).unwrap();
        let report = import_gguf(&file, &out, &ImportOptions::default(), &mut |_| {})
            .unwrap_or_else(|error| panic!("{architecture}: {error}"));
        let text = std::fs::read(fixture(name).join("reference.json")).unwrap();
        let reference: Value = serde_json::from_slice(&text).unwrap();
        let model_type = ModelFolder::open(&fixture(name)).unwrap().config()["model_type"].clone();
        assert_eq!(report.architecture, model_type.as_str().unwrap());
        let pairs = logits(&out, &reference);
        assert!(pairs.len() == 320, "{architecture}");
        for [ours, theirs] in pairs {
            assert!((ours - theirs).abs() < 1e-3, "{architecture}: {ours} for {theirs}");
        }
    }
}

#[test]
fn what_a_family_does_not_have_is_refused_by_name() {
    type Lie = fn(&mut Builder);
    let lies: [(&str, &str, Lie, &str); 7] = [
        ("qwen2", "qwen2", |f| f.set_u32("qwen2.expert_count", 4), "qwen2 with experts"),
        ("qwen2", "qwen2", |f| f.set_text("qwen2.rope.scaling.type", "yarn"), "yarn scaling"),
        ("qwen3", "qwen3", |f| f.tensor("blk.1.attn_q_norm.weight").name = "x".into(), "missing"),
        ("gemma3", "gemma3", |f| f.set_text("gemma3.rope.scaling.type", "yarn"), "scaling.type"),
        (
            "gemma3",
            "gemma3",
            |f| f.set("gemma3.final_logit_softcapping", 6, &30_f32.to_le_bytes()),
            "final_logit_softcapping: not supported",
        ),
        ("phi3", "phi3", |f| f.tensor("rope_factors_short.weight").name = "x".into(), "twin"),
        (
            "phi3",
            "phi3",
            |f| f.tensor("rope_factors_long.weight").data.fill(0),
            "rope_factors_long.weight: a factor",
        ),
    ];
    for (name, architecture, lie, words) in lies {
        let mut file = gguf(name, architecture);
        lie(&mut file);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, file.bytes()).unwrap();
        let out = dir.path().join("out");
        let refused = import_gguf(&path, &out, &ImportOptions::default(), &mut |_| {});
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
        assert!(!out.exists(), "{words}");
    }
}
