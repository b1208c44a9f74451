//! Which cut of the model over which ring costs least?
//!
//! [`in_order`] is exact for a ring in a given order: dynamic programming over the layers. Which
//! nodes, in which order, is tried out: every ring of up to [`EXACT_NODES_MAX`] nodes, and beyond
//! that the fastest and the largest nodes, each of them once as the last of the ring (where the
//! head's weight is).

use super::cost::Costs;

/// So many nodes are tried in every order: 1,956 rings of six.
pub(super) const EXACT_NODES_MAX: usize = 6;

/// What a ring should be good at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objective {
    /// Every node as full as the others: the sum of used² / room is least then.
    EvenFill,
    /// Time for one token of one request.
    Latency,
    /// Time of the slowest stage, or way, at many requests; then as above.
    Throughput,
}

/// Less is better, by the first of these that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    worst: u128,
    sum: u128,
    nodes: usize,
}

/// A cut of the model over a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) cost: Cost,
    /// Index of the offer, first layer, one past the last; in ring order.
    pub(super) stages: Vec<(usize, usize, usize)>,
}

/// Whether a stage may need more memory than its node has: only to say what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Must,
    Need,
}

impl Cost {
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            worst: self.worst.max(other.worst),
            sum: self.sum.saturating_add(other.sum),
            nodes: self.nodes + other.nodes,
        }
    }
}

/// What a stage adds: layers `start..end` on `order[position]`.
pub(super) fn stage_cost(
    costs: &Costs<'_>,
    objective: Objective,
    order: &[usize],
    position: usize,
    (start, end): (usize, usize),
) -> Cost {
    let node = order[position];
    let mut cost = Cost { worst: 0, sum: 0, nodes: 1 };
    if objective == Objective::EvenFill {
        let held = u128::from(costs.held(start, end));
        cost.sum = held * held / u128::from(costs.room(node).max(1));
        return cost;
    }
    let mut one = costs.one_ns(node, start, end);
    let mut many = costs.many_ns(node, start, end);
    if let Some(before) = position.checked_sub(1).map(|before| order[before]) {
        one = one.saturating_add(costs.hop_ns(before, node));
        many = many.max(costs.carrying_ns(before, node));
    }
    if position + 1 == order.len() {
        one = one.saturating_add(costs.back_ns(node, order[0]));
    }
    cost.sum = one.into();
    if objective == Objective::Throughput {
        cost.worst = many.into();
    }
    cost
}

/// The best cut over exactly these nodes in this order, each with a layer at least.
pub(super) fn in_order(
    costs: &Costs<'_>,
    objective: Objective,
    order: &[usize],
    fit: Fit,
) -> Option<Found> {
    let layers = costs.layers();
    if order.is_empty() || order.len() > layers {
        return None;
    }
    // best[m]: the cost of layers 0..m on the nodes so far; cut[position][m]: where the last began.
    let mut best: Vec<Option<Cost>> = vec![None; layers + 1];
    best[0] = Some(Cost { worst: 0, sum: 0, nodes: 0 });
    let mut cuts = Vec::with_capacity(order.len());
    for (position, &node) in order.iter().enumerate() {
        let mut next: Vec<Option<Cost>> = vec![None; layers + 1];
        let mut cut = vec![0; layers + 1];
        let behind = order.len() - 1 - position;
        let ends = if behind == 0 { layers..=layers } else { position + 1..=layers - behind };
        for end in ends {
            for start in (position..end).rev() {
                if fit == Fit::Must && !costs.fits(node, start, end) {
                    break; // and what begins sooner needs more
                }
                let Some(before) = best[start] else { continue };
                let cost = before.with(stage_cost(costs, objective, order, position, (start, end)));
                if next[end].is_none_or(|known| cost < known) {
                    (next[end], cut[end]) = (Some(cost), start);
                }
            }
        }
        best = next;
        cuts.push(cut);
    }
    let cost = best[layers]?;
    let mut stages = Vec::with_capacity(order.len());
    let mut end = layers;
    for (&node, cut) in order.iter().zip(&cuts).rev() {
        stages.push((node, cut[end], end));
        end = cut[end];
    }
    stages.reverse();
    Some(Found { cost, stages })
}

/// The best ring of `count` of all nodes, whichever they are.
pub(super) fn of_count(costs: &Costs<'_>, objective: Objective, count: usize) -> Option<Found> {
    let nodes = costs.offers.len();
    let mut best = None;
    if nodes <= EXACT_NODES_MAX {
        let mut order = Vec::with_capacity(count);
        every_ring(nodes, count, &mut order, &mut |order| {
            better(&mut best, in_order(costs, objective, order, Fit::Must));
        });
        return best;
    }
    for by in [by_speed, by_memory] {
        let mut sorted: Vec<usize> = (0..nodes).collect();
        sorted.sort_by(|&a, &b| by(costs, b).cmp(&by(costs, a)).then(a.cmp(&b)));
        sorted.truncate(count);
        for last in 0..sorted.len() {
            let mut order = sorted.clone();
            let node = order.remove(last);
            order.push(node);
            better(&mut best, in_order(costs, objective, &order, Fit::Must));
        }
    }
    best
}

/// The best way to lay the model over exactly these nodes, in this order if that fits at all.
pub(super) fn of_these(costs: &Costs<'_>, objective: Objective, nodes: &[usize]) -> Option<Found> {
    let as_they_are = in_order(costs, objective, nodes, Fit::Must);
    if as_they_are.is_some() {
        return as_they_are;
    }
    let mut best = None;
    if nodes.len() <= EXACT_NODES_MAX {
        let mut order = Vec::with_capacity(nodes.len());
        every_ring(nodes.len(), nodes.len(), &mut order, &mut |order| {
            let order: Vec<usize> = order.iter().map(|&index| nodes[index]).collect();
            better(&mut best, in_order(costs, objective, &order, Fit::Must));
        });
        return best;
    }
    for (first, last) in (0..nodes.len()).flat_map(|a| (0..nodes.len()).map(move |b| (a, b))) {
        if first != last {
            let others = (0..nodes.len()).filter(|&index| index != first && index != last);
            let order = [first].into_iter().chain(others).chain([last]);
            let order: Vec<usize> = order.map(|index| nodes[index]).collect();
            better(&mut best, in_order(costs, objective, &order, Fit::Must));
        }
    }
    best
}

fn better(best: &mut Option<Found>, found: Option<Found>) {
    if let Some(found) = found
        && best.as_ref().is_none_or(|best| found.cost < best.cost)
    {
        *best = Some(found);
    }
}

fn by_speed(costs: &Costs<'_>, node: usize) -> u64 {
    costs.offers[node].speed.map_or(0, |speed| speed.bytes_per_s)
}

fn by_memory(costs: &Costs<'_>, node: usize) -> u64 {
    costs.offers[node].memory
}

/// All orders of `count` of `nodes` things, in lexicographic order.
pub(super) fn every_ring(
    nodes: usize,
    count: usize,
    order: &mut Vec<usize>,
    visit: &mut impl FnMut(&[usize]),
) {
    if order.len() == count {
        return visit(order);
    }
    for node in 0..nodes {
        if !order.contains(&node) {
            order.push(node);
            every_ring(nodes, count, order, visit);
            order.pop();
        }
    }
}
