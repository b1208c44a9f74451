//! The JSON of `tbnet`: schema 1, described in docs/tbnet-json.md. Within a schema number keys are only
//! added, never renamed or removed.
//!
//! Ids, states and sources are the same in every language; `title`, `what`, `why` and `clicks` are
//! for people, in the language that `lang` names.

use std::{net::IpAddr, time::Duration};

use exo_netconfig::{
    Evidence, LinkKind, Snapshot,
    changes::{Change, ChangeKind},
    check::{Finding, FindingId, Report, Severity, Verdict},
    plan::{Action, CommandLine, Left, LinkPair, Pair, Plan},
    rtt::Rtt,
    snapshot::{Interface, Platform, Source},
    text::Lang,
};
use serde::Serialize;

/// The version of the JSON.
pub(crate) const SCHEMA: u32 = 1;

/// What `tbnet check --json` prints.
#[derive(Serialize)]
pub(crate) struct CheckJson<'a> {
    schema: u32,
    command: &'static str,
    lang: &'static str,
    verdict: Verdict,
    platform: Platform,
    judged: Option<JudgedJson<'a>>,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct JudgedJson<'a> {
    interface: &'a str,
    /// `null` if the source that decides did not answer.
    kind: Option<LinkKind>,
    evidence: Option<&'a Evidence>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    id: FindingId,
    severity: Severity,
    title: &'a str,
    seen: Vec<SeenJson<'a>>,
    why: &'a str,
    remedy: RemedyJson<'a>,
    withholds_verdict: bool,
}

#[derive(Serialize)]
struct SeenJson<'a> {
    what: &'a str,
    source: &'a Source,
}

#[derive(Serialize)]
struct RemedyJson<'a> {
    clicks: Vec<&'a str>,
    commands: &'a [String],
}

impl<'a> CheckJson<'a> {
    pub(crate) fn of(report: &'a Report, lang: Lang) -> Self {
        Self {
            schema: SCHEMA,
            command: "check",
            lang: lang.code(),
            verdict: report.verdict,
            platform: report.platform,
            judged: report.judged.as_ref().map(|judged| JudgedJson {
                interface: &judged.interface,
                kind: judged.kind,
                evidence: judged.evidence.as_ref(),
            }),
            findings: report.findings.iter().map(|finding| one(finding, lang)).collect(),
        }
    }
}

fn one(finding: &Finding, lang: Lang) -> FindingJson<'_> {
    FindingJson {
        id: finding.id,
        severity: finding.severity,
        title: finding.title.words(lang),
        seen: finding
            .seen
            .iter()
            .map(|seen| SeenJson { what: seen.what.words(lang), source: &seen.source })
            .collect(),
        why: finding.why.words(lang),
        remedy: RemedyJson {
            clicks: finding.remedy.clicks.iter().map(|click| click.words(lang)).collect(),
            commands: &finding.remedy.commands,
        },
        withholds_verdict: finding.withholds_verdict,
    }
}

/// What `tbnet setup --dry-run --json` prints.
#[derive(Serialize)]
pub(crate) struct SetupJson<'a> {
    schema: u32,
    command: &'static str,
    lang: &'static str,
    platform: Platform,
    interfaces: &'a [String],
    pair: Option<Pair>,
    pairs: &'a [LinkPair],
    steps: Vec<StepJson<'a>>,
    left: &'a [Left],
    skipped: Vec<&'a str>,
    fleeting: Vec<&'a str>,
    there: Option<&'a str>,
    /// What a check would come to after the steps.
    verdict: Verdict,
    not_recorded: &'a [&'static str],
}

#[derive(Serialize)]
struct StepJson<'a> {
    action: &'a Action,
    what: String,
    mends: &'a [FindingId],
    commands: Vec<CommandLine>,
}

impl<'a> SetupJson<'a> {
    pub(crate) fn of(
        plan: &'a Plan,
        outlook: Verdict,
        not_recorded: &'a [&'static str],
        lang: Lang,
    ) -> Self {
        let steps = plan.steps.iter().map(|step| StepJson {
            action: &step.action,
            what: step.action.text().words(lang).to_owned(),
            mends: &step.mends,
            commands: step.action.commands(),
        });
        Self {
            schema: SCHEMA,
            command: "setup",
            lang: lang.code(),
            platform: plan.platform,
            interfaces: &plan.interfaces,
            pair: plan.pairs.first().map(|link| link.pair),
            pairs: &plan.pairs,
            steps: steps.collect(),
            left: &plan.left,
            skipped: plan.skipped.iter().map(|port| port.words(lang)).collect(),
            fleeting: plan.fleeting.iter().map(|what| what.words(lang)).collect(),
            there: plan.there.as_deref(),
            verdict: outlook,
            not_recorded,
        }
    }
}

/// What `tbnet show --json` prints.
#[derive(Serialize)]
pub(crate) struct ShowJson<'a> {
    schema: u32,
    command: &'static str,
    links: Vec<LinkJson<'a>>,
    snapshot: &'a Snapshot,
}

#[derive(Serialize)]
struct LinkJson<'a> {
    name: &'a str,
    /// `null` if the source that decides did not answer.
    kind: Option<LinkKind>,
    evidence: Option<Evidence>,
}

impl<'a> ShowJson<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot) -> Self {
        let links = snapshot.interfaces.items().iter().map(|i| link(snapshot, i)).collect();
        Self { schema: SCHEMA, command: "show", links, snapshot }
    }
}

fn link<'a>(snapshot: &Snapshot, interface: &'a Interface) -> LinkJson<'a> {
    let evidence = snapshot.evidence(&interface.name);
    LinkJson {
        name: &interface.name,
        kind: evidence.as_ref().map(|evidence| match evidence {
            Evidence::ChosenByHand => LinkKind::ByHand,
            _ => LinkKind::Thunderbolt,
        }),
        evidence,
    }
}

/// What `tbnet ping --json` prints.
#[derive(Serialize)]
pub(crate) struct PingJson<'a> {
    schema: u32,
    command: &'static str,
    size: u32,
    over: Vec<PingOverJson<'a>>,
}

/// One interface that was measured.
#[derive(Serialize)]
pub(crate) struct PingOverJson<'a> {
    pub(crate) interface: &'a str,
    pub(crate) kind: LinkKind,
    pub(crate) peer: IpAddr,
    pub(crate) sent: usize,
    pub(crate) lost: usize,
    /// `null` if nothing came back.
    pub(crate) rtt: Option<Rtt>,
    /// Pairs of a bound in microseconds and how many were below it and not below the one before.
    pub(crate) histogram: Vec<(u64, usize)>,
}

impl<'a> PingJson<'a> {
    pub(crate) fn of(size: u32, over: Vec<PingOverJson<'a>>) -> Self {
        Self { schema: SCHEMA, command: "ping", size, over }
    }
}

/// A line of `tbnet watch --json`.
#[derive(Serialize)]
pub(crate) struct WatchJson<'a> {
    schema: u32,
    command: &'static str,
    lang: &'static str,
    after_ms: u64,
    /// `null` for what is about the cables.
    interface: Option<&'a str>,
    change: ChangeKind,
    what: &'a str,
    /// The interface as it is now; `null` if it is gone.
    now: Option<&'a Interface>,
}

impl<'a> WatchJson<'a> {
    pub(crate) fn of(
        after: Duration,
        change: &'a Change,
        now: Option<&'a Interface>,
        lang: Lang,
    ) -> Self {
        Self {
            schema: SCHEMA,
            command: "watch",
            lang: lang.code(),
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            interface: change.interface.as_deref(),
            change: change.kind,
            what: change.text.words(lang),
            now,
        }
    }
}
