//! One node against Python's mlx-lm.
//!
//! Both sides stay resident and are asked in turns, so that the machine's noise hits both. Ours is a
//! whole node (scheduler, worker, sampler) without HTTP; theirs is mlx-lm's own `generate_step`. Both
//! have the same OpenBLAS before MLX's own, and the same number of threads; the products of few rows
//! that we have beside OpenBLAS are lent to Python only if that is asked for.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use exo_engine::{
    node::{
        self, EncryptChoice, Goal, ModelChoice, NodeConfig, NodeHandle, NodesWanted, Policy,
        TrustChoice, WeightsChoice,
    },
    request::{GenerateEvent, GenerateRequest, Priority, Sampling},
};
use serde::{Deserialize, Serialize};

use crate::{
    figures::{Figure, paired_ratio},
    step::Bare,
};

/// What `tbbench engine` is asked.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of a dense Llama model (config.json, model.safetensors, tokenizer.json).
    #[arg(long)]
    model: PathBuf,
    /// A Python with `mlx[cpu]` and mlx-lm; without it only our side is measured.
    #[arg(long)]
    python: Option<PathBuf>,
    /// A BLAS to put before that of Python's MLX (LD_PRELOAD), as our side has it.
    #[arg(long)]
    blas: Option<PathBuf>,
    /// Lend Python our own products of few rows as well, which that file has beside OpenBLAS.
    #[arg(long, requires = "blas")]
    lend_kernels: bool,
    /// How often each side is measured.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 512)]
    prefill: usize,
    /// Tokens generated.
    #[arg(long, default_value_t = 64)]
    decode: usize,
    /// Sequences of the batch.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Tokens per second of one run.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Run {
    prefill: f64,
    decode: f64,
    /// The last token, so that both sides can be seen to compute the same.
    last: u32,
}

#[derive(Serialize)]
struct Report {
    model: String,
    repeats: usize,
    prefill_tokens: usize,
    decode_tokens: usize,
    blas_threads: String,
    blas: String,
    load_s: Sides,
    prefill_tokens_per_s: Sides,
    decode_tokens_per_s: Sides,
    /// Of all sequences of the batch together; ours alone.
    batch: usize,
    batch_tokens_per_s: Figure,
    /// Median of the batch's tokens per second over those of one sequence in the run before it.
    batch_ratio: f64,
    /// The share of a decode step in which MLX has nothing to do yet.
    host_percent: f64,
    /// The most memory either process held, loading and in the first run: what a node keeps of
    /// finished requests beyond that is bounded by the memory that it is given.
    peak_bytes: PeakBytes,
    /// Runs in which both sides generated the same last token.
    same_last_token: usize,
}

#[derive(Serialize)]
struct PeakBytes {
    exo_node: Option<u64>,
    mlx_lm: Option<u64>,
}

#[derive(Serialize)]
struct Sides {
    exo_node: Figure,
    mlx_lm: Option<Figure>,
    /// Median of the ratios of neighbouring runs, ours over theirs.
    ratio: Option<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        args.repeats >= 1 && args.prefill >= 2 && args.decode >= 2 && args.batch >= 1,
        "nothing to measure"
    );
    let mut theirs = match &args.python {
        Some(python) => Some(Theirs::start(python, args)?),
        None => None,
    };
    let (mut our_loads, mut their_loads) = (Vec::new(), Vec::new());
    let mut host_percent = 0.0;
    for round in 0..=args.repeats {
        let (bare, seconds) = Bare::load(&args.model)?;
        let their_load = theirs.as_mut().map(Theirs::load).transpose()?;
        if round == 0 {
            host_percent = bare.host_percent(64)?;
        } else {
            our_loads.push(seconds);
            their_loads.extend(their_load);
        }
    }
    let ours = Ours::start(&args.model)?;
    let (mut our_runs, mut their_runs) = (Vec::new(), Vec::new());
    let (mut batches, mut peak_bytes) = (Vec::new(), None);
    // The first round warms up: page cache, allocator, MLX's buffers.
    for round in 0..=args.repeats {
        eprintln!(
            "round {round} of {}{}",
            args.repeats,
            if round == 0 { " (warm-up)" } else { "" }
        );
        // Begins like none before: what a node has kept of those would be neither read nor computed.
        let first = 500 + round as u32;
        let rest = (1..args.prefill).map(|i| 500 + (i as u32 * 7919) % 20_000);
        let prompt: Vec<u32> = std::iter::once(first).chain(rest).collect();
        let our_run = ours.measure(&prompt, args.decode)?;
        let their_run =
            theirs.as_mut().map(|side| side.measure(&prompt, args.decode)).transpose()?;
        if round > 0 {
            our_runs.push(our_run);
            their_runs.extend(their_run);
        } else {
            let theirs = theirs.as_mut().map(Theirs::peak).transpose()?;
            peak_bytes = Some(PeakBytes { exo_node: own_peak(), mlx_lm: theirs });
        }
    }
    for round in 0..=args.repeats {
        let one = ours.together(1, args.decode)?;
        let batch = ours.together(args.batch, args.decode)?;
        if round > 0 {
            batches.push((one, batch));
        }
    }
    let sides = |figure: fn(&Run) -> f64| {
        let ours: Vec<f64> = our_runs.iter().map(figure).collect();
        let theirs: Vec<f64> = their_runs.iter().map(figure).collect();
        Sides::of(ours, theirs)
    };
    let (one, batch): (Vec<f64>, Vec<f64>) = batches.into_iter().unzip();
    let report = Report {
        model: args.model.display().to_string(),
        repeats: args.repeats,
        prefill_tokens: args.prefill,
        decode_tokens: args.decode,
        blas_threads: std::env::var("OPENBLAS_NUM_THREADS").unwrap_or_else(|_| "1".into()),
        blas: match &args.blas {
            None => "MLX's own".into(),
            Some(blas) if args.lend_kernels => format!("{}, our kernels too", blas.display()),
            Some(blas) => format!("{}, OpenBLAS alone", blas.display()),
        },
        load_s: Sides::of(our_loads, their_loads),
        prefill_tokens_per_s: sides(|run| run.prefill),
        decode_tokens_per_s: sides(|run| run.decode),
        batch: args.batch,
        batch_ratio: paired_ratio(&batch, &one),
        batch_tokens_per_s: Figure::of(batch),
        host_percent,
        peak_bytes: peak_bytes.context("no run was made")?,
        same_last_token: our_runs
            .iter()
            .zip(&their_runs)
            .filter(|(ours, theirs)| ours.last == theirs.last)
            .count(),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

impl Sides {
    fn of(ours: Vec<f64>, theirs: Vec<f64>) -> Self {
        let ratio = (!theirs.is_empty()).then(|| paired_ratio(&ours, &theirs));
        let mlx_lm = (!theirs.is_empty()).then(|| Figure::of(theirs));
        Self { exo_node: Figure::of(ours), mlx_lm, ratio }
    }
}

/// The most memory this process has held, where the system says so.
fn own_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

fn print(report: &Report) {
    println!("{} · {} repeats, in turns", report.model, report.repeats);
    println!("BLAS threads: {} · Python's BLAS: {}\n", report.blas_threads, report.blas);
    println!("{:<24}{:<28}{:<28}ratio", "tokens per second", "exo-node", "mlx-lm");
    let load = "load (seconds)".to_owned();
    let prefill = format!("prefill ({} tokens)", report.prefill_tokens);
    let decode = format!("decode ({} tokens)", report.decode_tokens);
    for (what, sides) in [
        (prefill, &report.prefill_tokens_per_s),
        (decode, &report.decode_tokens_per_s),
        (load, &report.load_s),
    ] {
        let theirs = sides.mlx_lm.as_ref().map_or("–".into(), ToString::to_string);
        let ratio = sides.ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
        println!("{what:<24}{:<28}{theirs:<28}{ratio}", sides.exo_node.to_string());
    }
    let batch = format!("batch of {}", report.batch);
    let ratio = report.batch_ratio;
    println!("{batch:<24}{:<28}{ratio:.2} × one", report.batch_tokens_per_s.to_string());
    if let Some(ours) = report.peak_bytes.exo_node {
        let theirs = report.peak_bytes.mlx_lm;
        let shown = theirs.map_or("–".into(), |theirs| (theirs >> 20).to_string());
        let ratio =
            theirs.map_or("–".into(), |theirs| format!("{:.2}", ours as f64 / theirs as f64));
        println!("{:<24}{:<28}{shown:<28}{ratio}", "peak memory (MiB)", ours >> 20);
    }
    println!("{:<24}{:.1} % of a decode step", "host", report.host_percent);
    if report.prefill_tokens_per_s.mlx_lm.is_some() {
        println!("\nsame last token in {} of {} runs", report.same_last_token, report.repeats);
    }
}

/// A node of our own in this process.
struct Ours {
    handle: NodeHandle,
    runtime: tokio::runtime::Runtime,
    _data: tempfile::TempDir,
}

impl Ours {
    fn start(model: &Path) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let key = data.path().join("key");
        crate::cluster_key::write(&key)?;
        let (handle, _thread) = node::start(NodeConfig {
            name: "bench".into(),
            interface: "lo".parse()?,
            listen: 0,
            peers: Vec::new(),
            discovery: false,
            memory_bytes: u64::MAX >> 1,
            weights: WeightsChoice::Auto,
            model: Some(ModelChoice { name: "bench".into(), dir: model.to_path_buf() }),
            nodes: NodesWanted::Smallest,
            goal: Goal::Memory,
            layers: None,
            rebalance: false,
            data: data.path().to_path_buf(),
            cluster_key_file: Some(key),
            trust: TrustChoice::None,
            encrypt: EncryptChoice::Auto,
            policy: Policy::default(),
            api: String::new(),
        })?;
        let deadline = Instant::now() + Duration::from_secs(120);
        while handle.cluster().state != "ready" {
            let view = handle.cluster();
            ensure!(view.state != "failed", "the model cannot be loaded: {}", view.reason);
            ensure!(Instant::now() < deadline, "not ready after two minutes: {}", view.reason);
            std::thread::sleep(Duration::from_millis(50));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { handle, runtime, _data: data })
    }

    fn measure(&self, prompt: &[u32], decode: usize) -> anyhow::Result<Run> {
        let begun = Instant::now();
        let mut generation = self.handle.generate(GenerateRequest {
            prompt: prompt.to_vec(),
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            max_tokens: decode as u32,
            stop_tokens: Vec::new(),
            priority: Priority::default(),
        })?;
        let mut first = None;
        let (mut count, mut last) = (0, 0);
        loop {
            match self.runtime.block_on(generation.events.recv()).context("the node ended")? {
                GenerateEvent::Token { id, .. } => {
                    first.get_or_insert_with(Instant::now);
                    (count, last) = (count + 1, id);
                }
                GenerateEvent::Finished(_) => break,
                GenerateEvent::Failed(error) => return Err(error.into()),
            }
        }
        let first = first.context("no token came")?;
        ensure!(count == decode, "{count} tokens instead of {decode}");
        Ok(Run {
            prefill: prompt.len() as f64 / (first - begun).as_secs_f64(),
            decode: (decode - 1) as f64 / first.elapsed().as_secs_f64(),
            last,
        })
    }
}

impl Ours {
    /// Tokens per second of `count` sequences that decode at once, while all of them do.
    fn together(&self, count: usize, decode: usize) -> anyhow::Result<f64> {
        let mut generations = Vec::with_capacity(count);
        for number in 0..count as u32 {
            generations.push(self.handle.generate(GenerateRequest {
                prompt: (0..8 + number).map(|i| 1_000 + 37 * i + number).collect(),
                sampling: Sampling { temperature: 0.0, ..Sampling::default() },
                max_tokens: decode as u32,
                stop_tokens: Vec::new(),
                priority: Priority::default(),
            })?);
        }
        let tasks: Vec<_> = generations
            .into_iter()
            .map(|generation| {
                self.runtime.spawn(async move {
                    // All of it: what is dropped of it ends the request.
                    let mut generation = generation;
                    let mut tokens = Vec::new();
                    while let Some(event) = generation.events.recv().await {
                        match event {
                            GenerateEvent::Token { .. } => tokens.push(Instant::now()),
                            GenerateEvent::Finished(_) => return Ok(tokens),
                            GenerateEvent::Failed(error) => return Err(error),
                        }
                    }
                    Ok(tokens)
                })
            })
            .collect();
        let mut times = Vec::with_capacity(count);
        for task in tasks {
            times.push(self.runtime.block_on(task)??);
        }
        let begun = times.iter().filter_map(|own| own.first()).max().context("no token came")?;
        let ended = times.iter().filter_map(|own| own.last()).min().context("no token came")?;
        let counted = times.iter().flatten().filter(|at| *at > begun && *at <= ended).count();
        ensure!(counted > 0, "the sequences did not run at the same time");
        Ok(counted as f64 / (*ended - *begun).as_secs_f64())
    }
}

/// Python's mlx-lm in a process of its own, asked by lines.
struct Theirs {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Theirs {
    fn start(python: &Path, args: &Args) -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/mlx_lm_side.py");
        let mut command = Command::new(python);
        command.arg(&script).arg(&args.model).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(blas) = &args.blas {
            ensure!(blas.is_file(), "--blas {}: no such file", blas.display());
            command.env("LD_PRELOAD", blas);
            // Both sides' shim takes one thread unless this says otherwise; so both have the same.
            let threads = std::env::var("OPENBLAS_NUM_THREADS").unwrap_or_else(|_| "1".into());
            command.env("OPENBLAS_NUM_THREADS", threads);
            if !args.lend_kernels {
                command.env("EXO_BLAS_KERNELS", "none");
            }
        }
        let mut child =
            command.spawn().with_context(|| format!("{} does not run", python.display()))?;
        let to = child.stdin.take().context("no pipe")?;
        let from = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut side = Self { child, to, from };
        let said = side.line()?;
        ensure!(said.trim() == "ready", "mlx-lm said: {said}");
        Ok(side)
    }

    /// Seconds that loading the model took.
    fn load(&mut self) -> anyhow::Result<f64> {
        writeln!(self.to, "{}", serde_json::json!({ "load": true }))?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    /// The most memory it has held, in bytes.
    fn peak(&mut self) -> anyhow::Result<u64> {
        writeln!(self.to, "{}", serde_json::json!({ "peak": true }))?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn measure(&mut self, prompt: &[u32], decode: usize) -> anyhow::Result<Run> {
        let ask = serde_json::json!({ "prompt": prompt, "decode": decode });
        writeln!(self.to, "{ask}")?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            bail!("mlx-lm ended: {}", self.child.wait()?);
        }
        Ok(line)
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
