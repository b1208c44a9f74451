//! What the user sees, word for word, for every recorded situation; and how scripts are answered.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

fn sets() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sets")
}

/// Runs tbnet in the folder of the sets, so that paths in the output are short and the same
/// everywhere.
fn tbnet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tbnet"))
        .args(args)
        // Whatever language whoever runs the tests speaks.
        .env("LC_ALL", "C")
        .current_dir(sets())
        .output()
        .expect("tbnet was built for this test")
}

/// Everything that was printed, and the exit code.
fn said(args: &[&str]) -> String {
    let output = tbnet(args);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("tbnet prints UTF-8");
    let code = output.status.code().expect("tbnet ends by itself");
    format!(
        "$ tbnet {}\n{}{}exit code {code}\n",
        args.join(" "),
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// The peer that a set was recorded for, by its `route-get` file.
fn peer_of(set: &str) -> Option<String> {
    let peers = fs::read_dir(sets().join(set)).expect("a set").filter_map(|entry| {
        let name = entry.expect("an entry").file_name().into_string().ok()?;
        let name = name.strip_prefix("ip-").unwrap_or(&name);
        let peer = name.strip_prefix("route-get-")?;
        Some(peer.trim_end_matches(".txt").trim_end_matches(".json").to_owned())
    });
    peers.min()
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(sets())
        .expect("the sets")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
}

#[test]
fn check_in_words() {
    for set in names() {
        let mut args = vec!["check", "--from", &set];
        let peer = peer_of(&set);
        if let Some(peer) = &peer {
            args.extend(["--peer", peer]);
        }
        insta::assert_snapshot!(format!("check-{set}"), said(&args));
        args.extend(["--lang", "ko"]);
        insta::assert_snapshot!(format!("check-ko-{set}"), said(&args));
    }
}

/// Findings that hang on what is asked for, not on the machine alone.
#[test]
fn check_in_words_of_what_was_asked_for() {
    let asked: [(&str, &[&str]); 3] = [
        ("scope-missing", &["--from", "good", "--peer", "fe80::2"]),
        ("not-thunderbolt", &["--from", "good", "--interface", "en1"]),
        ("interface-missing", &["--from", "good", "--interface", "en9"]),
    ];
    for (name, words) in asked {
        let mut args = vec!["check"];
        args.extend(words);
        insta::assert_snapshot!(format!("check-{name}"), said(&args));
        args.push("--json");
        insta::assert_snapshot!(format!("json-{name}"), said(&args));
        args.truncate(args.len() - 1);
        args.extend(["--lang", "ko"]);
        insta::assert_snapshot!(format!("check-ko-{name}"), said(&args));
    }
}

#[test]
fn check_in_json() {
    for set in names() {
        let mut args = vec!["check", "--json", "--from", &set];
        let peer = peer_of(&set);
        if let Some(peer) = &peer {
            args.extend(["--peer", peer]);
        }
        insta::assert_snapshot!(format!("json-{set}"), said(&args));
    }
}

#[test]
fn the_locale_chooses_the_language_and_json_stays_english() {
    let output = |args: &[&str], locale: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_tbnet"))
            .args(args)
            .env("LC_ALL", locale)
            .current_dir(sets())
            .output()
            .expect("tbnet was built for this test");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let korean = output(&["check", "--from", "no-cable"], "ko_KR.UTF-8");
    assert!(korean.contains("문제 있음"), "{korean}");
    let json = output(&["check", "--json", "--from", "no-cable"], "ko_KR.UTF-8");
    assert!(json.contains("\"lang\": \"en\"") && !json.contains("연결"), "{json}");
    let asked = output(&["check", "--json", "--lang", "ko", "--from", "no-cable"], "C");
    assert!(asked.contains("\"lang\": \"ko\"") && asked.contains("연결"), "{asked}");
    assert!(output(&["check", "--help"], "ko_KR.UTF-8").contains("종료 코드"));
}

#[test]
fn the_manual_names_every_command() {
    let page = tbnet(&["man"]);
    let text = String::from_utf8_lossy(&page.stdout);
    assert!(page.status.success() && text.contains(".TH tbnet 1"), "{text}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a plain path");
    assert!(tbnet(&["man", path]).status.success());
    for name in ["tbnet.1", "tbnet-check.1", "tbnet-show.1", "tbnet-snapshot.1"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
    assert!(tbnet(&["man", path, "--lang", "ko"]).status.success());
    let korean = fs::read_to_string(folder.path().join("tbnet-check.1")).expect("a page");
    let headings = |page: &str| -> Vec<String> {
        page.lines().filter_map(|line| line.strip_prefix(".SH ").map(str::to_owned)).collect()
    };
    assert_eq!(headings(&korean), ["이름", "사용법", "설명", "옵션", "예"]);
    let english = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXAMPLES", "VERSION"];
    assert_eq!(headings(&text.replace("Commands", "COMMANDS")), english);
    assert!(!text.contains("\nExamples:"), "{text}");
}

#[test]
fn show_in_words_and_json() {
    for set in
        ["good", "bridge-missing", "only-ifconfig", "good-korean-names", "linux-bond", "slow-cable"]
    {
        insta::assert_snapshot!(format!("show-{set}"), said(&["show", "--from", set]));
        let korean = said(&["show", "--lang", "ko", "--from", set]);
        insta::assert_snapshot!(format!("show-ko-{set}"), korean);
    }
    insta::assert_snapshot!("show-json", said(&["show", "--from", "linux-good", "--json"]));
}

#[test]
fn every_json_begins_with_its_schema() {
    for set in names() {
        for command in ["check", "show"] {
            let output = tbnet(&[command, "--from", &set, "--json"]);
            let json: serde_json::Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{set}: {e}"));
            assert_eq!((&json["schema"], &json["command"]), (&1.into(), &command.into()), "{set}");
        }
    }
}

#[test]
fn mistakes_are_named_with_a_hint_and_exit_code_2() {
    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().to_str().expect("a plain path").to_owned();
    for args in [
        &["check", "--from", "no-such-folder"][..],
        &["check", "--from", &empty],
        &["check", "--peer", "the-other-mac"],
        &["chekc"],
    ] {
        let output = tbnet(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    insta::assert_snapshot!("mistake", said(&["check", "--from", "no-such-folder"]));
    let korean = said(&["check", "--lang", "ko", "--from", "no-such-folder"]);
    insta::assert_snapshot!("mistake-ko", korean);
    insta::assert_snapshot!(
        "unknown-interface",
        said(&["check", "--from", "good", "--interface", "en9"])
    );
}

/// What a plan for each cable says of the ports that it leaves alone.
#[test]
fn setup_in_words() {
    let args = ["setup", "--dry-run", "--per-port", "--from", "linux-one-cable-bridged"];
    insta::assert_snapshot!("setup-per-port", said(&args));
    insta::assert_snapshot!("setup-ko-per-port", said(&[&args[..], &["--lang", "ko"]].concat()));
}

/// `setup --dry-run` ends as `check` would once the steps are done.
#[test]
fn a_dry_run_ends_as_the_steps_would() {
    for (set, check, dry_run) in [
        ("good", 0, 0),
        ("service-below-wifi", 0, 0),
        ("service-disabled", 1, 0),
        ("subnet-overlap", 1, 0),
        ("linux-leased-and-default-route", 1, 0),
        // It can be switched on, but it has no members.
        ("bridge-empty", 1, 1),
        ("no-cable", 1, 1),
        ("linux-no-carrier", 1, 1),
        // Not known, and no plan without it.
        ("everything-garbled", 2, 2),
        ("linux-sysfs-only", 2, 2),
        // No plan, whatever is wrong.
        ("loop-to-itself", 1, 2),
    ] {
        let code = |args: &[&str]| tbnet(&[args, &["--from", set]].concat()).status.code();
        assert_eq!(code(&["check"]), Some(check), "{set}");
        assert_eq!(code(&["setup", "--dry-run"]), Some(dry_run), "{set}");
        let json = tbnet(&["setup", "--dry-run", "--json", "--from", set]);
        assert_eq!(json.status.code(), Some(dry_run), "{set}");
        if dry_run < 2 {
            let said: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
            let verdict = ["good", "problems"][usize::from(dry_run == 1)];
            assert_eq!(said["verdict"], verdict, "{set}");
        }
    }
}

/// Who keeps the configuration and what is Wi-Fi: a recording says it, or it is said that it does
/// not.
#[test]
fn a_recording_of_linux_says_who_keeps_the_configuration_and_what_is_wifi() {
    let folder = tempfile::tempdir().expect("a folder");
    let copied = Command::new("cp")
        .arg("-r")
        .args([sets().join("linux-no-address/."), folder.path().to_owned()])
        .status();
    assert!(copied.expect("cp").success());
    let path = folder.path().to_str().expect("a plain path");
    let dry_run = |lang: &str| said(&["setup", "--dry-run", "--from", path, "--lang", lang]);
    assert!(dry_run("en").contains("does not say who keeps the network's configuration"));
    assert!(dry_run("ko").contains("누가 네트워크 설정을 관리하는지"));

    let keepers = folder.path().join("keepers.json");
    fs::write(&keepers, r#"{"thunderbolt0": "networkd"}"#).expect("written");
    let kept = dry_run("en");
    assert!(kept.contains("10-tbnet-thunderbolt0.network"), "{kept}");
    assert!(!kept.contains("does not say"), "{kept}");
    // Nobody keeps it: known, and no step.
    fs::write(&keepers, r#"{"thunderbolt0": null}"#).expect("written");
    let unkept = dry_run("en");
    assert!(!unkept.contains("10-tbnet") && !unkept.contains("does not say"), "{unkept}");

    fs::create_dir_all(folder.path().join("sys/class/net/thunderbolt0/wireless")).expect("made");
    let wifi = dry_run("en");
    assert!(wifi.contains("thunderbolt0 is Wi-Fi") && wifi.ends_with("exit code 2\n"), "{wifi}");
    fs::write(&keepers, "{").expect("written");
    let damaged = dry_run("en");
    assert!(damaged.contains("keepers.json") && damaged.ends_with("exit code 2\n"), "{damaged}");
}

#[test]
fn what_is_mistyped_is_said_in_the_users_language() {
    let mistakes: &[(&str, &[&str])] = &[
        ("nothing", &[]),
        ("command", &["chekc"]),
        ("command-missing", &["--lang", "en"]),
        ("argument", &["check", "--form", "good"]),
        ("argument-before-command", &["--interface", "en1", "check"]),
        ("argument-missing", &["ping", "--versus-peer", "10.0.0.2"]),
        ("superfluous", &["show", "good"]),
        ("conflict", &["setup", "--dry-run", "--undo"]),
        ("twice", &["check", "--json", "--json"]),
        ("value-missing", &["check", "--from"]),
        ("value-unexpected", &["check", "--json=yes"]),
        ("value", &["completions", "csh"]),
        ("address", &["check", "--peer", "the-other-mac"]),
        ("network", &["setup", "--address", "192.168.2.1"]),
        ("number", &["ping", "10.0.0.2", "--count", "many"]),
        ("bounds", &["serve", "--port", "65536"]),
        ("language", &["check", "--lang", "kr"]),
    ];
    for (name, args) in mistakes {
        let snapshot = said(args);
        assert!(snapshot.ends_with("exit code 2\n"), "{snapshot}");
        insta::assert_snapshot!(format!("mistyped-{name}"), snapshot);
        // By the locale, as `--lang` stands in some of them; and the words on standard error alone.
        let mut command = Command::new(env!("CARGO_BIN_EXE_tbnet"));
        let mut typed = args.to_vec();
        if let Some(lang) = typed.iter_mut().find(|word| **word == "en") {
            *lang = "ko";
        }
        let output = command.args(typed).env("LC_ALL", "ko_KR.UTF-8").output().expect("tbnet");
        assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{name}");
        let korean = String::from_utf8(output.stderr).expect("UTF-8");
        insta::assert_snapshot!(format!("mistyped-ko-{name}"), korean);
    }
    let asked = said(&["chekc", "--lang", "ko"]);
    assert!(asked.contains("\"chekc\" 명령이 없습니다"), "{asked}");
}

#[test]
#[cfg(unix)]
fn what_is_no_text_is_refused_and_not_fallen_over() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let mut command = Command::new(env!("CARGO_BIN_EXE_tbnet"));
    command.arg("check").arg(OsStr::from_bytes(b"--\xff")).env("LC_ALL", "C");
    let output = command.output().expect("tbnet");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("error: unexpected argument"), "{said}");
}

#[test]
fn output_that_is_no_terminal_has_no_colour() {
    let text = said(&["check", "--from", "self-assigned"]);
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn help_has_examples_and_completions_complete() {
    insta::assert_snapshot!("help", said(&["--help"]));
    insta::assert_snapshot!("help-ko", said(&["--help", "--lang", "ko"]));
    for command in ["setup", "ping", "completions"] {
        insta::assert_snapshot!(format!("help-{command}"), said(&[command, "--help"]));
        let korean = said(&[command, "--help", "--lang", "ko"]);
        insta::assert_snapshot!(format!("help-ko-{command}"), korean);
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = tbnet(&["completions", shell]);
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && script.contains("snapshot"), "{shell}");
    }
}

#[test]
fn this_machine_is_recorded_and_judged_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report");
    let path = path.to_str().expect("a plain path");
    let written = tbnet(&["snapshot", path]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let ids = |args: &[&str]| -> (Option<i32>, Vec<String>) {
        let output = tbnet(args);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = json["findings"].as_array().expect("findings").clone();
        let ids = findings.iter().map(|f| f["id"].to_string()).collect();
        (output.status.code(), ids)
    };
    assert_eq!(ids(&["check", "--json", "--from", path]), ids(&["check", "--json"]));
}

/// `script(1)` gives a program a terminal of its own.
#[cfg(target_os = "linux")]
#[test]
fn colour_is_for_terminals_that_want_it() {
    let on_terminal = |variable: (&str, &str)| {
        let words = format!("{} check --from good --lang en", env!("CARGO_BIN_EXE_tbnet"));
        let output = Command::new("script")
            .args(["-qec", &words, "/dev/null"])
            .current_dir(sets())
            .env("LC_ALL", "C")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .env(variable.0, variable.1)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("util-linux is installed");
        String::from_utf8(output.stdout).expect("UTF-8").replace("\r\n", "\n")
    };
    let plain = String::from_utf8(tbnet(&["check", "--from", "good"]).stdout).expect("UTF-8");
    assert!(!plain.contains('\x1b'), "a pipe is no terminal");
    let coloured = on_terminal(("NO_COLOR", ""));
    assert!(coloured.contains("\x1b[1;32m"), "{coloured:?}");
    // The same words, with nothing but our own colours among them.
    let mut words = coloured;
    for code in ["1;32", "1;31", "1;33", "1;35", "1;34", "1", "36", "0"] {
        words = words.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(words, plain);
    assert_eq!(on_terminal(("NO_COLOR", "1")), plain);
    assert_eq!(on_terminal(("TERM", "dumb")), plain);
}

#[test]
fn an_interface_named_with_the_address_must_be_the_one_that_is_measured() {
    let output = tbnet(&["ping", "fe80::2%lo", "--interface", "eth7"]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("fe80::2 is named with lo") && said.contains("fe80::2%eth7"), "{said}");
}
