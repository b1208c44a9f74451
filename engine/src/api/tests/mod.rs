//! The API over real HTTP on loopback.

mod errors;
mod world;

use std::{
    io::Read,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::world::{END, PATIENCE, World, bytes, says, view};
use crate::request::{FinishReason, GenerateEvent};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

fn chat(more: Value) -> Value {
    with(json!({ "model": "org/tiny", "messages": [{ "role": "user", "content": "hi" }] }), more)
}

fn text(more: Value) -> Value {
    with(json!({ "model": "org/tiny", "prompt": "hi" }), more)
}

fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("not an object") };
    body.as_object_mut().unwrap().extend(more);
    body
}

fn ends(text: &str) -> World {
    World::new(says(bytes(text).chain([END]), FinishReason::Stop))
}

#[test]
fn a_chat_is_answered_whole() {
    let world = ends("Grüße.");
    let reply = world.post(CHAT, &chat(json!({ "temperature": 0, "seed": 5 })));
    let body = reply.json();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "org/tiny");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["choices"][0]["message"]["content"], "Grüße.");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let prompt = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    let prompt_tokens = prompt.len() - 2 * ("<|im_start|>".len() - 1) - ("<|im_end|>".len() - 1);
    assert_eq!(
        body["usage"],
        json!({ "prompt_tokens": prompt_tokens, "completion_tokens": 9,
                "total_tokens": prompt_tokens + 9 })
    );
    let asked = world.requests.lock().unwrap().pop().unwrap();
    assert_eq!(asked.prompt.len(), prompt_tokens);
    assert_eq!(asked.prompt[0], 257, "the template's special tokens are tokens");
    assert_eq!((asked.sampling.temperature, asked.sampling.seed), (0.0, 5));
    assert_eq!(asked.stop_tokens, [END]);
    assert_eq!(asked.max_tokens as usize, world::CONTEXT - prompt_tokens);
}

#[test]
fn a_chat_is_streamed_in_chunks_that_are_whole_characters() {
    let world = ends("Grüße.");
    let ask = chat(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let chunks = world.post(CHAT, &ask).chunks();
    let (first, rest) = chunks.split_first().unwrap();
    let (usage, rest) = rest.split_last().unwrap();
    let (last, rest) = rest.split_last().unwrap();
    assert_eq!(first["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(first["object"], "chat.completion.chunk");
    let texts: Vec<_> = rest
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["G", "r", "ü", "ß", "e", "."]);
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["usage"], Value::Null);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 9);
    assert!(chunks.iter().all(|chunk| chunk["id"] == first["id"]));
    let plain = world.post(CHAT, &chat(json!({ "stream": true }))).chunks();
    assert!(plain.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[test]
fn a_completion_gives_ids_as_vllm_does() {
    let world = ends("ok");
    let ask = json!({ "model": "org/tiny", "prompt": [[104, 105]], "return_token_ids": true,
                      "max_tokens": 8 });
    let body = world.post(TEXT, &ask).json();
    let choice = &body["choices"][0];
    assert_eq!(body["object"], "text_completion");
    assert_eq!(choice["text"], "ok");
    assert_eq!(choice["token_ids"], json!([111, 107, END]));
    assert_eq!(choice["prompt_token_ids"], json!([104, 105]));
    assert_eq!(body["usage"]["completion_tokens"], 3);

    let chunks = world.post(TEXT, &with(ask, json!({ "stream": true }))).chunks();
    assert_eq!(chunks[0]["choices"][0]["prompt_token_ids"], json!([104, 105]));
    assert!(chunks[1..].iter().all(|chunk| chunk["choices"][0].get("prompt_token_ids").is_none()));
    let ids: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| chunk["choices"][0]["token_ids"].as_array().unwrap().clone())
        .collect();
    assert_eq!(ids, [111, 107, END]);
    let asked = world.requests.lock().unwrap();
    assert!(asked.iter().all(|asked| asked.max_tokens == 8 && asked.prompt == [104, 105]));
}

#[test]
fn ignore_eos_asks_the_node_not_to_stop_and_the_default_length_is_16() {
    let world = World::new(says(bytes("ab").chain([END]).chain(bytes("c")), FinishReason::Length));
    let body = world.post(TEXT, &text(json!({ "ignore_eos": true }))).json();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["choices"][0]["text"], "abc");
    let asked = world.requests.lock().unwrap().pop().unwrap();
    assert_eq!((asked.stop_tokens.as_slice(), asked.max_tokens), (&[][..], 16));
    world.post(TEXT, &text(json!({ "ignore_eos": true, "stop_token_ids": [99] })));
    assert_eq!(world.requests.lock().unwrap().pop().unwrap().stop_tokens, [99]);
}

#[test]
fn a_stop_string_across_tokens_ends_the_request_everywhere() {
    for stream in [false, true] {
        let world = World::new(|_, events| {
            // A model that never stops by itself.
            for id in bytes("one two. End of it.").cycle() {
                let token = GenerateEvent::Token { id, logprobs: None };
                if events.blocking_send(token).is_err() {
                    return;
                }
            }
        });
        let stop = json!({ "stop": ["never", ". End"], "stream": stream, "max_tokens": 100 });
        let reply = world.post(TEXT, &text(stop));
        let (answer, finish) = if stream {
            let chunks = reply.chunks();
            let texts = chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap());
            (texts.collect(), chunks.last().unwrap()["choices"][0]["finish_reason"].clone())
        } else {
            let body = reply.json();
            assert_eq!(body["usage"]["completion_tokens"], "one two. End".len());
            let choice = &body["choices"][0];
            (choice["text"].as_str().unwrap().to_owned(), choice["finish_reason"].clone())
        };
        assert_eq!((answer.as_str(), finish), ("one two", json!("stop")));
        world.cancelled.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn the_beginning_of_a_stop_string_is_text_if_it_stays_one() {
    let world = World::new(says(bytes("wait. E"), FinishReason::Length));
    let body = world.post(TEXT, &text(json!({ "stop": ". End" }))).json();
    assert_eq!(body["choices"][0]["text"], "wait. E");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
}

#[test]
fn logprobs_have_both_of_openai_s_shapes() {
    let world = ends("ü!");
    let body = world.post(CHAT, &chat(json!({ "logprobs": true, "top_logprobs": 2 }))).json();
    let content = body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 3, "the stop token is not content");
    assert_eq!(content[0]["token"], "\\xc3");
    assert_eq!(content[0]["bytes"], json!([0xc3]));
    assert_eq!(content[2]["token"], "!");
    assert_eq!(content[2]["logprob"], -0.5);
    assert_eq!(content[2]["top_logprobs"][0]["token"], "!");
    assert_eq!(
        content[2]["top_logprobs"][1],
        json!({ "token": "?", "logprob": -9999.0, "bytes": [63] })
    );

    let body = world.post(TEXT, &text(json!({ "logprobs": 1 }))).json();
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["bytes:\\xc3", "bytes:\\xbc", "!"]));
    assert_eq!(logprobs["token_logprobs"], json!([-0.5, -0.5, -0.5]));
    assert_eq!(logprobs["text_offset"], json!([0, 0, 1]));
    assert_eq!(logprobs["top_logprobs"][2], json!({ "!": -0.5 }));

    let chunks = world.post(TEXT, &text(json!({ "logprobs": 0, "stream": true }))).chunks();
    let tokens: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| chunk["choices"][0]["logprobs"]["tokens"].as_array().unwrap().clone())
        .collect();
    assert_eq!(tokens, ["bytes:\\xc3", "bytes:\\xbc", "!"]);
    assert_eq!(chunks[0]["choices"][0]["logprobs"]["top_logprobs"], Value::Null);
}

#[test]
fn a_client_that_leaves_frees_its_request() {
    for (stream, after) in [(true, &b"data: "[..]), (true, b""), (false, b"")] {
        // One token, then nothing: only the socket can tell the API that nobody waits.
        let world = World::new(|_, events| {
            let _ = events.blocking_send(GenerateEvent::Token { id: 97, logprobs: None });
            while !events.is_closed() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let ask = chat(json!({ "stream": stream })).to_string();
        let socket = world.open("POST", CHAT, &[], ask.as_bytes());
        world.leave(socket, after);
        let id = world.cancelled.recv_timeout(PATIENCE).unwrap();
        assert_eq!(id.0, 7, "stream: {stream}");
    }
}

#[test]
fn two_streams_at_once_do_not_mix() {
    let world = World::new(|request, events| {
        let byte = *request.prompt.last().unwrap();
        for _ in 0..50 {
            let _ = events.blocking_send(GenerateEvent::Token { id: byte, logprobs: None });
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = events.blocking_send(GenerateEvent::Finished(FinishReason::Length));
    });
    std::thread::scope(|scope| {
        for prompt in ["a", "b"] {
            let world = &world;
            scope.spawn(move || {
                let ask = text(json!({ "prompt": prompt, "stream": true, "max_tokens": 50 }));
                let chunks = world.post(TEXT, &ask).chunks();
                let text: String = chunks
                    .iter()
                    .map(|chunk| chunk["choices"][0]["text"].as_str().unwrap())
                    .collect();
                assert_eq!(text, prompt.repeat(50));
            });
        }
    });
}

#[test]
fn models_cluster_and_health_can_be_looked_at() {
    let world = ends("");
    let models = world.get("/v1/models").json();
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][0]["id"], "org/tiny");
    assert_eq!(models["data"][0]["object"], "model");
    for path in ["/v1/models/org/tiny", "/v1/models/org%2Ftiny"] {
        assert_eq!(world.get(path).json()["id"], "org/tiny");
    }
    assert_eq!(world.get("/v1/cluster").json()["nodes"], json!([]));
    assert_eq!(world.get("/healthz").json(), json!({ "status": "ok", "ready": true }));

    let (world, port) = World::unattended(None);
    port.shared.publish(view("waiting", "1 of 2 nodes"));
    assert_eq!(world.get("/v1/models").json()["data"], json!([]));
    assert_eq!(world.get("/v1/cluster").json()["reason"], "1 of 2 nodes");
    assert_eq!(world.get("/healthz").json(), json!({ "status": "ok", "ready": false }));
}

#[test]
fn stopping_lets_a_running_answer_end() {
    let mut world = World::new(|_, events| {
        let _ = events.blocking_send(GenerateEvent::Token { id: 97, logprobs: None });
        std::thread::sleep(Duration::from_millis(500));
        let _ = events.blocking_send(GenerateEvent::Finished(FinishReason::Length));
    });
    let ask = text(json!({})).to_string();
    let mut socket = world.open("POST", TEXT, &[], ask.as_bytes());
    let deadline = Instant::now() + PATIENCE;
    while world.requests.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the request never arrived");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(world.stop.take());
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"text\":\"a\""), "{answer}");
    world.serving.take().unwrap().join().unwrap();
    assert!(std::net::TcpStream::connect(world.address).is_err(), "nobody listens any more");
}
