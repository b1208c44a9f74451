//! What must hold all along, and what when everything is mended?

use super::{super::Ms, Node, World, id, index};
use crate::{
    cluster::Phase,
    request::{GenerateError, RequestId},
};

/// How long a stage that works may hold what a request needed after it was over: a session has to
/// end, and a slow node has steps to do before.
const RELEASED_WITHIN: Ms = 30_000;

impl World {
    /// What is over is let go of, whatever goes wrong meanwhile.
    pub(super) fn check_leaks(&mut self, node: usize) {
        for (&id, client) in &self.clients.by_id {
            let entry = &self.nodes[client.node];
            let is_gone = !entry.alive || entry.start != client.start;
            if client.end.is_some() || is_gone {
                self.over.entry(id).or_insert(self.now);
            }
        }
        let own = &mut self.nodes[node];
        // What belongs to a placement goes with it when another is loaded, or it has lost a node.
        let cluster = own.core.cluster();
        if cluster.phase() != Phase::Ready && cluster.loss().is_none() {
            own.well_since = self.now;
        }
        let lost = cluster.loss().map(|loss| loss.at.as_millis() as Ms);
        let Some(held) = &own.stage.held else { return };
        assert!(
            lost.is_none_or(|lost| held.caches.is_empty() || self.now <= lost + RELEASED_WITHIN),
            "n{node} holds caches of a placement that lost a node at {lost:?}, at {}",
            self.now
        );
        for &sequence in held.open.keys() {
            let Some(&over) = self.over.get(&RequestId(sequence)) else { continue };
            assert!(
                self.now <= over.max(own.well_since) + RELEASED_WITHIN,
                "n{node} holds {sequence:#x}, which was over at {over}, at {}",
                self.now
            );
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.ails().is_none()
    }

    /// What is not as it should be in the end.
    pub(super) fn ails(&self) -> Option<String> {
        if self.now <= self.last_fault() {
            return Some("things still go wrong".into());
        }
        let epoch = |node: &Node| node.core.cluster().placed().map(|placed| placed.epoch);
        let first = self.nodes.first().and_then(epoch);
        self.nodes.iter().enumerate().find_map(|(number, node)| {
            let cluster = node.core.cluster();
            let what = match () {
                () if !node.alive => "is not there".to_owned(),
                () if cluster.phase() != Phase::Ready => format!("is {:?}", cluster.phase()),
                () if node.core.running() > 0 => "forgets a client".into(),
                () if node.core.scheduled() > 0 => "schedules what is over".into(),
                () if node.stage.busy.is_some() => "computes for nobody".into(),
                () if cluster.next().is_some() => "still prepares a placement".into(),
                () if epoch(node) != first => "has another placement".into(),
                () => return None,
            };
            Some(format!("n{number} {what}"))
        })
    }

    pub(super) fn check_well(&self, kind: u64) {
        assert_eq!(self.ails(), None);
        for (number, node) in self.nodes.iter().enumerate() {
            let cluster = node.core.cluster();
            let placed = cluster.placed().expect("ready");
            let held = node.stage.held.as_ref();
            assert_eq!(
                held.map(|held| held.epoch),
                placed.placement.position(id(number)).map(|_| placed.epoch),
                "n{number} holds another placement"
            );
            assert!(held.is_none_or(|held| held.open.is_empty()), "n{number} leaks a sequence");
            if let Some((kept, _)) = node.core.kept() {
                for part in placed.placement.assignments() {
                    let stage = self.nodes[index(part.node)].stage.held.as_ref();
                    let caches = stage.map_or(0, |held| held.caches.len());
                    assert_eq!(caches, kept, "n{} leaks caches", index(part.node));
                }
            }
        }
        for (id, client) in &self.clients.by_id {
            let own = &self.nodes[client.node];
            let gone = !own.alive || own.start != client.start || own.leaving;
            match &client.end {
                None => assert!(gone, "{id:?} never ends"),
                Some(Ok(_)) => {}
                // It was cancelled, or its node said that it leaves.
                Some(Err(GenerateError::ShuttingDown)) => {}
                Some(Err(error)) => {
                    assert!(kind == 1 || kind == 3 || gone, "{id:?} fails: {error}");
                }
            }
        }
    }
}
