//! Which node holds which layers? Pure: offers and a model's shape in, ranges out.

use crate::{fabric::NodeId, layers::LayerRange, model::ModelShape};

/// Memory kept free on every node beside weights and caches: scratch of a step, the program itself.
const HEADROOM_BYTES: u64 = 128 << 20;
/// Tokens of cache that must fit beside the weights.
const CACHE_TOKENS_MIN: u64 = 2048;

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Who.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Bytes.
    pub memory: u64,
}

/// How many nodes the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodesWanted {
    /// As few as hold the model.
    Smallest,
    /// Exactly so many.
    Exactly(usize),
    /// All that are there.
    All,
}

/// One node's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Who.
    pub node: NodeId,
    /// Which layers.
    pub range: LayerRange,
}

/// Ranges in ring order that tile a model exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    assignments: Vec<Assignment>,
    layers: u32,
}

/// Why there is no placement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Fewer nodes than were asked for.
    #[error("{there} of {wanted} nodes are there")]
    TooFewNodes {
        /// How many are there.
        there: usize,
        /// How many were asked for.
        wanted: usize,
    },
    /// More nodes than layers.
    #[error("{nodes} nodes for {layers} layers: each must hold one at least")]
    TooManyNodes {
        /// Nodes asked for.
        nodes: usize,
        /// Layers of the model.
        layers: u32,
    },
    /// The model does not fit.
    #[error(
        "the model needs {} but {} offered{}", gib(*.needed), gib(*.offered),
        .tightest.as_ref().map(|what| format!(": {what}")).unwrap_or_default()
    )]
    DoesNotFit {
        /// Bytes needed, headroom of each node included.
        needed: u64,
        /// Bytes offered by all.
        offered: u64,
        /// Which node is short.
        tightest: Option<String>,
    },
    /// Ranges that do not tile the model, or name a node twice: from a peer that errs.
    #[error("the ranges do not tile {layers} layers")]
    NotTiled {
        /// Layers of the model.
        layers: u32,
    },
}

/// Bytes for people.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1u32 << 30))
}

impl Placement {
    /// The only constructor: ranges in ring order.
    ///
    /// # Errors
    /// [`PlacementError::NotTiled`] unless they tile `0..layers` exactly, each on a node of its own.
    pub fn checked(assignments: Vec<Assignment>, layers: u32) -> Result<Self, PlacementError> {
        let mut next = 0;
        let tiled = assignments.iter().enumerate().all(|(position, assignment)| {
            let begins = std::mem::replace(&mut next, assignment.range.end());
            let again = assignments[..position].iter().any(|other| other.node == assignment.node);
            assignment.range.start() == begins && !again
        });
        if tiled && next == layers && layers > 0 {
            Ok(Self { assignments, layers })
        } else {
            Err(PlacementError::NotTiled { layers })
        }
    }

    /// In ring order.
    #[must_use]
    pub fn assignments(&self) -> &[Assignment] {
        &self.assignments
    }

    /// Layers of the model.
    #[must_use]
    pub fn layers(&self) -> u32 {
        self.layers
    }

    /// Position of a node in the ring.
    #[must_use]
    pub fn position(&self, node: NodeId) -> Option<usize> {
        self.assignments.iter().position(|assignment| assignment.node == node)
    }

    /// The node that embeds.
    #[must_use]
    pub fn first(&self) -> NodeId {
        self.assignments[0].node
    }

    /// The node that samples.
    #[must_use]
    pub fn last(&self) -> NodeId {
        self.assignments[self.assignments.len() - 1].node
    }

    /// The node whose activations `node` receives, unless it is the first.
    #[must_use]
    pub fn before(&self, node: NodeId) -> Option<NodeId> {
        let position = self.position(node)?.checked_sub(1)?;
        Some(self.assignments[position].node)
    }

    /// The node to which `node` sends its activations, unless it is the last.
    #[must_use]
    pub fn after(&self, node: NodeId) -> Option<NodeId> {
        self.assignments.get(self.position(node)? + 1).map(|assignment| assignment.node)
    }
}

/// Places a model: a ring of as many nodes as are wanted, those with most memory first, each with
/// layers in proportion to the memory it offers (largest remainders; at least one).
///
/// # Errors
/// [`PlacementError`] in words for the user.
pub fn place(
    offers: &[Offer],
    model: &ModelShape,
    wanted: NodesWanted,
) -> Result<Placement, PlacementError> {
    let mut offers: Vec<&Offer> = offers.iter().collect();
    // The order is a function of the offers alone, so that all nodes come to the same ring.
    offers.sort_by(|a, b| b.memory.cmp(&a.memory).then(a.node.cmp(&b.node)));
    let count = match wanted {
        NodesWanted::Smallest => {
            let mut last_error = PlacementError::TooFewNodes { there: 0, wanted: 1 };
            for count in 1..=offers.len().min(model.layers as usize) {
                match split(&offers[..count], model) {
                    Ok(placement) => return Ok(placement),
                    Err(error) => last_error = error,
                }
            }
            return Err(last_error);
        }
        NodesWanted::Exactly(count) => count.max(1),
        NodesWanted::All => offers.len().max(1),
    };
    if offers.len() < count {
        return Err(PlacementError::TooFewNodes { there: offers.len(), wanted: count });
    }
    split(&offers[..count], model)
}

/// All of `offers` get layers.
fn split(offers: &[&Offer], model: &ModelShape) -> Result<Placement, PlacementError> {
    let counts = proportional(offers, model.layers)?;
    let mut assignments = Vec::with_capacity(offers.len());
    let (mut start, mut needed, mut tightest) = (0, 0, None);
    for (offer, &count) in offers.iter().zip(&counts) {
        let end = start + count;
        let range = LayerRange::checked(start, end).expect("every node has a layer");
        let need = needed_bytes(range, model);
        needed += need;
        if need > offer.memory && tightest.is_none() {
            let (name, need, offered) = (&offer.name, gib(need), gib(offer.memory));
            tightest = Some(format!("{name} would hold {range}, {need}, and offers {offered}"));
        }
        assignments.push(Assignment { node: offer.node, range });
        start = end;
    }
    if tightest.is_some() {
        let offered = offers.iter().fold(0u64, |sum, offer| sum.saturating_add(offer.memory));
        return Err(PlacementError::DoesNotFit { needed, offered, tightest });
    }
    Placement::checked(assignments, model.layers)
}

/// Layers per node, in proportion to memory: largest remainders first, then at least one each.
fn proportional(offers: &[&Offer], layers: u32) -> Result<Vec<u32>, PlacementError> {
    if offers.len() > layers as usize {
        return Err(PlacementError::TooManyNodes { nodes: offers.len(), layers });
    }
    let total: u128 = offers.iter().map(|offer| u128::from(offer.memory.max(1))).sum();
    let exact = |offer: &Offer| u128::from(offer.memory.max(1)) * u128::from(layers);
    let mut counts: Vec<u32> = offers.iter().map(|offer| (exact(offer) / total) as u32).collect();
    let mut by_remainder: Vec<usize> = (0..offers.len()).collect();
    by_remainder.sort_by_key(|&node| std::cmp::Reverse(exact(offers[node]) % total));
    let rest = layers - counts.iter().sum::<u32>();
    for &node in by_remainder.iter().take(rest as usize) {
        counts[node] += 1;
    }
    while let Some(empty) = counts.iter().position(|&count| count == 0) {
        let richest = (0..counts.len()).max_by_key(|&node| counts[node]).expect("not empty");
        counts[richest] -= 1;
        counts[empty] += 1;
    }
    Ok(counts)
}

/// Bytes a node needs for `range`: weights, a cache worth having, headroom.
#[must_use]
pub fn needed_bytes(range: LayerRange, model: &ModelShape) -> u64 {
    let layers = u64::from(range.count());
    let (first, last) = (range.is_first(), range.is_last(model.layers));
    let ends = match (first, last) {
        (true, true) if model.tied => model.head_bytes,
        _ => u64::from(first) * model.embedding_bytes + u64::from(last) * model.head_bytes,
    };
    let cache = CACHE_TOKENS_MIN.min(model.context) * model.kv_token_layer_bytes * layers;
    layers * model.layer_bytes + ends + cache + HEADROOM_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(id: u8, memory: u64) -> Offer {
        Offer { node: NodeId::from_bytes([id; 16]), name: format!("n{id}"), memory }
    }

    /// SmolLM2-135M in f32.
    fn model() -> ModelShape {
        ModelShape {
            layers: 30,
            layer_bytes: 14_160_384,
            embedding_bytes: 113_246_208,
            head_bytes: 113_248_512,
            tied: true,
            kv_token_layer_bytes: 1536,
            context: 8192,
        }
    }

    fn counts(placement: &Placement) -> Vec<u32> {
        placement.assignments().iter().map(|assignment| assignment.range.count()).collect()
    }

    const GIB: u64 = 1 << 30;

    #[test]
    fn layers_go_by_memory() {
        let offers = [offer(1, 3 * GIB), offer(2, GIB), offer(3, GIB)];
        let placed = place(&offers, &model(), NodesWanted::Exactly(3)).unwrap();
        assert_eq!(counts(&placed), [18, 6, 6]);
        assert_eq!(placed.first(), offers[0].node);
        let half = place(&[offer(1, GIB), offer(2, GIB)], &model(), NodesWanted::All).unwrap();
        assert_eq!(counts(&half), [15, 15]);
    }

    #[test]
    fn one_node_does_if_one_fits_and_more_if_not() {
        let both = [offer(1, GIB), offer(2, GIB)];
        assert_eq!(counts(&place(&both, &model(), NodesWanted::Smallest).unwrap()), [30]);
        let small = [offer(1, 560 << 20), offer(2, 560 << 20)];
        assert_eq!(counts(&place(&small, &model(), NodesWanted::Smallest).unwrap()), [15, 15]);
        let tiny = [offer(1, 100 << 20), offer(2, 100 << 20)];
        let error = place(&tiny, &model(), NodesWanted::Smallest).unwrap_err().to_string();
        assert!(
            error.contains("n1 would hold 0..15") && error.contains("offers 0.10 GiB"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        let error = place(&[offer(1, GIB)], &model(), NodesWanted::Exactly(2)).unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 nodes are there");
        let many: Vec<Offer> = (0..31).map(|id| offer(id, GIB)).collect();
        let error = place(&many, &model(), NodesWanted::All).unwrap_err();
        assert_eq!(error, PlacementError::TooManyNodes { nodes: 31, layers: 30 });
    }

    #[test]
    fn ranges_of_a_peer_are_checked() {
        let part = |id, start, end| Assignment {
            node: NodeId::from_bytes([id; 16]),
            range: LayerRange::checked(start, end).unwrap(),
        };
        for wrong in [
            vec![],
            vec![part(1, 0, 10), part(2, 11, 30)],
            vec![part(1, 0, 10), part(2, 9, 30)],
            vec![part(1, 0, 10), part(2, 10, 29)],
            vec![part(1, 0, 10), part(1, 10, 30)],
        ] {
            assert!(Placement::checked(wrong, 30).is_err());
        }
        let ring = Placement::checked(vec![part(1, 0, 10), part(2, 10, 30)], 30).unwrap();
        let (one, two) = (ring.first(), ring.last());
        assert_eq!((ring.before(one), ring.after(one)), (None, Some(two)));
        assert_eq!((ring.before(two), ring.after(two)), (Some(one), None));
    }

    proptest! {
        #[test]
        fn every_split_tiles_the_model(
            memories in prop::collection::vec(1u64..(1 << 42), 1..12),
            layers in 12u32..130,
        ) {
            let offers: Vec<Offer> =
                memories.iter().enumerate().map(|(i, &m)| offer(i as u8, m)).collect();
            let borrowed: Vec<&Offer> = offers.iter().collect();
            let counts = proportional(&borrowed, layers).unwrap();
            prop_assert_eq!(counts.iter().sum::<u32>(), layers);
            prop_assert!(counts.iter().all(|&count| count >= 1));
            let total: f64 = memories.iter().map(|&memory| memory as f64).sum();
            for (&memory, &count) in memories.iter().zip(&counts) {
                let fair = memory as f64 / total * f64::from(layers);
                prop_assert!(f64::from(count) < fair + 1.0 + 1e-6 || count == 1);
            }
        }
    }
}
