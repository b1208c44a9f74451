//! How is the macOS code checked on a Linux machine?
//!
//! By a compiler that knows macOS (`mac_toolchain`). Nothing is linked, so neither Apple's SDK nor
//! a C compiler for macOS is needed: `assets/mac/no-compiler.sh` answers the build scripts that ask
//! for one. mlx-sys's own build script would start cmake; what [`crate::mlx_linux`] made stands in
//! for it here too, since mlx-c's headers are the same on both systems.

use std::{env, path::PathBuf};

use anyhow::Result;

use crate::{
    layout::{Layout, make_dir, write},
    mac_toolchain::Toolchain,
    mlx_linux,
    progress::{say, step},
    shell::{failure, run},
};

/// The Macs that rustc can build for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// Macs with Apple silicon.
    #[value(name = "aarch64-apple-darwin")]
    AppleSilicon,
    /// Macs with an Intel processor.
    #[value(name = "x86_64-apple-darwin")]
    Intel,
}

impl Target {
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::AppleSilicon => "aarch64-apple-darwin",
            Self::Intel => "x86_64-apple-darwin",
        }
    }
}

/// Checks and lints the whole workspace for `target`.
pub(crate) fn check(layout: &Layout, target: Target) -> Result<()> {
    if cfg!(target_os = "macos") {
        say("this is a Mac: `cargo clippy` checks the macOS code already");
        return Ok(());
    }
    mlx_linux::ensure(layout)?;
    let toolchain = Toolchain::ensure(target)?;
    let what = format!("check and clippy for {}", target.triple());
    step(&what, || clippy(layout, &toolchain, target))
}

/// Clippy over all of the workspace. It runs the whole of `cargo check` (clippy is the compiler
/// with more lints), so checking first would only do the same work twice.
fn clippy(layout: &Layout, toolchain: &Toolchain, target: Target) -> Result<()> {
    let triple = target.triple();
    let target_dir = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target_dir = target_dir.unwrap_or_else(|| layout.root().join("target")).join("mac");
    let (config, no_sdk) = (target_dir.join("mlx.toml"), target_dir.join("no-sdk"));
    write(&config, mlx_config(layout, triple))?;
    make_dir(&no_sdk)?;

    let mut clippy = toolchain.clippy();
    clippy.current_dir(layout.root()).env("CARGO_TARGET_DIR", &target_dir);
    for tool in ["CC", "CXX", "AR"] {
        let variable = format!("{tool}_{}", triple.replace('-', "_"));
        clippy.env(variable, toolchain.no_compiler());
    }
    clippy.env("SDKROOT", no_sdk); // without it build scripts ask Xcode for one
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--target", triple]);
    clippy.arg("--config").arg(&config).args(["--", "-D", "warnings"]);
    run(&mut clippy).map_err(|error| {
        failure(
            format!("the workspace does not pass for {triple}: {error:#}"),
            format!("once mended, try `cargo xtask mac-check --target {triple}` again"),
        )
    })
}

/// What stands in for the build script of mlx-sys.
fn mlx_config(layout: &Layout, triple: &str) -> String {
    let mlx = layout.mlx();
    let mlx = mlx.display();
    format!(
        "[target.{triple}.mlx]\nrustc-link-lib = [\"dylib=mlxc\"]\n\
         rustc-env = {{ OUT_DIR = \"{mlx}\" }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::Scratch;
    use crate::shell::run_quietly;
    use std::{fs, process::Command};

    #[test]
    fn the_override_is_for_the_mac_alone() {
        let layout = Layout::find().expect("a layout");
        let config = mlx_config(&layout, "aarch64-apple-darwin");
        assert!(config.starts_with("[target.aarch64-apple-darwin.mlx]\n"), "{config}");
        assert!(config.contains("/.mlx\""), "{config}");
    }

    #[test]
    fn the_compiler_that_is_none_makes_what_it_is_asked_for() {
        let scratch = Scratch::new("no-compiler");
        let run = |arguments: &[&str]| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/mac/no-compiler.sh");
            let mut command = Command::new("sh");
            command.current_dir(&scratch.0).arg(script).args(arguments);
            run_quietly(&mut command).expect("it succeeds");
        };
        run(&["-O2", "-c", "a.c", "-o", "a.o"]);
        run(&["cq", "quick.a", "a.o"]);
        run(&["crs", "lib.a", "a.o"]);
        run(&["s", "lib.a"]);
        run(&["-E", "-"]);
        for made in ["a.o", "quick.a", "lib.a"] {
            assert_eq!(fs::read(scratch.0.join(made)).expect("made"), b"", "{made}");
        }
    }
}
