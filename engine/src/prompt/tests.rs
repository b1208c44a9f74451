//! Whole folders, against what Hugging Face's own code makes of them.

use std::{path::Path, sync::Arc};

use serde_json::{Map, Value, json};

use sha2::{Digest, Sha256};

use super::{
    messages,
    template::{ChatTemplate, RenderError},
    testing::write_folder,
    *,
};

const PROMPTS: &str = include_str!("../../tests/fixtures/chat_prompts.json");
const TEMPLATE_PROMPTS: &str = include_str!("../../tests/fixtures/template_prompts.json");
const QWEN3: &str = include_str!("../../tests/fixtures/templates/qwen3.jinja");
const QWEN2_5: &str = include_str!("../../tests/fixtures/templates/qwen2.5.jinja");

fn model(chat_template: &Value) -> Arc<PromptModel> {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), chat_template);
    Arc::new(PromptModel::open(dir.path(), "tiny").unwrap())
}

/// All prompts of a family: what renders them, and what they are.
fn prompts(family: &str) -> Vec<(String, Vec<Value>, ChatOptions, Value)> {
    let prompts: Value = serde_json::from_str(PROMPTS).unwrap();
    let cases = prompts["families"][family].as_object().unwrap();
    let cases = cases.iter().map(|(key, expected)| {
        let mut parts = key.split('+');
        let messages = prompts["conversations"][parts.next().unwrap()].as_array().unwrap().clone();
        let mut options = ChatOptions::default();
        for part in parts {
            match part {
                "tools" => options.tools = Some(prompts["tools"].clone()),
                "nothink" => drop(options.extra.insert("enable_thinking".into(), false.into())),
                other => panic!("{other}"),
            }
        }
        (key.clone(), messages, options, expected.clone())
    });
    cases.collect()
}

#[test]
fn prompts_are_those_that_python_renders() {
    for (family, template) in [("qwen3", QWEN3), ("qwen2.5-coder", QWEN2_5)] {
        let model = model(&json!(template));
        for (key, messages, options, expected) in prompts(family) {
            let text = model.chat(&messages, &options).unwrap();
            assert_eq!(text, expected["text"].as_str().unwrap(), "{family} {key}");
        }
    }
}

/// Of each family that has one in `EXO_TEST_TOKENIZERS`: its own tokenizer and template, and the
/// same prompts as Python's, in the same ids.
#[test]
fn real_tokenizers_make_the_ids_that_python_makes() {
    let Ok(dir) = std::env::var("EXO_TEST_TOKENIZERS") else {
        println!("skipped: needs EXO_TEST_TOKENIZERS (cargo xtask test, with npm)");
        return;
    };
    for (family, folder, template) in [
        ("qwen3", "qwen3", None),
        ("qwen2.5-coder", "qwen2_5", Some(QWEN2_5)),
        ("deepseek_v3", "deepseek_v3", None),
        ("llama3_1", "llama3_1", None),
    ] {
        let own = tempfile::tempdir().unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            let from = Path::new(&dir).join(folder).join(name);
            std::fs::copy(from, own.path().join(name)).unwrap();
        }
        let config = json!({"max_position_embeddings": 4096}).to_string();
        std::fs::write(own.path().join("config.json"), config).unwrap();
        if let Some(template) = template {
            std::fs::write(own.path().join("chat_template.jinja"), template).unwrap();
        }
        let model = Arc::new(PromptModel::open(own.path(), family).unwrap());
        let prompts = prompts(family);
        assert!(prompts.len() >= 3, "{family}");
        for (key, messages, options, expected) in prompts {
            let text = model.chat(&messages, &options).unwrap();
            assert_eq!(text, expected["text"].as_str().unwrap(), "{family} {key}");
            let ids = model.encode(&text, AddSpecial::No).unwrap();
            assert_eq!(json!(ids), expected["ids"], "{family} {key}");
        }
        added_tokens_are_found_and_written(&model, family);
        stop_strings_are_found_across_tokens(&model, family);
    }
}

/// Any few characters of a text, as a stop string: wherever its tokens are cut, what is emitted ends
/// where they first begin.
fn stop_strings_are_found_across_tokens(model: &Arc<PromptModel>, family: &str) {
    let text = "Naïve 你好—😀 a\n\nUser: fn main() {}  🇰🇷 User:\n";
    let ids = model.encode(text, AddSpecial::No).unwrap();
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    for (n, &start) in starts.iter().enumerate() {
        for &end in starts[n..].iter().skip(1).take(6) {
            let stop = &text[start..end];
            let (mut stops, mut decoder) =
                (StopStrings::new(vec![stop.to_owned()]), model.decoder());
            let (mut emitted, mut stopped) = (String::new(), false);
            for piece in ids.iter().filter_map(|&id| decoder.push(id)) {
                match stops.push(&piece) {
                    Stopped::No { emit } => emitted += &emit,
                    Stopped::Yes { emit, .. } => {
                        emitted += &emit;
                        stopped = true;
                    }
                }
            }
            let before = &text[..text.find(stop).unwrap()];
            assert!(stopped && emitted == before, "{family}: {stop:?} after {emitted:?}");
        }
    }
}

/// llama.cpp's collection of the templates that models come with, as Python's transformers render
/// them.
#[test]
fn templates_of_many_models_render_as_in_python() {
    let Ok(dir) = std::env::var("EXO_TEST_TOKENIZERS") else {
        println!("skipped: needs EXO_TEST_TOKENIZERS (cargo xtask test, with npm)");
        return;
    };
    let reference: Value = serde_json::from_str(TEMPLATE_PROMPTS).unwrap();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (name, cases) in reference["prompts"].as_object().unwrap() {
        let file = Path::new(&dir).join(format!("templates/{name}.jinja"));
        let template = match ChatTemplate::parse(&std::fs::read_to_string(file).unwrap()) {
            Ok(template) => template.without_date(),
            Err(problem) => {
                wrong.push(format!("{name}: {problem}"));
                continue;
            }
        };
        for (case, expected) in cases.as_object().unwrap() {
            if name == "meetkai-functionary-medium-v3.1" && case.ends_with("+tools") {
                // It adds text to what it calls `|safe`, which Python then escapes as HTML.
                continue;
            }
            let conversation = case.split('+').next().unwrap();
            let messages = reference["conversations"][conversation].as_array().unwrap();
            let mut variables = json!({
                "messages": messages::for_template(messages).unwrap(), "tools": null,
                "documents": null, "add_generation_prompt": true,
                "bos_token": "<s>", "eos_token": "</s>",
            });
            if case.ends_with("+tools") {
                variables["tools"] = reference["tools"].clone();
            } else if case.ends_with("+nothink") {
                variables["enable_thinking"] = false.into();
            }
            compared += 1;
            let Value::Object(variables) = variables else { unreachable!("it is an object") };
            let rendered = match template.render(variables) {
                Ok(prompt) => {
                    json!(hex::encode(Sha256::digest(prompt.as_bytes()))[..32])
                }
                Err(RenderError::Refused(reason)) => json!({"refused": reason}),
                Err(RenderError::Failed(problem)) => json!(problem),
            };
            if rendered != *expected {
                wrong.push(format!("{name} {case}: {rendered}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 700, "{compared}");
}

/// Every added token, in a text or alone, is one id and its own text again.
fn added_tokens_are_found_and_written(model: &Arc<PromptModel>, family: &str) {
    let added: Vec<(u32, String)> = model.added_tokens().collect();
    assert!(added.len() > 10, "{family}: {}", added.len());
    for (id, token) in added {
        for text in [token.to_owned(), format!("a{token}b")] {
            let ids = model.encode(&text, AddSpecial::No).unwrap();
            assert_eq!(
                ids.iter().filter(|&&one| one == id).count(),
                1,
                "{family} {text:?}: {ids:?}"
            );
            assert!(text.len() > token.len() || ids.len() == 1, "{family} {text:?}: {ids:?}");
        }
        assert_eq!(model.token_bytes(id).unwrap(), token.as_bytes(), "{family}");
        let mut decoder = model.decoder();
        let written = decoder.push(id);
        let expected = (!model.is_special(id)).then(|| token.to_owned());
        assert_eq!(written, expected, "{family} {token:?}");
    }
}

#[test]
fn smollm2_is_told_the_same_and_in_the_same_ids() {
    let Ok(dir) = std::env::var("EXO_TEST_MODEL_DIR") else {
        println!("skipped: needs EXO_TEST_MODEL_DIR");
        return;
    };
    let model = Arc::new(PromptModel::open(Path::new(&dir), "smollm2").unwrap());
    assert_eq!((model.context_length(), model.vocab_size()), (8192, 49152));
    assert_eq!(model.stop_tokens(), [2]);
    for (key, messages, options, expected) in prompts("smollm2") {
        let text = model.chat(&messages, &options).unwrap();
        assert_eq!(text, expected["text"].as_str().unwrap(), "{key}");
        let ids = model.encode(&text, AddSpecial::No).unwrap();
        assert_eq!(json!(ids), expected["ids"], "{key}");
        let plain: String = ids.iter().filter_map(|&id| model.token_text(id)).collect();
        assert!(key == "sys" || plain == text, "{key}: {plain}");
    }
    // Characters of several tokens come whole, and only once they are.
    let text = "Naïve 你好 — 😀👍🏽 e\u{301}\n\tfn main() {}  🇰🇷";
    let mut decoder = model.decoder();
    let ids = model.encode(text, AddSpecial::No).unwrap();
    let pieces: Vec<String> = ids.iter().filter_map(|&id| decoder.push(id)).collect();
    assert!(pieces.len() < ids.len() && decoder.finish().is_none());
    assert!(!pieces.concat().contains('\u{fffd}'));
    assert_eq!(pieces.concat(), text);
}

#[test]
fn the_folders_files_are_what_the_model_says() {
    let model = model(&Value::Null);
    assert_eq!((model.name(), model.context_length(), model.vocab_size()), ("tiny", 100, 300));
    assert_eq!(model.stop_tokens(), [257]);
    let text = "</s>né<tool>!";
    let ids = model.encode(text, AddSpecial::No).unwrap();
    assert_eq!(ids, [257, b'n'.into(), 0xc3, 0xa9, 258, b'!'.into()], "and it is not cut");
    assert_eq!(model.encode("a", AddSpecial::Yes).unwrap(), [256, b'a'.into()]);
    assert_eq!(model.token_bytes(257).unwrap(), b"</s>");
    assert_eq!(model.token_bytes(0xc3).unwrap(), [0xc3]);
    assert_eq!(model.token_text(0xc3).unwrap(), "\u{fffd}");
    assert_eq!((model.token_bytes(299), model.token_text(u32::MAX)), (None, None));

    let mut decoder = model.decoder();
    let pieces: Vec<Option<String>> = ids.iter().map(|&id| decoder.push(id)).collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(pieces, [None, text("n"), None, text("é"), text("<tool>"), text("!")]);
    assert_eq!(decoder.push(299), None);
    assert_eq!((decoder.push(0xe4), decoder.push(0xbd)), (None, None));
    assert_eq!((decoder.finish(), decoder.finish()), (text("\u{fffd}"), None));
}

#[test]
fn stop_tokens_are_gathered_from_every_file_and_form() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &Value::Null);
    let write = |name: &str, content: Value| {
        std::fs::write(dir.path().join(name), content.to_string()).unwrap();
    };
    write("generation_config.json", json!({"eos_token_id": [7, 257, 7, null]}));
    write("config.json", json!({"text_config": {"max_position_embeddings": 9, "eos_token_id": 8}}));
    write("tokenizer_config.json", json!({"eos_token": {"content": "<tool>"}}));
    let model = PromptModel::open(dir.path(), "m").unwrap();
    assert_eq!(model.stop_tokens(), [7, 257, 8, 258]);
    assert_eq!((model.context_length(), model.vocab_size()), (9, 259));
}

#[test]
fn which_template_is_taken() {
    let say = |text: &str| json!([{"role": "user", "content": text}]).as_array().unwrap().clone();
    let with_tools = ChatOptions { tools: Some(json!([])), ..ChatOptions::default() };
    let two = model(&json!([
        {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"},
        {"name": "tool_use", "template": "tools"}]));
    assert_eq!(two.chat(&say("x"), &ChatOptions::default()).unwrap(), "<s>x");
    assert_eq!(two.chat(&say("x"), &with_tools).unwrap(), "tools");

    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &json!("from the configuration"));
    std::fs::write(dir.path().join("chat_template.jinja"), "{{ add_generation_prompt }}{{ x }}")
        .unwrap();
    let file = PromptModel::open(dir.path(), "m").unwrap();
    let extra: Map<String, Value> =
        Map::from_iter([("x".to_owned(), json!("y")), ("messages".to_owned(), json!([]))]);
    let options = ChatOptions { tools: None, add_generation_prompt: false, extra };
    assert_eq!(file.chat(&say(""), &options).unwrap(), "Falsey");
}

#[test]
fn what_cannot_be_told_says_why() {
    let options = ChatOptions::default();
    let user = [json!({"role": "user", "content": "x"})];
    let none = model(&Value::Null).chat(&user, &options).unwrap_err();
    assert!(none.is_clients_fault() && none.to_string().contains("/v1/completions"), "{none}");
    let broken = model(&json!("{% if %}")).chat(&user, &options).unwrap_err();
    assert!(
        !broken.is_clients_fault() && broken.to_string().contains("does not parse"),
        "{broken}"
    );
    let refused = model(&json!("{{ raise_exception('no ' ~ messages[0].role) }}"));
    let refused = refused.chat(&user, &options).unwrap_err();
    assert!(matches!(&refused, PromptError::Refused { reason } if reason == "no user"));
    let message = model(&json!("x")).chat(&[json!(3)], &options).unwrap_err();
    assert!(matches!(message, PromptError::Message { index: 0, .. }));

    let dir = tempfile::tempdir().unwrap();
    let refused = || PromptModel::open(dir.path(), "m").unwrap_err().to_string();
    assert!(refused().contains("needs config.json"), "{}", refused());
    write_folder(dir.path(), &Value::Null);
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    assert!(refused().contains("max_position_embeddings"), "{}", refused());
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    assert!(refused().contains("describes no tokenizer"), "{}", refused());
    std::fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
    assert!(refused().contains("tokenizer.json"), "{}", refused());
}
