//! `tbnet check`

use std::path::Path;

use exo_netconfig::{
    LinkKind, Snapshot,
    changes::state,
    check::{Expectation, Finding, Report, Severity, Verdict, check},
    text::{Text, tool},
};

use super::{Exit, peer, snapshot_of};
use crate::{
    args::CheckArgs,
    json::CheckJson,
    output::{Output, Style, addresses},
};

pub(crate) fn run(args: &CheckArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let peer = args.peer.first();
    let peers: Vec<_> = args.peer.iter().map(|peer| peer.ip).collect();
    let mut snapshot = snapshot_of(args.from.as_deref(), &peers)?;
    let mut expectation = Expectation {
        interface: args.interface.clone(),
        address: args.address,
        peer: peer.map(|peer| peer.ip),
        peer_scope: peer.and_then(|peer| peer.scope.clone()),
        ..Expectation::default()
    };
    peer::add_exchange(
        &mut expectation,
        &mut snapshot,
        args.from.as_deref(),
        &args.peer,
        &args.peers,
    )?;
    let report = check(&snapshot, &expectation);
    if args.json {
        output.json(&CheckJson::of(&report, output.lang()))?;
    } else {
        text(&report, &snapshot, args.from.as_deref(), output)?;
    }
    Ok(report.verdict.into())
}

pub(super) fn text(
    report: &Report,
    snapshot: &Snapshot,
    from: Option<&Path>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let place = match from {
        Some(folder) => tool::recorded_in(report.platform, folder.display()),
        None => tool::this_machine(report.platform),
    };
    match &report.judged {
        Some(judged) => {
            let kind = match judged.kind {
                Some(LinkKind::Thunderbolt) => tool::kind_thunderbolt(),
                Some(LinkKind::ByHand) => tool::kind_by_hand(),
                None => tool::kind_unknown(),
            };
            output.say(tool::judged(place, kind, &judged.interface))?;
            if let Some(evidence) = &judged.evidence {
                output.wrapped("  ", &output.words(evidence.text()))?;
            }
            if let Some(facts) = facts(snapshot, &judged.interface) {
                output.wrapped("  ", &output.words(facts))?;
            }
        }
        None => output.say(place)?,
    }
    for finding in &report.findings {
        output.line("")?;
        one(finding, output)?;
    }
    output.line("")?;
    verdict(report, output)
}

/// What is so, whether or not anything is wrong with it.
fn facts(snapshot: &Snapshot, name: &str) -> Option<Text> {
    let interface = snapshot.interface(name)?;
    let mut facts = vec![state(interface)];
    let nets = addresses(interface.addresses.as_deref().unwrap_or_default());
    facts.extend(nets.iter().map(Text::verbatim));
    let service = snapshot.services.items().iter().find(|s| s.device.as_deref() == Some(name));
    if let Some(service) = service {
        facts.push(tool::service_fact(&service.name));
    }
    Some(Text::joined(facts, ", "))
}

fn one(finding: &Finding, output: &mut Output) -> anyhow::Result<()> {
    let (word, style) = match finding.severity {
        Severity::Error => (tool::severity_error(), Style::Error),
        Severity::Warning => (tool::severity_warning(), Style::Warning),
        Severity::Unknown => (tool::severity_unknown(), Style::Unknown),
        Severity::Info => (tool::severity_info(), Style::Info),
    };
    let head = format!("{}[{}]", output.styled(style, &output.words(word)), finding.id);
    let title = output.styled(Style::Strong, &output.words(&finding.title));
    output.line(&format!("{head} {title}"))?;
    let label = |output: &Output, text: Text| output.label(&output.words(text));
    for seen in &finding.seen {
        let label = label(output, tool::seen());
        output.wrapped(
            &label,
            &format!("{} ({})", output.words(&seen.what), output.words(seen.source.text())),
        )?;
    }
    if !finding.why.is_empty() {
        output.wrapped(&label(output, tool::why()), &output.words(&finding.why))?;
    }
    for click in &finding.remedy.clicks {
        output.wrapped(&label(output, tool::do_this()), &output.words(click))?;
    }
    for command in &finding.remedy.commands {
        // Never wrapped: it is there to be copied.
        let command = output.styled(Style::Command, command);
        output.line(&format!("{}{command}", label(output, tool::run_this())))?;
    }
    Ok(())
}

fn verdict(report: &Report, output: &mut Output) -> anyhow::Result<()> {
    let problems = match report.count(Severity::Error) {
        0 => None,
        1 => Some(tool::one_problem()),
        n => Some(tool::problems(n)),
    };
    let warnings = match report.count(Severity::Warning) {
        0 => None,
        1 => Some(tool::one_warning()),
        n => Some(tool::warnings(n)),
    };
    let unknowns = match report.count(Severity::Unknown) {
        0 => None,
        1 => Some(tool::one_unknown()),
        n => Some(tool::unknowns(n)),
    };
    let counts: Vec<Text> = [problems, warnings, unknowns].into_iter().flatten().collect();
    let (word, style) = match report.verdict {
        Verdict::Good => (tool::good(), Style::Good),
        Verdict::Problems => (tool::not_good(), Style::Error),
        Verdict::CouldNotCheck => (tool::could_not_check(), Style::Unknown),
    };
    let word = output.styled(style, &output.words(word));
    if counts.is_empty() {
        return output.line(&word);
    }
    let counts = output.words(Text::joined(counts, ", "));
    output.line(&format!("{word}: {counts}"))
}
