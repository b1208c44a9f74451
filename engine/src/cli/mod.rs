//! The commands of `exo-node`, one file each.
//!
//! | file | question |
//! |---|---|
//! | `args` | what was typed? |
//! | `host` | what does this machine say where nothing was typed? |
//! | `local` | a node and its API in this process |
//! | `client` | the API of a node, asked over HTTP |
//! | `pull` | a model that is not on this machine |
//! | `report` | what does a person see: tables, errors with their hints |
//! | `serve`, `run`, `status`, `plan`, `models`, `completions` | the commands |

mod args;
mod client;
mod completions;
mod host;
mod local;
mod models;
mod plan;
mod pull;
mod report;
mod run;
mod serve;
mod status;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use self::args::{Cli, Command};

/// Parses the command line and does what it says. 0: done; 1: it failed; 2: not understood.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    log(&cli.command);
    let done = match cli.command {
        Command::Serve(args) => serve::serve(*args),
        Command::Run(args) => run::run(*args),
        Command::Status(args) => status::status(&args),
        Command::Plan(args) => plan::plan(*args),
        Command::Models(command) => models::models(command),
        Command::Completions(args) => completions::completions(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if report::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", report::failure(&error));
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error; `RUST_LOG` chooses them. A chat is not to be interrupted by them.
fn log(command: &Command) {
    let default = if matches!(command, Command::Serve(_)) { "info" } else { "error" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .init();
}
