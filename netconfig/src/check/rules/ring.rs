//! With reports of the other machines: do the bridges and cables between them form a ring?
//!
//! Machines are the nodes of a graph, cables whose both ends are in a bridge its edges. A cable is
//! counted as often as the end that sees more of them does: the two ends name the same cables by
//! different domains, and a Linux machine has one domain for all its ports.

use crate::{
    check::{
        Case,
        finding::{Finding, FindingId, Findings, Severity},
    },
    peer::{Cable, Contact, EndReport},
    snapshot::{Source, ThunderboltDevice},
    text::cable as say,
};

/// Which cable leads where: hands do the rest.
pub(super) const LOOK: &str = "tbnet show";

/// More machines than can be on one bridge by their ports alone.
const MACHINES_MAX: usize = 64;

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    let machines = machines(case);
    let Some(ring) = ring(&machines) else { return };
    let names: Vec<&str> = ring.iter().map(|at| name(machines[*at])).collect();
    let mut finding =
        Finding::new(FindingId::Loop, Severity::Error, say::loop_ring(names.join(", ")));
    for (at, first) in ring.iter().enumerate() {
        let second = ring[(at + 1) % ring.len()];
        if ring.len() == 2 && at == 1 {
            break;
        }
        let (first, second) = (machines[*first], machines[second]);
        let source = Source::end_reports(name(first), name(second));
        let seen = say::loop_ring_seen(name(first), name(second), between(first, second));
        finding = finding.seen(seen, &source);
    }
    // What one side could only suspect is now certain.
    findings.remove(FindingId::Loop);
    let finding = finding.why(say::loop_why(&case.subject.name)).click(say::loop_do());
    findings.push(finding.command(LOOK));
}

/// Whether what a machine says of its ports decides if these are of one computer: it has one of them
/// and not the other, or it sees both cables, and then [`ring`] has all that there is to know.
pub(super) fn is_told(case: &Case<'_>, devices: [&ThunderboltDevice; 2]) -> bool {
    let [Some(one), Some(other)] = devices.map(|device| device.domain_uuid.as_ref()) else {
        return false;
    };
    let tells = |machine: &&EndReport| {
        let sees =
            |domain| machine.cables.iter().any(|cable| cable.own_domain.as_ref() == Some(domain));
        let has = |domain| machine.domains.contains(domain) || sees(domain);
        has(one) != has(other) || sees(one) && sees(other)
    };
    // Without this machine's own report there is nothing to be compared with.
    case.expectation.own.is_some() && machines(case).iter().any(tells)
}

fn name(machine: &EndReport) -> &str {
    &machine.identity.name
}

/// Every machine once.
fn machines<'a>(case: &Case<'a>) -> Vec<&'a EndReport> {
    let expectation = case.expectation;
    let answered = match &expectation.contact {
        Some(Contact::Answered { report, .. }) => Some(&**report),
        _ => None,
    };
    let mut machines: Vec<&EndReport> = Vec::new();
    for report in expectation.own.iter().chain(answered).chain(&expectation.others) {
        let known = machines.iter().any(|m| m.identity.machine == report.identity.machine);
        if !known && machines.len() < MACHINES_MAX {
            machines.push(report);
        }
    }
    machines
}

/// How many bridged cables join two machines.
fn between(a: &EndReport, b: &EndReport) -> usize {
    seen_by(a, b).max(seen_by(b, a))
}

/// The cables from `a` to `b` as `a` sees them, without those that an end keeps out of its bridge.
fn seen_by(a: &EndReport, b: &EndReport) -> usize {
    let leads_to_b = |cable: &&Cable| {
        let Some(far) = &cable.far_domain else { return false };
        let mut ends =
            b.cables.iter().filter(|end| end.own_domain.as_ref() == Some(far)).peekable();
        let there = ends.peek().is_some();
        there && !ends.all(|end| end.bridged == Some(false))
    };
    a.cables.iter().filter(|cable| cable.bridged != Some(false)).filter(leads_to_b).count()
}

/// The first ring: two machines with more than one cable between them, or a path from a machine
/// back to it.
fn ring(machines: &[&EndReport]) -> Option<Vec<usize>> {
    // Edges that form no ring so far: a forest.
    let mut forest: Vec<(usize, usize)> = Vec::new();
    for b in 0..machines.len() {
        for a in 0..b {
            match between(machines[a], machines[b]) {
                0 => {}
                1 => {
                    if let Some(path) = path(&forest, a, b) {
                        return Some(path);
                    }
                    forest.push((a, b));
                }
                _ => return Some(vec![a, b]),
            }
        }
    }
    None
}

/// The way from `from` to `to` along the edges of a forest.
fn path(forest: &[(usize, usize)], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut paths = vec![vec![from]];
    while let Some(path) = paths.pop() {
        let at = *path.last()?;
        if at == to {
            return Some(path);
        }
        let next = forest.iter().filter_map(|(a, b)| match (*a == at, *b == at) {
            (true, _) => Some(*b),
            (_, true) => Some(*a),
            _ => None,
        });
        for next in next.filter(|next| !path.contains(next)) {
            let mut longer = path.clone();
            longer.push(next);
            paths.push(longer);
        }
    }
    None
}
