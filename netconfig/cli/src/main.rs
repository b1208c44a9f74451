//! `tbnet`: what is between the machines, and is it right?
//!
//! `args` is what was typed; `commands` holds one file per command, which turns arguments into an
//! exit code; `output` is how it looks. Exit codes: 0 good, 1 problems, 2 could not check.

mod args;
mod commands;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Args, Command},
    output::Output,
};

fn main() -> ExitCode {
    let args = Args::parse();
    let mut output = Output::to_stdout();
    let result = match args.command {
        Command::Check(args) => commands::check::run(&args, &mut output),
        Command::Show(args) => commands::show::run(&args, &mut output),
        Command::Setup(args) => commands::setup::run(&args, &mut output),
        Command::Watch(args) => commands::watch::run(&args, &mut output),
        Command::Ping(args) => commands::ping::run(&args, &mut output),
        Command::Serve(args) => commands::serve::run(&args, &mut output),
        Command::Snapshot(args) => commands::snapshot::run(&args, &mut output),
        Command::Completions(args) => commands::completions::run(&args, &mut output),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            // A reader that has seen enough (`tbnet show | head`) is no error.
            if !output::is_broken_pipe(&error) {
                output::complain(&error);
            }
            commands::Exit::CouldNotCheck.into()
        }
    }
}
