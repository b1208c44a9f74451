//! What goes wrong, by status, code and parameter.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::{
    CHAT, TEXT, chat, ends, text,
    world::{World, view},
};
use crate::{
    api::{ApiConfig, ApiStartError, bind},
    node::ModelChoice,
    request::{GenerateError, GenerateEvent},
};

#[test]
fn what_the_client_got_wrong_is_named() {
    let world = ends("no");
    let cases = [
        (TEXT, text(json!({ "temperature": "hot" })), 400, "invalid_value", json!("temperature")),
        (TEXT, text(json!({ "n": 2 })), 400, "unsupported_parameter", json!("n")),
        (TEXT, text(json!({ "echo": true })), 400, "unsupported_parameter", json!("echo")),
        (TEXT, text(json!({ "temprature": 1 })), 400, "unknown_parameter", json!("temprature")),
        (TEXT, text(json!({ "prompt": null })), 400, "missing_required_parameter", json!("prompt")),
        (TEXT, text(json!({ "prompt": "" })), 400, "empty_prompt", json!("prompt")),
        (TEXT, text(json!({ "prompt": [5, 259] })), 400, "invalid_value", json!("prompt")),
        (
            TEXT,
            text(json!({ "logit_bias": { "259": 1 } })),
            400,
            "invalid_value",
            json!("logit_bias"),
        ),
        (TEXT, text(json!({ "model": "gpt-4" })), 404, "model_not_found", json!("model")),
        (TEXT, text(json!({ "model": null })), 400, "missing_required_parameter", json!("model")),
        (CHAT, chat(json!({ "tools": [{}] })), 400, "unsupported_parameter", json!("tools")),
        (CHAT, chat(json!({ "messages": [] })), 400, "invalid_value", json!("messages")),
        (
            CHAT,
            chat(json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] })),
            400,
            "invalid_messages",
            json!("messages"),
        ),
    ];
    for (path, body, status, code, param) in cases {
        let reply = world.post(path, &body);
        assert_eq!(reply.error(), (status, code.to_owned(), param), "{body}");
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    }
    for (body, code) in
        [(&b"{\"model\": "[..], "invalid_json"), (b"[]", "invalid_json"), (b"", "invalid_json")]
    {
        assert_eq!(world.send("POST", CHAT, &[], body).error(), (400, code.into(), Value::Null));
    }
    assert!(world.requests.lock().unwrap().is_empty(), "the node heard of none of it");
}

#[test]
fn a_prompt_that_does_not_fit_the_context_is_refused_with_numbers() {
    let world = ends("no");
    let exceeded = |param: &str| (400, "context_length_exceeded".to_owned(), json!(param));
    let long = "x".repeat(200);
    let reply = world.post(TEXT, &text(json!({ "prompt": long })));
    assert_eq!(reply.error(), exceeded("prompt"));
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("context has 200 tokens; the prompt has 200"), "{message}");
    let ask = chat(json!({ "max_completion_tokens": 199 }));
    assert_eq!(world.post(CHAT, &ask).error(), exceeded("max_completion_tokens"));
    // The default shrinks to what fits.
    let reply = world.post(TEXT, &text(json!({ "prompt": "x".repeat(195) })));
    assert_eq!(reply.status, 200);
    assert_eq!(world.requests.lock().unwrap().pop().unwrap().max_tokens, 5);
}

#[test]
fn routes_methods_and_lengths() {
    let world = ends("no");
    assert_eq!(world.get("/v1/nothing").error(), (404, "unknown_url".into(), Value::Null));
    assert_eq!(world.get(CHAT).error(), (405, "method_not_allowed".into(), Value::Null));
    let model = world.get("/v1/models/gpt-4");
    assert_eq!(model.error(), (404, "model_not_found".into(), json!("model")));
    // More than is allowed is announced, and refused before it is sent.
    let length = format!("content-length: {}", 17 << 20);
    let mut socket = std::net::TcpStream::connect(world.address).unwrap();
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}\r\n\r\n");
    std::io::Write::write_all(&mut socket, head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut socket, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn a_page_of_another_origin_gets_nothing() {
    let world = ends("no");
    let reply = world.send("GET", "/v1/models", &["Origin: https://evil.example"], b"");
    assert_eq!(reply.error(), (403, "origin_not_allowed".into(), Value::Null));
    let reply = world.send("GET", "/v1/models", &["Origin: http://localhost:3000"], b"");
    assert_eq!(reply.status, 200);
}

#[test]
fn without_a_model_clients_are_told_to_come_back() {
    let (world, port) = World::unattended(None);
    port.shared.publish(view("waiting", "1 of 2 nodes are there"));
    let reply = world.post(CHAT, &chat(json!({ "stream": true })));
    assert_eq!(reply.error(), (503, "model_not_ready".into(), Value::Null));
    assert!(reply.head.contains("retry-after: "), "{reply:?}");
    assert!(reply.body.contains("1 of 2 nodes are there"), "{reply:?}");
}

#[test]
fn a_node_that_takes_no_more_says_when_to_come_back() {
    let (world, port) = World::unattended(None);
    port.shared.publish_model(ends("").node.model());
    let choice = || ModelChoice { name: "m".into(), dir: "m".into() };
    while world.node.place(choice()).is_ok() {}
    let reply = world.post(TEXT, &text(json!({})));
    assert_eq!(reply.error(), (429, "rate_limit_exceeded".into(), Value::Null));
    assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
    assert!(reply.head.contains("retry-after: 1"), "{reply:?}");
    // The node took it, but the one that holds layer 0 did not.
    let busy = World::new(|_, events| {
        let _ =
            events.blocking_send(GenerateEvent::Failed(GenerateError::Busy { retry_after_s: 1 }));
    });
    let reply = busy.post(TEXT, &text(json!({})));
    assert_eq!(reply.error(), (429, "rate_limit_exceeded".into(), Value::Null));
    assert!(reply.head.contains("retry-after: 1"), "{reply:?}");
    let reply = busy.post(CHAT, &chat(json!({ "stream": true })));
    assert_eq!(reply.error(), (429, "rate_limit_exceeded".into(), Value::Null), "{reply:?}");
    drop(port);
    let reply = world.post(TEXT, &text(json!({})));
    assert_eq!(reply.error(), (503, "shutting_down".into(), Value::Null));
}

#[test]
fn a_request_has_the_priority_and_the_time_it_asks_for() {
    let (gone, seen) = std::sync::mpsc::channel();
    let world = World::new(move |_, events| {
        let _ = events.blocking_send(GenerateEvent::Token { id: 97, logprobs: None });
        while !events.is_closed() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let _ = gone.send(());
    });
    let reply = world.post(TEXT, &text(json!({ "timeout": 0.3, "service_tier": "flex" })));
    assert_eq!(reply.error(), (504, "deadline_exceeded".into(), Value::Null), "{reply:?}");
    seen.recv_timeout(std::time::Duration::from_secs(60)).expect("it is cancelled");
    let reply = world.post(TEXT, &text(json!({ "timeout": 0.3, "stream": true })));
    let error: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "deadline_exceeded");
    assert_eq!(world.requests.lock().unwrap()[0].priority, crate::request::Priority::Low);
    for (name, value) in [("timeout", json!(0)), ("service_tier", json!("gold"))] {
        let reply = world.post(TEXT, &text(json!({ name: value })));
        assert_eq!(reply.error(), (400, "invalid_value".into(), json!(name)), "{reply:?}");
    }
}

#[test]
fn a_node_that_is_lost_is_named_before_and_in_the_middle_of_a_stream() {
    let lost = || GenerateError::NodeLost { node: "air".into(), cause: "no carrier".into() };
    let world = World::new(move |_, events| {
        let _ = events.blocking_send(GenerateEvent::Token { id: 97, logprobs: None });
        let _ = events.blocking_send(GenerateEvent::Failed(lost()));
    });
    let reply = world.post(TEXT, &text(json!({})));
    assert_eq!(reply.error(), (502, "node_lost".into(), Value::Null));
    assert!(reply.body.contains("air left") && reply.body.contains("no carrier"), "{reply:?}");

    let events = world.post(TEXT, &text(json!({ "stream": true }))).events();
    let error: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "node_lost");
    assert_eq!(events.len(), 2, "one token, one error, no [DONE]: {events:?}");

    let stage = || GenerateError::Stage { node: "mini".into(), cause: "out of memory".into() };
    let world = World::new(move |_, events| {
        let _ = events.blocking_send(GenerateEvent::Failed(stage()));
    });
    assert_eq!(world.post(TEXT, &text(json!({}))).status, 500);
    // A loop that ends without a last word.
    let world = World::new(|_, _| {});
    assert_eq!(
        world.post(TEXT, &text(json!({}))).error(),
        (500, "node_stopped".into(), Value::Null)
    );
}

#[test]
fn a_key_is_needed_for_everything_but_health() {
    let (world, port) = World::unattended(Some("s3cret"));
    port.shared.publish_model(ends("").node.model());
    for path in ["/v1/models", "/v1/cluster", "/v1/nothing"] {
        let reply = world.get(path);
        assert_eq!(reply.error(), (401, "invalid_api_key".into(), Value::Null), "{path}");
        assert!(reply.head.contains("www-authenticate: bearer"));
        let reply = world.send("GET", path, &["Authorization: Bearer wrong"], b"");
        assert_eq!(reply.status, 401);
        let reply = world.send("GET", path, &["Authorization: Bearer s3cret"], b"");
        assert_ne!(reply.status, 401);
    }
    assert_eq!(world.get("/healthz").status, 200);
}

#[test]
fn an_api_that_cannot_open_says_why_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = bind(&ApiConfig { listen, key: None }).err().unwrap();
    assert!(matches!(error, ApiStartError::PortInUse { .. }), "{error}");
    assert!(error.hint().contains("--api"));

    let open = ApiConfig { listen: "0.0.0.0:0".parse().unwrap(), key: None };
    let error = bind(&open).err().unwrap();
    assert!(matches!(error, ApiStartError::KeyNeeded { .. }), "{error}");
    assert!(error.hint().contains("--api-key"));
    assert!(bind(&ApiConfig { key: Some("k".into()), ..open.clone() }).is_ok());
    let error = bind(&ApiConfig { key: Some(String::new()), ..open }).err().unwrap();
    assert!(matches!(error, ApiStartError::KeyEmpty));
    let elsewhere = ApiConfig { listen: "192.0.2.1:0".parse().unwrap(), key: Some("k".into()) };
    assert!(matches!(bind(&elsewhere).err().unwrap(), ApiStartError::Bind { .. }));
}
