//! What does a link for macOS need that a Linux machine lacks?
//!
//! The list of what macOS' own libraries export, and a compiler for the C code of dependencies.
//! Both are in Zig, which PyPI has, pinned by hash: unpacked into a cache folder and installed
//! nowhere. The linker is LLVM's, which rustup brings. Nothing that Apple licenses is here or made.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    layout::{remove, replace_dir, write},
    lock::Lock,
    mac::Target,
    mac_toolchain::{cache_dir, executable},
    pip,
    progress::step,
    shell::{failure, output},
};

const REQUIREMENTS: &str = include_str!("../assets/mac/requirements.txt");
const CC: &str = include_str!("../assets/mac/cc.sh");
const AR: &str = include_str!("../assets/mac/ar.sh");

/// The oldest macOS that Rust's standard library supports on Apple silicon.
const MACOS: &str = "11.0";

/// Rust's libc crate links libiconv; std uses nothing of it.
const LIBICONV: &str = "--- !tapi-tbd\ntbd-version: 4\ntargets: [ x86_64-macos, arm64-macos ]\n\
                        install-name: '/usr/lib/libiconv.2.dylib'\nexports:\n\
                        \x20 - targets: [ x86_64-macos, arm64-macos ]\n\
                        \x20   symbols: [ _iconv, _iconv_open, _iconv_close ]\n...\n";

/// What stands in for Apple's SDK.
pub(crate) struct Sdk {
    dir: PathBuf,
}

impl Sdk {
    pub(crate) fn ensure() -> Result<Self> {
        let dir = cache_dir()?.join("exo-mac-sdk");
        let _lock = Lock::take(&dir.with_extension("lock"), "what macOS is linked with")?;
        let stamp = [REQUIREMENTS, CC, AR, LIBICONV, MACOS].concat();
        if fs::read_to_string(dir.join("stamp")).is_ok_and(|found| found == stamp) {
            return Ok(Self { dir });
        }
        let new = Self { dir: dir.with_extension("new") };
        remove(&new.dir)?;
        step("fetching what macOS exports, and a C compiler for it (94 MB)", || new.fetch())?;
        write(&new.dir.join("stamp"), stamp)?;
        replace_dir(&new.dir, &dir)?;
        Ok(Self { dir })
    }

    fn fetch(&self) -> Result<()> {
        let (requirements, site) = (self.dir.join("requirements.txt"), self.dir.join("site"));
        write(&requirements, REQUIREMENTS)?;
        pip::unpack(&requirements, &site)?;
        let list = site.join("ziglang/lib/libc/darwin/libSystem.tbd");
        let list = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        let lib = self.root().join("usr/lib");
        // All of these are libSystem under older names.
        for name in ["libSystem", "libc", "libm"] {
            write(&lib.join(format!("{name}.tbd")), &list)?;
        }
        write(&lib.join("libiconv.tbd"), LIBICONV)?;
        for target in Target::ALL {
            let triple = format!("{}-macos.{MACOS}", target.arch());
            executable(&self.cc(target), &CC.replace("@TARGET@", &triple))?;
        }
        executable(&self.ar(), AR)
    }

    /// Where the libraries of the system are.
    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn cc(&self, target: Target) -> PathBuf {
        self.dir.join(format!("cc-{}", target.arch()))
    }

    fn ar(&self) -> PathBuf {
        self.dir.join("ar")
    }

    /// Has `build` link for `targets`.
    pub(crate) fn link(&self, build: &mut Command, targets: &[Target]) -> Result<()> {
        let linker = linker()?;
        build.env("SDKROOT", self.root());
        for &target in targets {
            let variable = target.triple().replace('-', "_");
            build.env(format!("CC_{variable}"), self.cc(target));
            build.env(format!("AR_{variable}"), self.ar());
            let variable = format!("CARGO_TARGET_{}", variable.to_uppercase());
            build.env(format!("{variable}_LINKER"), &linker);
            build.env(format!("{variable}_RUSTFLAGS"), "-Clinker-flavor=ld64.lld");
        }
        Ok(())
    }
}

/// LLVM's linker, which comes with the Rust compiler of rustup.
fn linker() -> Result<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
    let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]))?;
    let targets = Path::new(sysroot.trim()).join("lib/rustlib");
    let entries = fs::read_dir(&targets).with_context(|| targets.display().to_string())?;
    let mut linkers = entries.flatten().map(|entry| entry.path().join("bin/rust-lld"));
    linkers.find(|linker| linker.is_file()).ok_or_else(|| {
        failure(
            format!("no rust-lld below {}", targets.display()),
            "install Rust with rustup, which brings it",
        )
    })
}
