//! Every ring and every cut of small models over few nodes, tried one by one, against what the
//! search finds. What a ring costs is worked out here anew, from the definitions.

use super::*;
use crate::cluster::placement::cost::{BATCH, HEADROOM_BYTES};

/// A layer's weights.
const UNIT: u64 = 32 << 20;

fn model(layers: u32, head: u64, tied: bool) -> ModelShape {
    ModelShape {
        // The first is larger, as where it is dense and the others choose among experts.
        layers: (0..layers)
            .map(|layer| {
                let bytes = if layer == 0 { 2 * UNIT } else { UNIT };
                PartShape::dense(bytes, bytes / 4)
            })
            .collect(),
        embedding_bytes: UNIT,
        head: PartShape::dense(head * UNIT, head * UNIT / 4),
        tied,
        kv_token_layer_bytes: 512,
        context: 4096,
        token_bytes: 4096,
    }
}

/// A ring: node and its layers.
type Ring = Vec<(usize, LayerRange)>;

/// All rings of `count` nodes with all cuts.
fn rings(nodes: usize, count: usize, layers: u32) -> Vec<Ring> {
    fn go(nodes: usize, count: usize, layers: u32, ring: &mut Ring, all: &mut Vec<Ring>) {
        let start = ring.last().map_or(0, |(_, range)| range.end());
        if ring.len() == count {
            if start == layers {
                all.push(ring.clone());
            }
            return;
        }
        for node in 0..nodes {
            if ring.iter().any(|(other, _)| *other == node) {
                continue;
            }
            for end in start + 1..=layers {
                ring.push((node, LayerRange::checked(start, end).unwrap()));
                go(nodes, count, layers, ring, all);
                ring.pop();
            }
        }
    }
    let mut all = Vec::new();
    go(nodes, count, layers, &mut Vec::new(), &mut all);
    all
}

fn fits(ring: &Ring, offers: &[Offer], model: &ModelShape) -> bool {
    ring.iter().all(|&(node, range)| needed_bytes(range, model) <= offers[node].memory)
}

/// Nanoseconds of a stage for so many sequences in a step.
fn stage_ns(offer: &Offer, range: LayerRange, model: &ModelShape, batch: u64) -> u64 {
    let speed = offer.speed.unwrap();
    let head = range.is_last(model.layer_count()).then_some(&model.head);
    let layers = &model.layers[range.start() as usize..range.end() as usize];
    let part = |part: &PartShape| {
        let read = part.bytes as u128 * 1_000_000_000 / u128::from(speed.bytes_per_s);
        let multiplies = u128::from(part.multiplies * batch) * 1_000_000_000;
        read.max(multiplies / u128::from(speed.multiplies_per_s)) as u64
    };
    layers.iter().chain(head).map(part).sum()
}

/// Nanoseconds of one token's way around a ring, and of its slowest part at many requests.
fn times(ring: &Ring, offers: &[Offer], model: &ModelShape, links: &Links) -> (u64, u64) {
    let way = |from: usize, to: usize| links.between(offers[from].node, offers[to].node);
    let carry = |way: LinkSpeed, bytes: u64| {
        (u128::from(bytes) * 1_000_000_000 / u128::from(way.bytes_per_s)) as u64
    };
    let (mut one, mut slowest) = (0, 0);
    for (position, &(node, range)) in ring.iter().enumerate() {
        one += stage_ns(&offers[node], range, model, 1);
        slowest = slowest.max(stage_ns(&offers[node], range, model, BATCH));
        let next = ring[(position + 1) % ring.len()].0;
        if position + 1 < ring.len() {
            let way = way(node, next);
            one += way.latency_ns + carry(way, model.token_bytes);
            slowest = slowest.max(carry(way, model.token_bytes * BATCH));
        } else if next != node {
            let way = way(node, next);
            one += way.latency_ns + carry(way, 256);
        }
    }
    (one, slowest)
}

fn ring_of(placement: &Placement, offers: &[Offer]) -> Ring {
    let index = |node| offers.iter().position(|offer| offer.node == node).unwrap();
    placement.assignments().iter().map(|part| (index(part.node), part.range)).collect()
}

/// Nodes of every mixture of these memories (units beside headroom) and speeds.
fn mixtures(nodes: usize, visit: &mut impl FnMut(&[Offer])) {
    const KINDS: [(u64, u64); 5] = [(0, 500), (3, 4_000), (4, 500), (7, 1_000), (12, 4_000)];
    let mut chosen = vec![0; nodes];
    loop {
        let offers: Vec<Offer> = chosen
            .iter()
            .enumerate()
            .map(|(id, &kind): (usize, &usize)| {
                let (units, megabytes) = KINDS[kind];
                fast(id as u8 + 1, HEADROOM_BYTES + units * UNIT, megabytes)
            })
            .collect();
        visit(&offers);
        let Some(at) = chosen.iter().position(|&kind| kind + 1 < KINDS.len()) else { return };
        chosen[at] += 1;
        chosen[..at].fill(0);
    }
}

fn models() -> Vec<ModelShape> {
    let mut all = Vec::new();
    for layers in [1, 2, 5] {
        for (head, tied) in [(1, true), (1, false), (3, false)] {
            all.push(model(layers, head, tied));
        }
    }
    all
}

/// Links of which one pair's is slow.
fn links() -> Links {
    let mut links = Links::default();
    let node = |id| NodeId::from_bytes([id; 16]);
    links.insert(node(1), node(2), LinkSpeed::WIFI);
    links.insert(node(3), node(1), LinkSpeed::ETHERNET);
    links
}

#[test]
fn the_smallest_set_is_the_smallest_of_all_and_is_filled_evenly() {
    let (mut cases, mut together, mut never) = (0, 0, 0);
    for model in models() {
        for nodes in 1..=4 {
            let all: Vec<Vec<Ring>> =
                (1..=nodes).map(|count| rings(nodes, count, model.layer_count())).collect();
            mixtures(nodes, &mut |offers| {
                cases += 1;
                let smallest = all
                    .iter()
                    .position(|rings| rings.iter().any(|ring| fits(ring, offers, &model)))
                    .map(|index| index + 1);
                let wish = NodesWanted::Smallest.into();
                let found = place(offers, &model, &wish, &Links::default());
                let size = found.as_ref().ok().map(|placement| placement.assignments().len());
                assert_eq!(size, smallest, "{offers:?} {found:?}");
                let Ok(placement) = found else {
                    never += 1;
                    return;
                };
                let ring = ring_of(&placement, offers);
                assert!(fits(&ring, offers, &model));
                together += usize::from(ring.len() > 1);
                // Of all cuts over the same nodes in the same order none is more even.
                let uneven = |ring: &Ring| -> u128 {
                    let square = |&(node, range): &(usize, LayerRange)| {
                        let used = u128::from(needed_bytes(range, &model) - HEADROOM_BYTES);
                        let room = offers[node].memory - HEADROOM_BYTES;
                        used * used / u128::from(room.max(1))
                    };
                    ring.iter().map(square).sum()
                };
                let same = |other: &&Ring| {
                    other.iter().map(|stage| stage.0).eq(ring.iter().map(|stage| stage.0))
                        && fits(other, offers, &model)
                };
                let best = all[ring.len() - 1].iter().filter(same).map(uneven).min();
                assert_eq!(Some(uneven(&ring)), best);
            });
        }
    }
    // The cases are worth something only if all that can happen happens.
    assert!(cases > 6_000 && together > 500 && never > 500, "{cases} {together} {never}");
}

#[test]
fn by_speed_no_ring_of_all_is_better() {
    let links = links();
    let (mut cases, mut over_one) = (0, [0, 0]);
    for model in models() {
        for nodes in 1..=3 {
            let all: Vec<Vec<Ring>> =
                (1..=nodes).map(|count| rings(nodes, count, model.layer_count())).collect();
            mixtures(nodes, &mut |offers| {
                cases += 1;
                for (goal, over_one) in
                    [Goal::Latency, Goal::Throughput].into_iter().zip(&mut over_one)
                {
                    let wish = Wish {
                        nodes: NodesWanted::Smallest,
                        goal,
                        by_hand: None,
                        rebalance: false,
                    };
                    let found = plan(offers, &model, &wish, &links);
                    let measured = |ring: &Ring| match times(ring, offers, &model, &links) {
                        (one, _) if goal == Goal::Latency => one,
                        (_, slowest) => slowest,
                    };
                    let fitting = all.iter().flatten().filter(|ring| fits(ring, offers, &model));
                    let best = fitting.map(measured).min();
                    let ring = found.as_ref().ok().map(|plan| ring_of(&plan.placement, offers));
                    assert_eq!(ring.as_ref().map(measured), best, "{goal:?} {offers:?} {ring:?}");
                    if let (Ok(plan), Some(ring)) = (found, ring) {
                        *over_one += usize::from(ring.len() > 1);
                        let estimate = plan.estimate.unwrap();
                        let told = (estimate.token_ns, estimate.slowest_ns);
                        assert_eq!(told, times(&ring, offers, &model, &links));
                    }
                }
            });
        }
    }
    assert!(cases > 1_000 && over_one.iter().all(|&rings| rings > 100), "{cases} {over_one:?}");
}
