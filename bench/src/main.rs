//! `tbbench`: how fast, against what? Everything that is compared is measured in the same run, in
//! turns, and given as a ratio.
//!
//! | module | question |
//! |---|---|
//! | `commands` | what does the transport do between two machines? |
//! | `exercise` | what do the two sides do with each other for that? |
//! | `link` | which endpoint is measured? |
//! | `floor` | what would bare TCP do? |
//! | `peers` | how do we stand beside others, in one run? |
//! | `namespace`, `job`, `turns` | where is that measured, by which programs, and when does each run? |
//! | `emulator` | what would another link do? |
//! | `cluster` | one node against a ring of them? |
//! | `engine`, `step` | one node against mlx-lm, and one stage by itself? |
//! | `tokens` | how fast does a model over two nodes speak, over this link and that? |
//! | `rails` | what do two links give over one? |
//! | `versus` | what does the cable give over Wi-Fi? |
//! | `machine`, `interrupt`, `cluster_key` | on what machine, does somebody want it to end, and who may join? |
//! | `priority` | whose moment comes before others'? |
//! | `figures`, `histogram`, `process` | how are values kept and told? |

#[cfg(all(target_os = "linux", feature = "engine"))]
mod cluster;
#[cfg(any(target_os = "linux", feature = "engine"))]
mod cluster_key;
mod commands;
#[cfg(target_os = "linux")]
mod emulator;
#[cfg(feature = "engine")]
mod engine;
mod exercise;
mod figures;
mod floor;
mod histogram;
mod interrupt;
#[cfg(target_os = "linux")]
mod job;
mod link;
mod machine;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod priority;
mod process;
#[cfg(target_os = "linux")]
mod rails;
#[cfg(feature = "engine")]
mod step;
#[cfg(all(target_os = "linux", feature = "engine"))]
mod tokens;
#[cfg(target_os = "linux")]
mod turns;
mod versus;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures exo-node and its transport, beside its peers, in one run.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        tbbench serve                                     on one machine\n  \
        tbbench pingpong 192.168.2.1 --mode spin          on the other\n  \
        tbbench stream 192.168.2.1 --size 4MiB --json\n  \
        tbbench versus 192.168.2.1 --over bridge0 --versus en0 --cluster-key-file cluster.key\n  \
        sudo tbbench versus --emulated thunderbolt4 wifi6-awdl\n  \
        sudo tbbench peers --repeats 10                   the transport beside its peers\n  \
        tbbench engine --model .exo/data/models/smollm2-135m-instruct"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The other end of pingpong, stream, burst and urgent.
    Serve(commands::serve::Args),
    /// How long a message takes there and back.
    Pingpong(commands::pingpong::Args),
    /// How much goes one way, and what it costs.
    Stream(commands::stream::Args),
    /// How many small frames share a system call.
    Burst(commands::burst::Args),
    /// How long a small frame takes while bulk is in flight.
    Urgent(commands::urgent::Args),
    /// One link against another, in turns: what the cable gives. Writes a report to be read and shown.
    Versus(versus::Args),
    /// Bare TCP with the same buffers: what the transport is held against.
    Floor(floor::Args),
    /// The transport beside bare TCP and its peers, in network namespaces of this machine (Linux,
    /// root).
    #[cfg(target_os = "linux")]
    Peers(peers::Args),
    /// Links that are not there, emulated between network namespaces of this machine (Linux).
    #[cfg(target_os = "linux")]
    Lab(commands::lab::Args),
    /// Two links as one against either of them alone, each limited by this machine's kernel, in network
    /// namespaces (Linux, root).
    #[cfg(target_os = "linux")]
    Rails(rails::Args),
    /// One end of `rails`.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    RailsEnd(rails::end::Args),
    /// One node against Python's mlx-lm: load, memory, prefill, decode and a batch; same weights, same
    /// BLAS, same threads.
    #[cfg(feature = "engine")]
    Engine(engine::Args),
    /// One node against a ring of them, each with a share of a processor that it cannot exceed, in
    /// network namespaces of this machine (Linux, root).
    #[cfg(all(target_os = "linux", feature = "engine"))]
    Cluster(cluster::Args),
    /// A model over two nodes, over either of two emulated links: tokens per second, how late tokens
    /// are, and the link's part of it, in network namespaces of this machine (Linux, root).
    #[cfg(all(target_os = "linux", feature = "engine"))]
    Tokens(tokens::Args),
    /// One process of `cluster`'s control.
    #[cfg(all(target_os = "linux", feature = "engine"))]
    #[command(hide = true)]
    Synthetic(cluster::synthetic::Args),
}

/// It failed, and the part of it that knows why has told so.
#[derive(Debug, thiserror::Error)]
#[error("it was said already")]
struct SaidAlready;

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<SaidAlready>() {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Pingpong(args) => commands::pingpong::run(&args),
        Command::Stream(args) => commands::stream::run(&args),
        Command::Burst(args) => commands::burst::run(&args),
        Command::Urgent(args) => commands::urgent::run(&args),
        Command::Versus(args) => versus::run(&args),
        Command::Floor(args) => floor::run(&args),
        #[cfg(target_os = "linux")]
        Command::Peers(args) => peers::run(&args),
        #[cfg(target_os = "linux")]
        Command::Lab(args) => commands::lab::run(&args),
        #[cfg(target_os = "linux")]
        Command::Rails(args) => rails::run(&args),
        #[cfg(target_os = "linux")]
        Command::RailsEnd(args) => rails::end::run(&args),
        #[cfg(feature = "engine")]
        Command::Engine(args) => engine::run(&args),
        #[cfg(all(target_os = "linux", feature = "engine"))]
        Command::Cluster(args) => cluster::run(&args),
        #[cfg(all(target_os = "linux", feature = "engine"))]
        Command::Tokens(args) => tokens::run(&args),
        #[cfg(all(target_os = "linux", feature = "engine"))]
        Command::Synthetic(args) => cluster::synthetic::run(&args),
    }
}
