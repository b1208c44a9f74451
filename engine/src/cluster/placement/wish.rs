//! What the user wants of a placement.

use std::str::FromStr;

use clap::ValueEnum;

use crate::layers::LayerRange;

/// How many nodes the user wants.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub enum NodesWanted {
    /// As few as hold the model (by memory), or as many as are best (by speed).
    Smallest,
    /// Exactly so many.
    Exactly(usize),
    /// All that are there.
    All,
}

/// What a placement should be good at.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    ValueEnum,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub enum Goal {
    /// The fewest nodes that hold the model, each as full as the others.
    #[default]
    Memory,
    /// The least time for one token of one request.
    Latency,
    /// The most tokens per second of many requests: the slowest stage as fast as can be.
    Throughput,
}

/// Layers given to nodes by name, in ring order.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ByHand(pub Vec<(String, LayerRange)>);

/// What the user wants.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Wish {
    /// How many nodes.
    pub nodes: NodesWanted,
    /// Chosen by what.
    pub goal: Goal,
    /// Layers that the user gave away already; then nothing else counts.
    pub by_hand: Option<ByHand>,
    /// Whether a node that comes takes its share of a model that runs.
    pub rebalance: bool,
}

impl Wish {
    /// Whether a user can have wanted it: what came from a peer is asked this first.
    #[must_use]
    pub(crate) fn is_possible(&self) -> bool {
        let parts = self.by_hand.as_ref().map_or(&[][..], |by_hand| by_hand.0.as_slice());
        parts.len() <= 1024
            && parts
                .iter()
                .all(|(_, range)| LayerRange::checked(range.start(), range.end()).is_ok())
    }

    /// The same where a node that was wanted is gone, or one more is to have a share: all that are
    /// there.
    #[must_use]
    pub fn of_all(&self) -> Self {
        Self { nodes: NodesWanted::All, by_hand: None, ..self.clone() }
    }
}

impl From<NodesWanted> for Wish {
    fn from(nodes: NodesWanted) -> Self {
        Self { nodes, goal: Goal::Memory, by_hand: None, rebalance: false }
    }
}

/// What no ranges by hand are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} gives no layers to a node: NODE=FIRST-LAST, such as mini=0-20,air=21-31, or \
     NODE=START..END, whose end is not one of them"
)]
pub struct ParseLayersError(String);

impl FromStr for ByHand {
    type Err = ParseLayersError;

    fn from_str(text: &str) -> Result<Self, ParseLayersError> {
        let part = |part: &str| {
            let (node, layers) = part.split_once('=')?;
            let (start, end) = match layers.split_once("..") {
                Some((start, end)) => (start.trim().parse().ok()?, end.trim().parse().ok()?),
                None => {
                    let (first, last) = layers.split_once('-')?;
                    let last: u32 = last.trim().parse().ok()?;
                    (first.trim().parse().ok()?, last.checked_add(1)?)
                }
            };
            let node = node.trim();
            let range = LayerRange::checked(start, end).ok()?;
            (!node.is_empty()).then(|| (node.to_owned(), range))
        };
        let parts =
            text.split(',').map(|text| part(text).ok_or_else(|| ParseLayersError(text.to_owned())));
        parts.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_given_by_first_and_last_or_as_a_range() {
        let range = |start, end| LayerRange::checked(start, end).unwrap();
        let given: ByHand = "mini=0-20, air=21-31".parse().unwrap();
        assert_eq!(given.0, [("mini".into(), range(0, 21)), ("air".into(), range(21, 32))]);
        assert_eq!("mini=0..21,air=21..32".parse::<ByHand>().unwrap(), given);
        for wrong in ["", "mini", "mini=", "mini=3", "=0-3", "mini=4-3", "mini=0-3,", "m=1..1"] {
            let error = wrong.parse::<ByHand>().unwrap_err().to_string();
            assert!(error.contains("mini=0-20"), "{wrong}: {error}");
        }
        assert!("m=0-4294967295".parse::<ByHand>().is_err());
    }
}
