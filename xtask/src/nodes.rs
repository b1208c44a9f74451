//! How are exo-node processes started, watched and stopped, so that none is ever left behind?

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::shell::{failure, shown, tail};

/// How long a node has to end by itself once it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Running nodes. They are stopped when this is dropped, and when a signal ends xtask.
pub(crate) struct Nodes {
    running: Arc<Mutex<Vec<Process>>>,
}

impl Nodes {
    pub(crate) fn new() -> Result<Self> {
        let running: Arc<Mutex<Vec<Process>>> = Arc::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signal handlers")?;
        let handled = Arc::clone(&running);
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                eprintln!("xtask: stopping the nodes");
                let mut running = locked(&handled);
                stop(&mut running);
                std::process::exit(128 + signal); // with the lock held: nobody starts another
            }
        });
        Ok(Self { running })
    }

    /// Starts `command` as the node `name`, all its output going to the file `log`; returns its
    /// process id.
    pub(crate) fn start(&self, name: &str, command: &mut Command, log: &Path) -> Result<u32> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let errors = file.try_clone().with_context(|| log.display().to_string())?;
        let mut running = locked(&self.running);
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("`{}` could not be started", shown(command)))?;
        let pid = child.id();
        running.push(Process { name: name.to_owned(), child, log: log.to_owned() });
        Ok(pid)
    }

    /// An error with the end of its log, if a node has ended by itself.
    pub(crate) fn check(&self) -> Result<()> {
        for Process { name, child, log } in locked(&self.running).iter_mut() {
            if let Some(status) = child.try_wait().context("waiting for a node")? {
                let said = fs::read_to_string(&*log).unwrap_or_default();
                return Err(failure(
                    format!("{name} ended with {status}; it said:\n{}", tail(&said, 20)),
                    format!("its whole log is {}", log.display()),
                ));
            }
        }
        Ok(())
    }

    /// The end of each node's log.
    pub(crate) fn logs(&self) -> String {
        let running = locked(&self.running);
        let each = running.iter().map(|Process { name, log, .. }| {
            let said = fs::read_to_string(log).unwrap_or_default();
            format!("--- {name} ({})\n{}\n", log.display(), tail(&said, 10))
        });
        each.collect()
    }

    /// Stops all nodes: asked first, killed after a while. Returns the names of those killed.
    pub(crate) fn stop(self) -> Vec<String> {
        stop(&mut locked(&self.running))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        stop(&mut locked(&self.running));
    }
}

/// A panic elsewhere must not keep the nodes from being stopped.
fn locked(running: &Mutex<Vec<Process>>) -> MutexGuard<'_, Vec<Process>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stop(running: &mut Vec<Process>) -> Vec<String> {
    for Process { child, .. } in running.iter_mut() {
        // Not waited for yet, so the number is still this child's.
        if matches!(child.try_wait(), Ok(None))
            && let Ok(pid) = i32::try_from(child.id())
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // it may just have ended
        }
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    let mut killed = Vec::new();
    for Process { name, mut child, .. } in running.drain(..) {
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        if matches!(child.try_wait(), Ok(None)) {
            let _ = child.kill();
            killed.push(name);
        }
        let _ = child.wait();
    }
    killed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::Scratch;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn alive(pid: u32) -> bool {
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), None).is_ok()
    }

    #[test]
    fn nodes_are_stopped_when_the_demo_is_over_however_it_ends() {
        let scratch = Scratch::new("nodes-stop");
        let nodes = Nodes::new().expect("nodes");
        let pid = nodes.start("alpha", &mut shell("sleep 60"), &scratch.0.join("log"));
        let pid = pid.expect("started");
        nodes.check().expect("it runs");
        drop(nodes);
        assert!(!alive(pid));
    }

    #[test]
    fn a_node_that_ends_is_reported_with_its_log() {
        let scratch = Scratch::new("nodes-die");
        let nodes = Nodes::new().expect("nodes");
        let mut command = shell("echo no such interface >&2; exit 3");
        nodes.start("beta", &mut command, &scratch.0.join("log")).expect("started");
        let deadline = Instant::now() + Duration::from_secs(10);
        let error = loop {
            match nodes.check() {
                Err(error) => break error.to_string(),
                Ok(()) => assert!(Instant::now() < deadline, "it never ended"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert!(error.contains("beta") && error.contains("no such interface"), "{error}");
        assert!(error.contains('3'), "{error}");
        assert_eq!(nodes.stop(), Vec::<String>::new());
    }
}
