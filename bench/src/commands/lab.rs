//! `tbbench lab`: the link emulator by itself.

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use comfy_table::{Table, presets};

use crate::{
    emulator::{self, Machines, PROFILES, Plan, Profile, ceiling, check, profile::rate},
    job,
};

/// What `tbbench lab` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// The links that can be emulated, and how each of their values is known.
    Profiles {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Whether ping and iperf3 see what was asked (root; takes two minutes). Fails if they do not.
    Check {
        /// Chance begins here.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs a command on the first of several machines that such a link joins (root). They are
    /// 192.168.2.1, 192.168.2.2, …; `ip netns exec` reaches the others while it runs.
    Run {
        /// The link, by its name in `tbbench lab profiles`.
        #[arg(value_parser = Profile::find)]
        profile: &'static Profile,
        /// Machines.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(2..=16))]
        machines: u64,
        /// Chance begins here.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The command and its words.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match args.what.clone() {
        What::Profiles { json } => profiles(json),
        What::Check { seed, json } => check(seed, json),
        What::Run { profile, machines, seed, command } => {
            within(profile, machines as usize, seed, &command)
        }
    }
}

fn profiles(json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(PROFILES)?);
        return Ok(());
    }
    for profile in PROFILES {
        println!("{} · {}", profile.name, profile.title);
        let mut values = table();
        for (what, value, basis) in profile.lines() {
            values.add_row(["  ".into(), what.to_owned(), value, basis.to_string()]);
        }
        println!("{values}\n");
    }
    Ok(())
}

fn check(seed: u64, json: bool) -> anyhow::Result<()> {
    job::catch_interrupts()?;
    let report = check::run(seed)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for (mtu, mbps) in &report.ceiling_mbps {
            println!("the relay carries {} at MTU {mtu}", rate(*mbps));
        }
        let mut rows = table();
        rows.set_header(["asked for", "seen by", "asked", "seen", "allowed", ""]);
        for row in &report.rows {
            rows.add_row(row.cells());
        }
        println!("\n{rows}");
    }
    ensure!(report.holds(), "the emulator does not do what it is asked on this machine now");
    Ok(())
}

fn within(profile: &Profile, count: usize, seed: u64, words: &[String]) -> anyhow::Result<()> {
    let (program, words) = words.split_first().context("a command to run")?;
    let machines = Machines::new("tbbench-lab", count)?;
    let carries = ceiling::measure(&machines, profile.mtu.value)?;
    let plan = Plan::of(profile, "link0", [192, 168, 2], seed);
    let link = emulator::lay(&machines.names(), &plan)?;
    for (number, name) in machines.names().iter().enumerate() {
        eprintln!("{} is {name}", plan.address(number));
    }
    if profile.fastest_mbps() > carries {
        eprintln!("rate-capped: the relay carries {} here", rate(carries));
    }
    let status = machines.command(0, program).args(words).status()?;
    let [taken, lost, overflowed] = link.counts();
    eprintln!("{taken} frames; {lost} lost by chance, {overflowed} for want of room");
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}
