//! `tbbench versus`: one link against another, in turns, and a report that people can read and show.
//!
//! | file | question |
//! |---|---|
//! | `plan` | what is measured? |
//! | `doors` | which are the two links, and where is the peer behind each? |
//! | `measure` | how is it measured, and kept when something breaks? |
//! | `report` | what came of it, as data? |
//! | `meaning` | what does it mean for a model? |
//! | `svg`, `chart`, `pictures` | what does it look like? |
//! | `tables`, `page`, `summary` | how is it told? |
//! | `save` | where does it go, and if it cannot? |
//! | `emulated` | how is it run on one machine, over links that are not there? |

mod chart;
mod doors;
#[cfg(target_os = "linux")]
mod emulated;
mod meaning;
mod measure;
mod page;
mod pictures;
mod plan;
mod report;
mod save;
mod summary;
mod svg;
mod tables;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use exo_netconfig::InterfaceChoice;

use self::{
    doors::{EmulatedLink, Wanted},
    measure::Run,
    plan::Amount,
    report::Report,
    save::File,
};
use crate::{
    interrupt,
    link::{LinkArgs, Peer},
    machine::Machine,
};

/// What `tbbench versus` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Where `tbbench serve --interface A --also B` listens, by its address on the first link.
    #[arg(value_name = "PEER", required_unless_present = "emulated")]
    peer: Option<Peer>,
    /// The link that is looked at; `auto` takes the validated Thunderbolt link.
    #[arg(long, value_name = "NAME|auto", default_value = "auto")]
    over: InterfaceChoice,
    /// The link that it is held against.
    #[arg(long, value_name = "NAME", required_unless_present = "emulated")]
    versus: Option<InterfaceChoice>,
    /// Instead of two machines: two links of `tbbench lab profiles`, emulated on this one (Linux,
    /// root).
    #[arg(long, num_args = 2, value_names = ["LINK", "LINK"], conflicts_with_all = ["peer", "versus"])]
    emulated: Option<Vec<String>>,
    /// Chance of emulated links begins here.
    #[arg(long, default_value_t = 1, requires = "emulated")]
    seed: u64,
    /// The cluster's key: Wi-Fi needs one, and so does any link but a Thunderbolt cable.
    #[arg(long, value_name = "FILE", env = "EXO_CLUSTER_KEY_FILE")]
    cluster_key_file: Option<PathBuf>,
    /// Each kind of message is measured so often over each link, in turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// How long each measures, in milliseconds.
    #[arg(long, value_name = "N", default_value_t = 150)]
    slice_ms: u64,
    /// How long both links are looked at side by side, in seconds.
    #[arg(long, value_name = "N", default_value_t = 20)]
    timeline_s: u64,
    /// After so many seconds no further round begins.
    #[arg(long, value_name = "N", default_value_t = 360)]
    at_most_s: u64,
    /// Where report.html, summary.md and report.json go.
    #[arg(long, value_name = "DIR", default_value = "tbbench-versus")]
    out: PathBuf,
    /// What the links are that are emulated: said by `--emulated` to the side that measures.
    #[arg(long, hide = true, value_name = "JSON", default_value = "[]")]
    emulation: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    interrupt::catch_interrupts()?;
    save::prepare(&args.out).context("the report has no place; hint: --out DIR")?;
    #[cfg(target_os = "linux")]
    if let Some(names) = &args.emulated {
        return emulated::run(args, names);
    }
    let (Some(peer), Some(versus)) = (args.peer, &args.versus) else {
        bail!(
            "emulated links are there on Linux alone; hint: tbbench versus PEER --over A --versus B"
        );
    };
    let link = LinkArgs::plain(args.cluster_key_file.clone());
    let emulated: Vec<EmulatedLink> = serde_json::from_str(&args.emulation)?;
    let interfaces = [args.over.clone(), versus.clone()];
    let (ways, meeting) = doors::open(&Wanted { link: &link, interfaces, peer, emulated })?;
    let amount = Amount {
        rounds: args.rounds as usize,
        slice: Duration::from_millis(args.slice_ms),
        timeline: Duration::from_secs(args.timeline_s),
        at_most: Duration::from_secs(args.at_most_s),
    };
    let machines = [Machine::this(), meeting.machine];
    let report = Report::of(Run::new(ways).go(&amount), amount, machines);
    tell(&report, &args.out)
}

/// Writes the report, says where it is, and fails if it is not whole.
fn tell(report: &Report, out: &std::path::Path) -> anyhow::Result<()> {
    let summary = summary::markdown(report);
    let files = [
        File { name: "report.json", text: serde_json::to_string_pretty(report)? },
        File { name: "summary.md", text: summary.clone() },
        File { name: "report.html", text: page::html(report) },
    ];
    let (at, error) = match save::write_somewhere(out, &files) {
        Ok(saved) => saved,
        Err(error) => {
            // The last resort: whoever has a terminal has the figures.
            println!("{summary}");
            return Err(error).context(
                "the report could not be written, so its summary stands above; hint: make room, or \
                 --out a folder on another disk",
            );
        }
    };
    for meaning in &report.meaning {
        println!("{}", meaning.in_words(report.titles()));
    }
    let at = at.display();
    if let Some(late) = report.lateness() {
        println!("{late}");
    }
    println!("\n{at}/report.html, {at}/summary.md, {at}/report.json");
    if let Some(error) = error {
        bail!("{error}: the report is in {at} instead; hint: make room, or --out another folder");
    }
    if !report.complete {
        bail!("{} What was measured until then is in {at}.", report.troubles().join(" "));
    }
    Ok(())
}

/// What has to be said before anything else.
fn notices(report: &Report) -> Vec<String> {
    let mut all = Vec::new();
    if report.is_emulated() {
        all.push(
            "Emulated: no such link was there. Its values are below, each measured by somebody in \
             public or assumed."
                .into(),
        );
    }
    for link in &report.links {
        let capped = link.facts.emulated.as_ref().and_then(|one| one.rate_capped_mbps);
        if let Some(mbps) = capped {
            all.push(format!(
                "Rate-capped: {} is meant to carry more than the {:.1} Gb/s at which the emulator \
                 keeps its pace here, so its throughput is this machine's.",
                link.facts.title,
                mbps / 1e3
            ));
        }
    }
    all.extend(report.troubles());
    all
}

/// What against what.
fn heading(report: &Report) -> String {
    let [over, versus] = report.titles();
    let mut letters = over.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{} against {versus}", letters.as_str())
}

/// How it was measured.
fn how(report: &Report) -> String {
    format!(
        "Measured by tbbench {} in {:.0} s: {} of {} rounds over both links in turns, {} ms for each \
         kind of message; both sides with the transport's own thread, as the engine has it. Where \
         there were too few messages for a percentile, none is told.",
        env!("CARGO_PKG_VERSION"),
        report.took_s,
        report.rounds,
        report.amount.rounds,
        report.amount.slice.as_millis()
    )
}
