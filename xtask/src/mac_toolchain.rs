//! Where does a Rust compiler that knows macOS come from, on a Debian machine?
//!
//! From Debian's `rustc-web` packages (a current compiler, clippy and the sources that belong to
//! them), unpacked into a cache folder and installed nowhere, with the standard library built once
//! from those sources into that compiler's sysroot. rustup stays as it is, and nothing here needs
//! root: apt is given lists and caches of its own.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{
    apt::Apt,
    layout::{make_dir, remove, replace_dir, write},
    lock::Lock,
    mac::Target,
    progress::{say, step},
    shell::{failure, output, run, run_quietly, succeeds},
};

const NO_COMPILER: &str = include_str!("../assets/mac/no-compiler.sh");
const BUILD_WRAPPER: &str = include_str!("../assets/mac/build-wrapper.sh");

/// The packages that belong together, at one version, besides those found through them.
const PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "rust-web-clippy", "libstd-rust-web-dev"];

/// An unpacked compiler whose sysroot also holds macOS.
pub(crate) struct Toolchain {
    dir: PathBuf,
}

impl Toolchain {
    pub(crate) fn ensure(target: Target) -> Result<Self> {
        let dir = cache_dir()?.join("exo-mac-rust");
        let _lock = Lock::take(&dir.with_extension("lock"), "the macOS compiler")?;
        let toolchain = Self { dir };
        if !toolchain.dir.join("stamp").exists() {
            let new = Self { dir: toolchain.dir.with_extension("new") };
            remove(&new.dir)?;
            // Debian keeps the newest version alone, so there is none to pin.
            let version =
                step("fetching a compiler from Debian's packages (141 MB)", || new.fetch())?;
            write(&new.dir.join("stamp"), version)?;
            replace_dir(&new.dir, &toolchain.dir)?;
        }
        executable(&toolchain.no_compiler(), NO_COMPILER)?;
        if !toolchain.std_dir(target).exists() {
            step(&format!("building Rust's standard library for {}", target.triple()), || {
                toolchain.build_std(target)
            })?;
        }
        let version = output(Command::new(toolchain.bin("rustc")).arg("-V"))?;
        say(&format!(
            "{} for {} is ready in {}",
            version.trim(),
            target.triple(),
            toolchain.dir.display()
        ));
        Ok(toolchain)
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// Takes the place of a C compiler and archiver for macOS.
    pub(crate) fn no_compiler(&self) -> PathBuf {
        self.bin("no-compiler")
    }

    /// `cargo-clippy` of this compiler.
    pub(crate) fn clippy(&self) -> Command {
        self.with_compiler(Command::new(self.bin("cargo-clippy")))
    }

    /// `cargo` with this compiler.
    pub(crate) fn cargo(&self) -> Command {
        self.with_compiler(Command::new(env::var_os("CARGO").unwrap_or("cargo".into())))
    }

    fn std_dir(&self, target: Target) -> PathBuf {
        self.dir.join("root/usr/lib/rustlib").join(target.triple()).join("lib")
    }

    /// Unpacks the newest packages, the only ones that Debian keeps, and returns their version.
    fn fetch(&self) -> Result<String> {
        for program in ["apt-get", "apt-cache", "dpkg-deb", "tar"] {
            if !succeeds(Command::new(program).arg("--version")) {
                return Err(failure(
                    format!("checking for macOS needs Debian's {program}, which is not here"),
                    "run it on Debian 12 or later (a container will do); \
                     `cargo xtask ci --no-mac` leaves it out",
                ));
            }
        }
        let apt = Apt::new(self.dir.join("apt"))?;
        run_quietly(apt.command("apt-get").args(["-qq", "update"]))?;
        let policy = output(apt.command("apt-cache").args(["policy", "rustc-web"]))?;
        let version = candidate(&policy).ok_or_else(|| {
            failure(
                "this system's package index has no rustc-web",
                "it is in Debian 12's and later lists; `cargo xtask ci --no-mac` leaves the \
                 macOS check out",
            )
        })?;
        let dependency = |package: &str, prefix: &str| -> Result<String> {
            let package = format!("{package}={version}");
            let record = output(apt.command("apt-cache").args(["show", &package]))?;
            dependency(&record, prefix)
                .with_context(|| format!("{package} depends on no {prefix}…"))
        };
        let std = dependency("libstd-rust-web-dev", "libstd-rust-web-")?;
        let llvm = dependency(&std, "libllvm")?;
        let mut download = apt.command("apt-get");
        download.args(["-qq", "download"]);
        download.args(PACKAGES.iter().map(|name| format!("{name}={version}")));
        run_quietly(download.arg(format!("{std}={version}")).arg(llvm))?;
        for package in apt.packages()? {
            self.unpack(&package)?;
        }
        self.write_launchers()?;
        remove(&apt.dir)?;
        Ok(version)
    }

    fn unpack(&self, package: &Path) -> Result<()> {
        let root = self.dir.join("root");
        make_dir(&root)?;
        let mut deb = Command::new("dpkg-deb");
        let mut deb = deb
            .arg("--fsys-tarfile")
            .arg(package)
            .stdout(Stdio::piped())
            .spawn()
            .context("dpkg-deb could not be started")?;
        let mut tar = Command::new("tar");
        tar.arg("-x")
            .arg("-C")
            .arg(&root)
            .stdin(deb.stdout.take().context("a pipe from dpkg-deb")?);
        if package
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("rust-web-src"))
        {
            // Of all the sources, the standard library's.
            tar.args(["--wildcards", "./usr/lib/rustlib/src*", "./usr/src/rustc-*/library*"]);
        } else {
            tar.arg("--exclude=./usr/share*");
        }
        let unpacked = run(&mut tar);
        let status = deb.wait().context("dpkg-deb")?;
        anyhow::ensure!(status.success(), "dpkg-deb on {} ended with {status}", package.display());
        unpacked
    }

    /// Starters that find the libraries beside them, wherever the folder was moved to.
    fn write_launchers(&self) -> Result<()> {
        let root = self.dir.join("root");
        let lib = root.join("usr/lib");
        let entries = fs::read_dir(&lib).with_context(|| lib.display().to_string())?;
        let holds_driver = |dir: &PathBuf| {
            fs::read_dir(dir).is_ok_and(|mut files| {
                files.any(|file| {
                    let name = file.map(|file| file.file_name()).unwrap_or_default();
                    name.to_string_lossy().starts_with("librustc_driver-")
                })
            })
        };
        let libraries = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(holds_driver)
            .context("the packages hold no librustc_driver")?;
        let libraries = libraries.strip_prefix(&self.dir)?.display().to_string();
        for name in ["rustc", "rustdoc", "clippy-driver", "cargo-clippy"] {
            let text = format!(
                "#!/bin/sh\n\
                 here=${{0%/*}}/..\n\
                 export LD_LIBRARY_PATH=\"$here/{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n\
                 exec \"$here/root/usr/bin/{name}\" \"$@\"\n"
            );
            executable(&self.bin(name), &text)?;
        }
        Ok(())
    }

    /// Builds std for `target` into the sysroot, so that later builds need no unstable option.
    fn build_std(&self, target: Target) -> Result<()> {
        let work = self.dir.join("work");
        remove(&work)?;
        write(&work.join("src/lib.rs"), "")?;
        let manifest = "[package]\nname = \"nothing\"\nedition = \"2024\"\n\
                        [workspace]\n[profile.release]\ndebug = false\n";
        write(&work.join("Cargo.toml"), manifest)?;
        executable(&work.join("wrapper"), BUILD_WRAPPER)?;
        let mut build = self.cargo();
        build.current_dir(&work).env("RUSTC_WRAPPER", work.join("wrapper"));
        build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Cembed-bitcode=yes");
        build.env("CARGO_TARGET_DIR", work.join("target"));
        build.args(["build", "--release", "--target", target.triple()]);
        run(build.args(["-Z", "build-std=std,panic_abort,panic_unwind,proc_macro,test"]))?;

        let built = work.join("target").join(target.triple()).join("release/deps");
        let finished = work.join("lib"); // moved whole, so that an interrupted run is done again
        make_dir(&finished)?;
        for entry in fs::read_dir(&built).with_context(|| built.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(".rlib") && !name.starts_with("libnothing-") {
                let to = finished.join(&name);
                fs::copy(&path, &to).with_context(|| to.display().to_string())?;
            }
        }
        let std_dir = self.std_dir(target);
        make_dir(std_dir.parent().context("a folder above")?)?;
        fs::rename(&finished, &std_dir).with_context(|| std_dir.display().to_string())?;
        remove(&work)
    }

    /// `command` with this compiler, and without what would bring another one back.
    fn with_compiler(&self, mut command: Command) -> Command {
        command.env("RUSTC", self.bin("rustc")).env("RUSTDOC", self.bin("rustdoc"));
        for name in [
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
        ] {
            command.env_remove(name);
        }
        command
    }
}

/// The version that `apt-cache policy` would install.
fn candidate(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// The package starting with `prefix` and a digit, among those that `apt-cache show`'s record
/// depends on.
fn dependency(record: &str, prefix: &str) -> Option<String> {
    let depends = record.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    let names = names.map(|name| name.split(':').next().unwrap_or(name));
    let mut numbered = names.filter(|name| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    numbered.next().map(str::to_owned)
}

/// Where programs keep what they can make again.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let set = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    set.or_else(home).context("neither HOME nor XDG_CACHE_HOME is set")
}

/// Writes the script `text`, unless it is there already, so that others may be running it.
pub(crate) fn executable(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_read_from_apt() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u1\n";
        assert_eq!(candidate(policy).as_deref(), Some("1.96.0+dfsg1-1~deb12u1"));
        assert_eq!(candidate("rustc-web:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
    }

    #[test]
    fn the_packages_that_belong_to_it_are_found() {
        let record = "Package: libstd-rust-web-1.96\nDepends: libc6 (>= 2.34), \
                      libllvm-doc, libllvm21 (>= 1:21~), libgcc-s1 (>= 4.2)\nSize: 1\n";
        assert_eq!(dependency(record, "libllvm").as_deref(), Some("libllvm21"));
        assert_eq!(dependency(record, "libstd-rust-web-"), None);
        let record = "Depends: libstd-rust-web-1.96 (= 1.96.0+dfsg1-1)\n";
        assert_eq!(dependency(record, "libstd-rust-web-").as_deref(), Some("libstd-rust-web-1.96"));
    }
}
