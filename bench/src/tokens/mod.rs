//! `tbbench tokens`: how fast does a model over two nodes speak over one link, over another, and over
//! one that costs nothing? Three pairs of `exo-node` in network namespaces, asked in turns. What a
//! token takes longer than over the link that costs nothing is the link's part.
//!
//! `pair` starts the nodes of one link, `report` tells.

mod pair;
mod report;

use std::path::PathBuf;

use anyhow::ensure;

use self::{
    pair::{Pair, Setup},
    report::{Heard, Report},
};
use crate::{
    cluster::{measures::prompt, served},
    emulator::{Joint, Plan, Profile, ceiling},
    job,
};

/// What `tbbench tokens` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Two links of `tbbench lab profiles`.
    #[arg(
        long, num_args = 2, value_names = ["LINK", "LINK"], value_parser = Profile::find,
        default_values = ["thunderbolt4", "wifi6-awdl"]
    )]
    links: Vec<&'static Profile>,
    /// Folder of the model.
    #[arg(long, default_value = ".exo/data/models/smollm2-135m-instruct")]
    model: PathBuf,
    /// The `exo-node` program [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    exo_node: Option<PathBuf>,
    /// Layers of the two nodes.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "18,12")]
    layers: Vec<u32>,
    /// How often each link is measured, in turns.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=100))]
    repeats: u64,
    /// Tokens of each answer.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(8..=4096))]
    tokens: u64,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=4096))]
    prompt: u64,
    /// Chance begins here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where logs are kept [default: nowhere].
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.layers.len() == 2 && !args.layers.contains(&0), "--layers: of two nodes");
    job::catch_interrupts()?;
    let kept = tempfile::tempdir()?;
    let folder = args.logs.clone().unwrap_or_else(|| kept.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let setup = Setup {
        node: served::program(args.exo_node.as_deref())?,
        model: std::path::absolute(&args.model)?,
        layers: args.layers.clone(),
        folder: std::path::absolute(&folder)?,
    };
    let report = measure(args, &setup)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => report.print(),
    }
    Ok(())
}

fn measure(args: &Args, setup: &Setup) -> anyhow::Result<Report> {
    let mut pairs = Vec::new();
    let mut heard = Vec::new();
    // The link that costs nothing goes through the emulator as well: what that takes is nobody's part.
    let clear = Plan {
        interface: pair::INTERFACE,
        net: pair::NET,
        mtu: args.links[0].mtu.value,
        joint: Joint::CLEAR,
        seed: args.seed,
    };
    pairs.push(Pair::start(setup, "clear", &clear)?);
    heard.push(Heard::over("no link to speak of", None));
    for (number, profile) in args.links.iter().enumerate() {
        let seed = args.seed.wrapping_add(number as u64);
        let plan = Plan::of(profile, pair::INTERFACE, pair::NET, seed);
        let pair = Pair::start(setup, &format!("link{number}"), &plan)?;
        let carries = ceiling::measure(pair.machines(), profile.mtu.value)?;
        let capped = (profile.fastest_mbps() > carries).then_some(carries);
        heard.push(Heard::over(&format!("emulated {}", profile.short), capped));
        pairs.push(pair);
    }
    // The first round warms up.
    for round in 0..=args.repeats {
        eprintln!("round {round} of {}", args.repeats);
        // No link is always the first.
        for at in 0..pairs.len() {
            let at = (at + round as usize) % pairs.len();
            ensure!(!job::interrupted(), "interrupted in round {round}");
            let words = prompt(round as u32, at as u32, args.prompt as usize);
            let one = pairs[at].ask(words, args.tokens as usize)?;
            if round > 0 {
                heard[at].push(&one);
            }
        }
    }
    Report::of(args, heard)
}
