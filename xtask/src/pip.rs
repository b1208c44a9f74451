//! How do files come from PyPI? Through the `pip` that the user's Python 3 has, each file pinned by
//! its hash, into a folder of ours: nothing is installed into the user's Python.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    progress::watched,
    shell::{common_hint, failure, run_and_keep_stderr, tail},
};

/// The Python that pip runs on: `EXO_PYTHON` or `python3`.
pub(crate) fn python() -> Command {
    let mut python = Command::new(std::env::var_os("EXO_PYTHON").unwrap_or("python3".into()));
    python.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    python
}

/// Unpacks what the file `requirements` pins into the folder `target`.
pub(crate) fn unpack(requirements: &Path, target: &Path) -> Result<()> {
    let mut pip = python();
    pip.args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.args(["--no-compile", "--target"]).arg(target).arg("-r").arg(requirements);
    finish(&mut pip)
}

/// Puts what the file `requirements` names, which is all it takes, into the folder `target` of a
/// Python's packages.
pub(crate) fn install(requirements: &Path, target: &Path) -> Result<()> {
    let mut pip = python();
    pip.args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--upgrade"]);
    pip.arg("--target").arg(target).arg("-r").arg(requirements);
    finish(&mut pip)
}

/// Fetches the source package that the file `requirements` pins into the folder `target`. pip runs
/// its build system to learn what the package is called; nothing is built.
pub(crate) fn download_source(requirements: &Path, target: &Path) -> Result<()> {
    let mut pip = python();
    pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--dest"]).arg(target);
    // Of this package alone: what its build system needs comes built.
    pip.args(["--no-binary", "llama-cpp-python", "-r"]).arg(requirements);
    finish(&mut pip)
}

fn finish(pip: &mut Command) -> Result<()> {
    // A user's own pip settings must not turn `--target` into something else.
    pip.env("PIP_USER", "0").env("PIP_ROOT_USER_ACTION", "ignore");
    pip.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_WARN_SCRIPT_LOCATION", "1");
    if !watched() {
        pip.arg("--quiet");
    }
    let (success, said) = run_and_keep_stderr(pip)?;
    if success { Ok(()) } else { Err(explain(&said)) }
}

fn explain(said: &str) -> anyhow::Error {
    let last = tail(said.trim(), 3);
    let what = format!("pip could not fetch what it was asked for: {last}");
    if said.contains("DO NOT MATCH THE HASHES") {
        return failure(
            "a file from the package index is not the one this project was made with \
             (its SHA-256 differs)",
            "do not go on with it; if a proxy or mirror of yours changes files, leave it out, \
             otherwise please report it to this project",
        );
    }
    if let Some(hint) = common_hint(said) {
        return failure(what, hint);
    }
    if said.contains("No matching distribution found") {
        return failure(
            what,
            "either the package index could not be reached (check the network), or it has no \
             build for this machine, or this pip is too old to know it (`python3 -m pip install \
             --upgrade pip`)",
        );
    }
    failure(what, "pip's own words are above")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(said: &str) -> String {
        crate::shell::hint(&explain(said)).expect("a failure with a hint").to_owned()
    }

    #[test]
    fn each_failure_of_pip_says_what_to_do() {
        assert!(hint("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM …").contains("report"));
        let offline = "WARNING: Retrying: Failed to establish a new connection: [Errno 111]\n\
                       ERROR: No matching distribution found for mlx-cpu==0.32.2";
        assert!(hint(offline).contains("network"), "offline looks like a missing version to pip");
        assert!(hint("ERROR: No matching distribution found for x").contains("upgrade pip"));
        assert!(hint("OSError: [Errno 28] No space left on device").contains("disk"));
    }
}
