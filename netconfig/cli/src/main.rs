//! `tbnet`: what is between the machines, and is it right?
//!
//! `args` is what was typed, `help` what is said about it, `mistyped` what is wrong with it;
//! `commands` holds one file per command,
//! which turns arguments into an exit code; `output` and `json` are how it looks. Exit codes: 0
//! good, 1 problems, 2 could not check.

mod args;
mod commands;
mod help;
mod json;
mod mistyped;
mod output;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use exo_netconfig::text::Lang;

use crate::{
    args::{Args, Command},
    output::Output,
};

fn main() -> ExitCode {
    let lang_typed = help::lang_typed();
    let matches = help::command(lang_typed).try_get_matches();
    let args = match matches.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => return mistyped::tell(&error, lang_typed).into(),
    };
    // Scripts read JSON: it follows the locale only if it is asked to.
    let by_default = if args.wants_json() { Lang::En } else { Lang::of_environment() };
    let lang = args.lang.unwrap_or(by_default);
    let mut output = Output::to_stdout(lang);
    let result = match args.command {
        Command::Check(args) => commands::check::run(&args, &mut output),
        Command::Setup(args) => commands::setup::run(&args, &mut output),
        Command::Show(args) => commands::show::run(&args, &mut output),
        Command::Snapshot(args) => commands::snapshot::run(&args, &mut output),
        Command::Serve(args) => commands::serve::run(&args, &mut output),
        Command::Watch(args) => commands::watch::run(&args, &mut output),
        Command::Ping(args) => commands::ping::run(&args, &mut output),
        Command::Completions(args) => commands::completions::run(&args, &mut output),
        Command::Man(args) => commands::man::run(&args, &mut output),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            // A reader that has seen enough (`tbnet show | head`) is no error.
            if !output::is_broken_pipe(&error) {
                output::complain(&error, lang);
            }
            commands::Exit::CouldNotCheck.into()
        }
    }
}
