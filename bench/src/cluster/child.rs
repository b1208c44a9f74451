//! A process that ends with what started it: asked first, killed after a while.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const END_PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it; all it says goes to a file.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let errors = file.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let child = child.with_context(|| format!("{command:?} does not run"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An error with its last words if it has ended.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = self.said();
            let last: Vec<&str> = said.lines().rev().take(10).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            bail!("a process ended ({status}); it said:\n{}", last.join("\n"));
        }
        Ok(())
    }

    /// Waits until it has ended in good order, and gives what it said.
    pub(crate) fn wait(mut self, patience: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("a process ended ({status}); it said:\n{}", self.said());
                }
                return Ok(self.said());
            }
            if Instant::now() > deadline {
                bail!("a process did not end within {patience:?}; it said:\n{}", self.said());
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still this child's.
        if matches!(self.child.try_wait(), Ok(None))
            && let Ok(id) = i32::try_from(self.child.id())
        {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let deadline = Instant::now() + END_PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
