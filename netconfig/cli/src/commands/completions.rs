//! `tbnet completions SHELL`

use super::Exit;
use crate::{args::CompletionsArgs, help, output::Output};

pub(crate) fn run(args: &CompletionsArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(output.lang()), "tbnet", &mut script);
    output.raw(&script)?;
    Ok(Exit::Good)
}
