//! The `exo-node` program: serve a model with the machines that are there, and ask it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
