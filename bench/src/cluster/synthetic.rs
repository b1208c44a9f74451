//! The control: a ring that computes a fixed amount of nothing, under the same quotas and over the
//! same cables. Its gain is known beforehand, so what it shows beyond that is borrowed time.

use std::{
    hint::black_box,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};

use super::{
    child::Running,
    lab::Lab,
    quota::{Met, Quota},
};

/// Processor time of one stage's step, without a quota.
const STEP: Duration = Duration::from_millis(10);
/// Tokens of each run.
const TOKENS: u32 = 60;
const PORT: u16 = 52_480;
const PATIENCE: Duration = Duration::from_secs(120);

/// One process of the control. Not for people: `tbbench cluster` starts it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Iterations of a step.
    #[arg(long)]
    work: u64,
    /// Tokens to time; then it prints tokens per second, and without neighbours the share of a
    /// processor that it had.
    #[arg(long, default_value_t = 0)]
    tokens: u32,
    /// Tokens on the ring at once.
    #[arg(long, default_value_t = 1)]
    flight: u32,
    /// Where the stage before connects to.
    #[arg(long, requires = "next")]
    listen: Option<SocketAddr>,
    /// The stage after.
    #[arg(long)]
    next: Option<SocketAddr>,
}

/// What this process had so far.
fn processor_time() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

fn compute(iterations: u64) {
    let mut x = 1.0f64;
    for i in 0..iterations {
        x = black_box(x * 0.999_999 + i as f64);
    }
    black_box(x);
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (Some(listen), Some(next)) = (args.listen, args.next) else {
        let (begun, had) = (Instant::now(), processor_time()?);
        (0..args.tokens).for_each(|_| compute(args.work));
        let seconds = begun.elapsed().as_secs_f64();
        let had = (processor_time()? - had).as_secs_f64();
        println!("{} {}", f64::from(args.tokens) / seconds, had / seconds);
        return Ok(());
    };
    let listener = TcpListener::bind(listen)?;
    let mut after = connect(next)?;
    let (mut before, _) = listener.accept()?;
    let mut token = [0u8; 8];
    if args.tokens == 0 {
        // Whoever counts closes its end when it has enough.
        while before.read_exact(&mut token).is_ok() {
            compute(args.work);
            if after.write_all(&token).is_err() {
                break;
            }
        }
        return Ok(());
    }
    for _ in 0..args.flight {
        after.write_all(&token)?;
    }
    before.read_exact(&mut token)?;
    let begun = Instant::now();
    for _ in 0..args.tokens {
        compute(args.work);
        after.write_all(&token)?;
        before.read_exact(&mut token)?;
    }
    println!("{}", f64::from(args.tokens) / begun.elapsed().as_secs_f64());
    Ok(())
}

fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(to) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) if Instant::now() > deadline => return Err(error).context(to.to_string()),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Iterations that take [`STEP`] on a processor of one's own.
pub(super) fn calibrate() -> u64 {
    const TRY: u64 = 2_000_000;
    let fastest = (0..20).map(|_| {
        let begun = Instant::now();
        compute(TRY);
        begun.elapsed()
    });
    let fastest = fastest.min().unwrap_or(STEP).as_secs_f64();
    (STEP.as_secs_f64() / fastest * TRY as f64) as u64
}

/// Tokens per second of one control.
pub(super) struct Control {
    pub(super) alone: f64,
    /// One token on the ring: a gain of 1 is right.
    pub(super) one: f64,
    /// As many tokens as stages: a gain of their number is right.
    pub(super) full: f64,
    /// How the quota of the one alone was met.
    pub(super) met: Met,
    /// Of a processor, that the one alone had.
    pub(super) had: f64,
}

pub(super) fn measure(
    lab: &Lab,
    quotas: &[Quota],
    work: u64,
    folder: &std::path::Path,
) -> anyhow::Result<Control> {
    let stages = quotas.len() as u64;
    let before = quotas[0].met();
    let whole = (work * stages).to_string();
    let tokens = TOKENS.to_string();
    let words = ["--work", &whole, "--tokens", &tokens].map(str::to_owned);
    let said = start(lab, quotas, 0, &words, folder)?.wait(PATIENCE)?;
    let met = quotas[0].met().since(before);
    let (alone, had) = said.trim().split_once(' ').context("the control says no share")?;
    Ok(Control {
        alone: alone.parse()?,
        had: had.parse()?,
        one: ring(lab, quotas, work, 1, folder)?,
        full: ring(lab, quotas, work, stages as u32, folder)?,
        met,
    })
}

fn ring(
    lab: &Lab,
    quotas: &[Quota],
    work: u64,
    flight: u32,
    folder: &std::path::Path,
) -> anyhow::Result<f64> {
    let stages = quotas.len();
    let address = |stage: usize| SocketAddr::from((Lab::address(stage % stages), PORT)).to_string();
    let mut running = Vec::new();
    for stage in (0..stages).rev() {
        let mut words = vec!["--work".to_owned(), work.to_string()];
        words.extend(["--listen".into(), address(stage), "--next".into(), address(stage + 1)]);
        if stage == 0 {
            words.extend(["--tokens".into(), TOKENS.to_string()]);
            words.extend(["--flight".into(), flight.to_string()]);
        }
        running.push(start(lab, quotas, stage, &words, folder)?);
    }
    let first = running.pop().context("a ring of no stages")?;
    Ok(first.wait(PATIENCE)?.trim().parse()?)
}

fn start(
    lab: &Lab,
    quotas: &[Quota],
    machine: usize,
    words: &[String],
    folder: &std::path::Path,
) -> anyhow::Result<Running> {
    let mut all = lab.within(machine);
    all.push(std::env::current_exe()?.display().to_string());
    all.push("synthetic".into());
    all.extend(words.iter().cloned());
    Running::start(quotas[machine].command(&all), &folder.join(format!("control{machine}.log")))
}
