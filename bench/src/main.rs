//! `tbbench`: how fast, against what? Everything that is compared is measured in the same run, in
//! turns, and given as a ratio.

mod engine;
mod figures;
mod step;

use clap::{Parser, Subcommand};

/// Measures exo-node beside its peers, in one run.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  tbbench engine --model .exo/data/models/smollm2-135m-instruct\n  tbbench engine --model DIR --python .exo/venv-bench/bin/python --repeats 5 --json"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One node against Python's mlx-lm: load, memory, prefill, decode and a batch; same weights, same
    /// BLAS, same threads.
    Engine(engine::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Engine(args) => engine::run(&args),
    }
}
