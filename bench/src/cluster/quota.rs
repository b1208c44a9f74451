//! A share of a processor that a process cannot exceed, nor save up: the control group of a machine.
//!
//! The period is short (2 ms at most). With the usual 100 ms a node that waits for its neighbours
//! saves its share for its own turn, and three nodes gain from nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// Longest period that lends nothing worth speaking of.
pub(super) const PERIOD_US_MAX: u64 = 2_000;

/// How much more often than others' a node gets its turn: what else runs on this machine must not
/// take from the little that it may have.
const TURNS: u32 = 20;

/// One group with its limit.
pub(super) struct Quota {
    dir: PathBuf,
}

/// How often a limit was met.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Met {
    pub(super) periods: u64,
    pub(super) throttled: u64,
}

impl Met {
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            periods: self.periods - before.periods,
            throttled: self.throttled - before.throttled,
        }
    }

    /// The share of periods in which the limit held somebody back.
    pub(super) fn share(self) -> f64 {
        self.throttled as f64 / self.periods.max(1) as f64
    }
}

impl Quota {
    /// A group that gets `share` of one processor in each `period_us`.
    pub(super) fn new(tag: &str, share: f64, period_us: u64) -> anyhow::Result<Self> {
        ensure!(share > 0.0 && share.is_finite(), "a share of {share} of a processor");
        let name = format!("tbbench-{}-{tag}", std::process::id());
        let quota_us = (share * period_us as f64).round() as u64;
        // Linux takes no less.
        ensure!(quota_us >= 1_000, "a quota of {quota_us} µs is shorter than the kernel's 1 ms");
        let (first, second) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let is_first = first.join("cpu.cfs_quota_us").exists() || first.join("cpu.stat").exists();
        let dir = if is_first { first.join(&name) } else { second.join(&name) };
        fs::create_dir(&dir).with_context(|| {
            format!("{}: no control group; hint: root, and the cpu controller", dir.display())
        })?;
        let quota = Self { dir };
        if is_first {
            quota.write("cpu.cfs_period_us", &period_us.to_string())?;
            quota.write("cpu.cfs_quota_us", &quota_us.to_string())?;
            quota.write("cpu.shares", &(1024 * TURNS).to_string())?;
        } else {
            quota.write("cpu.max", &format!("{quota_us} {period_us}"))?;
            quota.write("cpu.weight", &(100 * TURNS).to_string())?;
        }
        Ok(quota)
    }

    fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, text).with_context(|| format!("{} = {text}", path.display()))
    }

    /// A command whose process, and all it starts, are in this group from their first instruction.
    pub(super) fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0" && exec "$@""#]);
        command.arg(self.dir.join("cgroup.procs")).args(words);
        command
    }

    /// How often the limit was met so far.
    pub(super) fn met(&self) -> Met {
        let text = fs::read_to_string(self.dir.join("cpu.stat")).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        Met {
            periods: field("nr_periods ").unwrap_or(0),
            throttled: field("nr_throttled ").unwrap_or(0),
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Its last process may be going just now.
        for _ in 0..50 {
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
