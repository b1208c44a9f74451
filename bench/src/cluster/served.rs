//! What every `exo-node` under measurement needs: the program, quiet around it, and that it is ready.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

const LOOK: Duration = Duration::from_millis(100);

/// The `exo-node` program: the one that was named, or the one beside this program.
pub(crate) fn program(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("exo-node"));
    let node = named.map(Path::to_owned).or_else(beside).context("where is exo-node?")?;
    ensure!(
        node.is_file(),
        "{}: no such program; hint: cargo build --release -p exo-engine, or --exo-node FILE",
        node.display()
    );
    Ok(std::path::absolute(node)?)
}

/// Keeps away what of this machine's settings would be measured too.
pub(crate) fn quiet(command: &mut Command, data: &Path) {
    command.env("OPENBLAS_NUM_THREADS", "1").env("EXO_DATA", data).env("NO_COLOR", "1");
    command.env_remove("EXO_CLUSTER_KEY_FILE").env_remove("EXO_API_KEY");
}

/// Waits until what the node says of its cluster is that it is ready. `must_live` is asked between
/// two looks.
pub(crate) fn wait_ready(
    patience: Duration,
    cluster: impl Fn() -> anyhow::Result<Value>,
    mut must_live: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let view = cluster().unwrap_or_default();
        if view["state"] == "ready" {
            return Ok(());
        }
        ensure!(view["state"] != "failed", "the model cannot be placed: {}", view["reason"]);
        ensure!(Instant::now() < deadline, "not ready in time: {}", view["reason"]);
        must_live()?;
        thread::sleep(LOOK);
    }
}

/// The name of the model that is served, in what `/v1/models` says.
pub(crate) fn model_name(models: &Value) -> anyhow::Result<String> {
    Ok(models["data"][0]["id"].as_str().context("no model is served")?.to_owned())
}
