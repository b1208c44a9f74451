//! `tbnet setup`

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use exo_netconfig::{
    Snapshot,
    apply::{ApplyError, Journal, JournalError, Progress, Turn, apply, undo},
    check::{Expectation, check},
    peer::Contact,
    plan::{Keeper, LinkPair, Plan, PlanError, Step, Wish, candidates, plan},
    snapshot::Platform,
    system::{change, recorded},
    text::{Lang, apply as say},
};

use super::{Exit, mistake, peer, snapshot_of};
use crate::{
    args::{PeerAddress, SetupArgs},
    json::SetupJson,
    output::{Mistake, Output, Style, harmless},
};

pub(crate) fn run(args: &SetupArgs, output: &mut Output) -> anyhow::Result<Exit> {
    if args.undo {
        return put_back(args, output);
    }
    // Held from the first look to the last: what is planned is planned for what is then changed.
    let turn = match args.dry_run {
        true => None,
        false => Some(take_turn(args)?),
    };
    let mut snapshot = snapshot(args)?;
    let mut expectation = expectation(args);
    let (from, peers) = (args.from.as_deref(), args.peer.as_slice());
    peer::add_exchange(&mut expectation, &mut snapshot, from, peers, &args.peers)?;
    let unheard = match &expectation.contact {
        Some(Contact::Silent { why, .. }) => from.is_none() || why.is_unasked(),
        _ => false,
    };
    if unheard {
        // Nothing here makes it answer: that is for `check` to say.
        expectation.contact = None;
    }
    let report = check(&snapshot, &expectation);
    let kept = Kept::of(from, candidates(&snapshot, &report, args.per_port))?;
    let unsaid = kept.unsaid(snapshot.platform);
    let wish = wish(args, kept, expectation);
    let plan = plan(&snapshot, &report, &wish).map_err(|error| planless(&error))?;
    let outlook = plan.outlook(&report);
    if args.json {
        output.json(&SetupJson::of(&plan, outlook, &unsaid, output.lang()))?;
        return Ok(outlook.into());
    }
    show(&plan, output)?;
    if !unsaid.is_empty() {
        output.say(say::not_recorded())?;
        output.line("")?;
    }
    let Some(turn) = turn else {
        output.say(say::dry_run())?;
        return Ok(outlook.into());
    };
    // Even if nothing is left to do: what was cut off may have left a step unseen.
    refuse_after_a_cut(turn.folder())?;
    if plan.steps.is_empty() {
        return Ok(report.verdict.into());
    }
    if !args.yes && !agreed(output)? {
        output.say(say::declined())?;
        return Ok(report.verdict.into());
    }
    let lang = output.lang();
    let peer = args.peer.as_ref().map(|peer| peer.ip);
    apply(&plan, peer, &turn, |progress| tell(&progress, lang)).map_err(|e| stopped(&e))?;
    finish(args, &plan, output)
}

fn snapshot(args: &SetupArgs) -> anyhow::Result<Snapshot> {
    let peers: Vec<_> = args.peer.iter().map(|peer| peer.ip).collect();
    snapshot_of(args.from.as_deref(), &peers)
}

fn expectation(args: &SetupArgs) -> Expectation {
    let peer = args.peer.as_ref();
    Expectation {
        interface: args.interface.clone(),
        peer: peer.map(|PeerAddress { ip, .. }| *ip),
        peer_scope: peer.and_then(|peer| peer.scope.clone()),
        ..Expectation::default()
    }
}

/// What the system, or its recording, says of those who look after its interfaces.
struct Kept {
    /// `None` for an interface of which the recording says nothing.
    keepers: Vec<(String, Option<Option<Keeper>>)>,
    /// `None` if the recording does not say it.
    wifi: Option<Vec<String>>,
}

impl Kept {
    fn of(from: Option<&Path>, interfaces: Vec<&str>) -> anyhow::Result<Self> {
        let Some(folder) = from else {
            let keepers = change::keepers(interfaces.iter().copied());
            let keeper = |name: &str| Some(keepers.get(name).copied());
            let keepers = interfaces.into_iter().map(|name| (name.to_owned(), keeper(name)));
            return Ok(Self { keepers: keepers.collect(), wifi: Some(change::wifi()) });
        };
        let recorded = recorded::keepers(folder).map_err(mistake)?;
        // Both are recorded, or neither is.
        let wifi = recorded.is_some().then(|| recorded::wifi(folder));
        let recorded = recorded.unwrap_or_default();
        let keeper = |name: &str| recorded.get(name).copied();
        let keepers = interfaces.into_iter().map(|name| (name.to_owned(), keeper(name)));
        Ok(Self { keepers: keepers.collect(), wifi })
    }

    /// What a plan had needed to know and the recording does not say.
    fn unsaid(&self, platform: Platform) -> Vec<&'static str> {
        let keepers = self.keepers.iter().any(|(_, keeper)| keeper.is_none());
        let unsaid = [(keepers, "keepers"), (self.wifi.is_none(), "wifi")];
        let is_linux = platform == Platform::Linux;
        unsaid.into_iter().filter(|(is, _)| is_linux && *is).map(|(_, what)| what).collect()
    }
}

/// What was typed, and what only the machine and the peer can say.
fn wish(args: &SetupArgs, kept: Kept, expectation: Expectation) -> Wish {
    let keepers = kept.keepers.into_iter();
    Wish {
        peer: expectation.peer,
        address: args.address,
        mtu: args.mtu,
        per_port: args.per_port,
        keepers: keepers.filter_map(|(name, keeper)| Some((name, keeper?))).collect(),
        wifi: kept.wifi.unwrap_or_default(),
        answered: match expectation.contact {
            Some(Contact::Answered { report, .. }) => Some(*report),
            _ => None,
        },
    }
}

fn refuse_after_a_cut(folder: &Path) -> anyhow::Result<()> {
    let newest = Journal::newest(folder).map_err(|error| journalless(&error))?;
    match newest.as_ref().map(Journal::summary) {
        Some(summary) if !summary.finished => Err(Mistake {
            text: say::interrupted(summary.begun, summary.of),
            hint: say::interrupted_hint(),
        }
        .into()),
        _ => Ok(()),
    }
}

fn show(plan: &Plan, output: &mut Output) -> anyhow::Result<()> {
    for LinkPair { interface, pair } in &plan.pairs {
        output.say(say::plan_for_pair(interface, pair.own, pair.peer))?;
    }
    for (number, step) in (1..).zip(&plan.steps) {
        output.line("")?;
        let words = output.words(step.action.text());
        output.wrapped(&format!("  {number}. "), &format!("{words}{}", ids(step)))?;
        for command in step.action.commands() {
            // A file's text has lines of its own.
            for line in command.to_string().lines() {
                let text = output.styled(Style::Command, line);
                output.line(&format!("     {text}"))?;
            }
        }
    }
    if plan.steps.is_empty() {
        output.say(say::nothing_to_do())?;
    }
    for (title, texts) in
        [(say::ports_left_alone(), &plan.skipped), (say::does_not_last(), &plan.fleeting)]
    {
        if texts.is_empty() {
            continue;
        }
        output.line("")?;
        output.say(title)?;
        for text in texts {
            let words = output.words(text);
            output.wrapped("  ", &words)?;
        }
    }
    if !plan.left.is_empty() {
        output.line("")?;
        output.say(say::left_as_it_is())?;
        for left in &plan.left {
            let reason = output.words(plan.why(left));
            output.wrapped(&format!("  {}: ", left.finding), &reason)?;
        }
    }
    if !plan.steps.is_empty() {
        output.line("")?;
    }
    if let Some(command) = &plan.there {
        output.say(say::then_there(command))?;
        output.line("")?;
    }
    Ok(())
}

/// The findings that a step mends.
fn ids(step: &Step) -> String {
    let ids: Vec<&str> = step.mends.iter().map(|id| id.as_str()).collect();
    if ids.is_empty() { String::new() } else { format!(" [{}]", ids.join(", ")) }
}

fn agreed(output: &Output) -> anyhow::Result<bool> {
    let (stdin, mut stderr) = (io::stdin(), io::stderr());
    if !stdin.is_terminal() {
        let (text, hint) = (say::no_terminal(), say::no_terminal_hint());
        return Err(Mistake { text, hint }.into());
    }
    write!(stderr, "{} ", output.words(say::question()))?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Progress goes to the terminal's side channel: the outcome is what is printed.
fn tell(progress: &Progress<'_>, lang: Lang) {
    let text = match progress {
        Progress::Saved { journal } => say::saved(journal.display()).words(lang).to_owned(),
        Progress::Begin { number, of, step } => {
            format!("[{number}/{of}] {}", step.action.text().words(lang))
        }
        Progress::Run { command } => format!("      {command}"),
        Progress::Done => return,
    };
    let _ = writeln!(io::stderr(), "{}", harmless(&text, false));
}

/// Judges what has come of it.
fn finish(args: &SetupArgs, plan: &Plan, output: &mut Output) -> anyhow::Result<Exit> {
    let snapshot = snapshot(args)?;
    let expectation = Expectation { address: args.address, ..expectation(args) };
    let report = check(&snapshot, &expectation);
    super::check::text(&report, &snapshot, None, output)?;
    if let Some(command) = &plan.there {
        output.say(say::then_there(command))?;
    }
    output.say(say::undo_with())?;
    Ok(report.verdict.into())
}

fn put_back(args: &SetupArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let turn = take_turn(args)?;
    let folder = turn.folder();
    let newest = || Journal::newest(folder).map_err(|error| journalless(&error));
    let Some(journal) = newest()? else {
        let text = say::nothing_to_undo(folder.display());
        return Err(Mistake { text, hint: say::nothing_to_undo_hint() }.into());
    };
    output.say(say::undoing(journal.path().display()))?;
    let lang = output.lang();
    undo(journal, &turn, |progress| tell(&progress, lang)).map_err(|error| stopped(&error))?;
    output.say(say::undone())?;
    if newest()?.is_some() {
        output.say(say::older())?;
    }
    Ok(Exit::Good)
}

fn take_turn(args: &SetupArgs) -> anyhow::Result<Turn> {
    let folder = state_folder(args)?;
    Ok(Turn::take(&folder).map_err(|error| journalless(&error))?)
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
    let home = env::var_os("HOME")
        .ok_or_else(|| Mistake { text: say::no_home(), hint: say::no_home_hint() })?;
    let below = if cfg!(target_os = "macos") {
        "Library/Application Support/tbnet"
    } else {
        ".local/state/tbnet"
    };
    Ok(Path::new(&home).join(below))
}

fn planless(error: &PlanError) -> Mistake {
    Mistake { text: error.text(), hint: error.hint() }
}

fn stopped(error: &ApplyError) -> Mistake {
    Mistake { text: error.text(), hint: error.hint() }
}

fn journalless(error: &JournalError) -> Mistake {
    Mistake { text: error.text(), hint: error.hint() }
}
