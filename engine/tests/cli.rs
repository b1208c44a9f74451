//! `exo-node` as its user meets it: output, errors with hints, exit codes. Nothing here needs a
//! model or a link.
//!
//! That this test exists also makes `cargo test --workspace` build the program, which the tests of
//! whole nodes start.
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::{
    net::TcpListener,
    process::{Command, Output},
};

/// Runs the program in a home of its own.
fn exo_node(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_exo-node"))
        .args(arguments)
        .env("EXO_DATA", home.path())
        .env_remove("EXO_API_KEY")
        .env_remove("EXO_CLUSTER_KEY_FILE")
        .output()
        .unwrap()
}

/// What it prints, ending well.
fn prints(arguments: &[&str]) -> String {
    let ran = exo_node(arguments);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// What it says, failing with `code`.
fn fails(arguments: &[&str], code: i32) -> String {
    let ran = exo_node(arguments);
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(code), "{said}");
    assert!(said.starts_with("error: "), "{said}");
    said
}

#[test]
fn help_shows_commands_and_examples() {
    let help = prints(&["--help"]);
    for word in ["serve", "run", "status", "models", "completions", "Examples:"] {
        assert!(help.contains(word), "{word} is missing:\n{help}");
    }
    for flag in ["--interface", "--peer", "--memory", "--cluster-key-file", "--trust", "--api-key"]
    {
        assert!(prints(&["serve", "--help"]).contains(flag), "{flag}");
    }
    assert!(prints(&["completions", "bash"]).contains("complete"));
}

#[test]
fn what_is_not_understood_ends_with_2() {
    fails(&["serve", "--trust", "everyone"], 2);
    fails(&["serve", "--nodes", "2", "--all-nodes"], 2);
    fails(&["serve", "--memory", "0"], 2);
    fails(&["sing"], 2);
}

#[test]
fn a_library_without_models_says_how_to_get_one() {
    assert!(prints(&["models", "ls"]).contains("models import"));
    assert_eq!(prints(&["models", "ls", "--json"]), "[]\n");
    let said = fails(&["models", "rm", "nope"], 1);
    assert!(said.contains("nope") && said.contains("\nhint: "), "{said}");
    let said = fails(&["models", "import", "nowhere.gguf"], 1);
    assert!(said.contains("nowhere.gguf"), "{said}");
}

#[test]
fn names_are_known_and_what_does_not_fit_is_said_before_anybody_is_asked() {
    let known = prints(&["models", "ls", "--known"]);
    for word in ["qwen2.5-coder:32b-4bit", "Apache-2.0", "deepseek-r1:671b-4bit", "GiB"] {
        assert!(known.contains(word), "{word}:\n{known}");
    }
    let pull = ["models", "pull", "deepseek-r1", "--memory", "16GiB"];
    let said = fails(&pull, 1);
    assert!(said.contains("GiB are missing") && said.contains("would fit"), "{said}");
    let said = fails(&["models", "pull", "llama9"], 1);
    assert!(said.contains("no model is known as llama9"), "{said}");
}

#[test]
fn offline_never_touches_the_network() {
    let hub = TcpListener::bind("127.0.0.1:0").unwrap();
    hub.set_nonblocking(true).unwrap();
    let home = tempfile::tempdir().unwrap();
    let endpoint = format!("http://{}", hub.local_addr().unwrap());
    let run = |arguments: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_exo-node"))
            .args(arguments)
            .env("EXO_DATA", home.path())
            .env("HF_ENDPOINT", &endpoint)
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    };
    for arguments in [
        &["models", "pull", "smollm2:135m", "--offline"][..],
        &["models", "pull", "org/name", "--offline"],
        &["serve", "--interface", "lo", "--api", "127.0.0.1:0", "--model", "smollm2", "--offline"],
    ] {
        let said = run(arguments);
        assert!(said.contains("--offline keeps the hub from being asked\nhint: "), "{said}");
    }
    let asked = hub.accept().unwrap_err();
    assert_eq!(asked.kind(), std::io::ErrorKind::WouldBlock, "somebody asked the hub");
    // The same without --offline does ask it.
    hub.set_nonblocking(false).unwrap();
    let mut asking = Command::new(env!("CARGO_BIN_EXE_exo-node"))
        .args(["models", "pull", "smollm2:135m"])
        .env("EXO_DATA", home.path())
        .env("HF_ENDPOINT", &endpoint)
        .spawn()
        .unwrap();
    hub.accept().unwrap();
    asking.kill().unwrap();
    asking.wait().unwrap();
}

#[test]
fn an_api_that_cannot_open_ends_serve_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = fails(&["serve", "--interface", "lo", "--api", &address], 1);
    assert!(said.contains(&address) && said.contains("\nhint: "), "{said}");
    let said = fails(&["serve", "--interface", "lo", "--api", "0.0.0.0:0"], 1);
    assert!(said.contains("hint: add --api-key"), "{said}");
    let said = fails(&["serve", "--interface", "lo", "--model", "nope"], 1);
    assert!(said.contains("models import"), "{said}");
}

#[test]
fn a_plan_is_explained_without_a_model_or_a_machine() {
    let pair = ["--node", "mini=64GiB,chip=m4-pro", "--node", "air=16GiB,chip=m2"];
    let plan = |more: &[&str]| prints(&[&["plan"], more, &pair].concat());
    insta::assert_snapshot!(plan(&["qwen2.5-coder:32b"]), @r"
    qwen2.5-coder:32b: 64 layers, 17.2 GiB of weights (as its card says; it is not on this machine)

    NODE  LAYERS  WEIGHTS   NEEDS     OFFERS    STEP
    mini  0..64   17.2 GiB  17.8 GiB  48.0 GiB  82 ms
    air   -       -         -         12.0 GiB  -

    Fits on mini alone: 82 ms/token; with air 112 ms/token; use --all-nodes to add it, for many requests at once: 132 instead of 105 tokens/s.
    Room for 125,714 tokens of context, of all requests together.
    Machines: as described; speeds as their chips promise, ways as --link says.
    ");
    insta::assert_snapshot!(plan(&["llama3.3:70b", "--place", "throughput"]), @r"
    llama3.3:70b: 80 layers, 37.0 GiB of weights (as its card says; it is not on this machine)

    NODE  LAYERS  WEIGHTS   NEEDS     OFFERS    STEP
    mini  0..57   26.1 GiB  26.7 GiB  48.0 GiB  126 ms
    air   57..80  10.9 GiB  11.2 GiB  12.0 GiB  146 ms

    The most tokens come from mini and air: 69 a second, once 16 requests run for each stage; its slowest stage takes 232 ms for a step of 16.
    The output head reads as much as 1.2 layers, so air has 23 beside it.
    Room for 11,486 tokens of context, of all requests together.
    Machines: as described; speeds as their chips promise, ways as --link says.
    ");
    let by_hand = plan(&["qwen2.5-coder:7b", "--layers", "mini=0-20,air=21-27"]);
    assert!(by_hand.contains("21..28") && by_hand.contains("Laid out by hand"), "{by_hand}");
    let json: serde_json::Value =
        serde_json::from_str(&plan(&["llama3.3:70b", "--all-nodes", "--json"])).unwrap();
    assert_eq!(json["nodes"][0]["layers"]["start"], 0);
    assert_eq!(json["nodes"][1]["layers"]["end"], 80);
    assert!(json["token_ms"].as_f64().unwrap() > 1.0 && json["why"][0].is_string());

    let said = fails(&[&["plan", "deepseek-r1"][..], &pair].concat(), 1);
    assert!(said.contains("but 60.00 GiB offered") && said.contains("\nhint: "), "{said}");
    let said = fails(&[&["plan", "qwen2.5-coder:7b", "--layers", "x=0-27"][..], &pair].concat(), 1);
    assert!(said.contains("x is to hold layers 0..28 and is not there; there are mini, air"));
    let said = fails(&[&["plan", "llama9"][..], &pair].concat(), 1);
    assert!(said.contains("no model is known as llama9"), "{said}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let here = prints(&["plan", "smollm2:135m", "--api", &format!("http://{closed}")]);
    assert!(here.contains("Machines: this machine"), "{here}");
}

#[test]
fn asking_where_no_node_is_says_so() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for api in [format!("http://{closed}"), closed.to_string()] {
        let said = fails(&["status", "--api", &api], 1);
        let wanted = format!("no node answers at http://{closed}: ");
        assert!(said.contains(&wanted) && said.contains("exo-node serve"), "{said}");
    }
}
