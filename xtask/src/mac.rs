//! How is the macOS code checked on a Linux machine?
//!
//! By a compiler that knows macOS (`mac_toolchain`). Checking and linting link nothing, so neither
//! Apple's SDK nor a C compiler for macOS is needed: `assets/mac/no-compiler.sh` answers the build
//! scripts that ask for one. mlx-sys's own build script would start cmake; what
//! [`crate::mlx_linux`] made stands in for it here too, since mlx-c's headers are the same on both
//! systems. `tbnet`, which needs no MLX, is linked as well, for both kinds of Mac (`mac_sdk`).

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    layout::{Layout, make_dir, write},
    mac_sdk::Sdk,
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
    pub(crate) const ALL: [Self; 2] = [Self::AppleSilicon, Self::Intel];

    /// The processor, as compilers name it.
    pub(crate) fn arch(self) -> &'static str {
        match self {
            Self::AppleSilicon => "aarch64",
            Self::Intel => "x86_64",
        }
    }

    /// The processor, as an executable names it (`CPU_TYPE_ARM64`, `CPU_TYPE_X86_64` of Apple's
    /// `mach/machine.h`).
    fn cpu_type(self) -> u32 {
        match self {
            Self::AppleSilicon => 0x0100_000c,
            Self::Intel => 0x0100_0007,
        }
    }

    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::AppleSilicon => "aarch64-apple-darwin",
            Self::Intel => "x86_64-apple-darwin",
        }
    }
}

/// The packages that need no MLX: they are linted and linked for every Mac.
const LINKED: [&str; 2] = ["exo-netconfig", "tbnet"];

/// Checks and lints the whole workspace for `target`, `tbnet` for the other Macs too, and links `tbnet`
/// for those that are in `linked`.
pub(crate) fn check(layout: &Layout, target: Target, linked: &[Target]) -> Result<()> {
    if cfg!(target_os = "macos") {
        say("this is a Mac: `cargo clippy` checks the macOS code already");
        return Ok(());
    }
    mlx_linux::ensure(layout)?;
    let toolchain = Toolchain::ensure(target)?;
    let what = format!("check and clippy for {}", target.triple());
    step(&what, || clippy(layout, &toolchain, target, &["--workspace"]))?;
    for other in Target::ALL.into_iter().filter(|other| *other != target) {
        let toolchain = Toolchain::ensure(other)?;
        let packages: Vec<&str> = LINKED.iter().flat_map(|package| ["-p", package]).collect();
        let what = format!("check and clippy of tbnet for {}", other.triple());
        step(&what, || clippy(layout, &toolchain, other, &packages))?;
    }
    let sdk = Sdk::ensure()?;
    let macs: Vec<_> = linked.iter().map(|target| target.triple()).collect();
    let what = format!("linking tbnet for {}", macs.join(" and "));
    step(&what, || link(layout, &toolchain, &sdk, linked))
}

fn target_dir(layout: &Layout) -> PathBuf {
    let target_dir = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target_dir.unwrap_or_else(|| layout.root().join("target")).join("mac")
}

/// Clippy over `packages`. It runs the whole of `cargo check` (clippy is the compiler with more
/// lints), so checking first would only do the same work twice.
fn clippy(layout: &Layout, toolchain: &Toolchain, target: Target, packages: &[&str]) -> Result<()> {
    let triple = target.triple();
    let target_dir = target_dir(layout);
    let (config, no_sdk) =
        (target_dir.join(format!("mlx-{}.toml", target.arch())), target_dir.join("no-sdk"));
    write(&config, mlx_config(layout, triple))?;
    make_dir(&no_sdk)?;

    let mut clippy = toolchain.clippy();
    clippy.current_dir(layout.root()).env("CARGO_TARGET_DIR", &target_dir);
    for tool in ["CC", "CXX", "AR"] {
        let variable = format!("{tool}_{}", triple.replace('-', "_"));
        clippy.env(variable, toolchain.no_compiler());
    }
    clippy.env("SDKROOT", no_sdk); // without it build scripts ask Xcode for one
    clippy.arg("clippy").args(packages).args(["--all-targets", "--locked", "--target", triple]);
    clippy.arg("--config").arg(&config).args(["--", "-D", "warnings"]);
    run(&mut clippy).map_err(|error| {
        failure(
            format!("the workspace does not pass for {triple}: {error:#}"),
            format!("once mended, try `cargo xtask mac-check --target {triple}` again"),
        )
    })
}

/// Links `tbnet`, unoptimised: what counts is that nothing is missing.
fn link(layout: &Layout, toolchain: &Toolchain, sdk: &Sdk, targets: &[Target]) -> Result<()> {
    // Not where clippy was: there the C code of dependencies is empty.
    let target_dir = target_dir(layout).join("link");
    let mut build: Command = toolchain.cargo();
    build.current_dir(layout.root()).env("CARGO_TARGET_DIR", &target_dir);
    build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Without debug information cargo has the rest stripped, by a tool that not every toolchain has.
    build.env("CARGO_PROFILE_DEV_STRIP", "none");
    sdk.link(&mut build, targets)?;
    build.args(["build", "-p", "tbnet", "--locked"]);
    build.args(targets.iter().flat_map(|target| ["--target", target.triple()]));
    run(&mut build)?;
    for &target in targets {
        let program = target_dir.join(target.triple()).join("debug/tbnet");
        let bytes = fs::read(&program).with_context(|| program.display().to_string())?;
        ensure!(
            is_program_for(&bytes, target),
            "{} is no program for {}",
            program.display(),
            target.triple()
        );
    }
    Ok(())
}

/// Whether it begins as a Mach-O executable for that processor does (Apple's `mach-o/loader.h`).
fn is_program_for(bytes: &[u8], target: Target) -> bool {
    const MAGIC_64: u32 = 0xfeed_facf;
    const EXECUTE: u32 = 2;
    let word = |index: usize| -> Option<u32> {
        let bytes = bytes.get(4 * index..4 * index + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    (word(0), word(1), word(3)) == (Some(MAGIC_64), Some(target.cpu_type()), Some(EXECUTE))
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
    use std::fs;

    #[test]
    fn the_override_is_for_the_mac_alone() {
        let layout = Layout::find().expect("a layout");
        let config = mlx_config(&layout, "aarch64-apple-darwin");
        assert!(config.starts_with("[target.aarch64-apple-darwin.mlx]\n"), "{config}");
        assert!(config.contains("/.mlx\""), "{config}");
    }

    #[test]
    fn a_program_is_known_by_its_first_words() {
        let words: [u32; 4] = [0xfeed_facf, 0x0100_000c, 0, 2];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert!(is_program_for(&bytes, Target::AppleSilicon));
        assert!(!is_program_for(&bytes, Target::Intel));
        assert!(!is_program_for(&bytes[..15], Target::AppleSilicon));
        assert!(!is_program_for(b"\x7fELF", Target::AppleSilicon));
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
