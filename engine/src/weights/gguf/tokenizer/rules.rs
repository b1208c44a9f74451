//! What do the names of rules stand for?
//!
//! A GGUF file names how a text is split before its words are looked up
//! (`tokenizer.ggml.pre`); llama.cpp has the rules in its source. Here are those of the
//! tokenizer.json that the models were published with, which are sometimes not quite the same.

use serde_json::{Value, json};

/// Contractions, words with one sign before them, and lines: what the tokenizers of OpenAI's
/// `tiktoken` and those that follow it share.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with marks belonging to words.
const QWEN3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words split where a small letter meets a capital one.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_V3: [&str; 3] = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
];
const DEEPSEEK_CODER: [&str; 4] = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\u{d7ff}]+"];
const DEEPSEEK_LLM: [&str; 5] = [
    "[\r\n]",
    LLM_LETTERS,
    "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+",
    r"\s+$",
    "[一-龥ࠀ-一가-\u{d7ff}]+",
];
/// The letters that DeepSeek's first models take words to be made of.
const LLM_LETTERS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

/// How a text becomes the words of a byte-level vocabulary.
pub(super) struct ByteLevelRules {
    pub(super) class: &'static str,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    /// Whether a word that is a token as it stands is one, whatever its merges say.
    pub(super) ignore_merges: bool,
    /// Whether texts begin with a token, if the file does not say.
    pub(super) add_bos: bool,
}

pub(super) fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
        "use_regex": use_regex})
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

fn sequence(steps: Vec<Value>) -> Value {
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// Splits by these patterns, one after the other, then into bytes.
fn splits(patterns: &[&str]) -> Value {
    sequence(patterns.iter().map(|p| split(p)).chain([byte_level(false, false)]).collect())
}

fn digits(individual: bool) -> Value {
    json!({"type": "Digits", "individual_digits": individual})
}

/// The rules of that name, if they are known here.
pub(super) fn byte_level_rules(name: &str) -> Option<ByteLevelRules> {
    let pre_tokenizer = match name {
        "gpt-2" | "mpt" | "olmo" => byte_level(false, true),
        "smollm" | "starcoder" | "refact" | "command-r" => {
            sequence(vec![digits(true), byte_level(false, true)])
        }
        "llama-bpe" | "llama3" | "llama-v3" | "dbrx" => splits(&[LLAMA3]),
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" => splits(&[QWEN2]),
        "qwen35" => splits(&[QWEN3_5]),
        "tekken" => splits(&[TEKKEN]),
        "gpt-4o" => splits(&[GPT4O]),
        "deepseek-v3" => splits(&DEEPSEEK_V3),
        "deepseek-llm" => deepseek(&DEEPSEEK_LLM, false),
        "deepseek-coder" => deepseek(&DEEPSEEK_CODER, true),
        "falcon" => sequence(vec![
            json!({"type": "Punctuation", "behavior": "Contiguous"}),
            byte_level(false, true),
            digits(false),
            split("[0-9][0-9][0-9]"),
        ]),
        _ => return None,
    };
    let llama3 = matches!(name, "llama-bpe" | "llama3" | "llama-v3");
    let composed = matches!(name, "qwen2" | "deepseek-r1-qwen" | "mpt" | "command-r");
    Some(ByteLevelRules {
        class: match name {
            "smollm" | "gpt-2" | "starcoder" => "GPT2Tokenizer",
            "qwen2" | "qwen35" => "Qwen2Tokenizer",
            _ => "PreTrainedTokenizerFast",
        },
        normalizer: if composed { json!({"type": "NFC"}) } else { Value::Null },
        pre_tokenizer,
        post_processor: if llama3 { byte_level(false, true) } else { Value::Null },
        ignore_merges: llama3 || matches!(name, "tekken" | "gpt-4o"),
        add_bos: llama3 || name == "tekken",
    })
}

/// DeepSeek's own order: digits last, after the words.
fn deepseek(patterns: &[&str], individual_digits: bool) -> Value {
    let steps = patterns.iter().map(|p| split(p));
    sequence(steps.chain([digits(individual_digits), byte_level(false, false)]).collect())
}
