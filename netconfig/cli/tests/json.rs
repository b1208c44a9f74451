//! What scripts read: every field that `check`, `setup` and `show` print in any recorded situation is
//! documented, and every documented field is printed in one.

#[allow(dead_code, reason = "other tests use the rest")]
mod schema;

use std::{fs, path::PathBuf, process::Command};

use exo_netconfig::snapshot::{Reading, Source, Unknown};
use schema::Documented;
use serde_json::Value;

fn sets() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sets")
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(sets()).expect("the sets").map(|entry| entry.expect("an entry"));
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().expect("a plain name")).collect()
}

/// What is printed, if anything is.
fn printed(args: &[&str]) -> Option<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_tbnet"))
        .args(args)
        .env("LC_ALL", "C")
        .current_dir(sets())
        .output()
        .expect("tbnet was built for this test");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    if text.is_empty() {
        assert_eq!(output.status.code(), Some(2), "{args:?}: an exit code without a word");
        return None;
    }
    Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}")))
}

/// All sets, with each of these arguments, in either language.
fn compare(command: &str, variants: &[&[&str]]) -> Documented {
    let mut documented = Documented::of(command);
    for set in names() {
        for variant in variants {
            for lang in ["en", "ko"] {
                let args = [command, "--json", "--from", &set, "--lang", lang];
                if let Some(printed) = printed(&[&args[..], variant].concat()) {
                    assert_eq!(printed["command"], command);
                    documented.hold(&printed);
                }
            }
        }
    }
    documented
}

#[test]
fn check_prints_what_is_documented_and_nothing_else() {
    compare("check", &[&[], &["--peer", "10.25.0.2"], &["--interface", "en1"]]).assert_agrees(&[]);
}

/// Who keeps a machine's configuration, and another link's route, only a running Linux machine can
/// say: `tests/setup` shows these.
const ONLY_LIVE: &[&str] = &[
    "steps[].action.has_profile",
    "steps[].action.inet6[]",
    "steps[].action.mtu",
    "steps[].action.own",
    "steps[].action.text",
    "steps[].commands[].stdin",
];

#[test]
fn setup_prints_what_is_documented_and_nothing_else() {
    let plain: &[&str] = &["--dry-run"];
    compare(
        "setup",
        &[
            plain,
            &["--dry-run", "--peer", "10.25.0.2"],
            &["--dry-run", "--mtu", "9000"],
            &["--dry-run", "--per-port"],
        ],
    )
    .assert_agrees(ONLY_LIVE);
}

#[test]
fn show_prints_what_is_documented_and_nothing_else() {
    let mut documented = compare(
        "show",
        &[&[], &["--peer", "10.25.0.2", "--peer", "192.168.2.2", "--peer", "192.0.2.1"]],
    );
    // Recordings cannot be late or forbidden.
    let source = || Source::new("system_profiler");
    for why in [
        Unknown::TimedOut { limit_ms: 20_000 },
        Unknown::Permission { detail: "no".into() },
        Unknown::Failed { detail: "no".into() },
    ] {
        let reading: Reading<()> = Reading::Unknown { source: source(), why };
        documented.hold_reading(&serde_json::to_value(reading).expect("plain data"));
    }
    documented.assert_agrees(&[]);
}
