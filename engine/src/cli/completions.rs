//! `exo-node completions`.

use anyhow::Result;
use clap::CommandFactory;

use super::{
    args::{Cli, CompletionsArgs},
    report::print,
};

pub(super) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "exo-node", &mut script);
    print(&String::from_utf8(script)?)
}
