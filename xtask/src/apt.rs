//! How are Debian's packages fetched without installing them, and without root?

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::layout::make_dir;

/// apt with lists and caches of its own, in a folder of ours.
pub(crate) struct Apt {
    pub(crate) dir: PathBuf,
}

impl Apt {
    pub(crate) fn new(dir: PathBuf) -> Result<Self> {
        make_dir(&dir.join("state/lists/partial"))?;
        make_dir(&dir.join("cache/archives/partial"))?;
        Ok(Self { dir })
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let mut option = |name: &str, value: &Path| {
            apt.arg("-o").arg(format!("{name}={}", value.display()));
        };
        option("Dir::State", &self.dir.join("state"));
        option("Dir::State::status", Path::new("/var/lib/dpkg/status"));
        option("Dir::Cache", &self.dir.join("cache"));
        // apt gives up root for a user that may not read a folder in somebody's home.
        option("APT::Sandbox::User", Path::new("root"));
        apt.env("LC_ALL", "C").current_dir(&self.dir);
        apt
    }

    /// The packages downloaded so far.
    pub(crate) fn packages(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.dir).with_context(|| self.dir.display().to_string())?;
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "deb")).collect())
    }
}
