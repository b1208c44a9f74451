//! How is cargo asked about, and made to build, the main workspace?

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    layout::Layout,
    shell::{failure, output, shown},
};

/// Cargo itself, started in the repository's root.
pub(crate) fn cargo(layout: &Layout) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(layout.root());
    // What `cargo run` tells xtask about xtask is not true of what xtask starts.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The triple that rustc builds for by default.
pub(crate) fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let version = output(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Where cargo keeps the sources of the dependency `name`, as Cargo.lock pins it; fetches them if
/// they are not there yet.
pub(crate) fn package_dir(layout: &Layout, name: &str) -> Result<PathBuf> {
    let mut metadata = cargo(layout);
    // Not --locked: whoever has just added a dependency may set up, too; the checks are strict.
    metadata.args(["metadata", "--format-version=1", "--filter-platform"]);
    let json = output(metadata.arg(host_triple()?)).map_err(|error| {
        failure(
            format!("cargo could not resolve the workspace: {error:#}"),
            "cargo's own words are above",
        )
    })?;
    let json: Value = serde_json::from_str(&json).context("cargo metadata's answer")?;
    let packages = json["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.with_context(|| format!("Cargo.lock has no {name}"))?;
    Ok(Path::new(manifest).parent().context("a manifest lies in a folder")?.to_owned())
}

/// Runs a building `command` of cargo and returns the executable of the binary or example `name`,
/// if it was among what was built.
pub(crate) fn build_for_binary(command: &mut Command, name: &str) -> Result<Option<PathBuf>> {
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command
        .stdout(Stdio::piped())
        .output()
        .with_context(|| format!("`{}` could not be started", shown(command)))?;
    anyhow::ensure!(output.status.success(), "`{}` ended with {}", shown(command), output.status);
    Ok(executable(&String::from_utf8_lossy(&output.stdout), name))
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found = messages.filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["target"]["name"] == name
            && (message["target"]["kind"][0] == "bin" || message["target"]["kind"][0] == "example")
            && message["profile"]["test"] == false
    });
    found.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_told_from_its_unit_tests() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"exo_engine"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"exo-node"},"profile":{"test":true},"executable":"/t/debug/deps/exo_node-1"}
not json at all
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"exo-node"},"profile":{"test":false},"executable":"/t/debug/exo-node"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "exo-node"), Some("/t/debug/exo-node".into()));
        assert_eq!(executable(messages, "tbbench"), None);
    }

    #[test]
    fn the_host_has_a_triple() {
        let triple = host_triple().expect("rustc is there");
        assert!(triple.contains(std::env::consts::ARCH), "{triple}");
    }
}
