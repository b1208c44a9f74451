//! Has a hot path become more expensive? Counted, not timed: instructions under callgrind, system
//! calls and copied bytes of messages, allocations of tokens, against those that were agreed on
//! (`xtask/baselines/ARCHITECTURE.json`). Counts are the same on a busy machine, but for a message
//! that meets a late acknowledgement: of several countings the least is taken.

use std::{collections::BTreeMap, env::consts::ARCH, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    cargo::{build_for_binary, cargo},
    layout::Layout,
    progress::say,
    shell::{failure, output, succeeds},
};

/// What builds each program that goes the paths. The engine's is the one that the tests build anyway:
/// in release it would take minutes of its own.
const PROGRAMS: [(&str, &[&str]); 2] =
    [("hot_paths", &["--release", "-p", "exo-transport"]), ("token_paths", &["--workspace"])];
/// So often is counted what is not instructions.
const COUNTINGS: usize = 3;
/// Rounds of a path that names no number.
const ENOUGH: u64 = 1_000;
/// How much more instructions may be before it counts: what another patch of the compiler changes.
const MORE_INSTRUCTIONS: f64 = 0.05;
/// How much more of the rest: when a frame is acknowledged depends on when it arrives.
const MORE_OF_THE_REST: f64 = 0.20;
/// Counts below this are not told apart.
const LEAST: f64 = 1.0;

/// What once costs, by the path's name.
type Counts = BTreeMap<String, Cost>;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Cost {
    value: f64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Unit {
    Instructions,
    /// Of what a message or a token needs.
    Count,
}

impl Unit {
    /// The most that a path may cost which cost `agreed`.
    fn most(self, agreed: f64) -> f64 {
        let (more, least) = match self {
            Self::Instructions => (MORE_INSTRUCTIONS, LEAST),
            Self::Count => (MORE_OF_THE_REST, 0.1),
        };
        agreed + (agreed * more).max(least)
    }
}

/// Counts all hot paths. Fails if one costs more than was agreed, or is not agreed on; with `update`
/// agrees on what they cost now.
pub(crate) fn run(layout: &Layout, update: bool) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(failure("callgrind counts on Linux only", "run `cargo xtask guard` there"));
    }
    if !succeeds(Command::new("valgrind").arg("--version")) {
        return Err(failure(
            "valgrind is not there, which counts instructions",
            "apt-get install valgrind",
        ));
    }
    let mut counted = Counts::new();
    for (example, how) in PROGRAMS {
        let mut build = cargo(layout);
        build.args(["build", "--locked", "--example", example]).args(how);
        let program = build_for_binary(&mut build, example)?;
        counted.extend(count(&program.with_context(|| format!("cargo built no {example}"))?)?);
    }
    let file = layout.root().join(format!("xtask/baselines/{ARCH}.json"));
    if update {
        fs::write(&file, serde_json::to_string_pretty(&counted)? + "\n")?;
        say(&format!("agreed: {}", file.display()));
        return Ok(());
    }
    let text = fs::read_to_string(&file).map_err(|error| {
        failure(
            format!("{}: {error}", file.display()),
            "`cargo xtask guard --update` agrees on what this machine counts",
        )
    })?;
    let agreed: Counts = serde_json::from_str(&text).context("the baselines")?;
    let (lines, worse) = compare(&agreed, &counted);
    lines.iter().for_each(|line| println!("{line}"));
    if worse.is_empty() {
        return Ok(());
    }
    Err(failure(
        format!("more expensive than agreed: {}", worse.join("; ")),
        "mend it, or say in the commit why it is worth it and run `cargo xtask guard --update`",
    ))
}

fn count(program: &PathBuf) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in output(Command::new(program).arg("paths"))?.lines() {
        let path = HotPath::parse(line)?;
        // Once costs what so many more rounds cost, divided: starting and ending cancel out.
        let rounds = [path.enough, 3 * path.enough];
        let [few, many] = rounds.map(|rounds| path.instructions(program, rounds));
        let value = (many? - few?) / (rounds[1] - rounds[0]) as f64;
        counts.insert(path.name.into(), Cost { value, unit: Unit::Instructions });
    }
    for _ in 0..COUNTINGS {
        for line in output(Command::new(program).arg("counts"))?.lines() {
            let (name, value) = line.split_once('\t').context("a name and a count")?;
            let value: f64 = value.parse().context("a count")?;
            let least = counts.get(name).map_or(value, |before: &Cost| before.value.min(value));
            counts.insert(name.into(), Cost { value: least, unit: Unit::Count });
        }
    }
    Ok(counts)
}

/// A path of a program, as `NAME` or `NAME<tab>ENOUGH` names it.
#[derive(Debug, PartialEq)]
struct HotPath<'a> {
    name: &'a str,
    /// Rounds that are enough to be counted.
    enough: u64,
}

impl<'a> HotPath<'a> {
    fn parse(line: &'a str) -> Result<Self> {
        let (name, enough) = match line.split_once('\t') {
            Some((name, enough)) => (name, enough.parse().context("a path's rounds")?),
            None => (line, ENOUGH),
        };
        Ok(Self { name, enough })
    }

    fn instructions(&self, program: &PathBuf, rounds: u64) -> Result<f64> {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        // Its threads would be counted as well, while they wait for work.
        valgrind.env("OPENBLAS_NUM_THREADS", "1");
        let name = self.name;
        let ended = valgrind.arg(program).args([name, &*rounds.to_string()]).output();
        let ended = ended.context("valgrind")?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if !ended.status.success() {
            bail!("{name} under callgrind: {}: {said}", ended.status);
        }
        collected(&said).with_context(|| format!("callgrind tells no count of {name}: {said}"))
    }
}

/// `==1234== Collected : 567890`
fn collected(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("Collected : "))?;
    line.split_whitespace().last()?.parse().ok()
}

/// A line for each path, and which of them are worse.
fn compare(agreed: &Counts, counted: &Counts) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut worse) = (Vec::new(), Vec::new());
    for (path, cost) in counted {
        let Some(then) = agreed.get(path) else {
            worse.push(format!("{path} is not agreed on"));
            continue;
        };
        let bad = cost.value > cost.unit.most(then.value);
        let word = if bad { "MORE" } else { "" };
        lines.push(format!("{path:32} {:>12.2} agreed {:>12.2} {word}", cost.value, then.value));
        if bad {
            worse.push(format!("{path}: {:.2} instead of {:.2}", cost.value, then.value));
        }
    }
    let gone = agreed.keys().filter(|path| !counted.contains_key(*path));
    worse.extend(gone.map(|path| format!("{path} is agreed on but was not counted")));
    (lines, worse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(paths: &[(&str, f64, Unit)]) -> Counts {
        let cost = |(path, value, unit): &(&str, f64, Unit)| {
            ((*path).to_owned(), Cost { value: *value, unit: *unit })
        };
        paths.iter().map(cost).collect()
    }

    #[test]
    fn what_costs_more_than_agreed_is_named() {
        use Unit::{Count, Instructions};
        let agreed = counts(&[("a", 100.0, Instructions), ("b", 2.0, Count)]);
        let worse = |a, b| compare(&agreed, &counts(&[("a", a, Instructions), ("b", b, Count)])).1;
        assert!(worse(105.0, 2.4).is_empty());
        assert!(worse(20.0, 0.0).is_empty());
        assert_eq!(worse(106.0, 2.0), ["a: 106.00 instead of 100.00"]);
        assert_eq!(worse(100.0, 2.5), ["b: 2.50 instead of 2.00"]);
        // Nothing agreed: a tenth is little, a whole one is not.
        assert!(Count.most(0.0) < 1.0 && Count.most(0.0) > 0.0);
    }

    #[test]
    fn a_path_that_nobody_agreed_on_or_that_is_gone_fails() {
        let one = counts(&[("a", 1.0, Unit::Instructions)]);
        let (_, worse) = compare(&Counts::new(), &one);
        assert_eq!(worse, ["a is not agreed on"]);
        let (_, worse) = compare(&one, &Counts::new());
        assert_eq!(worse, ["a is agreed on but was not counted"]);
    }

    #[test]
    fn a_path_says_how_often_is_enough() {
        let path = |line| HotPath::parse(line).ok();
        assert_eq!(path("a b"), Some(HotPath { name: "a b", enough: ENOUGH }));
        assert_eq!(path("a b\t50"), Some(HotPath { name: "a b", enough: 50 }));
        assert_eq!(path("a b\tmany"), None);
    }

    #[test]
    fn callgrind_is_understood() {
        let said = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(collected(said), Some(123_456.0));
        assert_eq!(collected("==7== Events : Ir"), None);
    }
}
