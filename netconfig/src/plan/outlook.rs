//! What would still be wrong after the last step.

use super::{Action, Left, Plan, Reason, Wish};
use crate::check::{Finding, FindingId, Report, Verdict};

impl Plan {
    /// What `report`, which the plan was made for, would come to once every step took effect:
    /// whatever no step mends stays as it is.
    pub fn outlook(&self, report: &Report) -> Verdict {
        let is_new = |left: &Left| !report.findings.iter().any(|found| found.id == left.finding);
        if self.left.iter().any(is_new) {
            return Verdict::Problems;
        }
        Verdict::of(report.findings.iter().filter(|finding| !self.mends(finding)))
    }

    fn mends(&self, finding: &Finding) -> bool {
        let left = self.left.iter().any(|left| left.finding == finding.id);
        !left && self.steps.iter().any(|step| step.mends.contains(&finding.id))
    }
}

/// Names it if the peer stays behind in the old network: it has to move as well.
pub(super) fn leave_stranded(plan: &mut Plan, wish: &Wish) {
    let Some(peer) = wish.peer_v4() else { return };
    let mut given = plan.steps.iter().filter_map(|step| match &step.action {
        Action::AddAddress { net, .. } | Action::SetManual { net, .. } => Some(net),
        _ => None,
    });
    let Some(first) = given.next() else { return };
    let finding = FindingId::PeerOutsideSubnet;
    if first.contains(&peer) || given.any(|net| net.contains(&peer)) {
        return;
    }
    for step in &mut plan.steps {
        step.mends.retain(|id| *id != finding);
    }
    if !plan.left.iter().any(|left| left.finding == finding) {
        plan.left.push(Left { finding, reason: Reason::OtherEnd });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Left, Reason, Wish, plan,
        tests::{load, plan_with},
    };
    use crate::check::{Expectation, FindingId, Severity, Verdict, check};

    #[test]
    fn what_no_step_mends_decides() {
        let snapshot = load("service-disabled", None);
        let mut report = check(&snapshot, &Expectation::default());
        assert_eq!(report.verdict, Verdict::Problems);
        let mut plan = plan(&snapshot, &report, &Wish::default()).unwrap();
        assert_eq!(plan.outlook(&report), Verdict::Good);

        let mut unknown = report.findings[0].clone();
        unknown.id = FindingId::AddressMissing;
        unknown.severity = Severity::Unknown;
        unknown.withholds_verdict = true;
        report.findings.push(unknown);
        assert_eq!(plan.outlook(&report), Verdict::CouldNotCheck);

        // Of two such findings one may be left.
        let finding = FindingId::ServiceDisabled;
        plan.left.push(Left { finding, reason: Reason::ByHand });
        assert_eq!(plan.outlook(&report), Verdict::Problems);
        // What the plan itself would bring about was not found before.
        plan.left[0].finding = FindingId::PeerOutsideSubnet;
        assert_eq!(plan.outlook(&report), Verdict::Problems);
        plan.left.clear();
        plan.steps.clear();
        assert_eq!(plan.outlook(&report), Verdict::Problems);
    }

    #[test]
    fn a_peer_in_the_network_that_is_given_up_has_to_move_as_well() {
        let left = |peer: &str| {
            let wish = Wish { peer: Some(peer.parse().unwrap()), ..Wish::default() };
            let plan = plan_with("linux-overlap", wish).unwrap();
            assert!(!plan.steps.is_empty());
            let moves = Left { finding: FindingId::PeerOutsideSubnet, reason: Reason::OtherEnd };
            let mended = plan.steps.iter().any(|step| step.mends.contains(&moves.finding));
            assert_ne!(mended, plan.left.contains(&moves), "{peer}");
            !mended
        };
        assert!(left("10.25.0.2") && left("192.168.1.2"));
        assert!(!left("192.168.2.2"));
    }
}
