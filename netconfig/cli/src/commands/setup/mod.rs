//! `tbnet setup`

mod words;

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use exo_netconfig::{
    Snapshot,
    apply::{ApplyError, Journal, JournalError, Progress, apply, undo},
    check::{Expectation, Report, check},
    plan::{Plan, PlanError, Wish, plan},
    system::change,
};
use serde::Serialize;

use super::{Exit, peer, snapshot_of};
use crate::{
    args::SetupArgs,
    output::{Hint, Output, SCHEMA, Style},
};

pub(crate) fn run(args: &SetupArgs, output: &mut Output) -> anyhow::Result<Exit> {
    if args.undo {
        return put_back(args, output);
    }
    let snapshot = snapshot_of(args.from.as_deref(), &Vec::from_iter(args.peer))?;
    let mut report = check(&snapshot, &expectation(args));
    let mut wish = Wish {
        peer: args.peer,
        address: args.address,
        mtu: args.mtu,
        per_port: args.per_port,
        ..Wish::default()
    };
    if args.from.is_none() {
        report = ask(args, &snapshot, report, &mut wish);
    }
    let plan = plan(&snapshot, &report, &wish).map_err(planless)?;
    if args.json {
        output.json(&Json { schema: SCHEMA, command: "setup", plan: &plan })?;
        return Ok(Exit::Good);
    }
    show(&plan, output)?;
    if args.dry_run {
        output.line(words::DRY_RUN)?;
        return Ok(Exit::Good);
    }
    // Even if nothing is left to do: what was cut off may have left a step unseen.
    let folder = state_folder(args)?;
    if let Some(journal) = Journal::newest(&folder).map_err(journalless)?
        && !journal.summary().finished
    {
        let summary = journal.summary();
        return Err(anyhow::anyhow!(words::interrupted(summary.begun, summary.of))
            .context(Hint(words::INTERRUPTED_HINT.into())));
    }
    if plan.steps.is_empty() {
        return Ok(report.verdict.into());
    }
    if !args.yes && !agreed()? {
        output.line(words::DECLINED)?;
        return Ok(report.verdict.into());
    }
    apply(&plan, args.peer, &folder, |progress| tell(&progress)).map_err(stopped)?;
    finish(args, output)
}

fn expectation(args: &SetupArgs) -> Expectation {
    Expectation { interface: args.interface.clone(), peer: args.peer }
}

/// Fills in what only the running machine and the peer can say.
fn ask(args: &SetupArgs, snapshot: &Snapshot, report: Report, wish: &mut Wish) -> Report {
    wish.wifi = change::wifi();
    let Some(interface) = report.judged.as_ref().map(|judged| judged.interface.clone()) else {
        return report;
    };
    wish.keeper = change::keeper(&interface);
    let Some(peer) = args.peer else { return report };
    let heard = peer::hear(&args.interface, peer, &args.peers);
    let findings = peer::findings(snapshot, &interface, &heard);
    wish.answered = heard.said.ok();
    report.with(findings)
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    command: &'static str,
    #[serde(flatten)]
    plan: &'a Plan,
}

fn show(plan: &Plan, output: &mut Output) -> anyhow::Result<()> {
    let pair = plan.pair.map(|pair| (pair.own.to_string(), pair.peer.to_string()));
    let pair = pair.filter(|_| plan.interfaces.len() == 1);
    output.line(&words::plan_for(&plan.interfaces, pair))?;
    for (number, step) in (1..).zip(&plan.steps) {
        output.line("")?;
        let ids: Vec<&str> = step.mends.iter().map(|id| id.as_str()).collect();
        let ids = if ids.is_empty() { String::new() } else { format!(" [{}]", ids.join(", ")) };
        output
            .wrapped(&format!("  {number}. "), &format!("{}{ids}", words::changes(&step.action)))?;
        for command in step.action.commands() {
            let text = output.styled(Style::Command, &command.to_string());
            output.line(&format!("     {text}"))?;
        }
    }
    if plan.steps.is_empty() {
        output.line(words::NOTHING_TO_DO)?;
    }
    if !plan.left.is_empty() {
        output.line("")?;
        output.line(words::LEFT)?;
        for left in &plan.left {
            let label = format!("  {}: ", left.finding);
            output.wrapped(&label, words::reason(left.reason))?;
        }
    }
    if !plan.steps.is_empty() {
        output.line("")?;
    }
    Ok(())
}

fn agreed() -> anyhow::Result<bool> {
    let (stdin, mut stderr) = (io::stdin(), io::stderr());
    if !stdin.is_terminal() {
        return Err(
            anyhow::anyhow!(words::NO_TERMINAL).context(Hint(words::NO_TERMINAL_HINT.into()))
        );
    }
    write!(stderr, "{}", words::QUESTION)?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Progress goes to the terminal's side channel: the outcome is what is printed.
fn tell(progress: &Progress<'_>) {
    let text = match progress {
        Progress::Saved { journal } => words::saved(&journal.display().to_string()),
        Progress::Begin { number, of, step } => {
            format!("[{number}/{of}] {}", words::changes(&step.action))
        }
        Progress::Run { command } => format!("      {command}"),
        Progress::Done => return,
    };
    let _ = writeln!(io::stderr(), "{text}");
}

/// Judges what has come of it.
fn finish(args: &SetupArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let snapshot = snapshot_of(None, &Vec::from_iter(args.peer))?;
    let report = check(&snapshot, &expectation(args));
    super::check::text(&report, &snapshot, None, output)?;
    output.line(words::UNDO)?;
    Ok(report.verdict.into())
}

fn put_back(args: &SetupArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let folder = state_folder(args)?;
    let Some(journal) = Journal::newest(&folder).map_err(journalless)? else {
        return Err(anyhow::anyhow!(words::nothing_to_undo(&folder.display().to_string()))
            .context(Hint(words::NOTHING_TO_UNDO_HINT.into())));
    };
    output.line(&words::undoing(&journal.path().display().to_string()))?;
    undo(journal, |progress| tell(&progress)).map_err(stopped)?;
    output.line(words::UNDONE)?;
    if Journal::newest(&folder).map_err(journalless)?.is_some() {
        output.line(words::OLDER)?;
    }
    Ok(Exit::Good)
}

/// Where the old state is kept: the system's folder for root, the user's own else.
fn state_folder(args: &SetupArgs) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &args.state {
        return Ok(folder.clone());
    }
    if change::is_root() {
        let folder = if cfg!(target_os = "macos") { "/var/db/tbnet" } else { "/var/lib/tbnet" };
        return Ok(PathBuf::from(folder));
    }
    let home = env::var_os("HOME").context("HOME is not set; hint: name a folder with --state")?;
    let below = if cfg!(target_os = "macos") {
        "Library/Application Support/tbnet"
    } else {
        ".local/state/tbnet"
    };
    Ok(Path::new(&home).join(below))
}

fn planless(error: PlanError) -> anyhow::Error {
    let hint = Hint(error.hint());
    anyhow::Error::new(error).context(hint)
}

fn stopped(error: ApplyError) -> anyhow::Error {
    let hint = Hint(error.hint());
    anyhow::Error::new(error).context(hint)
}

fn journalless(error: JournalError) -> anyhow::Error {
    let hint = Hint(error.hint());
    anyhow::Error::new(error).context(hint)
}
