//! `tbnet completions SHELL`

use clap::CommandFactory;

use super::Exit;
use crate::{
    args::{Args, CompletionsArgs},
    output::Output,
};

pub(crate) fn run(args: &CompletionsArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "tbnet", &mut script);
    output.raw(&script)?;
    Ok(Exit::Good)
}
