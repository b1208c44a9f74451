//! What does a session promise its two ends, and how does it break?

use std::collections::{BTreeMap, VecDeque};

use super::Ms;
use crate::fabric::messages::{ClusterMessage, Record, StageMessage, TokenMessage};
use crate::stage::Rows;

/// Silence until a peer is suspected.
pub(super) const SUSPECT: Ms = 1_000;
/// Silence until the session is over.
pub(super) const WINDOW: Ms = 10_000;

/// What goes over a session.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    Record(Box<Record>),
    Cluster(Box<ClusterMessage>),
    Token(TokenMessage),
    Stage(StageMessage),
    /// Rows of a step, and the tokens that they stand for.
    Activation {
        epoch: u64,
        step: u64,
        rows: Vec<Rows>,
        tokens: Vec<u32>,
    },
}

/// Lanes are in order each; the simulator keeps the two that matter apart: what the loop hears, and
/// what the stage hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Loop,
    Stage,
}

impl Packet {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Record(_) | Self::Cluster(_) | Self::Token(_) => Lane::Loop,
            Self::Stage(_) | Self::Activation { .. } => Lane::Stage,
        }
    }
}

/// Two nodes, the lower first.
pub(super) type Pair = (usize, usize);

pub(super) fn pair(a: usize, b: usize) -> Pair {
    (a.min(b), a.max(b))
}

/// What one end sends on one lane.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Sent, and not arrived.
    pub(super) packets: VecDeque<Packet>,
    /// When the last of them arrives, if nothing is in the way.
    pub(super) last: Ms,
    /// Those that should have arrived while the way was closed.
    pub(super) due: usize,
}

/// What one end of a way hears of the other.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// The cable is out, or lets nothing through in this direction.
    pub(super) cut: bool,
    /// Since when it hears nothing.
    pub(super) silent: Option<Ms>,
    pub(super) suspects: bool,
}

/// What joins two nodes.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// What the lower node hears, and what the higher one does.
    pub(super) ends: [Hearing; 2],
    /// The session, while there is one; each has a number of its own.
    pub(super) session: Option<u64>,
    /// Whether both ends have heard that the last one is over.
    pub(super) parting: u32,
    /// What is on its way, by sender and lane, in order.
    pub(super) flows: BTreeMap<(usize, Lane), Flow>,
}

impl Way {
    /// What `to` hears of `from`.
    pub(super) fn end(&mut self, from: usize, to: usize) -> &mut Hearing {
        &mut self.ends[usize::from(to > from)]
    }
}
