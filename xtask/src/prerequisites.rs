//! What must be on the machine already, and which command brings what is missing?
//!
//! Linux: a C++20 compiler, Python 3.8 or newer with pip, glibc 2.35 or newer (Apple's MLX wheel
//! asks for it), x86_64 or aarch64. macOS: cmake, git and Xcode's Metal compiler, because there the
//! mlx-sys crate builds MLX itself. All that is missing is reported at once.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::Result;

use crate::{
    pip,
    progress::say,
    shell::{failure, succeeds},
};

/// Something that is not there, and the command that brings it.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    what: String,
    remedy: String,
}

/// Checks what setting up MLX on this system takes.
pub(crate) fn check() -> Result<()> {
    let missing = if cfg!(target_os = "macos") {
        missing_on_macos()
    } else if cfg!(target_os = "linux") {
        missing_on_linux(PackageManager::find())
    } else {
        return Err(failure(
            "exo-node runs on macOS and Linux only",
            "on Windows, use a Linux distribution under WSL 2",
        ));
    };
    if missing.is_empty() {
        say("prerequisites: all there");
        return Ok(());
    }
    for Missing { what, remedy } in &missing {
        eprintln!("  missing: {what}\n     get it: {remedy}");
    }
    let names: Vec<_> = missing.iter().map(|m| m.what.as_str()).collect();
    Err(failure(
        format!("this machine lacks {}", names.join("; ")),
        "run the commands above, then this one again",
    ))
}

/// Checks for Python 3 with pip alone, which the model and the API test need on every system.
pub(crate) fn check_python() -> Result<()> {
    let missing = missing_python(PackageManager::find());
    missing.map_or(Ok(()), |m| Err(failure(format!("this machine lacks {}", m.what), m.remedy)))
}

fn missing_on_macos() -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut need = |there: bool, what: &str, remedy: &str| {
        if !there {
            missing.push(Missing { what: what.into(), remedy: remedy.into() });
        }
    };
    let answers = |program: &str| succeeds(Command::new(program).arg("--version"));
    need(answers("git"), "git", "xcode-select --install");
    need(answers("cmake"), "cmake, which builds MLX", "brew install cmake");
    need(
        succeeds(Command::new("xcrun").args(["-sdk", "macosx", "metal", "--version"])),
        "Xcode's Metal compiler",
        "install Xcode from the App Store, then: sudo xcode-select -s \
         /Applications/Xcode.app/Contents/Developer && xcodebuild -downloadComponent MetalToolchain",
    );
    missing.extend(missing_python(PackageManager::Brew));
    missing
}

fn missing_on_linux(manager: PackageManager) -> Vec<Missing> {
    let mut missing = Vec::new();
    let arch = std::env::consts::ARCH;
    if !matches!(arch, "x86_64" | "aarch64") {
        missing.push(Missing {
            what: format!("a processor that Apple's MLX is built for (this is {arch})"),
            remedy: "use an x86_64 or aarch64 machine".into(),
        });
    }
    missing.extend(missing_glibc());
    if !compiles_cpp20() {
        missing.push(Missing {
            what: "a C++20 compiler (GCC 10 or newer, or Clang 14)".into(),
            remedy: manager.install(Part::Compiler),
        });
    }
    missing.extend(missing_python(manager));
    missing
}

fn missing_python(manager: PackageManager) -> Option<Missing> {
    let can = |code: &str| succeeds(pip::python().args(["-c", code]));
    if !can("import sys; sys.exit(sys.version_info < (3, 8))") {
        let what = "Python 3.8 or newer (python3)".into();
        return Some(Missing { what, remedy: manager.install(Part::Python) });
    }
    if !can("import pip") {
        let what = "pip for python3".into();
        return Some(Missing { what, remedy: manager.install(Part::Pip) });
    }
    None
}

fn compiles_cpp20() -> bool {
    let compiler = std::env::var_os("CXX").unwrap_or("c++".into());
    let mut command = Command::new(compiler);
    command.args(["-std=c++20", "-fsyntax-only", "-x", "c++", "-"]).stdin(Stdio::piped());
    let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let program = b"#include <concepts>\n#include <span>\nstd::span<int> s;\n";
    let written = child.stdin.take().is_some_and(|mut stdin| stdin.write_all(program).is_ok());
    child.wait().is_ok_and(|status| written && status.success())
}

fn missing_glibc() -> Option<Missing> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let version = text.as_deref().and_then(glibc_version);
    if version.is_some_and(|version| version >= (2, 35)) {
        return None;
    }
    let found = text.filter(|t| !t.is_empty()).unwrap_or("no glibc".into());
    Some(Missing {
        what: format!("glibc 2.35 or newer, which Apple's MLX asks for (this system has {found})"),
        remedy: "use a newer system: Debian 12, Ubuntu 22.04, Fedora 36 or later".into(),
    })
}

/// `glibc 2.36` → `(2, 36)`.
fn glibc_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("glibc ")?.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What a package manager may be asked for.
#[derive(Debug, Clone, Copy)]
enum Part {
    Compiler,
    Python,
    Pip,
}

/// The package manager of this system, to name commands that work here.
#[derive(Debug, Clone, Copy)]
enum PackageManager {
    Apt,
    Dnf,
    Zypper,
    Pacman,
    Brew,
    Unknown,
}

impl PackageManager {
    fn find() -> Self {
        let there = |name: &str| succeeds(Command::new(name).arg("--version"));
        match () {
            () if there("apt-get") => Self::Apt,
            () if there("dnf") => Self::Dnf,
            () if there("zypper") => Self::Zypper,
            () if there("pacman") => Self::Pacman,
            () if there("brew") => Self::Brew,
            () => Self::Unknown,
        }
    }

    fn install(self, part: Part) -> String {
        let (install, [compiler, python, pip]) = match self {
            Self::Apt => ("sudo apt-get install", ["g++", "python3 python3-pip", "python3-pip"]),
            Self::Dnf => ("sudo dnf install", ["gcc-c++", "python3 python3-pip", "python3-pip"]),
            Self::Zypper => {
                ("sudo zypper install", ["gcc-c++", "python3 python3-pip", "python3-pip"])
            }
            Self::Pacman => ("sudo pacman -S", ["gcc", "python python-pip", "python-pip"]),
            Self::Brew => ("brew install", ["llvm", "python", "python"]),
            Self::Unknown => {
                return match part {
                    Part::Compiler => "install GCC (g++) with your package manager".into(),
                    Part::Python => "install Python 3 and pip with your package manager".into(),
                    Part::Pip => "python3 -m ensurepip --user".into(),
                };
            }
        };
        let package = match part {
            Part::Compiler => compiler,
            Part::Python => python,
            Part::Pip => pip,
        };
        format!("{install} {package}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_versions_are_compared_as_numbers() {
        assert_eq!(glibc_version("glibc 2.36"), Some((2, 36)));
        assert_eq!(glibc_version("glibc 2.9.1"), Some((2, 9)));
        assert!(glibc_version("glibc 2.9") < Some((2, 35)));
        assert_eq!(glibc_version("musl libc (x86_64)"), None);
    }

    #[test]
    fn the_remedy_fits_the_package_manager() {
        assert_eq!(PackageManager::Apt.install(Part::Compiler), "sudo apt-get install g++");
        assert_eq!(PackageManager::Pacman.install(Part::Pip), "sudo pacman -S python-pip");
        assert!(PackageManager::Unknown.install(Part::Compiler).contains("g++"));
    }
}
