//! How does NetworkManager, with which `tbnet setup` is tested, come here?
//!
//! Debian's packages, unpacked into a folder and installed nowhere; the tests run it in a network
//! namespace. systemd-networkd, the other keeper of configurations, is on every Debian already.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use crate::{
    apt::Apt,
    layout::{Layout, make_dir, remove, write},
    lock::Lock,
    progress::{say, step},
    shell::{run_quietly, succeeds},
};

/// What it needs that a machine without it does not have either.
const PACKAGES: [&str; 3] = ["network-manager", "libnm0", "libndp0"];

/// The folder that has it; `None` if this machine has no apt or cannot fetch it. The tests then say
/// so.
pub(crate) fn ensure(layout: &Layout) -> Result<Option<PathBuf>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let _lock = Lock::take(&layout.exo().join("network-manager.lock"), "NetworkManager")?;
    let root = layout.exo().join("network-manager");
    let stamp = root.join("ready");
    if stamp.exists() {
        return Ok(Some(root));
    }
    if !["apt-get", "dpkg-deb"].iter().all(|p| succeeds(Command::new(p).arg("--version"))) {
        say("no apt on this machine: tests with a real NetworkManager are left out");
        return Ok(None);
    }
    let fetched =
        step("fetching NetworkManager (4 MB, installed nowhere)", || fetch(layout, &root));
    match fetched.and_then(|()| write(&stamp, "")) {
        Ok(()) => Ok(Some(root)),
        Err(error) => {
            say(&format!("tests with a real NetworkManager are left out: {error:#}"));
            Ok(None)
        }
    }
}

fn fetch(layout: &Layout, root: &Path) -> Result<()> {
    remove(root)?;
    make_dir(root)?;
    let apt = Apt::new(layout.exo().join("apt"))?;
    run_quietly(apt.command("apt-get").args(["-qq", "update"]))?;
    run_quietly(apt.command("apt-get").args(["-qq", "download"]).args(PACKAGES))?;
    for package in apt.packages()? {
        run_quietly(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
    }
    remove(&apt.dir)?;
    let libraries = ["x86_64", "aarch64"]
        .map(|machine| root.join(format!("usr/lib/{machine}-linux-gnu")).display().to_string());
    let program = root.join("usr/sbin/NetworkManager");
    let mut version = Command::new(&program);
    version.arg("--version").env("LD_LIBRARY_PATH", libraries.join(":"));
    ensure!(succeeds(&mut version), "{} does not start here", program.display());
    Ok(())
}
