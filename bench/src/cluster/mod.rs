//! `tbbench cluster`: one node against a ring of them, each with a share of a processor that it can
//! neither exceed nor save up, joined by cables of this machine's own kernel. All in one run, in
//! turns.
//!
//! | file | question |
//! |---|---|
//! | `lab`, `quota`, `enforce`, `child` | what is a machine here? |
//! | `nodes`, `served`, `client` | who serves, who asks, and when did which token come? |
//! | `synthetic` | what would a ring gain that has nothing to gain? |
//! | `profile` | where does the time go? |
//! | `measures` | what is asked of one node and of the ring? |
//! | `long_prompt` | who waits for whom when a long prompt comes? |
//! | `turn` | what does the second turn of a chat cost? |
//! | `concurrent` | how do requests fare together, over which link? |
//! | `report` | what is shown? |

pub(crate) mod child;
pub(crate) mod client;
mod concurrent;
mod enforce;
mod lab;
mod long_prompt;
pub(crate) mod measures;
mod nodes;
mod profile;
mod quota;
mod report;
pub(crate) mod served;
pub(crate) mod synthetic;
mod turn;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use self::{
    concurrent::Concurrent,
    enforce::Enforced,
    lab::Lab,
    long_prompt::LongPrompt,
    measures::{Load, Measured},
    nodes::{Cluster, Setup},
    quota::{PERIOD_US_MAX, Quota},
    report::{Control, Report},
    turn::Turn,
};

/// What `tbbench cluster` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the model.
    #[arg(long, default_value = ".exo/data/models/smollm2-135m-instruct")]
    model: PathBuf,
    /// The `exo-node` program [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    exo_node: Option<PathBuf>,
    /// How often each side is measured, in turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    repeats: u64,
    /// Only these questions: single, one-per-step, same, saturation, turn, concurrent, prompt. Without
    /// it all but the last two, which take longest.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Layers of each node of the ring, in order. (The default is for SmolLM2: its head weighs as much
    /// as eight of its layers.)
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "13,12,5")]
    layers: Vec<u32>,
    /// The share of a processor that each node gets.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Length of the period in which it gets that, in microseconds: at most 2000.
    #[arg(long, default_value_t = PERIOD_US_MAX)]
    period_us: u64,
    /// Sequences in one step of the single node when it is full.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Tokens of each request.
    #[arg(long, default_value_t = 48)]
    tokens: usize,
    /// Links over which the question concurrent is asked: `cable` for this kernel's own, names from
    /// `tbbench lab profiles` for emulated ones, `all` for all of them.
    #[arg(long, value_name = "LINK,…", value_delimiter = ',', default_value = "cable")]
    links: Vec<String>,
    /// How many requests at once the question concurrent is asked with.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16",
          value_parser = clap::value_parser!(u64).range(1..=64))]
    concurrent: Vec<u64>,
    /// What `--token-delay` the question prompt is asked with.
    #[arg(long, value_name = "TIMES,…", value_delimiter = ',', default_value = "2,3,5")]
    delays: Vec<f64>,
    /// Tokens of the long prompt, and of the first turn of the chat.
    #[arg(long, default_value_t = 4000)]
    prompt_tokens: usize,
    /// More words for every node's command line.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    with: Vec<String>,
    /// Where logs are kept [default: nowhere].
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Of the long prompt in this round: enough of it to warm up, or all.
    fn prompt_tokens_in(&self, round: u64) -> usize {
        let share = if round == 0 { 4 } else { 1 };
        self.prompt_tokens.div_ceil(share)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        args.period_us <= PERIOD_US_MAX,
        "--period-us {}: a longer period than {PERIOD_US_MAX} µs lends a waiting node time",
        args.period_us
    );
    ensure!(
        args.layers.len() >= 2 && args.layers.iter().all(|&layers| layers > 0),
        "--layers: a ring is two nodes at least, each with a layer"
    );
    ensure!(args.batch >= 2 && args.tokens >= 8, "nothing to measure");
    measures::known(&args.only)?;
    concurrent::known(&args.links)?;
    crate::job::catch_interrupts()?;
    let kept = tempfile::tempdir()?;
    let folder = args.logs.clone().unwrap_or_else(|| kept.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let setup = Setup {
        node: served::program(args.exo_node.as_deref())?,
        model: std::path::absolute(&args.model)?,
        share: args.share,
        period_us: args.period_us,
        folder: std::path::absolute(&folder)?,
        link: None,
    };
    let _enforced = Enforced::start()?;
    let mut found = Found::default();
    let ended = ask_all(args, &setup, &mut found);
    if found.control.is_empty() {
        return ended; // nothing was measured
    }
    let report = Report::new(args.share, args.period_us, found);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    ended.context("what was measured until then stands above")?;
    if let Some(why) = &report.void {
        anyhow::bail!("these figures are void: {why}");
    }
    Ok(())
}

/// What was measured, be it all or not.
#[derive(Default)]
struct Found {
    control: Control,
    measured: Vec<Measured>,
    turn: Option<Turn>,
    concurrent: Vec<Concurrent>,
    prompt: Vec<LongPrompt>,
}

/// All questions in turns; then what only the ring is asked.
fn ask_all(args: &Args, setup: &Setup, found: &mut Found) -> anyhow::Result<()> {
    let asked = |id: &str| args.only.iter().any(|only| only == id);
    let controls = Controls::new(args, setup)?;
    let control = &mut found.control;
    let load = Load { batch: args.batch, tokens: args.tokens, stages: args.layers.len() };
    let mut loads = measures::all(load);
    loads.retain(|load| args.only.is_empty() || asked(load.id));
    if !loads.is_empty() {
        found.measured = loads.into_iter().map(Measured::new).collect();
        compare(args, setup, &mut found.measured, &controls, control)?;
    }
    if args.only.is_empty() || asked("turn") {
        found.turn = Some(turn::measure(args, setup, &controls, control)?);
    }
    if asked("concurrent") {
        concurrent::measure(args, setup, &controls, control, &mut found.concurrent)?;
    }
    if asked("prompt") {
        found.prompt = long_prompt::measure(args, setup, &controls, control)?;
    }
    Ok(())
}

/// The synthetic ring: machines, quotas, and how much is computed.
struct Controls<'a> {
    lab: Lab,
    quotas: Vec<Quota>,
    work: u64,
    setup: &'a Setup,
}

impl<'a> Controls<'a> {
    fn new(args: &Args, setup: &'a Setup) -> anyhow::Result<Self> {
        let stages = args.layers.len();
        let quotas = (0..stages)
            .map(|stage| Quota::new(&format!("control-{stage}"), args.share, args.period_us));
        let quotas = quotas.collect::<anyhow::Result<_>>()?;
        let lab = Lab::new("control", stages, None)?;
        Ok(Self { quotas, lab, work: synthetic::calibrate(), setup })
    }

    /// One run of it, which is kept unless the round warms up.
    fn round(&self, round: u64, of: u64, control: &mut Control) -> anyhow::Result<()> {
        ensure!(!crate::job::interrupted(), "interrupted in round {round}");
        eprintln!("round {round} of {of}{}", if round == 0 { " (warm-up)" } else { "" });
        let one = synthetic::measure(&self.lab, &self.quotas, self.work, &self.setup.folder)?;
        if round > 0 {
            control.push(&one);
        }
        Ok(())
    }
}

/// One node against the ring.
fn compare(
    args: &Args,
    setup: &Setup,
    measured: &mut [Measured],
    controls: &Controls<'_>,
    control: &mut Control,
) -> anyhow::Result<()> {
    let link = setup.link.map_or("the kernel's own cable", |link| link.title);
    eprintln!("starting one node and a ring of {} over {link}", args.layers.len());
    let by_itself = Setup { link: None, ..setup.clone() };
    let mut alone = Cluster::start(&by_itself, "alone", &[args.layers.iter().sum()], &args.with)?;
    let mut ring = Cluster::start(setup, "ring", &args.layers, &args.with)?;
    let mut one_per_step = None;
    if measured.iter().any(|one| one.load.one_per_step) {
        let mut more = args.with.clone();
        more.extend(["--step-sequences".to_owned(), "1".to_owned()]);
        one_per_step = Some(Cluster::start(setup, "single", &args.layers, &more)?);
    }
    // The first round warms up: page cache, allocator, what the scheduler knows of step times. The
    // fullest load of each ring goes through all that the others do.
    let fullest = [false, true].map(|one_per_step| measures::fullest(measured, one_per_step));
    for round in 0..=args.repeats {
        controls.round(round, args.repeats, control)?;
        for (at, one) in measured.iter_mut().enumerate() {
            if round == 0 && !fullest.contains(&Some(at)) {
                continue;
            }
            ensure!(!crate::job::interrupted(), "interrupted in round {round}");
            let ring = if one.load.one_per_step { one_per_step.as_ref() } else { Some(&ring) };
            let ring = ring.context("no ring of one sequence per step")?;
            one.measure(&alone, ring, round)?;
        }
        alone.must_live()?;
        ring.must_live()?;
    }
    Ok(())
}
