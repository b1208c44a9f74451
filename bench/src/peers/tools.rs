//! What the peers need on this machine: what is there, and `--setup`, which brings it.
//!
//! Debian's packages are installed by apt-get. MLX's Python, a C program over libzmq and the gRPC
//! program are made in a folder of their own.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

const PACKAGES: &[&str] = &[
    "ucx-utils",
    "libfabric-bin",
    "iperf3",
    "iputils-ping",
    "sockperf",
    "qperf",
    "strace",
    "libzmq3-dev",
    "python3-venv",
    "gcc",
    "libc6-dev",
];
/// The release whose figures the limits were set by.
const MLX: &str = "mlx[cpu]==0.32.4";
const ZEROMQ_C: &str = include_str!("../../c/zeromq_side.c");

/// The folder of what is not a package.
#[derive(Clone, Debug)]
pub(super) struct Tools(PathBuf);

impl Tools {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// A Python that has MLX.
    pub(super) fn python(&self) -> PathBuf {
        self.0.join("venv/bin/python")
    }

    pub(super) fn zeromq(&self) -> PathBuf {
        self.0.join("zeromq_side")
    }

    pub(super) fn grpc(&self) -> PathBuf {
        self.0.join("bin/tbbench-grpc")
    }

    /// Brings everything. What cannot be had is named, and the rest goes on.
    pub(super) fn set_up(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.0).with_context(|| self.0.display().to_string())?;
        for (what, done) in [
            ("Debian's packages", debian()),
            ("MLX", self.mlx()),
            ("ZeroMQ", self.compile_zeromq()),
            ("gRPC", self.build_grpc()),
        ] {
            match done {
                Ok(()) => eprintln!("{what}: ready"),
                Err(error) => eprintln!("{what}: missing: {error:#}"),
            }
        }
        Ok(())
    }

    fn mlx(&self) -> anyhow::Result<()> {
        let venv = self.0.join("venv");
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(self.python()).args(["-m", "pip", "install", "--quiet", MLX]))
    }

    fn compile_zeromq(&self) -> anyhow::Result<()> {
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-x", "c", "-", "-o"]).arg(self.zeromq()).args(["-x", "none", "-lzmq"]);
        let mut child = cc.stdin(Stdio::piped()).spawn().context("cc does not run")?;
        child.stdin.take().context("no pipe")?.write_all(ZEROMQ_C.as_bytes())?;
        ensure!(child.wait()?.success(), "cc failed");
        Ok(())
    }

    fn build_grpc(&self) -> anyhow::Result<()> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("grpc");
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "--locked", "--quiet", "--path"]).arg(package);
        run(cargo.arg("--root").arg(&self.0))
    }
}

fn debian() -> anyhow::Result<()> {
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(PACKAGES))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let what = format!("{command:?}").replace('"', "");
    // Its words belong to the one who waits, not into the report.
    let status =
        command.stdout(Stdio::null()).status().with_context(|| format!("{what} does not run"))?;
    ensure!(status.success(), "{what}: {status}");
    Ok(())
}

/// Why a program of the system cannot be used, if it is not there.
pub(super) fn missing(program: &str, package: &str) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = env::split_paths(&path).any(|folder| folder.join(program).is_file());
    (!there).then(|| {
        format!("{program} is not installed; hint: tbbench peers --setup, or the package {package}")
    })
}

/// Why one of our own tools cannot be used, if it was not made.
pub(super) fn missing_file(file: &Path) -> Option<String> {
    (!file.is_file())
        .then(|| format!("{} is not there; hint: tbbench peers --setup", file.display()))
}
