//! A model's folder without weights, for tests: a tokenizer whose ids 0 to 255 are the bytes.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Written for byte `n`, as byte-level vocabularies do.
fn character(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return byte.into();
    }
    let before = (0..byte).filter(|&other| !printable(other)).count();
    char::from_u32(0x100 + before as u32).expect("below the surrogates")
}

/// `tokenizer.json` with the bytes, then `<s>` 256 and `</s>` 257 (special), `<tool>` 258 (not).
/// Texts begin with `<s>` if special tokens are added.
pub(crate) fn tokenizer() -> Value {
    let vocab: Map<String, Value> =
        (0..=255_u8).map(|byte| (character(byte).to_string(), byte.into())).collect();
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": special})
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": false});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [added(256, "<s>", true), added(257, "</s>", true), added(258, "<tool>", false)],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]}},
        },
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": []},
    })
}

/// Writes a model's small files: this tokenizer, a configuration with context 100 and vocabulary
/// 300, and a tokenizer's configuration with that chat template (or whatever else is given).
pub(crate) fn write_folder(dir: &Path, chat_template: &Value) {
    let files = [
        ("tokenizer.json", tokenizer()),
        (
            "config.json",
            json!({"max_position_embeddings": 100, "vocab_size": 300, "eos_token_id": 257}),
        ),
        (
            "tokenizer_config.json",
            json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": chat_template}),
        ),
    ];
    for (name, content) in files {
        std::fs::write(dir.join(name), content.to_string()).expect("the folder can be written");
    }
}
