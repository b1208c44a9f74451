//! Is this checkout fit to be merged? All checks, in one command, each with its time.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use crate::{
    cargo::cargo,
    guard,
    layout::Layout,
    mac, mlx_linux,
    progress::{human, say},
    shell::{hint, output, run, succeeds},
    test,
};

/// Runs every check, also after one has failed; fails if one did.
pub(crate) fn run_all(layout: &Layout, with_mac: bool) -> Result<()> {
    let before = changes(layout)?;
    mlx_linux::ensure(layout)?; // nothing of the workspace builds without it
    let mut report = Report::default();
    report.check("formatting", || {
        run(cargo(layout).args(["fmt", "--all", "--check"]))?;
        run(of_xtask(layout, "fmt").arg("--check"))
    });
    report.check("clippy", || {
        let deny = ["--all-targets", "--locked", "--", "-D", "warnings"];
        run(of_xtask(layout, "clippy").args(deny))?;
        run(cargo(layout).args(["clippy", "--workspace"]).args(deny))
    });
    report.check("documentation", || {
        let mut doc = cargo(layout);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        run(doc.args(["doc", "--no-deps", "--workspace", "--locked"]))
    });
    if with_mac {
        let mac = mac::Target::AppleSilicon; // `cargo xtask mac-check` links for the others too
        report.check("macOS", || mac::check(layout, mac, &[mac]));
    }
    if cfg!(target_os = "linux") {
        report.check("counts of the hot paths", || guard::run(layout, false));
    }
    report.check("tests", || {
        test::test(layout, &test::Options { strict: true, ..test::Options::default() })
    });
    report.check("the checkout is as it was", || {
        let after = changes(layout)?;
        ensure!(before == after, "before:\n{before}\nafter:\n{after}");
        Ok(())
    });
    report.finish()
}

fn of_xtask(layout: &Layout, command: &str) -> Command {
    let mut cargo = cargo(layout);
    cargo.arg(command).arg("--manifest-path").arg(layout.xtask_manifest());
    cargo
}

/// What git says was changed or added; nothing where there is no git.
fn changes(layout: &Layout) -> Result<String> {
    let git = || {
        let mut git = Command::new("git");
        git.current_dir(layout.root());
        git
    };
    if !succeeds(git().args(["rev-parse", "--git-dir"])) {
        say("not a git checkout: whether the checks leave it as it was is not looked at");
        return Ok(String::new());
    }
    output(git().args(["status", "--porcelain"]))
}

#[derive(Default)]
struct Report {
    checks: Vec<(&'static str, Duration, bool)>,
}

impl Report {
    fn check(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        say(&format!("=== {name}"));
        let start = Instant::now();
        let result = work();
        if let Err(error) = &result {
            say(&format!("{name} failed: {error:#}"));
            if let Some(hint) = hint(error) {
                say(&format!("hint: {hint}"));
            }
        }
        self.checks.push((name, start.elapsed(), result.is_ok()));
    }

    fn finish(&self) -> Result<()> {
        for (name, time, passed) in &self.checks {
            let word = if *passed { "passed" } else { "FAILED" };
            say(&format!("{word} {name} ({})", human(*time)));
        }
        let failed = self.checks.iter().filter(|(.., passed)| !passed);
        let failed: Vec<_> = failed.map(|(name, ..)| *name).collect();
        if !failed.is_empty() {
            bail!("not fit to be merged: {}", failed.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_the_whole_and_the_rest_still_runs() {
        let mut report = Report::default();
        report.check("first", || bail!("broken"));
        let mut ran = false;
        report.check("second", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        let error = report.finish().expect_err("one failed").to_string();
        assert!(error.contains("first") && !error.contains("second"), "{error}");
    }
}
