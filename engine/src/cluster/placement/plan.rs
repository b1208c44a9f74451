//! Which ring is taken, what does it give, what was left out?

use super::{
    Assignment, ByHand, Goal, Links, NodesWanted, Offer, Placement, PlacementError, Wish,
    cost::{BATCH, Costs, HEADROOM_BYTES, needed_bytes, weight_bytes},
    gib,
    search::{self, Fit, Found, Objective},
    words,
};
use crate::{fabric::NodeId, layers::LayerRange, model::ModelShape};

/// A placement, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Who holds what.
    pub placement: Placement,
    /// The same with what it takes, in ring order.
    pub stages: Vec<StagePlan>,
    /// Nodes without layers.
    pub left_out: Vec<Offer>,
    /// How fast it will be, if every stage's speed is known.
    pub estimate: Option<Estimate>,
    /// Tokens, of all requests together, for whose keys and values there is room.
    pub cache_tokens: u64,
    /// Why, in words; a sentence each.
    pub why: Vec<String>,
}

/// One node's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlan {
    /// Who.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Its layers.
    pub range: LayerRange,
    /// Bytes of their weights, embedding and head where it has them.
    pub weight_bytes: u64,
    /// Bytes it needs: weights, a cache worth having, headroom.
    pub needed_bytes: u64,
    /// Bytes it offers.
    pub offered_bytes: u64,
    /// Nanoseconds of a step of one sequence, if its speed is known.
    pub step_ns: Option<u64>,
}

/// How fast a placement is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Nanoseconds for a token of the only request.
    pub token_ns: u64,
    /// Nanoseconds of the slowest stage, or way, at [`Estimate::BATCH`] sequences in each step.
    pub slowest_ns: u64,
}

impl Estimate {
    /// Sequences in a step where many requests run.
    pub const BATCH: u64 = BATCH;

    /// Tokens in a second of all requests, once there are enough of them for every stage to be busy
    /// with [`BATCH`](Self::BATCH) of them.
    #[must_use]
    pub fn tokens_per_s(&self) -> f64 {
        BATCH as f64 * 1e9 / self.slowest_ns.max(1) as f64
    }
}

/// Places a model over those of the nodes that the wish means.
///
/// # Errors
/// [`PlacementError`] in words for the user.
pub fn place(
    offers: &[Offer],
    model: &ModelShape,
    wish: &Wish,
    links: &Links,
) -> Result<Placement, PlacementError> {
    plan(offers, model, wish, links).map(|plan| plan.placement)
}

/// Places a model, and says why so.
///
/// # Errors
/// [`PlacementError`] in words for the user.
pub fn plan(
    offers: &[Offer],
    model: &ModelShape,
    wish: &Wish,
    links: &Links,
) -> Result<Plan, PlacementError> {
    let mut sorted: Vec<&Offer> = offers.iter().collect();
    // The order is a function of the offers alone, so that all nodes come to the same ring.
    sorted.sort_by(|a, b| b.memory.cmp(&a.memory).then(a.node.cmp(&b.node)));
    let costs = Costs::new(&sorted, model, links);
    let found = match &wish.by_hand {
        Some(by_hand) => given(&costs, by_hand)?,
        None => chosen(&costs, wish)?,
    };
    let mut plan = described(&costs, &found)?;
    plan.why = words::why(&costs, wish, &found, plan.estimate);
    Ok(plan)
}

/// The ring that the wish means.
fn chosen(costs: &Costs<'_>, wish: &Wish) -> Result<Found, PlacementError> {
    let there = costs.offers.len();
    let layers = costs.model.layer_count();
    let most = there.min(layers as usize);
    let counts = match wish.nodes {
        NodesWanted::Smallest => 1..=most,
        NodesWanted::Exactly(count) => count.max(1)..=count.max(1),
        NodesWanted::All => there.max(1)..=there.max(1),
    };
    if there < *counts.start() {
        return Err(PlacementError::TooFewNodes { there, wanted: *counts.start() });
    }
    if *counts.start() > layers as usize {
        return Err(PlacementError::TooManyNodes { nodes: *counts.start(), layers });
    }
    let objective = match wish.goal {
        Goal::Memory => Objective::EvenFill,
        Goal::Latency => Objective::Latency,
        Goal::Throughput => Objective::Throughput,
    };
    if objective != Objective::EvenFill
        && let Some(offer) = costs.offers.iter().find(|offer| offer.speed.is_none())
    {
        return Err(PlacementError::SpeedNotKnown { node: offer.name.clone() });
    }
    let last = *counts.end();
    let mut rings = counts.filter_map(|count| match wish.goal {
        // Those with most memory: if they do not hold it, no others do.
        Goal::Memory => largest(costs, count),
        Goal::Latency | Goal::Throughput => search::of_count(costs, objective, count),
    });
    let found = match wish.goal {
        Goal::Memory => rings.next(),
        Goal::Latency | Goal::Throughput => rings.min_by(|a, b| a.cost.cmp(&b.cost)),
    };
    found.ok_or_else(|| does_not_fit(costs, last))
}

/// The `count` nodes with most memory, if they hold the model.
pub(super) fn largest(costs: &Costs<'_>, count: usize) -> Option<Found> {
    let nodes: Vec<usize> = (0..count).collect();
    search::of_these(costs, Objective::EvenFill, &nodes)
}

/// Says what is missing on the `count` nodes with most memory.
fn does_not_fit(costs: &Costs<'_>, count: usize) -> PlacementError {
    let nodes: Vec<usize> = (0..count).collect();
    let offers = &costs.offers[..count];
    let offered = offers.iter().fold(0u64, |sum, offer| sum.saturating_add(offer.memory));
    let Some(found) = search::in_order(costs, Objective::EvenFill, &nodes, Fit::Need) else {
        return PlacementError::TooFewNodes { there: count, wanted: 1 };
    };
    let headroom = HEADROOM_BYTES * count as u64;
    let needed =
        headroom + found.stages.iter().map(|&(_, start, end)| costs.held(start, end)).sum::<u64>();
    let short = |&&(node, start, end): &&(usize, usize, usize)| {
        costs.held(start, end).saturating_sub(costs.room(node))
    };
    let tightest = found.stages.iter().max_by_key(short).map(|&(node, start, end)| {
        let (offer, need) = (costs.offers[node], costs.held(start, end) + HEADROOM_BYTES);
        let range = format!("{start}..{end}");
        format!(
            "{} would hold {range}, {}, and offers {}",
            offer.name,
            gib(need),
            gib(offer.memory)
        )
    });
    PlacementError::DoesNotFit { needed, offered, tightest }
}

/// The ring that the user gave.
fn given(costs: &Costs<'_>, by_hand: &ByHand) -> Result<Found, PlacementError> {
    let mut stages = Vec::with_capacity(by_hand.0.len());
    for (name, range) in &by_hand.0 {
        let is_it = |offer: &Offer| {
            offer.name == *name || (name.len() >= 8 && offer.node.to_string().starts_with(name))
        };
        let found: Vec<usize> =
            (0..costs.offers.len()).filter(|&node| is_it(costs.offers[node])).collect();
        let node = match found[..] {
            [node] => node,
            [] => {
                let names = costs.offers.iter().map(|offer| offer.name.clone()).collect();
                let (node, range) = (name.clone(), *range);
                return Err(PlacementError::NotThere { node, range, names });
            }
            _ => {
                let (node, count) = (name.clone(), found.len());
                return Err(PlacementError::SeveralOfThatName { node, count });
            }
        };
        stages.push((node, range.start() as usize, range.end() as usize));
    }
    // A ring begins with layer 0, in whatever order it was typed.
    stages.sort_by_key(|&(_, start, _)| start);
    placement(costs, &stages)?;
    let short = stages.iter().find(|&&(node, start, end)| !costs.fits(node, start, end));
    if let Some(&(node, start, end)) = short {
        let (offer, held) = (costs.offers[node], costs.held(start, end) + HEADROOM_BYTES);
        let tightest = Some(format!("{} is to hold {start}..{end}", offer.name));
        return Err(PlacementError::DoesNotFit { needed: held, offered: offer.memory, tightest });
    }
    let order: Vec<usize> = stages.iter().map(|&(node, ..)| node).collect();
    let cost = stages
        .iter()
        .enumerate()
        .map(|(position, &(_, start, end))| {
            search::stage_cost(costs, Objective::Latency, &order, position, (start, end))
        })
        .reduce(search::Cost::with)
        .ok_or(PlacementError::NotTiled { layers: costs.model.layer_count() })?;
    Ok(Found { cost, stages })
}

fn placement(
    costs: &Costs<'_>,
    stages: &[(usize, usize, usize)],
) -> Result<Placement, PlacementError> {
    let layers = costs.model.layer_count();
    let assignments: Option<Vec<Assignment>> = stages
        .iter()
        .map(|&(node, start, end)| {
            let range = LayerRange::checked(start as u32, end as u32).ok()?;
            Some(Assignment { node: costs.offers[node].node, range })
        })
        .collect();
    let assignments = assignments.ok_or(PlacementError::NotTiled { layers })?;
    Placement::checked(assignments, layers)
}

fn described(costs: &Costs<'_>, found: &Found) -> Result<Plan, PlacementError> {
    let placement = placement(costs, &found.stages)?;
    let (mut stages, mut cache_tokens) = (Vec::with_capacity(found.stages.len()), u64::MAX);
    for (&(node, start, end), part) in found.stages.iter().zip(placement.assignments()) {
        let offer = costs.offers[node];
        let weight_bytes = weight_bytes(part.range, costs.model);
        let kv = costs.model.kv_token_layer_bytes * u64::from(part.range.count());
        let free = offer.memory.saturating_sub(weight_bytes + HEADROOM_BYTES);
        cache_tokens = cache_tokens.min(free.checked_div(kv).unwrap_or(u64::MAX));
        stages.push(StagePlan {
            node: offer.node,
            name: offer.name.clone(),
            range: part.range,
            weight_bytes,
            needed_bytes: needed_bytes(part.range, costs.model),
            offered_bytes: offer.memory,
            step_ns: offer.speed.map(|_| costs.one_ns(node, start, end)),
        });
    }
    let left_out = costs
        .offers
        .iter()
        .filter(|offer| placement.position(offer.node).is_none())
        .map(|&offer| offer.clone())
        .collect();
    let estimate = estimate(costs, found);
    Ok(Plan { placement, stages, left_out, estimate, cache_tokens, why: Vec::new() })
}

/// How fast a ring is, if every stage's speed is known.
pub(super) fn estimate(costs: &Costs<'_>, found: &Found) -> Option<Estimate> {
    let stages = &found.stages;
    let (&(first, ..), &(last, ..)) = (stages.first()?, stages.last()?);
    let mut token_ns = costs.back_ns(last, first);
    let mut slowest_ns = 0;
    for (position, &(node, start, end)) in stages.iter().enumerate() {
        costs.offers[node].speed?;
        token_ns += costs.one_ns(node, start, end);
        slowest_ns = slowest_ns.max(costs.many_ns(node, start, end));
        if let Some(&(before, ..)) = position.checked_sub(1).and_then(|at| stages.get(at)) {
            token_ns += costs.hop_ns(before, node);
            slowest_ns = slowest_ns.max(costs.carrying_ns(before, node));
        }
    }
    Some(Estimate { token_ns, slowest_ns })
}
