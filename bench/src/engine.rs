//! One node against Python's mlx-lm.
//!
//! Both sides stay resident and are asked in turns, so that the machine's noise hits both. Ours is a
//! whole node (scheduler, worker, sampler) without HTTP; theirs is mlx-lm's own `generate_step`. Both
//! have the same OpenBLAS before MLX's own, and the same number of threads.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use exo_engine::{
    node::{
        self, EncryptChoice, ModelChoice, NodeConfig, NodeHandle, NodesWanted, TrustChoice,
        WeightsChoice,
    },
    request::{GenerateEvent, GenerateRequest, Sampling},
};
use serde::{Deserialize, Serialize};

use crate::figures::{Figure, paired_ratio};

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
    /// How often each side is measured.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 512)]
    prefill: usize,
    /// Tokens generated.
    #[arg(long, default_value_t = 64)]
    decode: usize,
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
    prefill_tokens_per_s: Sides,
    decode_tokens_per_s: Sides,
    /// Runs in which both sides generated the same last token.
    same_last_token: usize,
}

#[derive(Serialize)]
struct Sides {
    exo_node: Figure,
    mlx_lm: Option<Figure>,
    /// Median of the ratios of neighbouring runs; above 1 we are faster.
    ratio: Option<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.repeats >= 1 && args.prefill >= 2 && args.decode >= 2, "nothing to measure");
    let prompt: Vec<u32> = (0..args.prefill).map(|i| 500 + (i as u32 * 7919) % 20_000).collect();
    let mut theirs = match &args.python {
        Some(python) => Some(Theirs::start(python, args)?),
        None => None,
    };
    let ours = Ours::start(&args.model)?;
    let (mut our_runs, mut their_runs) = (Vec::new(), Vec::new());
    // The first round warms up: page cache, allocator, MLX's buffers.
    for round in 0..=args.repeats {
        eprintln!(
            "round {round} of {}{}",
            args.repeats,
            if round == 0 { " (warm-up)" } else { "" }
        );
        let our_run = ours.measure(&prompt, args.decode)?;
        let their_run =
            theirs.as_mut().map(|side| side.measure(&prompt, args.decode)).transpose()?;
        if round > 0 {
            our_runs.push(our_run);
            their_runs.extend(their_run);
        }
    }
    let sides = |figure: fn(&Run) -> f64| {
        let ours: Vec<f64> = our_runs.iter().map(figure).collect();
        let theirs: Vec<f64> = their_runs.iter().map(figure).collect();
        let ratio = (!theirs.is_empty()).then(|| paired_ratio(&ours, &theirs));
        let mlx_lm = (!theirs.is_empty()).then(|| Figure::of(theirs));
        Sides { exo_node: Figure::of(ours), mlx_lm, ratio }
    };
    let report = Report {
        model: args.model.display().to_string(),
        repeats: args.repeats,
        prefill_tokens: args.prefill,
        decode_tokens: args.decode,
        blas_threads: std::env::var("OPENBLAS_NUM_THREADS").unwrap_or_else(|_| "1".into()),
        blas: args.blas.as_ref().map_or("MLX's own".into(), |blas| blas.display().to_string()),
        prefill_tokens_per_s: sides(|run| run.prefill),
        decode_tokens_per_s: sides(|run| run.decode),
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

fn print(report: &Report) {
    println!("{} · {} repeats, in turns", report.model, report.repeats);
    println!("BLAS threads: {} · Python's BLAS: {}\n", report.blas_threads, report.blas);
    println!("{:<24}{:<28}{:<28}ratio", "tokens per second", "exo-node", "mlx-lm");
    let prefill = format!("prefill ({} tokens)", report.prefill_tokens);
    let decode = format!("decode ({} tokens)", report.decode_tokens);
    for (what, sides) in
        [(prefill, &report.prefill_tokens_per_s), (decode, &report.decode_tokens_per_s)]
    {
        let theirs = sides.mlx_lm.as_ref().map_or("–".into(), ToString::to_string);
        let ratio = sides.ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
        println!("{what:<24}{:<28}{theirs:<28}{ratio}", sides.exo_node.to_string());
    }
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
        write_key(&key)?;
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
            data: data.path().to_path_buf(),
            cluster_key_file: Some(key),
            trust: TrustChoice::None,
            encrypt: EncryptChoice::Auto,
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

fn write_key(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // Nobody connects to this node: the key only has to be there.
    writeln!(file, "{}", "5a".repeat(32))?;
    Ok(())
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
