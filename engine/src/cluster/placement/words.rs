//! Why a ring was taken and what was left out, for a person.

use super::{
    Estimate, Goal, NodesWanted, Wish,
    cost::{CACHE_TOKENS_MIN, Costs, HEADROOM_BYTES},
    gib, plan,
    search::{Found, Objective, of_count},
};

/// Milliseconds for people: three digits.
#[must_use]
pub fn millis(ns: u64) -> String {
    match ns as f64 / 1e6 {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

/// One sentence each, without its full stop.
pub(super) fn why(
    costs: &Costs<'_>,
    wish: &Wish,
    found: &Found,
    estimate: Option<Estimate>,
) -> Vec<String> {
    let mut why = Vec::new();
    match (&wish.by_hand, wish.goal, wish.nodes) {
        (Some(_), ..) => why.push(format!("laid out by hand{}", speed(estimate))),
        (None, Goal::Memory, NodesWanted::Smallest) => {
            why.push(smallest(costs, found, estimate));
            why.extend(too_small(costs, found));
        }
        (None, Goal::Memory, _) => {
            let names = names(costs, found);
            why.push(format!("on {names} as asked, each as full as the others{}", speed(estimate)));
            why.extend(fewer_would_do(costs, found, estimate));
        }
        (None, Goal::Latency | Goal::Throughput, _) => {
            why.push(fastest(costs, wish, found, estimate));
            why.extend(by_speed_left_out(costs, wish, found));
        }
    }
    why.extend(head(costs, wish, found));
    why
}

/// ": 21 ms/token", where that is known.
fn speed(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(String::new, |it| format!(": {}/token", millis(it.token_ns)))
}

/// "fits on mini alone: 21 ms/token; with air 34 ms/token; use --all-nodes to add it"
fn smallest(costs: &Costs<'_>, found: &Found, estimate: Option<Estimate>) -> String {
    let names = names(costs, found);
    let fits = match found.stages.len() {
        1 => format!("fits on {names} alone"),
        _ => format!("{names} hold it together, each as full as the others"),
    };
    let mut text = format!("{fits}{}", speed(estimate));
    let left_out = left_out(costs, found);
    if left_out.is_empty() {
        return text;
    }
    let (others, it) = (listed(costs, &left_out), if left_out.len() == 1 { "it" } else { "them" });
    let all = plan::largest(costs, costs.offers.len().min(costs.layers()));
    let all = all.filter(|all| all.stages.len() == costs.offers.len());
    match all.map(|all| plan::estimate(costs, &all)) {
        Some(Some(with)) => {
            text += &format!("; with {others} {}/token", millis(with.token_ns));
            text += &format!("; use --all-nodes to add {it}");
            if estimate.is_some_and(|alone| with.slowest_ns < alone.slowest_ns) {
                let (one, many) =
                    (estimate.map_or(0.0, |it| it.tokens_per_s()), with.tokens_per_s());
                text +=
                    &format!(", for many requests at once: {many:.0} instead of {one:.0} tokens/s");
            }
        }
        Some(None) => text += &format!("; {others} not needed; use --all-nodes to add {it}"),
        None => {
            text += &format!("; {others} not needed, and too small for an even share");
        }
    }
    text
}

/// Why one node less does not do.
fn too_small(costs: &Costs<'_>, found: &Found) -> Option<String> {
    let fewer = found.stages.len().checked_sub(1).filter(|&fewer| fewer > 0)?;
    let whole = costs.held(0, costs.layers()) + HEADROOM_BYTES * fewer as u64;
    let offers = &costs.offers[..fewer];
    let offered = offers.iter().fold(0u64, |sum, offer| sum.saturating_add(offer.memory));
    let names = listed(costs, &(0..fewer).collect::<Vec<_>>());
    let lacking = match whole.checked_sub(offered).filter(|&short| short > 0) {
        Some(short) => format!("{} short", gib(short)),
        None => "no cut between layers fits".to_owned(),
    };
    let alone = if fewer == 1 { " alone" } else { "" };
    Some(format!(
        "{names}{alone} offer{} {}, and it needs {} with {CACHE_TOKENS_MIN} tokens of cache: {lacking}",
        if fewer == 1 { "s" } else { "" },
        gib(offered),
        gib(whole)
    ))
}

/// What `--nodes` or `--all-nodes` costs one request.
fn fewer_would_do(costs: &Costs<'_>, found: &Found, estimate: Option<Estimate>) -> Option<String> {
    let fewer = (1..found.stages.len()).find_map(|count| plan::largest(costs, count))?;
    let names = names(costs, &fewer);
    let alone = if fewer.stages.len() == 1 { " alone" } else { "" };
    Some(match (plan::estimate(costs, &fewer), estimate) {
        (Some(less), Some(now)) => {
            let compared = match now.token_ns.cmp(&less.token_ns) {
                std::cmp::Ordering::Greater => "one request is slower over more nodes",
                _ => "one request gains, too",
            };
            format!(
                "it would fit on {names}{alone}: {}/token ({compared}); at many requests \
                 {:.0} instead of {:.0} tokens/s",
                millis(less.token_ns),
                now.tokens_per_s(),
                less.tokens_per_s()
            )
        }
        _ => format!("it would fit on {names}{alone}"),
    })
}

fn fastest(costs: &Costs<'_>, wish: &Wish, found: &Found, estimate: Option<Estimate>) -> String {
    let names = names(costs, found);
    let how = match wish.nodes {
        NodesWanted::Smallest => "",
        _ => " of so many nodes",
    };
    let Some(estimate) = estimate else { return format!("on {names}") };
    match wish.goal {
        Goal::Throughput => format!(
            "the most tokens{how} come from {names}: {:.0} a second, once {} requests run for each \
             stage; its slowest stage takes {} for a step of {}",
            estimate.tokens_per_s(),
            Estimate::BATCH,
            millis(estimate.slowest_ns),
            Estimate::BATCH
        ),
        _ => format!("the least time{how} for one request is on {names}{}", speed(Some(estimate))),
    }
}

/// What a node that was left out would have made of it.
fn by_speed_left_out(costs: &Costs<'_>, wish: &Wish, found: &Found) -> Option<String> {
    let left_out = left_out(costs, found);
    if left_out.is_empty() || wish.nodes != NodesWanted::Smallest {
        return None;
    }
    let objective = match wish.goal {
        Goal::Throughput => Objective::Throughput,
        _ => Objective::Latency,
    };
    let others = listed(costs, &left_out);
    let with =
        of_count(costs, objective, costs.offers.len()).and_then(|all| plan::estimate(costs, &all));
    Some(match (with, wish.goal) {
        (Some(with), Goal::Throughput) => {
            format!("with {others} {:.0} tokens/s at most", with.tokens_per_s())
        }
        (Some(with), _) => format!("with {others} {}/token at best", millis(with.token_ns)),
        (None, _) => format!("{others} cannot take part"),
    })
}

/// What the head does to a ring placed by throughput: it weighs as many layers.
fn head(costs: &Costs<'_>, wish: &Wish, found: &Found) -> Option<String> {
    let &(last, start, end) = found.stages.last()?;
    let layer = costs.model.layers.last()?.read_bytes.max(1);
    let layers = costs.model.head.read_bytes as f64 / layer as f64;
    let shown = wish.goal == Goal::Throughput && found.stages.len() > 1 && layers >= 0.5;
    shown.then(|| {
        format!(
            "the output head reads as much as {layers:.1} layers, so {} has {} beside it",
            costs.offers[last].name,
            end - start
        )
    })
}

fn left_out(costs: &Costs<'_>, found: &Found) -> Vec<usize> {
    let holds = |node: &usize| found.stages.iter().any(|stage| stage.0 == *node);
    (0..costs.offers.len()).filter(|node| !holds(node)).collect()
}

fn names(costs: &Costs<'_>, found: &Found) -> String {
    listed(costs, &found.stages.iter().map(|stage| stage.0).collect::<Vec<_>>())
}

/// "a", "a and b", "a, b and c"
fn listed(costs: &Costs<'_>, nodes: &[usize]) -> String {
    let names: Vec<&str> = nodes.iter().map(|&node| costs.offers[node].name.as_str()).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "no node".to_owned(),
    }
}
