//! `cargo xtask`: everything that a fresh machine needs, and every check of this project.
//!
//! | file | question |
//! |---|---|
//! | `layout` | where does everything lie? |
//! | `shell`, `progress`, `lock`, `cargo`, `pip` | how are other programs run and watched? |
//! | `prerequisites` | what must be there already? |
//! | `mlx_linux` | how does `mlx-rs` come to MLX on Linux? |

mod cargo;
mod layout;
mod lock;
mod mlx_linux;
mod pip;
mod prerequisites;
mod progress;
mod shell;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{layout::Layout, shell::Failure};

/// Sets exo-node up, shows it and checks it.
///
/// What it makes lies in `.mlx`, `.exo` and `target`, which git ignores. A second call only does
/// what is still to be done.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Prepare this machine to build the workspace.
    Setup,

    /// (internal) Write the Rust bindings of mlx-c; `setup` starts it.
    #[command(hide = true)]
    Bindgen { mlx_c: PathBuf, compat: PathBuf, out: PathBuf },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(failure) = error.chain().find_map(|e| e.downcast_ref::<Failure>()) {
                eprintln!("hint: {}", failure.hint);
            }
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => mlx_linux::ensure(&Layout::find()?),
        Task::Bindgen { mlx_c, compat, out } => mlx_linux::write_bindings(&mlx_c, &compat, &out),
    }
}
