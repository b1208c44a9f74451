//! How does the whole test suite run on a machine that has nothing prepared?
//!
//! The tests find what they need through the environment; without it they say `skipped: needs …`:
//!
//! | variable | what it names |
//! |---|---|
//! | `EXO_TEST_MODEL_DIR` | the demo model's folder |
//! | `EXO_TEST_GGUF` | the GGUF file it was imported from |
//! | `EXO_TEST_TOKENIZERS` | a folder with real tokenizers, and llama.cpp's vocabularies |
//! | `EXO_TEST_NETWORK_MANAGER` | a folder into which NetworkManager's packages are unpacked |
//! | `EXO_TEST_PYTHON` | a Python that has the official OpenAI client |

use std::{
    io::{BufRead, BufReader, PipeReader, Write},
    path::PathBuf,
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cargo::{build_for_binary, cargo},
    layout::{Layout, remove, write},
    lock::Lock,
    mlx_linux, model, network_manager,
    pip::{self, python},
    prerequisites,
    progress::{say, step},
    shell::{failure, output, run, shown},
    tokenizers,
};

const REQUIREMENTS: &str = include_str!("../assets/test/requirements.txt");

/// How long the output may stay open after the test program has ended.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(10);

/// What `cargo xtask test` was asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Run all there is, and take a test that was skipped for one that failed.
    pub(crate) strict: bool,
    /// What `cargo test` is given: its options, `--`, and those of the test programs.
    pub(crate) arguments: Vec<String>,
}

/// Prepares this machine and runs the tests.
pub(crate) fn test(layout: &Layout, options: &Options) -> Result<()> {
    if cfg!(target_os = "macos") {
        prerequisites::check()?;
    }
    mlx_linux::ensure(layout)?;
    let python = python_with_openai(layout)?;
    let tokenizers = tokenizers::ensure(layout)?;
    let network_manager = network_manager::ensure(layout)?;
    model::ensure(layout, false, || exo_node(layout))?;

    let mut problems = Vec::new();
    let mut suite = |command: &mut Command| -> Result<()> {
        match finish(command, options.strict) {
            Ok(()) => Ok(()),
            Err(error) if options.strict => {
                problems.push(format!("{error:#}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    };
    if options.is_for_all() {
        let mut own = cargo(layout);
        own.args(["test", "--locked", "--manifest-path"]).arg(layout.xtask_manifest());
        suite(own.args(test_program_arguments(options.strict)))?;
    }
    let mut tests = cargo(layout);
    tests.args(options.cargo_arguments());
    tests.env("EXO_TEST_MODEL_DIR", layout.model_dir()).env("EXO_TEST_GGUF", layout.gguf());
    if let Some(tokenizers) = tokenizers {
        tests.env("EXO_TEST_TOKENIZERS", tokenizers);
    }
    if let Some(network_manager) = network_manager {
        tests.env("EXO_TEST_NETWORK_MANAGER", network_manager);
    }
    suite(tests.env("EXO_TEST_PYTHON", python))?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

impl Options {
    fn cargo_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["test".to_owned(), "--locked".to_owned()];
        if self.is_for_all() {
            arguments.push("--workspace".into());
        }
        if self.strict {
            arguments.push("--no-fail-fast".into());
        }
        arguments.extend(self.arguments.iter().cloned());
        if self.strict {
            // A skipped test counts as passed, and only this shows what passed tests print.
            arguments.extend(test_program_arguments(true).map(str::to_owned));
        }
        arguments
    }

    /// Whether no package was chosen.
    fn is_for_all(&self) -> bool {
        let before_dashes = self.arguments.iter().take_while(|argument| *argument != "--");
        !before_dashes.into_iter().any(|argument| {
            argument.starts_with("-p")
                || argument.starts_with("--package")
                || argument.starts_with("--manifest-path")
        })
    }
}

fn test_program_arguments(strict: bool) -> impl Iterator<Item = &'static str> {
    ["--", "--show-output"].into_iter().filter(move |_| strict)
}

/// Builds what the tests run, exo-node among it: then it is not built once more for them.
pub(crate) fn exo_node(layout: &Layout) -> Result<PathBuf> {
    let mut build = cargo(layout);
    build.args(["test", "--workspace", "--locked", "--no-run"]);
    if let Some(built) = step("building the tests (minutes, the first time)", || {
        build_for_binary(&mut build, "exo-node")
    })? {
        return Ok(built);
    }
    let mut build = cargo(layout);
    build.args(["build", "--locked", "-p", "exo-engine", "--bin", "exo-node"]);
    let built = build_for_binary(&mut build, "exo-node")?;
    built.context("cargo built exo-node, but does not say where")
}

/// A virtual environment with what `assets/test/requirements.txt` names; returns its Python.
fn python_with_openai(layout: &Layout) -> Result<PathBuf> {
    let _lock = Lock::take(&layout.exo().join("venv.lock"), "the Python environment")?;
    let venv = layout.venv();
    let (venv_python, stamp) = (venv.join("bin/python"), venv.join("requirements.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == REQUIREMENTS) {
        say(&format!("the OpenAI client is ready in {}", venv.display()));
        return Ok(venv_python);
    }
    prerequisites::check_python()?;
    step("fetching the OpenAI client for Python (5 MB)", || {
        remove(&venv)?;
        // Without pip of its own: making one takes a package that Debian's Python leaves out.
        run(python().args(["-m", "venv", "--without-pip"]).arg(&venv))?;
        let packages = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let packages = output(Command::new(&venv_python).args(["-c", packages]))?;
        let requirements = layout.exo().join("requirements.txt");
        write(&requirements, REQUIREMENTS)?;
        pip::install(&requirements, packages.trim().as_ref())?;
        run(Command::new(&venv_python).args(["-c", "import openai"]))?;
        remove(&requirements)
    })?;
    write(&stamp, REQUIREMENTS)?;
    Ok(venv_python)
}

/// Runs a test command to its end; if `strict`, also looks for skipped tests in what it prints.
pub(crate) fn finish(command: &mut Command, strict: bool) -> Result<()> {
    if !strict {
        return run(command);
    }
    let skipped = run_and_find_skipped(command, std::io::stdout())?;
    if skipped.is_empty() {
        return Ok(());
    }
    Err(failure(
        format!("skipped tests do not count as passed:\n{}", skipped.join("\n")),
        "see to what they need, then run this again",
    ))
}

/// Runs `command`, passing all its output on to `out`, and returns the lines that tell of a skipped
/// test.
fn run_and_find_skipped(
    command: &mut Command,
    out: impl Write + Send + 'static,
) -> Result<Vec<String>> {
    let (reader, writer) = std::io::pipe().context("a pipe")?;
    command.stdout(writer.try_clone().context("a pipe")?).stderr(writer);
    let text = shown(command);
    let mut child = command.spawn().with_context(|| format!("`{text}` could not be started"))?;
    // The command holds ends of the pipe until it is given others: only then can there be an end.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let (done, passed_on) = mpsc::sync_channel(1);
    thread::spawn(move || done.send(pass_on(reader, out)));
    let status = child.wait().with_context(|| format!("waiting for `{text}`"))?;
    let skipped = passed_on.recv_timeout(OUTPUT_TIMEOUT).map_err(|_| {
        failure(
            format!("`{text}` ended with {status}, but something it started still runs"),
            "a test left a process behind that holds its output: find it with ps",
        )
    })?;
    if !status.success() {
        bail!("`{text}` ended with {status}");
    }
    skipped
}

fn pass_on(reader: PipeReader, mut out: impl Write) -> Result<Vec<String>> {
    let mut skipped = Vec::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("reading what the tests print")?;
        let text = String::from_utf8_lossy(&line);
        if is_skip(&text) {
            skipped.push(text.trim().to_owned());
        }
        writeln!(out, "{text}").context("passing on what the tests print")?;
    }
    Ok(skipped)
}

/// Tests that cannot run say so on a line of their own.
fn is_skip(line: &str) -> bool {
    line.trim_start().starts_with("skipped: needs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(strict: bool, arguments: &[&str]) -> Options {
        Options { strict, arguments: arguments.iter().map(|a| (*a).to_owned()).collect() }
    }

    #[test]
    fn all_is_tested_unless_a_package_is_chosen() {
        let all = options(false, &["two_nodes", "--", "--nocapture", "-p"]).cargo_arguments();
        let expected = ["test", "--locked", "--workspace", "two_nodes", "--", "--nocapture", "-p"];
        assert_eq!(all, expected);
        let one = options(false, &["-p", "exo-engine"]).cargo_arguments();
        assert_eq!(one, ["test", "--locked", "-p", "exo-engine"]);
        assert!(!options(false, &["--package=exo-engine"]).is_for_all());
    }

    #[test]
    fn strict_runs_all_and_shows_what_passed_tests_print() {
        let arguments = options(true, &[]).cargo_arguments();
        let expected = ["test", "--locked", "--workspace", "--no-fail-fast", "--", "--show-output"];
        assert_eq!(arguments, expected);
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn skipped_tests_are_found_in_either_output() {
        let script = "echo 'test a ... ok'; echo '  skipped: needs a namespace' >&2; \
                      echo 'skipped: needs EXO_TEST_GGUF'; echo 'skipped 3 frames'";
        let skipped = run_and_find_skipped(&mut shell(script), std::io::sink());
        let expected = ["skipped: needs a namespace", "skipped: needs EXO_TEST_GGUF"];
        assert_eq!(skipped.expect("it succeeds"), expected);
    }

    #[test]
    fn a_failing_command_fails_either_way() {
        assert!(finish(&mut shell("exit 4"), true).is_err());
        assert!(finish(&mut shell("exit 4"), false).is_err());
        assert!(finish(&mut shell("true"), true).is_ok());
    }
}
