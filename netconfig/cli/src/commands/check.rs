//! `tbnet check`

use std::path::Path;

use exo_netconfig::{
    LinkKind, Snapshot,
    check::{Expectation, Finding, Report, Severity, Verdict, check},
};
use serde::Serialize;

use super::{Exit, peer, snapshot_of};
use crate::{
    args::CheckArgs,
    output::{Output, SCHEMA, Style},
};

pub(crate) fn run(args: &CheckArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let peers: Vec<_> = args.peer.into_iter().collect();
    let snapshot = snapshot_of(args.from.as_deref(), &peers)?;
    let expectation = Expectation { interface: args.interface.clone(), peer: args.peer };
    let mut report = check(&snapshot, &expectation);
    if let (Some(peer), None, Some(judged)) = (args.peer, &args.from, &report.judged) {
        let heard = peer::hear(&args.interface, peer, &args.peers);
        let findings = peer::findings(&snapshot, &judged.interface, &heard);
        report = report.with(findings);
    }
    if args.json {
        output.json(&Json { schema: SCHEMA, command: "check", report: &report })?;
    } else {
        text(&report, &snapshot, args.from.as_deref(), output)?;
    }
    Ok(report.verdict.into())
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    command: &'static str,
    #[serde(flatten)]
    report: &'a Report,
}

pub(super) fn text(
    report: &Report,
    snapshot: &Snapshot,
    from: Option<&Path>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let place = match from {
        Some(folder) => format!("{} recorded in {}", report.platform, folder.display()),
        None => format!("this machine ({})", report.platform),
    };
    match &report.judged {
        Some(judged) => {
            let kind = match judged.kind {
                Some(LinkKind::Thunderbolt) => "Thunderbolt link",
                Some(LinkKind::ByHand) => "by-hand link",
                None => "link",
            };
            output.line(&format!("{place}: {kind} {}", judged.interface))?;
            if let Some(evidence) = &judged.evidence {
                output.wrapped("  ", &evidence.to_string())?;
            }
            if let Some(facts) = facts(snapshot, &judged.interface) {
                output.wrapped("  ", &facts)?;
            }
        }
        None => output.line(&place)?,
    }
    for finding in &report.findings {
        output.line("")?;
        one(finding, output)?;
    }
    output.line("")?;
    verdict(report, output)
}

/// What is so, whether or not anything is wrong with it.
fn facts(snapshot: &Snapshot, name: &str) -> Option<String> {
    let interface = snapshot.interface(name)?;
    let mut facts = vec![crate::output::state(interface)];
    facts.extend(crate::output::addresses(interface.addresses.as_deref().unwrap_or_default()));
    let service = snapshot.services.items().iter().find(|s| s.device.as_deref() == Some(name));
    if let Some(service) = service {
        facts.push(format!("service \"{}\"", service.name));
    }
    Some(facts.join(", "))
}

fn one(finding: &Finding, output: &mut Output) -> anyhow::Result<()> {
    let (word, style) = match finding.severity {
        Severity::Error => ("error", Style::Error),
        Severity::Warning => ("warning", Style::Warning),
        Severity::Unknown => ("unknown", Style::Unknown),
        Severity::Info => ("info", Style::Info),
    };
    let head = format!("{}[{}]", output.styled(style, word), finding.id);
    output.line(&format!("{head} {}", output.styled(Style::Strong, &finding.title)))?;
    for seen in &finding.seen {
        output.wrapped("  seen: ", &format!("{} ({})", seen.what, seen.source))?;
    }
    if !finding.why.is_empty() {
        output.wrapped("  why:  ", &finding.why)?;
    }
    for click in &finding.remedy.clicks {
        output.wrapped("  do:   ", click)?;
    }
    for command in &finding.remedy.commands {
        // Never wrapped: it is there to be copied.
        let command = output.styled(Style::Command, command);
        output.line(&format!("  run:  {command}"))?;
    }
    Ok(())
}

fn verdict(report: &Report, output: &mut Output) -> anyhow::Result<()> {
    let count = |severity, one: &str, many: &str| match report.count(severity) {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    };
    let counts: Vec<String> = [
        count(Severity::Error, "problem", "problems"),
        count(Severity::Warning, "warning", "warnings"),
        count(Severity::Unknown, "thing not known", "things not known"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (word, style) = match report.verdict {
        Verdict::Good => ("good", Style::Good),
        Verdict::Problems => ("not good", Style::Error),
        Verdict::CouldNotCheck => ("could not check", Style::Unknown),
    };
    let word = output.styled(style, word);
    output.line(&if counts.is_empty() { word } else { format!("{word}: {}", counts.join(", ")) })
}
