//! What this machine says where the command line says nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use directories::ProjectDirs;
use sysinfo::{Disks, MemoryRefreshKind, RefreshKind, System};

/// The share of memory a node offers by default: the rest is the system's, and other programs'.
pub(super) const OFFERED: f64 = 0.75;

/// Folder of models and keys: the one that was named, else the user's data folder.
pub(super) fn data_dir(named: Option<PathBuf>) -> Result<PathBuf> {
    match named {
        Some(dir) => Ok(dir),
        None => ProjectDirs::from("", "", "exo-node")
            .map(|dirs| dirs.data_dir().to_owned())
            .context("this user has no home folder\nhint: name a folder with --data or EXO_DATA"),
    }
}

/// What the machine is called, without a domain.
pub(super) fn name() -> String {
    let host = System::host_name().unwrap_or_default();
    match host.split('.').next() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "node".to_owned(),
    }
}

/// Bytes to offer where nobody says how many; what a container may use is all there is to it.
pub(super) fn memory_bytes() -> Result<u64> {
    let memory = MemoryRefreshKind::nothing().with_ram();
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory))
        .map_err(|error| anyhow::anyhow!("{error}\nhint: --memory 8GiB says what to offer"))?;
    let total = match system.cgroup_limits() {
        Some(limits) => limits.total_memory.min(system.total_memory()),
        None => system.total_memory(),
    };
    match (total as f64 * OFFERED) as u64 {
        0 => anyhow::bail!(
            "the system does not say how much memory it has\nhint: --memory 8GiB says what to offer"
        ),
        bytes => Ok(bytes),
    }
}

/// What there is room for on the disk that `dir` is on, or will be, if the system says.
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    let there = dir.ancestors().find_map(|dir| dir.canonicalize().ok())?;
    let disks = Disks::new_with_refreshed_list().ok()?;
    let holding = (&disks).into_iter().filter(|disk| there.starts_with(disk.mount_point()));
    let nearest = holding.max_by_key(|disk| disk.mount_point().as_os_str().len())?;
    Some(nearest.available_space())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_memory() {
        assert!(!name().is_empty() && !name().contains('.'));
        assert!(memory_bytes().unwrap() > 64 << 20);
    }

    #[test]
    fn a_named_folder_wins() {
        assert_eq!(data_dir(Some("/x".into())).unwrap(), PathBuf::from("/x"));
    }
}
