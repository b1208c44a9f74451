//! How are other programs run, and what does the user see when one of them fails?

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

/// A failure with the next thing to do: `what` happened, `hint` helps.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    hint: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {}

/// An error that says what happened and what to do next.
pub(crate) fn failure(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Failure { what: what.into(), hint: hint.into() }.into()
}

/// What the error says to do next, if it says anything.
pub(crate) fn hint(error: &anyhow::Error) -> Option<&str> {
    let mut failures = error.chain().filter_map(|cause| cause.downcast_ref::<Failure>());
    failures.next().map(|failure| failure.hint.as_str())
}

/// The command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '"') {
            format!("'{word}'")
        } else {
            word.into_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Runs `command` with our own input and output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| not_started(command))?;
    anyhow::ensure!(status.success(), "`{}` ended with {status}", shown(command));
    Ok(())
}

/// Runs `command` and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| not_started(command))?;
    anyhow::ensure!(output.status.success(), "`{}` ended with {}", shown(command), output.status);
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not UTF-8", shown(command)))
}

/// Whether `command` can be started and succeeds; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs `command` quietly; if it fails, its output is part of the error.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| not_started(command))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        anyhow::bail!("`{}` ended with {}:\n{}", shown(command), output.status, tail(&said, 40));
    }
    Ok(())
}

/// Runs `command`, passing its standard error on line by line, and returns whether it succeeded
/// together with those lines.
pub(crate) fn run_and_keep_stderr(command: &mut Command) -> Result<(bool, String)> {
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| not_started(command))?;
    let mut kept = String::new();
    for line in BufReader::new(child.stderr.take().expect("piped above")).lines() {
        let line = line.with_context(|| format!("reading from `{}`", shown(command)))?;
        eprintln!("{}", shortened(&line));
        kept.push_str(&line);
        kept.push('\n');
    }
    let status = child.wait().with_context(|| format!("waiting for `{}`", shown(command)))?;
    Ok((status.success(), kept))
}

/// The last `lines` lines of `text`, each short enough to be read.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let last = all[all.len().saturating_sub(lines)..].iter().copied();
    last.map(shortened).collect::<Vec<_>>().join("\n")
}

/// At most 400 characters of `line`: some programs put a thousand failures into one.
fn shortened(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{} …", &line[..end]).into(),
        None => line.into(),
    }
}

fn not_started(command: &Command) -> String {
    format!("`{}` could not be started", command.get_program().to_string_lossy())
}

/// A hint for failures that any step may meet, recognised by what was said.
pub(crate) fn common_hint(said: &str) -> Option<&'static str> {
    let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    if any(&["No space left on device", "Errno 28", "os error 28", "Disk quota exceeded"]) {
        Some("the disk is full: make room, then run the same command again")
    } else if any(&[
        "name resolution",
        "Name or service not known",
        "Could not resolve",
        "Connection refused",
        "Network is unreachable",
        "Failed to establish a new connection",
        "timed out",
        "Temporary failure resolving",
        "nodename nor servname",
    ]) {
        Some(
            "the package index could not be reached: check the network (a proxy goes into \
             HTTPS_PROXY), then run the same command again; what is already fetched is kept",
        )
    } else if any(&["Permission denied", "Errno 13", "os error 13"]) {
        Some("this user may not write there: check who owns the folder")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("cargo");
        command.args(["test", "--", "two words", ""]);
        assert_eq!(shown(&command), "cargo test -- 'two words' ''");
    }

    #[test]
    fn tail_keeps_the_end() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("", 2), "");
        assert_eq!(tail(&"é".repeat(500), 1).chars().count(), 402, "cut, and marked as cut");
    }

    #[test]
    fn common_failures_get_a_hint() {
        let full = "OSError: [Errno 28] No space left on device";
        assert!(common_hint(full).is_some_and(|hint| hint.contains("disk is full")));
        let offline = "[Errno -3] Temporary failure in name resolution')': /simple/mlx-cpu/";
        assert!(common_hint(offline).is_some_and(|hint| hint.contains("network")));
        assert_eq!(common_hint("segmentation fault"), None);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-here")).expect_err("there is none");
        assert!(format!("{error:#}").contains("`no-such-program-here` could not be started"));
    }

    #[test]
    fn a_quiet_command_speaks_when_it_fails() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let error = format!("{:#}", run_quietly(&mut command).expect_err("exit 3"));
        assert!(error.contains("one") && error.contains("two"), "{error}");
    }
}
