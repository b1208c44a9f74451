//! Is it right? A snapshot and an expectation in, findings out. Pure: nothing is asked of the system.
//!
//! Every [`Finding`] has a stable [`FindingId`], a severity, what was seen and where it was read,
//! why it matters, and the remedy as clicks and as an exact command. What is not known is a finding
//! of its own ([`Severity::Unknown`]), never fine; it withholds the verdict if an error could hide
//! behind it.
//!
//! `subject` decides which interface is judged, the `rules` judge it, `advice` finds an address
//! that collides with nothing.

mod advice;
mod finding;
mod rules;
mod subject;

use std::net::IpAddr;

use ipnet::Ipv4Net;
use serde::Serialize;

pub use self::finding::{Finding, FindingId, Remedy, Seen, Severity};
use self::{finding::Findings, subject::Subject};
pub(crate) use self::{rules::wrong_port, subject::bridge_device};
use crate::{
    evidence::Evidence,
    link::{InterfaceChoice, LinkKind},
    peer::{Contact, EndReport, Silence},
    snapshot::{Platform, Snapshot},
};

/// What the machine is expected to be like, and what its peers say about their ends.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The interface to judge; [`InterfaceChoice::Auto`] finds the Thunderbolt link.
    pub interface: InterfaceChoice,
    /// The address that this machine is to have on it.
    pub address: Option<Ipv4Net>,
    /// The peer that is to be reached over it.
    pub peer: Option<IpAddr>,
    /// The interface named with the peer's address (`fe80::2%bridge0`).
    pub peer_scope: Option<String>,
    /// How talking to the peer went; `None` if it was not tried.
    pub contact: Option<Contact>,
    /// This machine's own report, to be compared with the peers'.
    pub own: Option<EndReport>,
    /// Reports of further machines: with three or more, cables may form a ring.
    pub others: Vec<EndReport>,
    /// Further machines that were asked and said nothing.
    pub silent_others: Vec<(IpAddr, Silence)>,
}

impl Default for Expectation {
    fn default() -> Self {
        Self {
            interface: InterfaceChoice::Auto,
            address: None,
            peer: None,
            peer_scope: None,
            contact: None,
            own: None,
            others: Vec::new(),
            silent_others: Vec::new(),
        }
    }
}

/// What it comes to. Decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No error; warnings are allowed.
    Good,
    /// At least one error.
    Problems,
    /// No error was seen, but something that could hide one is not known.
    CouldNotCheck,
}

impl Verdict {
    /// What these findings come to.
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut verdict = Self::Good;
        for finding in findings {
            if finding.severity == Severity::Error {
                return Self::Problems;
            }
            if finding.withholds_verdict {
                verdict = Self::CouldNotCheck;
            }
        }
        verdict
    }
}

/// The interface that was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Its name.
    pub interface: String,
    /// What sort of link it is; `None` if that could not be decided.
    pub kind: Option<LinkKind>,
    /// Why it is called that.
    pub evidence: Option<Evidence>,
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it comes to.
    pub verdict: Verdict,
    /// Whose words were judged.
    pub platform: Platform,
    /// What was judged; `None` if there is no such interface.
    pub judged: Option<Judged>,
    /// Errors first, then warnings, unknowns and information.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// Whether there is a finding with this id and severity.
    pub fn has(&self, id: FindingId, severity: Severity) -> bool {
        self.findings.iter().any(|f| f.id == id && f.severity == severity)
    }
}

/// Judges a snapshot.
pub fn check(snapshot: &Snapshot, expectation: &Expectation) -> Report {
    let mut findings = Findings::default();
    let subject = subject::find(snapshot, &expectation.interface, &mut findings);
    if let Some(subject) = &subject {
        let case = Case { snapshot, subject, peer: expectation.peer, expectation };
        rules::judge(&case, &mut findings);
    }
    let findings = findings.sorted();
    let verdict = Verdict::of(&findings);
    Report { verdict, platform: snapshot.platform, judged: subject.map(Subject::judged), findings }
}

/// What every rule looks at.
struct Case<'a> {
    snapshot: &'a Snapshot,
    subject: &'a Subject<'a>,
    peer: Option<IpAddr>,
    expectation: &'a Expectation,
}

#[cfg(test)]
mod tests;
