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
const MXFP4: u32 = 39;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("tiny-{name}"))
}

/// llama.cpp's name of what a layer calls `name`.
fn in_layer(architecture: &str, name: &str) -> &'static str {
    match name {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if matches!(architecture, "gemma3" | "gpt-oss") => {
            "post_attention_norm"
        }
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
        "mlp.gate" | "mlp.router" => "ffn_gate_inp",
        "self_attn.q_a_proj" => "attn_q_a",
        "self_attn.q_a_layernorm" => "attn_q_a_norm",
        "self_attn.q_b_proj" => "attn_q_b",
        "self_attn.kv_a_proj_with_mqa" => "attn_kv_a_mqa",
        "self_attn.kv_a_layernorm" => "attn_kv_a_norm",
        "self_attn.kv_b_proj" => "attn_kv_b",
        "mlp.shared_experts.gate_proj" => "ffn_gate_shexp",
        "mlp.shared_experts.up_proj" => "ffn_up_shexp",
        "mlp.shared_experts.down_proj" => "ffn_down_shexp",
        "gate_proj" => "ffn_gate_exps",
        "up_proj" => "ffn_up_exps",
        "down_proj" => "ffn_down_exps",
        other => panic!("{other}"),
    }
}

/// A tensor's name in the file, and which of the stacked experts it is.
fn ggml_name(architecture: &str, name: &str) -> (String, Option<usize>) {
    if let Some(sinks) = name.strip_suffix(".self_attn.sinks") {
        let layer = sinks.strip_prefix("model.layers.").unwrap();
        return (format!("blk.{layer}.attn_sinks.weight"), None);
    }
    if let Some(gate) = name.strip_suffix(".mlp.gate.e_score_correction_bias") {
        let layer = gate.strip_prefix("model.layers.").unwrap();
        return (format!("blk.{layer}.exp_probs_b.bias"), None);
    }
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
    if architecture == "deepseek2" {
        deepseek_settings(file, config);
    }
    if architecture == "gpt-oss" {
        file.set_u32("gpt-oss.expert_count", 8);
        file.set_u32("gpt-oss.expert_feed_forward_length", 64);
        file.set_u32("gpt-oss.attention.sliding_window", 16);
        file.set_text("gpt-oss.rope.scaling.type", "yarn");
        file.set("gpt-oss.rope.scaling.factor", 6, &32.0_f32.to_le_bytes());
        file.set_u32("gpt-oss.rope.scaling.original_context_length", 256);
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

/// As llama.cpp writes them since it keeps compressed tokens alone.
fn deepseek_settings(file: &mut Builder, config: &Value) {
    let size = |key: &str| config[key].as_u64().unwrap() as u32;
    let mut set = |key: &str, value: u32| file.set_u32(&format!("deepseek2.{key}"), value);
    let (rank, rope) = (size("kv_lora_rank"), size("qk_rope_head_dim"));
    set("attention.head_count_kv", 1);
    set("attention.kv_lora_rank", rank);
    set("attention.key_length", rank + rope);
    set("attention.value_length", rank);
    set("attention.key_length_mla", size("qk_nope_head_dim") + rope);
    set("attention.value_length_mla", size("v_head_dim"));
    set("rope.dimension_count", rope);
    set("leading_dense_block_count", size("first_k_dense_replace"));
    set("expert_count", size("n_routed_experts"));
    set("expert_shared_count", size("n_shared_experts"));
    set("expert_group_count", size("n_group"));
    set("expert_group_used_count", size("topk_group"));
    set("expert_gating_func", if config["scoring_func"] == "sigmoid" { 2 } else { 1 });
    let scaling = &config["rope_scaling"];
    let original = scaling["original_max_position_embeddings"].as_u64().unwrap() as u32;
    set("rope.scaling.original_context_length", original);
    if config["q_lora_rank"].is_number() {
        set("attention.q_lora_rank", size("q_lora_rank"));
    }
    let normalised = config["norm_topk_prob"].as_bool().unwrap();
    file.set("deepseek2.expert_weights_norm", 7, &[u8::from(normalised)]);
    file.set_text("deepseek2.rope.scaling.type", "yarn");
    for (key, value) in [
        ("expert_weights_scale", &config["routed_scaling_factor"]),
        ("rope.scaling.factor", &scaling["factor"]),
    ] {
        let value = value.as_f64().unwrap() as f32;
        file.set(&format!("deepseek2.{key}"), 6, &value.to_le_bytes());
    }
    let multiplier = 0.1 * scaling["mscale_all_dim"].as_f64().unwrap() as f32;
    file.set("deepseek2.rope.scaling.yarn_log_multiplier", 6, &multiplier.to_le_bytes());
}

/// Puts the up-projections of keys and values apart, as newer files have them.
fn split_up(file: &mut Builder, config: &Value) {
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let (heads, rank) = (size("num_attention_heads"), size("kv_lora_rank"));
    let (nope, value) = (size("qk_nope_head_dim"), size("v_head_dim"));
    for layer in 0..size("num_hidden_layers") {
        let joined = file.take(&format!("blk.{layer}.attn_kv_b.weight"));
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for head in joined.data.chunks((nope + value) * rank * 2) {
            let (key, own) = head.split_at(nope * rank * 2);
            values.extend_from_slice(own);
            let number = |row: usize, column: usize| &key[2 * (row * rank + column)..][..2];
            for column in 0..rank {
                (0..nope).for_each(|row| keys.extend_from_slice(number(row, column)));
            }
        }
        file.add(&format!("blk.{layer}.attn_k_b.weight"), &[nope, rank, heads], BF16, keys);
        file.add(&format!("blk.{layer}.attn_v_b.weight"), &[rank, value, heads], BF16, values);
    }
}

/// One of the tensors of experts in MXFP4, of which gates and up come in turn: apart, and with the
/// codes of a block's second half in the high nibbles.
fn gpt_oss_expert(file: &mut Builder, folder: &ModelFolder, name: &str) {
    let tensor = |name: &str| {
        let tensor = folder.tensor(name).unwrap();
        let mut bytes = vec![0; tensor.bytes()];
        TensorReader::new().read_into(tensor, 0, &mut bytes).unwrap();
        (bytes, tensor.shape.clone())
    };
    let (layer, rest) = name.strip_prefix("model.layers.").unwrap().split_once('.').unwrap();
    let (module, kind) = rest.rsplit_once('_').unwrap();
    let parts: &[(&str, usize)] = match module {
        "mlp.experts.gate_up_proj" => &[("ffn_gate_exps", 0), ("ffn_up_exps", 1)],
        _ => &[("ffn_down_exps", 0)],
    };
    let (bytes, shape) = tensor(name);
    let each = parts.len();
    for &(part, first) in parts {
        let name = format!("blk.{layer}.{part}");
        if kind == "bias" {
            let rows = bytes.chunks(2).skip(first).step_by(each).flatten().copied().collect();
            file.add(&format!("{name}.bias"), &[shape[1] / each, shape[0]], BF16, rows);
        } else if kind == "blocks" {
            let (scales, _) = tensor(&format!("model.layers.{layer}.{module}_scales"));
            let row = 16 * shape[2];
            let rows = bytes.chunks(row).zip(scales.chunks(shape[2])).skip(first).step_by(each);
            let mut blocks = Vec::new();
            for (codes, scales) in rows {
                for (codes, scale) in codes.chunks(16).zip(scales) {
                    let codes: Vec<u8> =
                        codes.iter().flat_map(|byte| [byte & 15, byte >> 4]).collect();
                    blocks.push(*scale);
                    blocks.extend((0..16).map(|n| codes[n] | codes[n + 16] << 4));
                }
            }
            let dims = [32 * shape[2], shape[1] / each, shape[0]];
            file.add(&format!("{name}.weight"), &dims, MXFP4, blocks);
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
        if tensor.name.contains(".mlp.experts.") && architecture == "gpt-oss" {
            gpt_oss_expert(&mut file, &folder, &tensor.name);
            continue;
        }
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
        ("deepseek_v2", "deepseek2"),
        ("deepseek_v2-groups", "deepseek2"),
        ("deepseek_v3", "deepseek2"),
        ("deepseek_v3, as older files have it", "deepseek2"),
        ("gpt_oss", "gpt-oss"),
        ("gpt_oss, as floats", "gpt-oss"),
    ] {
        let (name, older) = name.split_once(',').map_or((name, false), |(name, _)| (name, true));
        let dir = tempfile::tempdir().unwrap();
        let (file, out) = (dir.path().join("m.gguf"), dir.path().join("out"));
        let mut made = gguf(name, architecture);
        if architecture == "deepseek2" && !older {
            split_up(&mut made, ModelFolder::open(&fixture(name)).unwrap().config());
        }
        std::fs::write(&file, made.bytes()).unwrap();
        // Experts as they are, or as the floats that they stand for.
        let dtype = if older || architecture != "gpt-oss" { "f32" } else { "stored" };
        let options = ImportOptions { dtype: dtype.parse().unwrap(), replace: false };
        let report = import_gguf(&file, &out, &options, &mut |_| {})
            .unwrap_or_else(|error| panic!("{architecture}: {error}"));
        let text = std::fs::read(fixture(name).join("reference.json")).unwrap();
        let reference: Value = serde_json::from_slice(&text).unwrap();
        let model_type = ModelFolder::open(&fixture(name)).unwrap().config()["model_type"].clone();
        assert_eq!(report.architecture, model_type.as_str().unwrap());
        if architecture == "gpt-oss" {
            // The reference has it that the ramp of yarn begins at whole pairs.
            let config = std::fs::read_to_string(out.join("config.json")).unwrap();
            assert!(config.contains("\"truncate\": false"), "{config}");
            let config = config.replace("\"truncate\": false", "\"truncate\": true");
            std::fs::write(out.join("config.json"), config).unwrap();
        }
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
    let lies: [(&str, &str, Lie, &str); 10] = [
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
        (
            "deepseek_v3",
            "deepseek2",
            |f| f.remove("deepseek2.expert_group_count"),
            "expert_group_count: missing, and no published model has 16",
        ),
        (
            "deepseek_v3",
            "deepseek2",
            |f| f.set_u32("deepseek2.attention.key_length_mla", 16),
            "key_length_mla: does not go",
        ),
        (
            "deepseek_v2",
            "deepseek2",
            |f| f.set_text("deepseek2.rope.scaling.type", "linear"),
            "rope.scaling.type: yarn with",
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
