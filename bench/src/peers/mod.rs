//! `tbbench peers`: the transport beside bare TCP and beside others who do its job, all in one run,
//! in turns, in two network namespaces that this program makes and removes.
//!
//! Each peer is one file: what it needs, how its two programs are started, and how what they print
//! is read.
//!
//! | file | question |
//! |---|---|
//! | `sections` | what is asked, of whom, and what has to hold? |
//! | `section` | how is one question measured and judged? |
//! | `latency` | in which columns are round trips told? |
//! | `facts`, `report` | what is shown? |
//! | `floor`, `transport` | bare TCP and ourselves |
//! | `aead` | how fast is the cipher? |
//! | `tools` | what do the others need, and how does it come here? |

mod aead;
mod facts;
mod floor;
mod grpc;
mod iperf3;
mod latency;
mod libfabric;
mod mlx_ring;
mod qperf;
mod report;
mod section;
mod sections;
mod sockperf;
mod strace;
mod tools;
mod transport;
mod ucx;
mod zeromq;

use std::path::PathBuf;

use anyhow::ensure;

use self::{facts::Facts, report::Report, section::Section, sections::Amount, tools::Tools};
use crate::{job, link::Mode, namespace::Lab};

/// What `tbbench peers` is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How often each contestant is measured, in turns with the others.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    repeats: u64,
    /// Only these questions, by their ids: spin, wait, stream-65518, …
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// A tenth of the round trips and messages: shows that all run, not how fast they are.
    #[arg(long)]
    quick: bool,
    /// Install what the peers need (Debian's packages, PyPI's MLX, crates.io's tonic), and measure
    /// nothing.
    #[arg(long)]
    setup: bool,
    /// Where `--setup` puts what is no package of the system.
    #[arg(long, value_name = "DIR", default_value = ".exo/peers")]
    tools: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let tools = Tools::in_folder(&std::path::absolute(&args.tools)?);
    if args.setup {
        return tools.set_up();
    }
    let less = if args.quick { 10 } else { 1 };
    let amount = Amount {
        round_trips: 20_000 / less,
        messages: 500 / less,
        small_frames: 2_000 / less,
        burst: 200_000 / less,
    };
    let sections = chosen(sections(amount, &tools), &args.only)?;
    let facts = Facts::now();
    job::catch_interrupts()?;
    let lab = Lab::new()?;
    let mut answers = Vec::new();
    for section in sections {
        if job::interrupted() {
            break;
        }
        answers.push(section.measure(&lab, args.repeats as usize)?);
    }
    let report = Report { facts, answers, interrupted: job::interrupted() };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

fn sections(amount: Amount, tools: &Tools) -> Vec<Section> {
    let trips = amount.round_trips;
    let spinning = vec![
        ucx::spin(amount.in_turns()),
        libfabric::spin(trips),
        mlx_ring::spin(tools, trips),
        zeromq::half_round_trip(tools, Mode::Spin, trips),
        grpc::half_round_trip(tools, trips),
    ];
    let waiting = vec![
        zeromq::half_round_trip(tools, Mode::Wait, trips),
        grpc::half_round_trip(tools, trips),
        sockperf::wait(),
        qperf::wait(),
    ];
    let mut all = vec![sections::spin(amount, spinning), sections::wait(amount, waiting)];
    all.extend([1500, 9000, sections::MTU].map(|mtu| {
        let peers = vec![mlx_ring::stream(tools, amount.messages), iperf3::stream()];
        sections::stream(mtu, amount, peers)
    }));
    all.extend([sections::encrypted(amount), sections::urgent(amount), sections::counts(amount)]);
    all
}

fn chosen(all: Vec<Section>, only: &[String]) -> anyhow::Result<Vec<Section>> {
    let ids: Vec<_> = all.iter().map(|section| section.id).collect();
    for id in only {
        ensure!(ids.contains(&id.as_str()), "--only {id}: there are {}", ids.join(", "));
    }
    let wanted = |section: &Section| only.is_empty() || only.iter().any(|id| id == section.id);
    Ok(all.into_iter().filter(wanted).collect())
}
