//! Real vocabularies, against what their models' own tokenizers make of 47 texts.
//!
//! llama.cpp keeps, for the vocabularies it can read, texts with the ids that Hugging Face's
//! tokenizer gives. The vocabulary comes from its GGUF file through the import, or as the
//! tokenizer.json of the same model; either must give these ids, and the ids the text again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{GgufFile, files};
use crate::{
    prompt::{AddSpecial, PromptModel},
    weights::gguf::import::ImportError,
};

fn tokenizers() -> Option<PathBuf> {
    let dir = std::env::var_os("EXO_TEST_TOKENIZERS").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: needs EXO_TEST_TOKENIZERS (cargo xtask test, with npm)");
    }
    dir
}

fn open(dir: &Path, name: &str) -> Arc<PromptModel> {
    fs::write(dir.join("config.json"), json!({"max_position_embeddings": 4096}).to_string())
        .unwrap();
    Arc::new(PromptModel::open(dir, name).unwrap())
}

/// The tokenizer of a GGUF file, read as a model's folder would be.
fn imported(file: &Path) -> Result<Arc<PromptModel>, ImportError> {
    let files = files(&GgufFile::open(file)?)?;
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("tokenizer.json", files.tokenizer),
        ("tokenizer_config.json", files.tokenizer_config),
        ("generation_config.json", files.generation_config),
    ] {
        fs::write(dir.path().join(name), content.to_string()).unwrap();
    }
    Ok(open(dir.path(), "imported"))
}

/// The tokenizer.json of a family.
fn published(dir: &Path, family: &str) -> Arc<PromptModel> {
    let own = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(dir.join(family).join(name), own.path().join(name)).unwrap();
    }
    open(own.path(), family)
}

/// Texts and ids of a vocabulary.
fn vectors(dir: &Path, vocabulary: &str) -> Vec<(String, Vec<u32>)> {
    let read = |end: &str| {
        fs::read_to_string(dir.join(format!("ggml/ggml-vocab-{vocabulary}.gguf.{end}"))).unwrap()
    };
    let (texts, ids) = (read("inp"), read("out"));
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<Vec<u32>> = ids
        .split('\n') // the ids of an empty text are an empty line
        .map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect())
        .collect();
    assert_eq!(texts.len(), ids.len(), "{vocabulary}");
    texts.into_iter().map(str::to_owned).zip(ids).collect()
}

/// What of these is not as it should be.
fn differences(model: &Arc<PromptModel>, vectors: &[(String, Vec<u32>)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (text, expected) in vectors {
        let ids = model.encode(text, AddSpecial::No).unwrap();
        if ids != *expected {
            wrong.push(format!("{text:?} is {ids:?}, not {expected:?}"));
        }
        let mut decoder = model.decoder();
        let mut again: String = expected.iter().filter_map(|&id| decoder.push(id)).collect();
        again.extend(decoder.finish());
        if again != *text {
            wrong.push(format!("{expected:?} is {again:?}, not {text:?}"));
        }
    }
    wrong
}

#[test]
fn imported_vocabularies_give_the_ids_of_the_models_own_tokenizers() {
    let Some(dir) = tokenizers() else { return };
    let mut wrong = Vec::new();
    for vocabulary in [
        "command-r",
        "deepseek-coder",
        "deepseek-llm",
        "falcon",
        "gpt-2",
        "llama-bpe",
        "llama-spm",
        "mpt",
        "phi-3",
        "qwen2",
        "qwen35",
        "refact",
        "starcoder",
    ] {
        let file = dir.join(format!("ggml/ggml-vocab-{vocabulary}.gguf"));
        let model = imported(&file).unwrap_or_else(|error| panic!("{vocabulary}: {error}"));
        let differences = differences(&model, &vectors(&dir, vocabulary));
        wrong.extend(differences.iter().map(|what| format!("{vocabulary}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn published_tokenizers_give_them_too() {
    let Some(dir) = tokenizers() else { return };
    for (family, vocabulary) in
        [("llama3_1", "llama-bpe"), ("qwen2_5", "qwen2"), ("qwen3", "qwen2")]
    {
        let wrong = differences(&published(&dir, family), &vectors(&dir, vocabulary));
        assert!(wrong.is_empty(), "{family}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn vocabularies_of_other_kinds_are_refused_by_name() {
    let Some(dir) = tokenizers() else { return };
    for (vocabulary, name) in
        [("bert-bge", "bert"), ("gemma-4", "gemma4"), ("nomic-bert-moe", "t5")]
    {
        let refused =
            imported(&dir.join(format!("ggml/ggml-vocab-{vocabulary}.gguf"))).unwrap_err();
        assert!(matches!(&refused, ImportError::Tokenizer { name: n } if n == name), "{refused}");
    }
}
